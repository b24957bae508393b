"""Masked tokens: known answers, and families that fill nothing in."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from engine.capabilities import capabilities
from engine.capabilities.base import ModelUnderTest, Score
from engine.families import families
from engine.families.base import DataShape
from tests.engine.training import toy

MASKED = capabilities["masked-tokens"]
BERT = families["bert"]
CONTEXT = 40


def scores(logits: Any, family: Any = BERT) -> dict[str, Score]:
    shape = BERT.resolve(BERT.Spec(), 2_000, DataShape("tokens", toy.VOCAB), CONTEXT)
    model = ModelUnderTest(BERT.build(shape, 0), logits, torch.device("cpu"), CONTEXT, 0, family, shape)
    found = MASKED.evaluate(MASKED.Spec(tokens=2_000), model, toy.ToyPrepared(toy.ToyDataSpec()))
    return {score.metric: score for score in found}


def test_known_answers() -> None:
    seen = []

    def knows_all(tokens: torch.Tensor) -> torch.Tensor:
        """Looks the window up in the toy text by what is not hidden."""
        seen.append(tokens)
        text = np.frombuffer(toy.TEXT, np.uint8)
        windows = np.lib.stride_tricks.sliding_window_view(text, CONTEXT)[:200]
        out = torch.zeros(*tokens.shape, toy.VOCAB + 1)
        for row, window in enumerate(tokens.numpy()):
            shown = window != toy.VOCAB
            truth = next(w for w in windows if (w[shown] == window[shown]).all())
            out[row, torch.arange(CONTEXT), torch.from_numpy(truth.astype(np.int64))] = 50.0
        return out

    found = scores(knows_all)
    assert found["accuracy"].value == 1.0 and found["log_likelihood"].value == pytest.approx(0.0, abs=1e-6)
    assert 0 < found["accuracy"].chance < 0.3 and -math.log(27) < found["log_likelihood"].chance < -2
    hidden = torch.cat(seen) == toy.VOCAB
    assert (hidden.sum(1) == 6).all(), "0.15 of 40, in every window"
    assert len({tuple(row) for row in hidden.tolist()}) > len(hidden) / 2, "at other places in every window"
    assert found["accuracy"].n == int(hidden.sum())
    uniform = scores(lambda tokens: torch.zeros(*tokens.shape, toy.VOCAB + 1))
    assert uniform["log_likelihood"].value == pytest.approx(-math.log(toy.VOCAB + 1))


def test_families_that_fill_nothing_in() -> None:
    assert scores(lambda tokens: torch.zeros(*tokens.shape, toy.VOCAB), families["gpt"]) == {}
    assert scores(lambda tokens: torch.zeros(*tokens.shape, toy.VOCAB), None) == {}
