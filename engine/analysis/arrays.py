"""Array types the analysis shares."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def as_floats(values: Any) -> Floats:
    """A contiguous float64 array of the values."""
    return np.ascontiguousarray(values, dtype=np.float64)


def percentile_interval(samples: Floats, level: float) -> tuple[Floats, Floats]:
    """The central interval at ``level`` over axis 0 of ``samples`` (n_samples, ...)."""
    tail = (1 - level) / 2
    low, high = np.quantile(samples, [tail, 1 - tail], axis=0)
    return low, high
