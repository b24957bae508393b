"""One power law and a floor: over parameters, tokens or compute."""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from engine.analysis.laws.base import COMPUTE, LOSS, N_PARAMS, NON_EMBEDDING, TOKENS, Points, forms
from engine.analysis.laws.models import LawModel, PowerSum, power_sum
from engine.analysis.laws.parametric import ParametricForm
from engine.analysis.laws.result import LawFit
from engine.analysis.laws.solver import solve
from engine.i18n import mark, tr

CONVENTION_MATTERS = 0.05
"""Exponents under the two counts of parameters that differ by more than this fraction are told apart."""


class _PowerLaw(ParametricForm):
    names = ("A", "alpha", "E")
    fewest_settings = 2
    parameters: ClassVar[Mapping[str, str]] = {
        "E": mark("the floor: the loss that no size goes under"),
        "A": mark("the scale of the part that falls"),
        "alpha": mark("its exponent"),
    }

    def model(self, points: Points) -> PowerSum:
        return power_sum(self.inputs(points), points["loss"])


@forms.register("power-law-n")
class PowerLawN(_PowerLaw):
    name = "power-law-n"
    title = mark("Loss against parameters")
    equation = "L(N) = E + A / N^alpha"
    reference = "Kaplan 2020; Hestness 2017; Rosenfeld 2020"
    variables = ("n_params",)
    columns = (N_PARAMS, LOSS, NON_EMBEDDING)
    positive = ("n_params", "loss")

    def warnings(self, fit: LawFit, points: Points) -> list[str]:
        return [*super().warnings(fit, points), *conventions(self, fit, points)]


@forms.register("power-law-d")
class PowerLawD(_PowerLaw):
    name = "power-law-d"
    title = mark("Loss against tokens")
    equation = "L(D) = E + A / D^alpha"
    reference = "Kaplan 2020; Hestness 2017"
    variables = ("tokens",)
    columns = (TOKENS, LOSS)
    positive = ("tokens", "loss")


@forms.register("power-law-c")
class PowerLawC(_PowerLaw):
    name = "power-law-c"
    title = mark("Loss against compute")
    equation = "L(C) = E + A / C^alpha"
    reference = "Kaplan 2020; Henighan 2020"
    variables = ("compute_flops",)
    columns = (COMPUTE, LOSS)
    positive = ("compute_flops", "loss")


def conventions(form: ParametricForm, fit: LawFit, points: Points) -> list[str]:
    """A warning where parameters without embeddings give another exponent than the ones that were used."""
    other = points.values.get("n_params_non_embedding")
    if other is None or not (np.isfinite(other) & (other > 0)).all():
        return []
    model: LawModel = form.model(points.with_column("n_params", other))
    y = np.log(points["loss"])
    found = solve(model, y, model.starts(y))
    alpha = float(model.public(found.theta[[found.objective.argmin()]])[0, form.names.index("alpha")])
    used = fit.params["alpha"]
    if abs(alpha - used) <= CONVENTION_MATTERS * abs(used):
        return []
    return [
        tr(
            "The convention changes the exponent: alpha is {used:.3g} over {column} and {alpha:.3g} over {other}.",
            used=used,
            column=points.headers["n_params"],
            alpha=alpha,
            other=points.headers["n_params_non_embedding"],
        )
    ]
