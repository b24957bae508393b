"""Breaks along training: steps with intervals that cover, delays, and what comes first."""

import json

import numpy as np
import pytest

from engine.analysis.emergence.in_time import delay, leads, phase_change
from engine.errors import InputError

STEPS = np.arange(25, 4001, 25)


def rise(middle: float, width: float) -> np.ndarray:
    return 1 / (1 + np.exp(-2 * np.log(9) * (np.log10(STEPS) - np.log10(middle)) / width))


def noise(rng: np.random.Generator, sd: float, correlation: float = 0.0) -> np.ndarray:
    e = rng.normal(0, sd, len(STEPS))
    for k in range(1, len(e)):
        e[k] += correlation * e[k - 1]
    return e


def test_the_step_is_found_and_its_interval_covers() -> None:
    rng = np.random.default_rng(4)
    covered = found = 0
    for _ in range(50):
        middle = rng.uniform(300, 2500)
        change = phase_change(
            STEPS, 0.05 + 0.9 * rise(middle, rng.uniform(0.05, 0.4)) + noise(rng, 0.02, 0.5), n_bootstrap=200
        )
        found += change.found
        covered += change.interval[0] <= middle <= change.interval[1]
    assert found == 50 and covered >= 38


def test_slow_rises_and_noise_are_not_sudden() -> None:
    rng = np.random.default_rng(5)
    for _ in range(10):
        assert not phase_change(STEPS, rise(800, 1.5) + noise(rng, 0.02), n_bootstrap=20).found
        assert not phase_change(STEPS, noise(rng, 0.1), n_bootstrap=20).found
    assert not phase_change(STEPS, np.ones(len(STEPS)), n_bootstrap=20).found


def test_grokking_is_a_delay_and_a_progress_measure_moves_before() -> None:
    rng = np.random.default_rng(6)
    train, heldout, progress = rise(120, 0.3), rise(850, 0.15), rise(500, 0.4)
    late = delay(STEPS, train + noise(rng, 0.01), heldout + noise(rng, 0.01))
    assert late.first and late.factor == pytest.approx(850 / 120, rel=0.05)
    assert late.steps_interval[0] < 730 < late.steps_interval[1] or late.steps == pytest.approx(730, rel=0.03)
    series = {"heldout": heldout + noise(rng, 0.01), "late": rise(1500, 0.1), "progress": progress + noise(rng, 0.03)}
    first, second = leads(STEPS, series, "heldout")
    assert (first.name, first.first, second.name, second.first) == ("progress", True, "late", False)
    assert second.probability == 0.0


def test_a_loss_that_falls_off_a_cliff() -> None:
    change = phase_change(STEPS, 4 - 3 * rise(700, 0.1))
    assert change.found and change.before == pytest.approx(4, abs=0.05) and change.after == pytest.approx(1, abs=0.05)
    assert change.step == pytest.approx(700, rel=0.03)
    assert change.onset < change.step < change.settled
    assert "sudden change" in change.words
    json.dumps(change.to_document(), allow_nan=False)


def test_long_series_gaps_and_too_few_steps() -> None:
    steps = np.arange(0, 20_000)
    values = np.where(steps > 3000, 1.0, 0.0) + np.where(steps % 7 == 0, np.nan, 0.0)
    change = phase_change(steps, values, n_bootstrap=50)
    assert change.found and change.step == pytest.approx(3000, rel=0.03)
    with pytest.raises(InputError, match="8 steps"):
        phase_change([1, 2, 3], [0, 0, 1])
