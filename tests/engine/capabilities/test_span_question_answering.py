"""Answers as spans: what can be learned is, known scores, and what has no spans or states."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from engine.capabilities import capabilities
from engine.capabilities.base import ModelUnderTest
from engine.capabilities.span_question_answering import LONGEST_ANSWER, best_spans, in_context, score
from engine.families import families
from engine.families.base import DataShape
from engine.sources._spans import SpanItems

ASK = capabilities["span-question-answering"]
T = 24


def items(n: int, seed: int) -> SpanItems:
    """The answer is the run of capital letters."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(97, 123, (n, T))
    starts = rng.integers(4, T - 3, n)
    ends = starts + rng.integers(0, 3, n)
    place = np.arange(T)
    inside = (place >= starts[:, None]) & (place <= ends[:, None])
    return SpanItems(np.where(inside, tokens - 32, tokens), np.full(n, 3), starts, ends, np.full(n, 2), np.arange(n))


class Capitals:
    def spans(self, length: int, n_train: int, n_test: int) -> tuple[SpanItems, SpanItems] | None:
        return items(n_train, 0), items(n_test, 1)


def under_test(name: str) -> ModelUnderTest:
    family = families[name]
    shape = family.resolve(family.Spec(), 6_000, DataShape("tokens", 256), T)
    model = family.build(shape, 0).eval()
    return ModelUnderTest(model, lambda x: model(x), torch.device("cpu"), T, 0, family, shape)


@pytest.mark.parametrize("family", ["bert", "gpt"])
def test_marking_what_the_letters_show_is_learned(family: str) -> None:
    found = {s.metric: s for s in ASK.evaluate(ASK.Spec(train_items=512, epochs=5), under_test(family), Capitals())}
    assert set(found) == {m.name for m in ASK.metrics}
    # What follows a letter decides where a run ends, and a decoder cannot see it.
    assert found["f1"].value > (0.7 if family == "bert" else 0.5)
    assert found["exact_match"].chance == 0.5
    assert found["log_likelihood"].chance == pytest.approx(-2 * math.log(2))


def test_known_scores() -> None:
    truth = items(4, 0)
    scores = torch.full((4, T, 2), -20.0)
    marks = [
        (truth.starts[0], truth.ends[0]),
        (truth.starts[1], truth.ends[1] + 1),
        (0, 1),
        (truth.starts[3], truth.ends[3]),
    ]
    for row, (first, last) in enumerate(marks):
        scores[row, first, 0] = scores[row, last, 1] = 0.0
    found = {s.metric: s for s in score(scores, truth)}
    length = int(truth.ends[1] - truth.starts[1] + 1)
    assert found["exact_match"].value == 0.5
    assert found["f1"].value == pytest.approx((2 + 2 * length / (2 * length + 1)) / 4)
    assert found["log_likelihood"].value == pytest.approx((0 - 20 - 40 + 0) / 4)


def test_spans_go_forward_and_are_not_too_long() -> None:
    scores = torch.zeros(2, 64, 2)
    scores[0, 10, 0], scores[0, 5, 1] = 5.0, 5.0  # backward: one of the two has to give way
    scores[1, 0, 0], scores[1, 0 + LONGEST_ANSWER, 1] = 5.0, 5.0
    first, last = best_spans(scores)
    assert (first <= last).all() and (last - first < LONGEST_ANSWER).all()


def test_the_question_cannot_be_marked() -> None:
    known = in_context(torch.zeros(2, 8, 2), torch.tensor([3, 7]))
    assert torch.isinf(known[0, :3]).all() and known[1, 7, 0].item() == 0.0
    torch.testing.assert_close(known.exp().sum(1), torch.ones(2, 2))


def test_no_spans_and_no_states() -> None:
    assert ASK.evaluate(ASK.Spec(), under_test("bert"), object()) == []
    mlp: Any = families["mlp"]
    shape = mlp.resolve(mlp.Spec(), 1_000, DataShape("vectors", n_classes=2, sample_shape=(T,)), 1)
    network = mlp.build(shape, 0)
    model = ModelUnderTest(network, network, torch.device("cpu"), T, 0, mlp, shape)
    assert ASK.evaluate(ASK.Spec(), model, Capitals()) == []
