"""Means and differences over seeds, with the interval that the seeds allow."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
ROUNDING = 1e-9
"""Share of the values below which their spread is that of floating-point numbers, not of seeds."""
Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean of ``n`` values and its interval at ``LEVEL``.

    Of one value there is none, and none of values that are all equal: where a test set is so small that seeds agree
    to the last item, they do not tell how far they would spread.
    """

    value: float
    low: float
    high: float
    n: int

    @property
    def known(self) -> bool:
        """Whether there is an interval."""
        return self.high > self.low

    @property
    def interval(self) -> Interval | None:
        """Its ends, where they are known."""
        return (self.low, self.high) if self.known else None


def mean_of(values: Sequence[float]) -> Mean:
    """Mean of at least one value, with its interval by Student's t."""
    given = np.asarray(values, np.float64)
    mean, n = float(given.mean()), len(given)
    half = quantile(n - 1) * spread(given) / n**0.5 if n > 1 else 0.0
    return Mean(mean, mean - half, mean + half, n)


def gain(of: Mapping[int, float], over: Mapping[int, float]) -> Mean | None:
    """The mean difference between scores by seed, paired: what is common to a seed falls out. None without a pair."""
    pairs = [of[seed] - over[seed] for seed in sorted(of.keys() & over.keys())]
    return mean_of(pairs) if pairs else None


def difference(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, Interval | None]:
    """Mean of ours less mean of theirs, with Welch's interval; None where one has a single seed or no spread."""
    a, b = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    away = float(a.mean() - b.mean())
    if min(len(a), len(b)) < 2:
        return away, None
    p, q = spread(a) ** 2 / len(a), spread(b) ** 2 / len(b)
    if min(p, q) == 0:  # as in ``Mean``: seeds that all agree would count as known without error
        return away, None
    freedom = (p + q) ** 2 / (p**2 / (len(a) - 1) + q**2 / (len(b) - 1))
    reach = quantile(freedom) * (p + q) ** 0.5
    return away, (away - reach, away + reach)


def spread(values: NDArray[np.float64]) -> float:
    """Standard deviation of two values or more; 0 where they differ by rounding alone."""
    found = float(values.std(ddof=1))
    return found if found > ROUNDING * float(np.abs(values).max()) else 0.0


def quantile(freedom: float) -> float:
    """Of Student's distribution, in the middle of which ``LEVEL`` lies between it and its negative."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + LEVEL) / 2))


def with_interval(value: float, interval: Interval | Sequence[float] | None) -> str:
    """``+0.012 [+0.004, +0.020]``; the value alone where there is no interval."""
    return f"{value:+.3g}" if interval is None else f"{value:+.3g} [{interval[0]:+.3g}, {interval[1]:+.3g}]"
