"""Sparse parity against models whose answers are known."""

import math

import numpy as np
import pytest
import torch

from engine.capabilities import capabilities
from engine.capabilities.base import ModelUnderTest, Score
from engine.capabilities.sparse_parity import SparseParitySpec, learned_scores
from engine.sources.sparse_parity import SparseParityItems
from engine.sources.sparse_parity import SparseParitySpec as DataSpec
from tests.engine.training import toy

DATA = SparseParityItems(DataSpec(subtasks=6, bits=12, relevant=3))


def scores(n_known: int, confidence: float = 50.0, data: object = DATA) -> dict[str, Score]:
    """Of a model that knows the commonest ``n_known`` subtasks and guesses evenly at the others."""

    def logits(vectors: torch.Tensor) -> torch.Tensor:
        x = vectors.numpy()
        subtask = x[:, :6].argmax(1)
        bits = (x[:, 6:] > 0).astype(np.int64)
        answer = np.take_along_axis(bits, DATA.subsets[subtask], axis=1).sum(1) % 2
        sign = np.where(subtask < n_known, confidence, 0.0) * (2 * answer - 1)
        return torch.from_numpy(np.stack([-sign / 2, sign / 2], axis=1)).float()

    capability = capabilities["sparse-parity"]
    model = ModelUnderTest(torch.nn.Identity(), logits, torch.device("cpu"), 1, 0)
    found = capability.evaluate(SparseParitySpec(items=400), model, data)  # type: ignore[arg-type]
    assert {score.metric for score in found} <= {metric.name for metric in capability.metrics}
    return {score.metric: score for score in found}


@pytest.mark.parametrize("n_known", [0, 2, 6])
def test_known_subtasks_cost_nothing_and_the_others_ln_2(n_known: int) -> None:
    found = scores(n_known)
    alone = math.log(2) * DATA.frequency[n_known:].sum()
    for prefix in ("", "ood_"):
        assert found[f"{prefix}loss"].value == pytest.approx(alone, abs=1e-6)
        assert found[f"{prefix}accuracy"].value == pytest.approx(1 - DATA.frequency[n_known:].sum() / 2, abs=0.03)
        assert found[f"{prefix}loss"].chance == pytest.approx(math.log(2), abs=2e-3)
    assert found["subtasks_learned"].value == n_known
    assert found["subtasks_learned"].stderr == pytest.approx(0.0, abs=0.1)
    assert found["unlearned_loss"].value == pytest.approx(alone)
    if n_known < 6:
        assert found["explained"].value == pytest.approx(1.0, abs=1e-6)
    assert [found[f"accuracy_{i}"].value > 0.9 for i in range(1, 7)] == [i <= n_known for i in range(1, 7)]
    assert found["loss_6"].value == pytest.approx(0.0 if n_known == 6 else math.log(2), abs=1e-6)


def test_doubt_about_a_subtask_at_the_threshold_is_a_half_of_one() -> None:
    """Accuracy 0.9 of 500: learned or not is a toss-up, so the count has a standard error of 0.5."""
    frequency = np.array([0.7, 0.3])
    correct = np.stack([np.ones(500), np.arange(500) >= 50]).astype(float)
    nll = np.stack([np.full(500, 1e-3), np.full(500, 0.3)])
    learned, alone, explained = learned_scores(frequency, nll, correct, 0.9)
    assert learned.value == 2 and learned.stderr == pytest.approx(0.5, abs=0.02)
    assert alone.value == 0 and alone.stderr == pytest.approx(0.5 * math.log(2) * 0.3, abs=0.01)
    assert explained.value == 0


def test_a_subtask_far_from_the_threshold_is_not_in_doubt() -> None:
    correct = np.stack([np.ones(500), np.arange(500) >= 250]).astype(float)
    learned = learned_scores(np.array([0.7, 0.3]), np.full((2, 500), 0.2), correct, 0.9)[0]
    assert learned.value == 1 and learned.stderr == pytest.approx(0.0, abs=1e-4)


def test_data_of_another_kind_are_not_measured() -> None:
    assert scores(1, data=toy.ToyPrepared(toy.ToyDataSpec())) == {}
