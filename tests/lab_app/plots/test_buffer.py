"""Curves in arrays, what is drawn of them, and where one overfits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab_app.plots.buffer import CurveBuffer, log10, overfits_from, peaks, smoothed


def filled(*blocks: list[int]) -> CurveBuffer:
    buffer = CurveBuffer(capacity=2)
    for block in blocks:
        buffer.append(np.array(block, dtype=np.int64), np.array(block, dtype=float) / 2)
    return buffer


def test_a_buffer_grows_and_keeps_order() -> None:
    buffer = filled([1, 2, 3], [4], [5, 6, 7, 8, 9])
    assert buffer.steps.tolist() == list(range(1, 10))
    assert buffer.values.tolist() == [step / 2 for step in range(1, 10)]
    assert buffer.n == 9


def test_what_a_resumed_run_repeats_is_not_doubled() -> None:
    buffer = filled([1, 2, 3], [2, 3, 4, 5], [5])
    assert buffer.steps.tolist() == [1, 2, 3, 4, 5]
    assert not buffer.append(np.array([3]), np.array([1.0]))
    assert not buffer.append(np.array([], dtype=np.int64), np.array([]))


@given(st.lists(st.lists(st.integers(0, 50), max_size=8, unique=True).map(sorted), max_size=8))
def test_steps_always_rise(blocks: list[list[int]]) -> None:
    buffer = filled(*blocks)
    assert np.all(np.diff(buffer.steps) > 0)
    assert set(buffer.steps.tolist()) <= {step for block in blocks for step in block}
    assert buffer.n == 0 or buffer.steps[-1] == max(max(b) for b in blocks if b)


def test_history_comes_before_what_is_live() -> None:
    buffer = filled([4, 5, 6, 7])
    buffer.put_before(np.arange(1, 6), np.full(5, 9.0))
    assert buffer.steps.tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert buffer.values.tolist() == [9.0] * 5 + [3.0, 3.5]


@settings(max_examples=60)
@given(st.integers(1, 3000), st.integers(4, 200), st.integers(0, 10**6))
def test_peaks_keep_extremes_and_ends_in_few_points(n: int, most: int, seed: int) -> None:
    y = np.random.default_rng(seed).normal(size=n)
    x = np.arange(n, dtype=float)
    px, py = peaks(x, y, most)
    assert len(px) <= most + 5
    assert (py.min(), py.max()) == (y.min(), y.max())
    assert px[-1] == x[-1] and np.all(np.diff(px) > 0)
    assert np.array_equal(y[px.astype(int)], py)


def test_peaks_keep_the_one_spike_among_a_million() -> None:
    y = np.zeros(1_000_000)
    y[123_456] = 5.0
    assert peaks(np.arange(1_000_000.0), y)[1].max() == 5.0


def test_peaks_bear_nothing_but_nan() -> None:
    x, y = peaks(np.arange(5000.0), np.full(5000, np.nan), 100)
    assert 0 < len(x) <= 103 and np.isnan(y).all()


def test_a_running_mean_leaves_a_line_a_line() -> None:
    x = np.arange(101.0)
    sx, sy = smoothed(x, 3 * x + 1, 0.1)
    # Towards the start the window is longer to one side than its distance from it only where that is symmetrical.
    assert sx.tolist() == x.tolist()
    assert sy == pytest.approx(3 * x + 1)


def test_a_running_mean_calms_noise_without_lag() -> None:
    rng = np.random.default_rng(0)
    x = np.arange(2000.0)
    _, sy = smoothed(x, np.exp(-x / 500) + rng.normal(0, 0.1, 2000), 0.04, most=5000)
    away = np.abs(sy - np.exp(-x / 500))[20:-60]
    assert away.max() < 0.06 and away.mean() < 0.015


def test_smoothing_skips_what_is_not_finite_and_bounds_its_points() -> None:
    y = np.ones(5000)
    y[::7] = np.nan
    y[3] = np.inf
    x, mean = smoothed(np.arange(5000.0), y, 0.05)
    assert len(x) <= 601 and np.all(mean == 1.0)
    assert len(smoothed(np.arange(2.0), np.ones(2), 0.5)[0]) == 2
    assert len(smoothed(np.empty(0), np.empty(0), 0.5)[0]) == 0


@pytest.mark.parametrize(
    ("values", "at"),
    [
        ([3, 2, 1, 1.2, 1.3, 1.4], 30),
        ([3, 2, 1, 1.2, 1.3], None),
        ([3, 2, 1, 1.001, 1.002, 1.003], None),
        ([3, 2, 1, 1.2, 1.005, 1.4], None),
        ([3, 2, 1.5, 1.2, 1.0, 0.9], None),
        ([1, 2, 3, 4], 10),
        ([np.nan, 2, 1, 1.2, 1.3, 1.4], 30),
        ([np.nan] * 6, None),
        ([], None),
    ],
)
def test_overfitting_begins_at_the_lowest_validation_loss(values: list[float], at: int | None) -> None:
    steps = 10 * (1 + np.arange(len(values)))
    assert overfits_from(steps, np.array(values, dtype=float)) == at


def test_log_of_what_has_none_is_a_gap() -> None:
    assert log10(np.array([100.0, 0.0, -1.0, np.nan])).tolist()[:1] == [2.0]
    assert np.isnan(log10(np.array([0.0, -1.0, np.nan]))).all()
