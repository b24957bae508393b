"""Intervals cover what they say: 90% of them hold the truth 85 to 95% of the time, over 200 synthetic sets."""

import numpy as np
import pytest

from engine.analysis.laws import FitOptions
from engine.analysis.laws.base import forms
from engine.analysis.laws.forms.task_through_loss import TaskThroughLoss
from engine.analysis.laws.parametric import ParametricForm
from tests.engine.analysis.laws.points import TRUTH, cloud, loss, points

N_SETS = 200


def coverage(form: ParametricForm, truth: dict[str, float], draw: object) -> dict[str, float]:
    hits = dict.fromkeys(truth, 0)
    for index in range(N_SETS):
        fit = form.solved(draw(np.random.default_rng(index)), FitOptions(n_bootstrap=120, seed=index))  # type: ignore[operator]
        for name, (low, high) in fit.interval.items():
            hits[name] += low <= truth[name] <= high
    return {name: count / N_SETS for name, count in hits.items()}


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_of_loss_against_parameters_and_tokens() -> None:
    def draw(rng: np.random.Generator) -> object:
        n_params, tokens = cloud(rng, 240)
        return points(rng.normal(0, 0.01, 240), n_params=n_params, tokens=tokens)

    form = forms["chinchilla"]
    assert isinstance(form, ParametricForm)
    found = coverage(form, TRUTH, draw)
    assert all(0.85 <= share <= 0.95 for share in found.values()), found


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_of_loss_against_parameters() -> None:
    truth = {"E": 1.7, "A": 400.0, "alpha": 0.34}

    def draw(rng: np.random.Generator) -> object:
        n_params = np.exp(rng.uniform(np.log(1e6), np.log(1e9), 40))
        return points(rng.normal(0, 0.01, 40), n_params=n_params, loss=1.7 + 400 / n_params**0.34)

    form = forms["power-law-n"]
    assert isinstance(form, ParametricForm)
    found = coverage(form, truth, draw)
    assert all(0.85 <= share <= 0.95 for share in found.values()), found


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_of_a_score_through_the_loss() -> None:
    """Both stages: the law of the loss, and the curve from loss to a score with binomial noise."""
    n_params, tokens = (v.ravel() for v in np.meshgrid(np.geomspace(5e7, 2e10, 8), np.geomspace(1e9, 1e12, 6)))
    chance_of = 0.25 + 0.65 / (1 + np.exp(6 * (loss(n_params, tokens) - 2.4)))
    truth = {**TRUTH, "ceiling": 0.9, "k": 6.0, "L_0": 2.4}
    form = forms["task-through-loss"]
    assert isinstance(form, TaskThroughLoss)
    hits = dict.fromkeys(truth, 0)
    for index in range(N_SETS):
        rng = np.random.default_rng(index)
        given = points(rng.normal(0, 0.003, 48), n_params=n_params, tokens=tokens)
        given = given.with_column("score", rng.binomial(1000, chance_of) / 1000)
        given = form.first_stage(given).prepare(given.with_column("n", np.full(48, 1000.0)))
        fit = form.solved(given, FitOptions(n_bootstrap=120, seed=index, chance=0.25))
        for name, value in truth.items():
            low, high = fit.interval[name]
            hits[name] += low <= value <= high
    found = {name: count / N_SETS for name, count in hits.items()}
    assert all(0.85 <= share <= 0.95 for share in found.values()), found
