"""Long-range copying against models whose reach is known."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from engine.capabilities import capabilities
from engine.capabilities.base import ModelUnderTest, Score
from engine.families import families
from engine.sources.copying import CopyingItems, CopyingSpec
from engine.sources.induction import InductionItems, InductionSpec
from tests.engine.training import toy

COPYING = capabilities["long-range-copying"]
SURE = 20.0


def scores(data: Any, logits: Any, context: int, family: str = "rnn") -> dict[str, Score]:
    model = ModelUnderTest(torch.nn.Identity(), logits, torch.device("cpu"), context, 0, families[family])
    found = COPYING.evaluate(COPYING.Spec(), model, data)
    assert {score.metric for score in found} <= {metric.name for metric in COPYING.metrics}
    return {score.metric: score for score in found}


class Reach:
    """Names what followed the last token's latest occurrence within ``reach`` tokens, else guesses evenly.

    A copy whose tokens are all different is written without error.
    """

    def __init__(self, vocab: int, reach: int) -> None:
        self.vocab, self.reach = vocab, reach

    def __call__(self, tokens: torch.Tensor) -> torch.Tensor:
        out = torch.zeros(*tokens.shape, self.vocab)
        for row, window in enumerate(tokens.tolist()):
            for at, token in enumerate(window):
                for back in range(1, min(self.reach, at) + 1):
                    if window[at - back] == token:
                        out[row, at, window[at - back + 1]] = SURE
                        break
        return out


def test_the_longest_distance_is_the_reach() -> None:
    """Induction's tokens are all different: the reach decides alone. Its distances are a segment and a gap up to 28."""
    data = InductionItems(InductionSpec(segment=4, gap=20))
    for reach, longest in ((30, 16), (15, 8), (3, 0)):
        found = scores(data, Reach(64, reach), data.item_length - 1)
        assert found["distance"].value == longest
        assert [found[f"accuracy_{d}"].value > 0.9 for d in (4, 8, 16)] == [d <= reach for d in (4, 8, 16)]
        assert found["accuracy"].value == pytest.approx(sum(found[f"accuracy_{d}"].value for d in (4, 8, 16)) / 3)
    assert found["accuracy_8"].chance == 1 / 28 and found["accuracy_8"].n == 512
    assert found["log_likelihood_8"].value == pytest.approx(-math.log(64))
    assert found["log_likelihood"].chance == pytest.approx(-math.log(28))


def test_strings_of_the_copying_task() -> None:
    data = CopyingItems(CopyingSpec(distance=32, ood_distance=4))

    def remembers(tokens: torch.Tensor) -> torch.Tensor:
        """Everything before the second marker, by where it stood."""
        second = (tokens == 8).long().cumsum(1).eq(2).long().argmax(1)
        places = (torch.arange(tokens.shape[1])[None] - second[:, None] + 1).clamp(min=0)
        return SURE * F.one_hot(tokens.gather(1, places), 10).float()

    found = scores(data, remembers, data.item_length - 1)
    assert found["distance"].value == 32 and found["accuracy"].value == 1.0
    assert set(found) == {"distance", "accuracy", "log_likelihood"} | {
        f"{what}_{d}" for what in ("accuracy", "log_likelihood") for d in (4, 8, 16, 32)
    }
    short = scores(data, remembers, 31)
    assert "accuracy_16" in short and "accuracy_32" not in short, "what the context cannot hold is not asked"


def test_text_is_asked_with_strings_of_its_own_tokens() -> None:
    data = toy.ToyPrepared(toy.ToyDataSpec())
    kinds = set(toy.TEXT)
    asked: list[torch.Tensor] = []

    def uniform(tokens: torch.Tensor) -> torch.Tensor:
        asked.append(tokens)
        return torch.zeros(*tokens.shape, toy.VOCAB)

    found = scores(data, uniform, 32)
    assert {"accuracy_4", "accuracy_8", "accuracy_16"} < set(found) and "accuracy_32" not in found
    assert set(torch.cat([t.flatten() for t in asked]).tolist()) <= kinds
    assert found["distance"].value == 0 and found["accuracy_8"].chance == 1 / len(kinds)
    sure = scores(data, Reach(toy.VOCAB, 32), 32)
    assert sure["accuracy_4"].value > 0.7 > found["accuracy_4"].value


def test_families_that_do_not_predict_the_next_token_are_not_asked() -> None:
    data = InductionItems(InductionSpec())
    assert scores(data, Reach(64, 30), data.item_length - 1, "mlp") == {}
