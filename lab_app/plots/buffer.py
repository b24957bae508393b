"""Curves in arrays that grow by doubling, and what is drawn of them. NumPy only."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

DRAWN = 2000
"""Most points of one curve on screen: beyond it frames get slow and nothing more is seen."""


class CurveBuffer:
    """One metric of one run. Steps only rise: what a resumed run repeats is bit for bit what is here already."""

    def __init__(self, capacity: int = 1024) -> None:
        self._steps: Ints = np.empty(capacity, dtype=np.int64)
        self._values: Floats = np.empty(capacity, dtype=np.float64)
        self.n = 0

    @property
    def steps(self) -> Ints:
        """Steps (n,)."""
        return self._steps[: self.n]

    @property
    def values(self) -> Floats:
        """Values (n,)."""
        return self._values[: self.n]

    def append(self, steps: Ints, values: Floats) -> bool:
        """Add the points behind the last step; False where there were none."""
        if self.n and len(steps) and steps[0] <= self._steps[self.n - 1]:
            start = int(np.searchsorted(steps, self._steps[self.n - 1], side="right"))
            steps, values = steps[start:], values[start:]
        if not len(steps):
            return False
        end = self.n + len(steps)
        if end > len(self._steps):
            room = max(end, 2 * len(self._steps))
            self._steps = np.concatenate((self.steps, np.empty(room - self.n, dtype=np.int64)))
            self._values = np.concatenate((self.values, np.empty(room - self.n, dtype=np.float64)))
        self._steps[self.n : end] = steps
        self._values[self.n : end] = values
        self.n = end
        return True

    def put_before(self, steps: Ints, values: Floats) -> None:
        """History that arrives after live points: it comes first, and the live points behind its end stay."""
        live_steps, live_values = self.steps.copy(), self.values.copy()
        self.n = 0
        self.append(steps, values)
        self.append(live_steps, live_values)


def peaks(x: Floats, y: Floats, most: int = DRAWN) -> tuple[Floats, Floats]:
    """At most ``most`` points that keep every bucket's smallest and largest value in their order."""
    n = len(x)
    if n <= most:
        return x, y
    width = -(-n // (most // 2))
    whole = n // width * width
    blocks = y[:whole].reshape(-1, width)
    # NaN would win both; a bucket of nothing but NaN keeps its first point.
    low = np.where(np.isnan(blocks), np.inf, blocks).argmin(axis=1)
    high = np.where(np.isnan(blocks), -np.inf, blocks).argmax(axis=1)
    starts = np.arange(len(blocks)) * width
    chosen = [starts + low, starts + high, np.array([n - 1])]
    if whole < n and not np.isnan(y[whole:]).all():
        chosen.append(whole + np.array([np.nanargmin(y[whole:]), np.nanargmax(y[whole:])]))
    chosen = np.unique(np.concatenate(chosen))
    return x[chosen], y[chosen]


def smoothed(x: Floats, y: Floats, share: float, most: int = 600) -> tuple[Floats, Floats]:
    """Running mean over a centred window: ``share`` of the points, shorter towards both ends.

    Near the ends it is as short as their distance allows: the first fall is not smeared and nothing lags behind.
    """
    keep = np.isfinite(y)
    x, y = x[keep], y[keep]
    n = len(y)
    if n < 3 or share <= 0:
        return peaks(x, y)
    centre = np.arange(n)
    half = np.minimum(np.minimum(centre // 2, int(share * n / 2)), centre[::-1])
    sums = np.concatenate(([0.0], np.cumsum(y)))
    means = (sums[centre + half + 1] - sums[centre - half]) / (2 * half + 1)
    if n > most:
        even = np.linspace(0, n - 1, most // 2)
        early = np.geomspace(1, n, most // 2) - 1  # log axes show the start as wide as the rest
        chosen = np.unique(np.concatenate((even, early)).astype(np.int64))
        return x[chosen], means[chosen]
    return x, means


def overfits_from(steps: Ints, values: Floats, tolerance: float = 0.01, lasting: int = 3) -> int | None:
    """The step of the lowest validation loss where ``lasting`` or more later ones all lie ``tolerance`` above it."""
    if len(values) <= lasting:
        return None
    best = int(np.nanargmin(values)) if np.isfinite(values).any() else len(values) - 1
    later = values[best + 1 :]
    if len(later) >= lasting and bool(np.all(later > values[best] * (1 + tolerance))):
        return int(steps[best])
    return None


def log10(values: Floats) -> Floats:
    """Base-10 logarithm, NaN where there is none: gaps in a curve, no warnings."""
    out: Floats = np.full(len(values), np.nan)
    np.log10(values, out=out, where=values > 0)
    return out
