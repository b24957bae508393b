"""Capabilities of procedural tasks against models whose answers are known."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.capabilities import capabilities
from engine.capabilities._items import DEFAULT_ITEMS
from engine.capabilities.base import ModelUnderTest, Score
from engine.capabilities.induction import head_scores
from engine.sources import sources
from engine.sources._procedural import Procedural
from tests.engine.training import toy

NAMES = ("addition", "random-facts", "induction", "modular-arithmetic", "sorting", "formal-language")
CONTINUOUS = {"induction": "copy_loss"}
"""The continuous metric of each, where it is not ``log_likelihood``."""
GUESSED = {"formal-language": 0.25}
"""Most that always naming one token gets right, where it is over 0.1."""
THRESHOLD = {"induction": "copy_accuracy"}


def data_of(name: str, **spec: Any) -> Any:
    source = sources[name]
    return source.prepare(source.Spec(**spec), Path(), lambda step, fraction: None)


def under_test(data: Procedural, logits: Callable[[torch.Tensor], torch.Tensor], module: Any = None) -> ModelUnderTest:
    return ModelUnderTest(module or torch.nn.Linear(99, 10), logits, torch.device("cpu"), data.item_length - 1, 0)


def scores(name: str, data: Any, logits: Callable[[torch.Tensor], torch.Tensor], **options: Any) -> dict[str, Score]:
    capability = capabilities[name]
    found = capability.evaluate(capability.Spec(**options), under_test(data, logits), data)
    assert {score.metric for score in found} <= {metric.name for metric in capability.metrics}
    return {score.metric: score for score in found}


def uniform(data: Procedural) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda tokens: torch.zeros(*tokens.shape, len(data.vocabulary))


def oracle(data: Procedural, errs: Callable[[np.ndarray], Any] = lambda truth: truth) -> Any:
    """Knows every item, since it was told them all; ``errs`` turns the true tokens into what it says."""
    splits = ("train", "validation", "ood")
    known = {item[:-1].tobytes(): item[1:] for split in splits for item in data.items(split, DEFAULT_ITEMS)}

    def logits(tokens: torch.Tensor) -> torch.Tensor:
        said = errs(np.stack([known[row.tobytes()] for row in tokens.numpy()]))
        return torch.nn.functional.one_hot(torch.from_numpy(said), len(data.vocabulary)).float() * 60

    return logits


@pytest.mark.parametrize("name", NAMES)
def test_a_model_that_knows_nothing(name: str) -> None:
    data = data_of(name)
    found = scores(name, data, uniform(data))
    likelihood = found[CONTINUOUS.get(name, "log_likelihood")]
    assert abs(likelihood.value) == pytest.approx(math.log(len(data.vocabulary)), abs=1e-6)
    assert found[THRESHOLD.get(name, "exact_match")].value < GUESSED.get(name, 0.1)


@pytest.mark.parametrize("name", NAMES)
def test_a_model_that_knows_all(name: str) -> None:
    data = data_of(name)
    found = scores(name, data, oracle(data))
    assert found[THRESHOLD.get(name, "exact_match")].value == 1.0
    assert found[CONTINUOUS.get(name, "log_likelihood")].value == pytest.approx(0.0, abs=1e-6)
    for score in found.values():
        assert score.n is not None and score.n >= 256
        assert score.chance is None or math.isfinite(score.chance)


@pytest.mark.parametrize("name", NAMES)
def test_every_capability_has_a_threshold_and_a_continuous_metric(name: str) -> None:
    kinds = {metric.kind for metric in capabilities[name].metrics}
    assert kinds == {"threshold", "continuous"}
    assert capabilities[name].title and capabilities[name].description


@pytest.mark.parametrize("name", NAMES)
def test_data_of_another_task_are_not_measured(name: str) -> None:
    capability = capabilities[name]
    other = data_of("random-facts" if name != "random-facts" else "addition")
    assert capability.evaluate(capability.Spec(), under_test(other, uniform(other)), other) == []
    text = toy.ToyPrepared(toy.ToyDataSpec())
    assert capability.evaluate(capability.Spec(), under_test(other, uniform(other)), text) == []


def test_independent_errors_give_exact_match_as_a_power_of_accuracy() -> None:
    data, rng = data_of("random-facts"), np.random.default_rng(0)

    def errs(truth: np.ndarray) -> np.ndarray:
        wrong = rng.random(truth.shape) < 0.2
        return np.where(wrong, (truth + 1) % 16, truth)

    found = scores("random-facts", data, oracle(data, errs))
    assert found["token_accuracy"].value == pytest.approx(0.8, abs=0.02)
    assert found["expected_exact_match"].value == pytest.approx(found["token_accuracy"].value ** 5)
    noise = 3 * (found["exact_match"].stderr + found["expected_exact_match"].stderr)
    assert found["exact_match"].value == pytest.approx(found["expected_exact_match"].value, abs=noise)


def test_bits_stored_are_counted() -> None:
    data = data_of("random-facts")
    found = scores("random-facts", data, oracle(data))  # the model stated is one of 1,000 parameters
    assert data.bits == 1024 * 5 * 4
    assert found["bits"].value == pytest.approx(data.bits, rel=1e-6)
    assert found["bits_per_parameter"].value == pytest.approx(20.48, rel=1e-6)
    assert scores("random-facts", data, even_letters)["bits"].value == pytest.approx(0.0, abs=0.1)


def even_letters(tokens: torch.Tensor) -> torch.Tensor:
    """Sixteen letters alike and never the colon."""
    out = torch.zeros(*tokens.shape, 17)
    out[..., 16] = -60.0
    return out


def test_digits_are_scored_by_their_place() -> None:
    data = data_of("addition")

    def errs(truth: np.ndarray) -> np.ndarray:
        truth = truth.copy()
        truth[:, -1] = (truth[:, -1] + 1) % 10  # the units are always wrong
        return truth

    found = scores("addition", data, oracle(data, errs))
    assert [found[f"digit_{i}"].value for i in (1, 2, 3, 4)] == [1.0, 1.0, 1.0, 0.0]
    assert found["exact_match"].value == 0.0 and found["token_accuracy"].value == 0.75
    assert found["digit_1"].chance == pytest.approx(0.5, abs=0.03)


def test_training_and_held_out_pairs_are_told_apart() -> None:
    data = data_of("modular-arithmetic")
    trained = {item.tobytes() for item in data.all_items("train")}

    def errs(truth: np.ndarray) -> np.ndarray:
        return truth

    knows = oracle(data, errs)

    def only_training(tokens: torch.Tensor) -> torch.Tensor:
        p = len(data.vocabulary) - 2
        seen = [np.append(row, (row[0] + row[2]) % p).tobytes() in trained for row in tokens.numpy()]
        return knows(tokens) * torch.tensor(seen)[:, None, None]

    found = scores("modular-arithmetic", data, only_training)
    assert found["train_exact_match"].value == 1.0
    assert found["exact_match"].value < 0.1


class Attention(torch.nn.Module):
    """Heads made by hand: the first looks at the token before, the second where the last token stood before."""

    def attention_probabilities(self, tokens: torch.Tensor) -> list[torch.Tensor]:
        n, t = tokens.shape
        before = torch.eye(t).roll(1, 0).expand(n, t, t)
        match = torch.zeros(n, t, t)
        for row in range(n):
            for at in range(t):
                earlier = (tokens[row, :at] == tokens[row, at]).nonzero()
                match[row, at, int(earlier[-1]) + 1 if len(earlier) else 0] = 1.0
        even = torch.ones(t, t).tril() / torch.arange(1, t + 1)[:, None]
        return [torch.stack([before, even.expand(n, t, t)], 1), torch.stack([match, even.expand(n, t, t)], 1)]


def test_an_induction_head_made_by_hand_scores_one() -> None:
    data = data_of("induction")
    found = head_scores(Attention(), data, torch.device("cpu"))
    assert found is not None and head_scores(torch.nn.Identity(), data, torch.device("cpu")) is None
    assert found.induction[1, 0] == 1.0 and found.previous[0, 0] == 1.0
    assert found.induction[0, 0] < 0.1 and found.previous[1, 0] < 0.1
    model = under_test(data, oracle(data), Attention())
    capability = capabilities["induction"]
    scored = {score.metric: score for score in capability.evaluate(capability.Spec(), model, data)}
    assert scored["induction_score"].value == 1.0 and scored["induction_layer"].value == 2.0
    # A head that looks everywhere alike scores what is stated as chance.
    assert found.induction[0, 1] == pytest.approx(scored["induction_score"].chance, rel=1e-6)
    assert found.previous[0, 1] == pytest.approx(scored["previous_token_score"].chance, rel=1e-6)


def test_the_loss_saved_by_the_copy_is_seen() -> None:
    data = data_of("induction", trained_on="all")

    def copies(tokens: torch.Tensor) -> torch.Tensor:
        """Says what followed the last token before, and guesses where there was none."""
        out = torch.zeros(*tokens.shape, 64)
        for row, item in enumerate(tokens.tolist()):
            for at, token in enumerate(item):
                if token in item[:at]:
                    out[row, at, item[item.index(token) + 1]] = 60.0
        return out

    assert "gain" not in scores("induction", data_of("induction"), copies, items=300)
    found = scores("induction", data, copies, items=300)
    assert found["copy_accuracy"].value == found["ood_copy_accuracy"].value == found["segment_match"].value == 1.0
    assert found["first_loss"].value == pytest.approx(math.log(64), abs=1e-5)
    assert found["gain"].value == pytest.approx(math.log(64), abs=1e-5)
