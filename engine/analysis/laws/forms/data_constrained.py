"""Loss where data are repeated: what the second and the sixteenth epoch are worth (Muennighoff 2023)."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from engine.analysis.arrays import Floats
from engine.analysis.columns import Column
from engine.analysis.laws.base import (
    COMPUTE,
    LOSS,
    N_PARAMS,
    TOKENS,
    Points,
    forms,
    optional,
    with_tokens,
)
from engine.analysis.laws.models import PowerSum, power_sum
from engine.analysis.laws.parametric import ParametricForm
from engine.analysis.laws.repeated import MAX_REPEAT, RepeatedData
from engine.analysis.laws.resample import optimum
from engine.analysis.laws.result import LawFit
from engine.errors import InputError
from engine.i18n import mark, tr

UNIQUE = Column("unique_tokens", ("unique_d", "U_D", "unique_data"), required=False)
EPOCHS = Column("epochs", ("n_epochs", "num_epochs"), required=False)
FEWEST_SINGLE = 8
"""Single-epoch settings from which the plain law is fitted first; with fewer, all points start the joint fit."""
_ONCE = 1.0 + 1e-6


@forms.register("data-constrained")
class DataConstrained(ParametricForm):
    name = "data-constrained"
    title = mark("Loss with repeated data")
    equation = (
        "L(N, D, U) = E + A / N'^alpha + B / D'^beta; D' = U + U R_D (1 - exp(-(D/U - 1) / R_D)), N' alike with R_N"
    )
    reference = "Muennighoff 2023"
    variables = ("n_params", "tokens", "unique_tokens")
    names = ("A", "B", "alpha", "beta", "E", "R_D", "R_N")
    exponents = ("alpha", "beta")
    fewest_settings = 9
    fewest_values = 1
    columns = (N_PARAMS, optional(TOKENS), optional(COMPUTE), UNIQUE, EPOCHS, LOSS)
    positive = ("n_params", "tokens", "compute_flops", "unique_tokens", "epochs", "loss")
    parameters: ClassVar[Mapping[str, str]] = {
        "E": mark("the floor: the loss of infinite parameters and data"),
        "A": mark("the scale of what few parameters cost"),
        "B": mark("the scale of what few tokens cost"),
        "alpha": mark("the exponent of parameters"),
        "beta": mark("the exponent of tokens"),
        "R_D": mark("how many times their number unique tokens can be worth by repetition"),
        "R_N": mark("the same for parameters beyond what the unique tokens need"),
    }

    def prepare(self, points: Points) -> Points:
        points = with_tokens(points, self.name)
        if "unique_tokens" not in points:
            if "epochs" not in points:
                raise InputError(
                    tr("{form} needs a column of unique tokens or of epochs.", form=self.name),
                    tr("Say which it is with --columns unique_tokens=HEADER."),
                )
            points = points.with_column("unique_tokens", points["tokens"] / points["epochs"])
        return points.with_column("unique_tokens", np.minimum(points["unique_tokens"], points["tokens"]))

    def check(self, points: Points) -> None:
        for name in ("n_params", "tokens"):
            if len(np.unique(points[name])) < 2:
                raise InputError(tr("{form} needs at least two values of {column}.", form=self.name, column=name))
        super().check(points)
        if not (points["tokens"] > _ONCE * points["unique_tokens"]).any():
            raise InputError(
                tr("No run repeats its data, so nothing can be said of repetition."), tr("Fit chinchilla instead.")
            )

    def model(self, points: Points) -> RepeatedData:
        plain = power_sum(self.inputs(points)[:, :2], points["loss"])
        return RepeatedData(np.log(self.inputs(points)), plain, self._base(plain, points))

    def _base(self, plain: PowerSum, points: Points) -> Floats:
        once = points["tokens"] <= _ONCE * points["unique_tokens"]
        single = points.where(once)
        varied = len(np.unique(single["n_params"])) > 1 and len(np.unique(single["tokens"])) > 1
        if once.sum() < FEWEST_SINGLE or not varied:
            once = np.ones(len(points), dtype=np.bool_)
        return optimum(replace(plain, x=plain.x[once]), np.log(points["loss"][once])).theta

    def warnings(self, fit: LawFit, points: Points) -> list[str]:
        found = super().warnings(fit, points)
        for name in ("R_D", "R_N"):
            if fit.interval[name][1] > 0.9 * MAX_REPEAT:
                found.append(
                    tr("{name} has no upper bound: these runs do not show repetition losing worth.", name=name)
                )
        return found

    def extras(self, fit: LawFit, points: Points) -> dict[str, Any]:
        r_d = fit.params["R_D"]
        epochs = (1, 2, 4, 8, 16, 40)
        drawn = fit.draws_of_values[:, self.names.index("R_D")]
        rows = []
        for count in epochs:
            low, high = np.quantile(worth_of(drawn, count), [(1 - fit.level) / 2, (1 + fit.level) / 2])
            worth = float(worth_of(np.array(r_d), count))
            rows.append({"epochs": count, "worth_in_unique_epochs": worth, "interval": [float(low), float(high)]})
        return {"repetition": rows}


def worth_of(r_d: Floats, epochs: float) -> Floats:
    """How many times the unique tokens ``epochs`` passes over them are worth: 1 + R (1 - exp(-(epochs - 1) / R))."""
    worth: Floats = 1 - r_d * np.expm1(-(epochs - 1) / r_d)
    return worth
