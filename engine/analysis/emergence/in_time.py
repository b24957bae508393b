"""Breaks along training: grokking and other phase changes, their delay, and what moves before them.

A curve of a run against log step is a sigmoid between two levels; its middle and width are found on a grid, with
levels in closed form, for the curve and for every bootstrap resample at once. Residuals of training curves are
correlated, so they are resampled in blocks (Kunsch 1989). A phase change makes 80% of its rise within a factor of
``SUDDEN`` in steps and predicts better than any slower rise.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from engine.analysis.arrays import Bools, Floats, as_floats, percentile_interval
from engine.errors import InputError
from engine.i18n import tr

SUDDEN: Final = 4.0
"""Most steps, as a factor, in which a phase change makes the middle 80% of its rise (0.6 decades)."""
FEWEST_STEPS: Final = 8
GAIN: Final = 3.0
"""Nats by which a sudden rise must fit better than a slow one, over as many points as are independent."""
VISIBLE: Final = 4.0
"""Standard deviations of the residuals that the rise must be."""
_MOST_STEPS = 300
_N_MIDDLES = 160
_WIDTHS = np.geomspace(0.02, 6.0, 22)
_SEED = 0


@dataclass(frozen=True, eq=False)
class PhaseChange:
    """When a series changed. ``draws`` (B,) are the bootstrap's steps of the middle of the rise."""

    found: bool
    """Whether it is sudden, visible, and within the steps."""
    step: float
    interval: tuple[float, float]
    onset: float
    """Step where a tenth of the rise is made, and ``settled`` where nine tenths are."""
    settled: float
    width_decades: float
    width_interval: tuple[float, float]
    before: float
    after: float
    gain: float
    """Nats over the best slow rise."""
    level: float
    draws: Floats

    def to_document(self) -> dict[str, Any]:
        """Plain numbers."""
        document = {k: v for k, v in self.__dict__.items() if k != "draws"}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in document.items()}

    @property
    def words(self) -> str:
        """One sentence."""
        low, high = self.interval
        if not self.found:
            return tr("No sudden change: the rise, if any, is slower than a factor of {factor:g}.", factor=SUDDEN)
        return tr(
            "A sudden change at step {step:.3g} ({low:.3g} to {high:.3g}), from {before:.3g} to {after:.3g}.",
            step=self.step,
            low=low,
            high=high,
            before=self.before,
            after=self.after,
        )


@dataclass(frozen=True)
class Lead:
    """How much earlier one series changes than another, with interval; ``probability`` that it does."""

    name: str
    step: float
    factor: float
    """Step of the other over step of this one: above 1 is earlier."""
    factor_interval: tuple[float, float]
    steps: float
    steps_interval: tuple[float, float]
    probability: float
    first: bool
    """Whether the whole interval of the factor is above 1 and both changes were found."""


