"""The linear probe: what it gains where there is something to gain, its choice of strength, and data it cannot read."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch

from engine.capabilities import capabilities
from engine.capabilities._documents import MIN_SNIPPETS, Items, of_documents
from engine.capabilities.base import ModelUnderTest, Score
from engine.capabilities.linear_probe import STRENGTHS, LinearProbeSpec, choose_strength, score
from engine.families.base import TrainingHints
from engine.sources._labelled import LabelledText, Snippets
from tests.engine.training import toy

PROBE = capabilities["linear-probe"]
N_CLASSES, LENGTH = 3, 12


class Snips(toy.ToyPrepared):
    """Snippets whose class is which of three tokens stands in them, four to a file."""

    def __init__(self) -> None:
        super().__init__(toy.ToyDataSpec())
        self.asked: list[tuple[int, int, int, int]] = []

    def labelled(self, length: int, n_classes: int, n_train: int, n_test: int) -> LabelledText:
        self.asked.append((length, n_classes, n_train, n_test))
        return LabelledText(("a", "b", "c"), snippets(0, n_train, length), snippets(1, n_test, length))


def snippets(seed: int, n: int, length: int) -> Snippets:
    rng = np.random.default_rng(seed)
    tokens, labels = rng.integers(N_CLASSES, toy.VOCAB, (n, length)), rng.integers(0, N_CLASSES, n)
    tokens[np.arange(n), rng.integers(0, length, n)] = labels
    return Snippets(tokens, labels, np.arange(n) // 4)


class Counting:
    """A family whose trained module sees the three tokens and whose untrained one sees noise."""

    def __init__(self) -> None:
        self.built: list[tuple[Mapping[str, Any], int, Any]] = []

    def build(self, shape: Mapping[str, Any], seed: int, *, training: Any = None) -> torch.nn.Module:
        self.built.append((shape, seed, training))
        return torch.nn.Flatten()

    def features(self, model: torch.nn.Module, inputs: torch.Tensor) -> torch.Tensor:
        if isinstance(model, torch.nn.Flatten):
            return torch.sin(inputs.float() * 12.9898)[:, :3]
        return torch.stack([(inputs == k).sum(1) for k in range(N_CLASSES)], dim=1).float()


def subject(family: Any, hints: TrainingHints | None = None) -> ModelUnderTest:
    def logits(tokens: torch.Tensor) -> torch.Tensor:
        raise AssertionError("a probe reads features")

    return ModelUnderTest(torch.nn.Identity(), logits, torch.device("cpu"), LENGTH, 7, family, {"width": 5}, hints)


def by_name(scores: list[Score]) -> dict[str, Score]:
    assert [s.metric for s in scores] in ([], [m.name for m in PROBE.metrics])
    return {s.metric: s for s in scores}


def test_what_features_hold_is_gained_over_noise() -> None:
    family, data, hints = Counting(), Snips(), TrainingHints("mup", 32)
    found = by_name(PROBE.evaluate(LinearProbeSpec(train_items=400, test_items=600), subject(family, hints), data))
    assert family.built == [({"width": 5}, 7, hints)] and data.asked == [(LENGTH, 16, 400, 600)]
    assert found["accuracy"].value == 1.0 and found["log_likelihood"].value > -0.1
    untrained = found["untrained_accuracy"]
    assert untrained.value == pytest.approx(1 / 3, abs=0.08) and untrained.chance == pytest.approx(1 / 3, abs=0.08)
    assert found["gain"].value == pytest.approx(1 - untrained.value) and found["gain"].chance == 0.0
    assert found["gain"].stderr == pytest.approx(untrained.stderr)
    difference = found["log_likelihood"].value - found["untrained_log_likelihood"].value
    assert found["log_likelihood_gain"].value == pytest.approx(difference)
    assert found["untrained_log_likelihood"].chance == pytest.approx(-np.log(3), abs=0.01)
    assert all(s.n == 600 for s in found.values())


def test_an_untrained_model_gains_nothing() -> None:
    class Blind(Counting):
        def features(self, model: torch.nn.Module, inputs: torch.Tensor) -> torch.Tensor:
            return inputs.float()

    found = by_name(PROBE.evaluate(LinearProbeSpec(train_items=200, test_items=200), subject(Blind()), Snips()))
    assert found["gain"].value == found["log_likelihood_gain"].value == 0.0


def test_labelled_images_are_read_and_two_classes_too() -> None:
    class Images:
        class_names = ("dark", "light")
        fingerprint = ""

        def held_out(self, split: str, n: int) -> dict[str, np.ndarray]:
            rng = np.random.default_rng(len(split))
            labels = rng.integers(0, 2, n)
            noise = rng.standard_normal((n, 1, 2, 2)).astype(np.float32)
            return {"inputs": noise + 4 * labels[:, None, None, None].astype(np.float32), "targets": labels}

    class Pixels(Counting):
        def features(self, model: torch.nn.Module, inputs: torch.Tensor) -> torch.Tensor:
            flat = inputs.flatten(1)
            return flat if isinstance(model, torch.nn.Identity) else torch.cos(1e3 * flat)

    found = by_name(PROBE.evaluate(LinearProbeSpec(train_items=300, test_items=300), subject(Pixels()), Images()))
    assert found["accuracy"].value > 0.99 and found["untrained_accuracy"].value < 0.65


def test_data_without_labels_and_families_without_features_give_nothing() -> None:
    spec = LinearProbeSpec(train_items=64, test_items=64)
    assert PROBE.evaluate(spec, subject(Counting()), toy.ToyPrepared(toy.ToyDataSpec())) == []
    assert PROBE.evaluate(spec, subject(toy.ToyFamily()), Snips()) == []


def test_the_strength_is_chosen_on_training_items_of_other_files() -> None:
    """Items of one file are copies of each other: held back with the file, they cannot pay for memorising it."""
    rng = np.random.default_rng(0)
    features = np.repeat(rng.standard_normal((60, 80)), 4, axis=0)
    labels = np.repeat(rng.integers(0, 2, 60), 4)
    alone = Items(features, labels, np.arange(240))
    in_files = Items(features, labels, np.arange(240) // 4)
    assert choose_strength(features, in_files) == STRENGTHS[0] < choose_strength(features, alone)


def test_standard_errors_are_over_groups() -> None:
    from engine.capabilities.linear_probe import Probed

    rng = np.random.default_rng(0)
    right = np.repeat(rng.integers(0, 2, 100), 9).astype(float)
    whole = Probed(right, -right)
    nothing = Probed(np.zeros(900), np.zeros(900))
    labels = rng.integers(0, 2, 900)
    grouped, apart = (
        by_name(score(whole, nothing, Items(labels, labels, groups)))
        for groups in (np.arange(900) // 9, np.arange(900))
    )
    assert grouped["gain"].value == apart["gain"].value == right.mean()
    assert grouped["gain"].stderr == pytest.approx(3 * apart["gain"].stderr, rel=0.02)


def stream_of(lengths: list[int]) -> np.ndarray:
    """Documents of those many tokens: number i holds the token i + 1 and, at every second place, which place it is."""
    parts = []
    for number, length in enumerate(lengths):
        document = np.full(length, number + 1, np.uint16)
        document[1::2] = 100 + np.arange(length)[1::2]
        parts += [document, np.zeros(1, np.uint16)]
    return np.concatenate(parts)


def test_snippets_of_documents_come_from_the_longest_and_halves_are_apart() -> None:
    found = of_documents(stream_of([900, 50, 1_000, 801, 790, 20]), 10, 3, 90, 60)
    assert found is not None
    train, test = found
    for part, n in ((train, 30), (test, 20)):
        assert part.inputs.shape == (3 * n, 10) and np.bincount(part.labels).tolist() == [n] * 3
        assert (part.inputs[:, 0] == np.array([3, 1, 4])[part.labels]).all(), "the longest first"
        assert len(np.unique(part.inputs, axis=0)) == len(part.inputs)
    for label, length in enumerate((1_000, 900, 801)):
        last, first = (part.inputs[part.labels == label][:, 1] - 100 for part in found)
        assert last.max() < length // 20 * 10 <= first.min()
    again = of_documents(stream_of([900, 50, 1_000, 801, 790, 20]), 10, 3, 90, 60)
    assert again is not None and np.array_equal(again[0].inputs, train.inputs)
    places = train.inputs[train.labels == 0][:, 1] // 80
    groups = train.groups[train.labels == 0]
    assert len(np.unique(groups)) <= len(np.unique(places)) + 1, "neighbours share a group"


def test_text_without_two_long_documents_has_nothing_to_tell_apart() -> None:
    assert of_documents(stream_of([900, 2 * MIN_SNIPPETS * 10 - 1]), 10, 8, 100, 100) is None
    both = of_documents(stream_of([900, 2 * MIN_SNIPPETS * 10]), 10, 8, 100, 100)
    assert both is not None and np.bincount(both[0].labels).tolist() == [MIN_SNIPPETS] * 2
