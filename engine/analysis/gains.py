"""What one way of training gave over another: a mean difference over seeds, with the interval that they allow."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean of ``n`` values and its interval at ``LEVEL`` by Student's t; of one value there is no interval."""

    value: float
    low: float
    high: float
    n: int

    @property
    def known(self) -> bool:
        """Whether there is an interval."""
        return self.n > 1


def mean_of(values: Sequence[float]) -> Mean:
    """Mean and interval of at least one value."""
    given = np.asarray(values, np.float64)
    mean, n = float(given.mean()), len(given)
    if n < 2:
        return Mean(mean, mean, mean, n)
    half = float(stats.t.ppf((1 + LEVEL) / 2, n - 1) * given.std(ddof=1) / n**0.5)
    return Mean(mean, mean - half, mean + half, n)


def gain(of: Mapping[int, float], over: Mapping[int, float]) -> Mean | None:
    """The mean difference between scores by seed, paired: what is common to a seed falls out. None without a pair."""
    pairs = [of[seed] - over[seed] for seed in sorted(of.keys() & over.keys())]
    return mean_of(pairs) if pairs else None
