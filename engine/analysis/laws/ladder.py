"""The law of one ladder: L(x) = E + A / x^alpha over sizes (or tokens, or compute), with honest intervals."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from engine.analysis.arrays import Floats, as_floats
from engine.analysis.laws import checks
from engine.analysis.laws.fitting import Problem, fit_problem, held_out, missed
from engine.analysis.laws.models import power_sum
from engine.analysis.laws.result import LawFit
from engine.errors import InputError
from engine.i18n import tr


def fit_ladder(
    n_params: Sequence[float] | Floats,
    loss: Sequence[float] | Floats,
    seeds: Sequence[int] | Floats | None = None,
    holdout: bool = True,
    n_bootstrap: int = 1000,
    level: float = 0.9,
    rng_seed: int = 0,
    *,
    variable: str = "n_params",
    form: str = "power-law-n",
    lr_scaled: bool | None = None,
    converged: bool | None = None,
) -> LawFit:
    """Fit E + A / N^alpha to runs of a ladder.

    ``n_params`` and ``loss`` are one value per run, positive; runs of equal size are its seeds (``seeds`` only
    checks that they differ). With ``holdout`` the largest size is left out, predicted and compared. ``lr_scaled``
    and ``converged`` say what is known of the training; False becomes a warning. The intervals resample sizes'
    and seeds' scatter with Student-like doubt about its width, so they are wide where little is known.
    Raises ``InputError`` for fewer than two sizes and for values that are not positive numbers.
    """
    x, y = _checked(n_params, loss, variable)
    fit = fit_problem(_problem(x, y, variable, form), n_bootstrap, level, rng_seed, "noise")
    heldout = _held_out(x, y, n_bootstrap, level, rng_seed, variable, form) if holdout else None
    warnings = [
        *fit.warnings,
        *checks.narrow_range(x, variable),
        *checks.few_sizes(x),
        *checks.repeats(x, seeds),
        *checks.training(lr_scaled, converged),
        *checks.identified(fit, float(y.min())),
    ]
    if heldout and not heldout["inside"]:
        warnings.append(missed(heldout))
    return replace(fit, heldout=heldout, warnings=tuple(warnings))


def _checked(sizes: Any, loss: Any, variable: str) -> tuple[Floats, Floats]:
    x, y = as_floats(sizes), as_floats(loss)
    assert x.shape == y.shape and x.ndim == 1, "one loss per size"
    for name, values in ((variable, x), ("loss", y)):
        bad = ~(np.isfinite(values) & (values > 0))
        if bad.any():
            row = int(bad.argmax())
            raise InputError(
                tr(
                    "Row {row}, {column}: {value} is not a positive number.",
                    row=row + 1,
                    column=name,
                    value=values[row],
                ),
                tr("A power law is fitted on logarithms."),
            )
    if len(np.unique(x)) < 2:
        raise InputError(
            tr("A law needs at least two sizes; {column} has one value only.", column=variable),
            tr("Add runs of other sizes."),
        )
    return x, y


def _problem(x: Floats, y: Floats, variable: str, form: str) -> Problem:
    return Problem(
        form=form,
        model=power_sum(x[:, None], y),
        y=np.log(y),
        group=np.unique(x, return_inverse=True)[1].astype(np.int64),
        names=("A", "alpha", "E"),
        variables=(variable,),
        variable=variable,
        x=x,
    )


def _held_out(
    x: Floats, y: Floats, n_bootstrap: int, level: float, rng_seed: int, variable: str, form: str
) -> dict[str, Any] | None:
    """The largest size predicted from the others, with the interval of the mean of as many new runs."""
    largest = x.max()
    rest = x < largest
    if len(np.unique(x[rest])) < 2:
        return None
    fit = fit_problem(_problem(x[rest], y[rest], variable, form), n_bootstrap, level, rng_seed, "noise")
    left = _problem(x[~rest], y[~rest], variable, form)
    return held_out(fit, left, x[~rest][:, None])[0]
