"""What axes say."""

from types import SimpleNamespace
from typing import Any

import pytest

from engine.figures.words import loss_words, metric_words


def run(family: str, **shape: object) -> Any:
    return SimpleNamespace(family=family, size=1, shape=shape)


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        ([run("gpt")], "Validation loss (nats per token)"),
        ([run("gpt-vectors")], "Validation loss (squared error)"),
        ([run("mlp", classes=True)], "Validation loss (nats per sample)"),
        ([run("mlp", classes=False)], "Validation loss (squared error)"),
        ([run("somebody-elses")], "Validation loss"),
        ([run("gpt"), run("mlp", classes=True)], "Validation loss"),
        ([], "Validation loss"),
    ],
)
def test_a_loss_is_named_with_the_unit_of_its_family(runs: list[Any], said: str) -> None:
    assert loss_words(runs) == metric_words("language-modelling", "loss", runs) == said


def test_a_loss_of_both_splits_is_just_a_loss() -> None:
    assert loss_words([run("gpt")], "") == "Loss (nats per token)"
    assert loss_words([run("gpt")], "train") == "Training loss (nats per token)"
