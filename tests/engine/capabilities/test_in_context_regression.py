"""In-context regression against models whose answers are known."""

import numpy as np
import pytest
import torch

from engine.capabilities import capabilities
from engine.capabilities._items import ItemsSpec
from engine.capabilities.base import ModelUnderTest, Score
from engine.sources.linear_regression import LinearPrompts, LinearRegressionSpec, Prompts, least_squares
from tests.engine.training import toy


def scores(logits: object, data: object) -> dict[str, Score]:
    capability = capabilities["in-context-regression"]
    model = ModelUnderTest(torch.nn.Identity(), logits, torch.device("cpu"), 25, 0)  # type: ignore[arg-type]
    found = capability.evaluate(ItemsSpec(items=1_500), model, data)  # type: ignore[arg-type]
    assert {score.metric for score in found} <= {metric.name for metric in capability.metrics}
    return {score.metric: score for score in found}


def nothing(vectors: torch.Tensor) -> torch.Tensor:
    return torch.zeros(*vectors.shape[:2], 1)


def does_least_squares(noise: float) -> object:
    """Reads the prompt back out of the vectors and answers by ridge regression."""

    def logits(vectors: torch.Tensor) -> torch.Tensor:
        inputs = vectors.double().numpy()
        x, y = inputs[:, ::2, :-1], np.zeros(inputs[:, ::2].shape[:2])
        y[:, :-1] = inputs[:, 1::2, -1]
        out = np.zeros((*inputs.shape[:2], 1))
        out[:, ::2, 0] = least_squares(Prompts(x, y, 1.0), noise)
        return torch.from_numpy(out).float()

    return logits


def test_predicting_0_is_chance() -> None:
    found = scores(nothing, LinearPrompts(LinearRegressionSpec()))
    for metric in ("error", "error_0", "error_12", "error_last", "scaled_error_last", "skewed_error_last"):
        assert found[metric].value == pytest.approx(found[metric].chance) == pytest.approx(1.0, abs=0.15)
    assert found["hits_last"].value == found["hits_last"].chance
    assert found["hits_last"].chance == pytest.approx(0.16, abs=0.1)


def test_least_squares_leaves_nothing_without_noise() -> None:
    found = scores(does_least_squares(0.0), LinearPrompts(LinearRegressionSpec()))
    for metric in ("error_last", "least_squares_last", "gap_last", "scaled_error_last", "skewed_error_last"):
        assert found[metric].value == pytest.approx(0.0, abs=1e-4)
    assert found["error"].value == pytest.approx(found["least_squares"].value, abs=1e-4)
    assert found["error_2"].value == pytest.approx(0.5, abs=0.08)
    assert found["hits_last"].value == found["scaled_hits_last"].value == 1.0


def test_with_noise_the_gap_tells_more_than_the_error() -> None:
    found = scores(does_least_squares(0.5), LinearPrompts(LinearRegressionSpec(noise=0.5)))
    assert found["error_last"].value == pytest.approx(found["least_squares_last"].value, abs=1e-3)
    assert found["error_last"].value > 0.25
    assert found["gap_last"].value == pytest.approx(0.0, abs=1e-6)


def test_data_of_another_kind_are_not_measured() -> None:
    assert scores(nothing, toy.ToyPrepared(toy.ToyDataSpec())) == {}
