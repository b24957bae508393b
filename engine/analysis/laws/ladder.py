"""The law of one ladder: L(x) = E + A / x^alpha over sizes (or tokens, or compute), with honest intervals."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from engine.analysis.arrays import Floats, Ints, as_floats, percentile_interval
from engine.analysis.laws.models import PowerSum, power_sum
from engine.analysis.laws.noise import estimate_noise, perturb
from engine.analysis.laws.result import LawFit, covers_text
from engine.analysis.laws.solver import solve
from engine.errors import InputError
from engine.i18n import tr

NARROW_RANGE = 30.0
"""A range of sizes under this factor hardly determines an exponent (Porian 2024 and the project's own ladders)."""
FEW_SIZES = 6
_N_COORDINATES = 3


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
    fit = _fit(x, y, n_bootstrap, level, rng_seed, variable, form)
    heldout = _held_out(x, y, n_bootstrap, level, rng_seed, variable, form) if holdout else None
    warnings = [
        *_range_warnings(x, seeds, variable),
        *_training_warnings(lr_scaled, converged),
        *identification_warnings(fit, float(y.min())),
    ]
    if heldout and not heldout["inside"]:
        warnings.append(
            tr(
                "Fitted without the largest size, the law misses it: {predicted:.4g} predicted, {observed:.4g} seen.",
                predicted=heldout["predicted"],
                observed=heldout["observed"],
            )
        )
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


def _fit(x: Floats, y: Floats, n_bootstrap: int, level: float, rng_seed: int, variable: str, form: str) -> LawFit:
    rng = np.random.default_rng(rng_seed)
    log_y = np.log(y)
    model = power_sum(x[:, None], y)
    found = solve(model, log_y, model.starts(log_y))
    best = int(found.objective.argmin())
    theta = found.theta[best]
    fitted = model.log_loss(theta[None])[0]
    sizes, group = np.unique(x, return_inverse=True)
    noise = estimate_noise(log_y - fitted, group, _N_COORDINATES)
    between, within = noise.draw(rng, n_bootstrap)
    drawn = perturb(rng, fitted, group, between, within)
    if len(sizes) > _N_COORDINATES:
        samples = _resampled(model, drawn, theta)
    else:
        samples = _any_floor(rng, model, drawn, group, float(y.min()))
    return LawFit(
        form=form,
        variable=variable,
        model=model,
        theta=theta,
        samples=samples,
        noise_between=between,
        noise_within=within,
        names=("A", "alpha", "E"),
        objective=float(found.objective[best]),
        level=level,
        n_points=len(x),
        x_range=(float(sizes[0]), float(sizes[-1])),
        residuals=log_y - fitted,
        covers=covers_text(level),
    )


def _resampled(model: PowerSum, drawn: Floats, theta: Floats) -> Floats:
    """Refit every drawn set, from the optimum and from its opposite: a high floor and a steep slope, or none."""
    batch = len(drawn)
    steep, flat = theta.copy(), theta.copy()
    steep[-1], steep[1] = model.highest - 0.05, 2 * max(theta[1], 0.2)
    steep[0] = model.highest - 2.0
    flat[-1], flat[1], flat[0] = model.highest - 4.0, 0.5 * max(theta[1], 0.02), model.highest
    starts = np.repeat(np.stack([theta, steep, flat]), batch, axis=0)
    found = solve(model, np.tile(drawn, (3, 1)), starts, widen=False)
    objective = found.objective.reshape(3, batch)
    best: Floats = found.theta.reshape(3, batch, -1)[objective.argmin(axis=0), np.arange(batch)]
    return best


def _any_floor(rng: np.random.Generator, model: PowerSum, drawn: Floats, group: Ints, lowest: float) -> Floats:
    """Two or three sizes fit exactly for a range of floors: every floor below the lowest loss is allowed."""
    floor = rng.uniform(0.0, 1.0, len(drawn))
    floor = np.maximum(floor, 1e-5) * np.minimum(lowest, np.exp(drawn).min(axis=1)) * 0.999
    above = np.log(np.exp(drawn) - floor[:, None])
    x = model.x[:, 0] - model.x[:, 0].mean()
    slope = above @ x / (x @ x)
    return np.stack([above.mean(axis=1) - slope * model.x[:, 0].mean(), -slope, np.log(floor)], axis=1)


def _held_out(
    x: Floats, y: Floats, n_bootstrap: int, level: float, rng_seed: int, variable: str, form: str
) -> dict[str, Any] | None:
    """The largest size predicted from the others, with the interval of the mean of as many new runs."""
    largest = x.max()
    rest = x < largest
    if len(np.unique(x[rest])) < 2:
        return None
    fit = _fit(x[rest], y[rest], n_bootstrap, level, rng_seed, variable, form)
    runs = int((~rest).sum())
    observed = float(np.exp(np.log(y[~rest]).mean()))
    predicted, _, _ = fit.predict(largest)
    low, high = percentile_interval(fit.draws([largest], runs)[:, 0], level)
    return {
        variable: float(largest),
        "observed": observed,
        "predicted": predicted,
        "interval": [float(low), float(high)],
        "inside": bool(low <= observed <= high),
        "relative_error": predicted / observed - 1,
        "runs": runs,
    }


def _range_warnings(x: Floats, seeds: Any, variable: str) -> list[str]:
    sizes = np.unique(x)
    warnings = []
    ratio = float(sizes[-1] / sizes[0])
    if ratio < NARROW_RANGE:
        warnings.append(
            tr(
                "{column} spans a factor of {ratio:.3g}; under 30 an exponent is hardly determined.",
                column=variable,
                ratio=ratio,
            )
        )
    if len(sizes) < FEW_SIZES:
        warnings.append(
            tr("Only {n} sizes for three parameters; six or more are needed to check the form.", n=len(sizes))
        )
    if len(sizes) == len(x):
        warnings.append(tr("One run per size: the scatter between seeds is not known."))
    elif seeds is not None and len({*zip(x.tolist(), as_floats(seeds).tolist(), strict=True)}) < len(x):
        warnings.append(tr("Some runs repeat the size and the seed of another; they add no information."))
    return warnings


def _training_warnings(lr_scaled: bool | None, converged: bool | None) -> list[str]:
    warnings = []
    if lr_scaled is False:
        warnings.append(tr("The learning rate was not scaled with size: one fixed rate bends the law."))
    if converged is False:
        warnings.append(tr("Some runs had not converged or were not decayed: their losses bias the fit upwards."))
    return warnings


def identification_warnings(fit: LawFit, lowest: float) -> list[str]:
    """Words for a law the data do not pin down: a floor or an exponent that could be nearly anything."""
    (e_low, e_high), (a_low, a_high) = fit.interval["E"], fit.interval["alpha"]
    alpha = fit.params["alpha"]
    if alpha <= 0 or a_low <= 0:
        return [tr("The loss does not clearly fall with size; no law can be read from these runs.")]
    if e_high - e_low > 0.5 * lowest or a_high > 3 * a_low:
        return [
            tr(
                "These runs do not identify the law: the floor E may lie in {e_low:.3g} to {e_high:.3g} "
                "and alpha in {a_low:.3g} to {a_high:.3g}. Read it within the range, not beyond.",
                e_low=e_low,
                e_high=e_high,
                a_low=a_low,
                a_high=a_high,
            )
        ]
    return []
