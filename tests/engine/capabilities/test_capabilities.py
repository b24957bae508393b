"""Capabilities against models whose answers are known."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from engine.capabilities import capabilities
from engine.capabilities._tokens import ratio_and_stderr
from engine.capabilities.base import ModelUnderTest, Score
from engine.capabilities.word_completion import LETTERS, OTHER, STARTS, last_word
from tests.engine.training import toy

NAMES = ("language-modelling", "word-completion", "in-context-gain")


def scores(name: str, logits: Any, context: int = 32) -> dict[str, Score]:
    model = ModelUnderTest(torch.nn.Identity(), logits, torch.device("cpu"), context, 0)
    capability = capabilities[name]
    found = capability.evaluate(capability.Spec(), model, toy.ToyPrepared(toy.ToyDataSpec()))
    assert {score.metric for score in found} <= {metric.name for metric in capability.metrics}
    return {score.metric: score for score in found}


def uniform(tokens: torch.Tensor) -> torch.Tensor:
    return torch.zeros(*tokens.shape, toy.VOCAB)


def knows_all(tokens: torch.Tensor) -> torch.Tensor:
    """The next byte of the toy text, which is unique given the last 24 bytes or so: looked up."""
    text = toy.TEXT
    out = torch.zeros(*tokens.shape, toy.VOCAB)
    for row, window in enumerate(tokens.tolist()):
        at = text.index(bytes(window))
        for column in range(len(window)):
            out[row, column, text[at + column + 1]] = 50.0
    return out


def test_a_model_that_knows_nothing() -> None:
    found = scores("language-modelling", uniform)
    assert found["loss"].value == pytest.approx(math.log(toy.VOCAB))
    assert found["bits_per_byte"].value == pytest.approx(7.0)
    assert found["loss"].chance < math.log(26)
    completion = scores("word-completion", uniform)
    assert completion["exact_match"].value == 0.0
    assert completion["log_likelihood"].value == pytest.approx(-math.log(toy.VOCAB))
    assert scores("in-context-gain", uniform)["gain"].value == pytest.approx(0.0, abs=1e-6)


def test_a_model_that_knows_all() -> None:
    assert scores("language-modelling", knows_all)["accuracy"].value == 1.0
    completion = scores("word-completion", knows_all)
    assert completion["exact_match"].value == completion["token_accuracy"].value == 1.0
    assert completion["exact_match"].n >= 100 and completion["exact_match"].chance < 0.8


def test_gain_is_seen() -> None:
    def better_later(tokens: torch.Tensor) -> torch.Tensor:
        sharp = torch.linspace(0, 1, tokens.shape[1])[None, :, None]
        return knows_all(tokens) * sharp

    found = scores("in-context-gain", better_later)
    assert found["gain"].value == pytest.approx(found["early_loss"].value - found["late_loss"].value)
    assert found["gain"].value > 10 * found["gain"].stderr > 0


def kinds(text: str) -> list[int]:
    return [LETTERS if c.isalpha() else STARTS if c == "_" else OTHER for c in text]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a running b", (2, 9)),
        ("running far", None),  # where it begins is not known
        ("x running", None),  # nor where it ends
        ("a short running.", (8, 15)),
        ("a running so far.", (2, 9)),
        ("a__xxxxx.", (2, 8)),  # a token that begins a word
        ("", None),
    ],
)
def test_the_last_long_word(text: str, expected: tuple[int, int] | None) -> None:
    assert last_word(kinds(text), 6) == expected


def test_the_ratio_estimator_covers() -> None:
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(300):
        counts = rng.integers(1, 10, 200)
        sums = rng.normal(0.5, 0.2, 200) * counts
        value, error = ratio_and_stderr(sums, counts)
        inside += abs(value - 0.5) < 1.96 * error
    assert 270 <= inside <= 298


@pytest.mark.parametrize("name", NAMES)
def test_described(name: str) -> None:
    capability = capabilities[name]
    assert capability.title and capability.description and capability.metrics
