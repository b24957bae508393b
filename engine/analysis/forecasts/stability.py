"""How far a law moves when a size or an amount of data is left out: what the data do not pin down, seen directly."""

from typing import Any

import numpy as np

from engine.analysis.arrays import Bools
from engine.analysis.laws.base import FitOptions, Points, forms
from engine.analysis.laws.parametric import ParametricForm
from engine.analysis.laws.result import LawFit
from engine.errors import InputError
from engine.i18n import tr

_QUICK = FitOptions(n_bootstrap=2, resample="pairs", holdout=False)
"""Only the fit itself is wanted."""
STEADY_FLOOR, STEADY_EXPONENT = 0.1, 0.1
"""A law counts as steady where E moves less than a tenth of the lowest loss, and a less than a tenth."""


def stability(points: Points) -> dict[str, Any] | None:
    """L(N, D) refitted without each size and each amount of data in turn; None where too few are left.

    ``E`` and ``a`` are the lowest and highest over the refits; ``steady`` whether they stay together.
    """
    rows: list[dict[str, Any]] = []
    for column in ("n_params", "tokens"):
        for value in np.unique(points[column]):
            fit = _fit(points, points[column] != value)
            if fit is not None:
                rows.append({"left_out": column, "value": float(value), **_numbers(fit)})
    if len(rows) < 2:
        return None
    floors, exponents = [row["E"] for row in rows], [row["a"] for row in rows]
    moves_floor = max(floors) - min(floors)
    moves_exponent = max(exponents) - min(exponents)
    steady = moves_floor <= STEADY_FLOOR * float(points["loss"].min()) and moves_exponent <= STEADY_EXPONENT
    values = {
        "e_low": min(floors),
        "e_high": max(floors),
        "a_low": min(exponents),
        "a_high": max(exponents),
    }
    words = (
        tr(
            "Leaving one size or one amount of data out moves E over {e_low:.2f} to {e_high:.2f} and the exponent a of "
            "the optimal size over {a_low:.2f} to {a_high:.2f}: the law is steady.",
            **values,
        )
        if steady
        else tr(
            "Leaving one size or one amount of data out moves E over {e_low:.2f} to {e_high:.2f} and the exponent a of "
            "the optimal size over {a_low:.2f} to {a_high:.2f}: these runs do not identify the law.",
            **values,
        )
    )
    return {
        "refits": rows,
        "E": [min(floors), max(floors)],
        "a": [min(exponents), max(exponents)],
        "steady": steady,
        "words": words,
    }


def _fit(points: Points, mask: Bools) -> LawFit | None:
    form = forms["chinchilla"]
    assert isinstance(form, ParametricForm)
    try:
        return form.solved(points.where(mask), _QUICK)
    except InputError:
        return None


def _numbers(fit: LawFit) -> dict[str, float]:
    found = {name: fit.params[name] for name in ("E", "alpha", "beta")}
    total = found["alpha"] + found["beta"]
    return found | {"a": found["beta"] / total if total else 0.0}
