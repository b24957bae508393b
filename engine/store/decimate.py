"""Fewer points that look the same: the smallest and largest value of each bucket are kept."""

import numpy as np
from numpy.typing import NDArray


def min_max(
    steps: NDArray[np.int64], values: NDArray[np.float64], max_points: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Steps and values (n,) cut to at most ``max_points`` (at least 4): per bucket of equal count, both extremes.

    First and last point are always kept. A bucket that holds nan keeps it, so that a broken run looks broken.
    """
    n = len(steps)
    max_points = max(4, max_points)
    if n <= max_points:
        return steps, values
    n_buckets = (max_points - 2) // 2
    inner = n - 2
    width = -(-inner // n_buckets)
    # The tail is padded with the last inner value, which adds no new extreme.
    padded = np.pad(values[1:-1], (0, n_buckets * width - inner), mode="edge").reshape(n_buckets, width)
    starts = 1 + width * np.arange(n_buckets)
    low = np.minimum(starts + padded.argmin(axis=1), n - 2)
    high = np.minimum(starts + padded.argmax(axis=1), n - 2)
    kept = np.unique(np.concatenate(([0, n - 1], low, high)))
    return steps[kept], values[kept]