def phase_change(
    steps: Sequence[float] | Floats,
    values: Sequence[float] | Floats,
    *,
    level: float = 0.9,
    n_bootstrap: int = 300,
    rng_seed: int = _SEED,
) -> PhaseChange:
    """The break of a series (T,) along training steps (T,), positive; rows with a value that is no number are left out.

    Long series are averaged into at most 300 bins of equal length in log step. The interval is a percentile interval
    over resampled blocks of residuals: it covers noise, not the series being of another form. Raises ``InputError``
    for fewer than eight usable steps.
    """
    t, y = _series(steps, values)
    shapes, middles, widths = _shapes(t)
    best, sse, low, rise = _fit(shapes, y[None])
    fitted = low[0] + rise[0] * shapes[best[0]]
    residuals = y - fitted
    rng = np.random.default_rng(rng_seed)
    independent = len(t) / _correlation_time(residuals)
    # Four fitted numbers took their part of the scatter away.
    inflated = (residuals - residuals.mean()) * np.sqrt(independent / max(independent - 4.0, 1.0))
    drawn = fitted + _blocks(rng, inflated, n_bootstrap)
    again, *_ = _fit(shapes, drawn)
    width_draws = widths[again // len(middles)]
    # A middle is known no better than the grid of middles, and a rise between two steps no better than their gap.
    gap = np.interp(middles[again % len(middles)], (t[1:] + t[:-1]) / 2, np.diff(t))
    cell = np.maximum(middles[1] - middles[0], gap - width_draws / 2)
    draws = 10 ** (middles[again % len(middles)] + cell * rng.uniform(-0.5, 0.5, n_bootstrap))
    middle, width = float(middles[best[0] % len(middles)]), float(widths[best[0] // len(middles)])
    slow = widths > np.log10(SUDDEN)
    slower = _sse(shapes.reshape(len(widths), len(middles), -1)[slow].reshape(-1, len(t)), y)
    floor = 1e-12 * float(((y - y.mean()) ** 2).sum()) + 1e-300
    gain = 0.5 * independent * float(np.log((slower + floor) / (sse[0] + floor)))
    sd = float(np.sqrt(sse[0] / len(t)))
    seen = abs(rise[0]) > VISIBLE * sd and t[1] < middle < t[-2]
    (lowest, highest), (thin, thick) = (_interval(d, level) for d in (draws, width_draws))
    return PhaseChange(
        found=bool(seen and width <= np.log10(SUDDEN) and gain >= GAIN),
        step=float(10**middle),
        interval=(lowest, highest),
        onset=float(10 ** (middle - width / 2)),
        settled=float(10 ** (middle + width / 2)),
        width_decades=width,
        width_interval=(thin, thick),
        before=float(low[0]),
        after=float(low[0] + rise[0]),
        gain=gain,
        level=level,
        draws=draws,
    )


def delay(
    steps: Sequence[float] | Floats,
    train: Sequence[float] | Floats,
    heldout: Sequence[float] | Floats,
    *,
    level: float = 0.9,
    n_bootstrap: int = 300,
) -> Lead:
    """How long held-out ability comes after the fit to the training data (grokking: Power 2022)."""
    first = phase_change(steps, train, level=level, n_bootstrap=n_bootstrap)
    second = phase_change(steps, heldout, level=level, n_bootstrap=n_bootstrap, rng_seed=_SEED + 1)
    return lead("train", first, second)


def leads(
    steps: Sequence[float] | Floats,
    series: Mapping[str, Sequence[float] | Floats],
    of: str,
    *,
    level: float = 0.9,
    n_bootstrap: int = 300,
) -> list[Lead]:
    """Which of several series, measured at the same steps, move before the one named ``of``; earliest first.

    Progress measures (Nanda 2023) move before the ability they explain. Resamples of the series are independent.
    """
    found = {
        name: phase_change(steps, values, level=level, n_bootstrap=n_bootstrap, rng_seed=_SEED + index)
        for index, (name, values) in enumerate(series.items())
    }
    others = [lead(name, change, found[of]) for name, change in found.items() if name != of]
    return sorted(others, key=lambda one: one.step)


def lead(name: str, change: PhaseChange, other: PhaseChange) -> Lead:
    """How much earlier ``change`` is than ``other``."""
    factors, steps = other.draws / change.draws, other.draws - change.draws
    factor_interval = _interval(factors, change.level)
    return Lead(
        name=name,
        step=change.step,
        factor=other.step / change.step,
        factor_interval=factor_interval,
        steps=other.step - change.step,
        steps_interval=_interval(steps, change.level),
        probability=float((steps > 0).mean()),
        first=bool(change.found and other.found and factor_interval[0] > 1),
    )


def _interval(draws: Floats, level: float) -> tuple[float, float]:
    low, high = percentile_interval(draws, level)
    return float(low), float(high)


def _series(steps: Any, values: Any) -> tuple[Floats, Floats]:
    x, y = as_floats(steps), as_floats(values)
    usable: Bools = np.isfinite(x) & (x > 0) & np.isfinite(y)
    order = np.argsort(x[usable], kind="stable")
    t, y = np.log10(x[usable][order]), y[usable][order]
    if len(np.unique(t)) < FEWEST_STEPS:
        raise InputError(
            tr("A break in time needs {n} steps or more; there are {have}.", n=FEWEST_STEPS, have=len(np.unique(t))),
            tr("Evaluate more often."),
        )
    edges = np.linspace(t[0], t[-1], _MOST_STEPS + 1)[1:-1]
    group = np.searchsorted(edges, t) if len(t) > _MOST_STEPS else np.unique(t, return_inverse=True)[1]
    _, group = np.unique(group, return_inverse=True)
    counts = np.bincount(group)
    return np.bincount(group, t) / counts, np.bincount(group, y) / counts


def _shapes(t: Floats) -> tuple[Floats, Floats, Floats]:
    """(W * M, T) sigmoids, (M,) middles and (W,) 10-90% widths in decades."""
    middles = np.linspace(t[0], t[-1], _N_MIDDLES)
    z = (t - middles[:, None]) / (_WIDTHS[:, None, None] / (2 * np.log(9)))
    shapes: Floats = 1 / (1 + np.exp(-np.clip(z, -40, 40)))
    return shapes.reshape(-1, len(t)), middles, _WIDTHS


def _explained(shapes: Floats, y: Floats) -> tuple[Floats, Floats]:
    """(B, shapes) sum of squares each shape explains in (B, T), and its rise."""
    centred = shapes - shapes.mean(axis=1, keepdims=True)
    spread = (centred**2).sum(axis=1)
    # Shapes that are flat on these steps explain nothing rather than anything.
    usable = spread > 1e-6
    cross = y @ centred.T
    rise = np.where(usable, cross / np.where(usable, spread, 1.0), 0.0)
    return rise * cross, rise


def _fit(shapes: Floats, y: Floats) -> tuple[Any, Floats, Floats, Floats]:
    """For each row of (B, T): the best shape, its squared error, the level before and the rise."""
    explained, rise = _explained(shapes, y)
    best = explained.argmax(axis=1)
    rows = np.arange(len(y))
    total = ((y - y.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    risen: Floats = rise[rows, best]
    low = y.mean(axis=1) - risen * shapes[best].mean(axis=1)
    return best, np.maximum(total - explained[rows, best], 0.0), low, risen


def _sse(shapes: Floats, y: Floats) -> float:
    explained, _ = _explained(shapes, y[None])
    return max(float(((y - y.mean()) ** 2).sum() - explained.max()), 0.0)


def _correlation_time(residuals: Floats) -> float:
    """Points per independent one, from the lag-one correlation: (1 + r) / (1 - r)."""
    centred = residuals - residuals.mean()
    total = float((centred**2).sum())
    r = float((centred[1:] * centred[:-1]).sum()) / total if total > 0 else 0.0
    r = min(max(r, 0.0), 0.9)
    return (1 + r) / (1 - r)


def _blocks(rng: np.random.Generator, residuals: Floats, n: int) -> Floats:
    """(n, T) residuals resampled in blocks, circularly: the cube root of T points, or four times as they correlate."""
    length = len(residuals)
    block = int(np.clip(np.ceil(max(length ** (1 / 3), 4 * _correlation_time(residuals))), 1, max(length // 4, 1)))
    starts = rng.integers(0, length, (n, -(-length // block)))
    index = (starts[:, :, None] + np.arange(block)).reshape(n, -1)[:, :length] % length
    drawn: Floats = residuals[index]
    return drawn
