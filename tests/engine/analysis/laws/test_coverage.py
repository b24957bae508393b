"""Intervals cover what they say: 90% of them hold the truth 85 to 95% of the time, over 200 synthetic sets."""

import numpy as np
import pytest

from engine.analysis.laws import FitOptions
from engine.analysis.laws.base import forms
from engine.analysis.laws.parametric import ParametricForm
from tests.engine.analysis.laws.points import TRUTH, cloud, points

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
