"""A power law that bends once, smoothly (Caballero 2022)."""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from engine.analysis.laws.base import LOSS, N_PARAMS, Points, forms
from engine.analysis.laws.models import LawModel
from engine.analysis.laws.parametric import ParametricForm
from engine.analysis.laws.result import LawFit
from engine.analysis.laws.terms import BrokenPower
from engine.i18n import mark, tr


@forms.register("broken-power-law")
class BrokenPowerLaw(ParametricForm):
    name = "broken-power-law"
    title = mark("Loss against parameters with one bend")
    equation = "L(N) = E + A N^-alpha (1 + (N/N_break)^(1/f))^(-(alpha_2 - alpha) f)"
    reference = "Caballero 2022 (broken neural scaling laws), one break"
    variables = ("n_params",)
    names = ("A", "alpha", "alpha_2", "N_break", "f", "E")
    exponents = ()
    fewest_settings = 8
    columns = (N_PARAMS, LOSS)
    positive = ("n_params", "loss")
    parameters: ClassVar[Mapping[str, str]] = {
        "E": mark("the floor: the loss that no size goes under"),
        "A": mark("the scale of the part that falls"),
        "alpha": mark("the exponent before the bend"),
        "alpha_2": mark("the exponent after the bend"),
        "N_break": mark("the size at the bend"),
        "f": mark("the width of the bend in ln N"),
    }

    def model(self, points: Points) -> LawModel:
        x = np.log(self.inputs(points))
        center = x.mean(axis=0)
        x = x - center
        return BrokenPower(x, center, float(np.log(points["loss"].min())), (float(x.min()), float(x.max())))

    def warnings(self, fit: LawFit, points: Points) -> list[str]:
        found = super().warnings(fit, points)
        before, after = fit.draws_of_values[:, 1], fit.draws_of_values[:, 2]
        low, high = np.quantile(after - before, [(1 - fit.level) / 2, (1 + fit.level) / 2])
        if low <= 0 <= high:
            found.append(
                tr("These runs show no bend: the two exponents may be equal; compare with power-law-n by --compare.")
            )
        return found
