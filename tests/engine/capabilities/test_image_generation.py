"""Generating images: statistics with known answers, and models that make what is known."""

import math

import numpy as np
import pytest
import torch

from engine.capabilities import capabilities
from engine.capabilities._image_judge import divergence, frechet_distance, frequencies, inside, judge_of
from engine.capabilities.base import ModelUnderTest, Score
from engine.capabilities.image_generation import ImageGenerationSpec
from engine.sources.digits import DigitItems, DigitsSpec
from tests.engine.training import toy

DATA = DigitItems(DigitsSpec(augment="none"))
TRAINING = DATA.held_out("train", 600)
CAPABILITY = capabilities["image-generation"]


class Drawer(torch.nn.Module):
    """Makes copies of given images, in turn."""

    def __init__(self, images: np.ndarray) -> None:
        super().__init__()
        self.images, self.drawn = torch.from_numpy(images), 0

    def draw(self, n: int, seed: int) -> torch.Tensor:
        rows = torch.arange(self.drawn, self.drawn + n) % len(self.images)
        self.drawn += n
        return self.images[rows]


def scores(module: torch.nn.Module, data: object = DATA, items: int = 600) -> dict[str, Score]:
    model = ModelUnderTest(module, module.forward, torch.device("cpu"), 1, 0)
    found = CAPABILITY.evaluate(ImageGenerationSpec(items=items), model, data)  # type: ignore[arg-type]
    assert {score.metric for score in found} <= {metric.name for metric in CAPABILITY.metrics}
    return {score.metric: score for score in found}


def test_frechet_distance_of_normal_distributions() -> None:
    """Of two with one covariance it is the squared distance of the means, of one mean sum (sd - sd')^2."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((500, 6)) @ rng.standard_normal((6, 6))
    assert frechet_distance(x, x) == pytest.approx(0.0, abs=1e-9)
    assert frechet_distance(x, x + np.array([3.0, 0, 4.0, 0, 0, 0])) == pytest.approx(25.0)
    white = np.linalg.qr(x - x.mean(0))[0] * math.sqrt(len(x) - 1)
    scale = np.array([1.0, 2.0, 0.5, 1.0, 3.0, 0.0])
    assert frechet_distance(white, white * scale) == pytest.approx(np.square(1 - scale).sum())
    turned = np.linalg.qr(rng.standard_normal((6, 6)))[0]
    assert frechet_distance(x @ turned, 2 * x @ turned) == pytest.approx(frechet_distance(x, 2 * x))


def test_a_manifold_reaches_as_far_as_its_neighbours() -> None:
    line = np.array([[0.0], [1.0], [2.0], [10.0]])
    points = np.array([[-0.9], [-1.1], [2.9], [3.5], [19.0], [-7.0]])
    # The nearest neighbours are at 1, 1, 1 and 8; the second at 2, 1, 2 and 9.
    assert inside(points, line, 1).tolist() == [True, False, True, True, False, False]
    assert inside(points, line, 2).tolist() == [True, True, True, True, True, False]


def test_divergence_of_frequencies() -> None:
    half = frequencies(np.repeat([0, 1], 1_000), 2)
    assert half.tolist() == [0.5, 0.5] and divergence(half, half) == 0
    assert divergence(frequencies(np.zeros(10**6, np.int64), 2), half) == pytest.approx(math.log(2), abs=1e-4)


def test_the_judge_knows_the_digits_and_is_the_same_every_time() -> None:
    judge = judge_of(DATA)
    assert judge_of(DigitItems(DigitsSpec(augment="none"))) is judge
    held_out = DATA.held_out("validation", 449)
    state = torch.get_rng_state()
    assert (judge.see(held_out["inputs"]).classes == held_out["targets"]).mean() > 0.96
    assert judge.see(DATA.held_out("train", 2_000)["inputs"]).features.var(0).sum() == pytest.approx(1.0)
    assert torch.equal(torch.get_rng_state(), state)


def test_real_images_get_what_is_told_of_real_images() -> None:
    found = scores(Drawer(TRAINING["inputs"]))
    for metric in ("frechet_distance", "precision", "recall", "class_coverage", "class_divergence"):
        made, real = found[metric], found[f"training_{metric}"]
        assert made.value == pytest.approx(real.value) and made.chance == real.chance
        assert made.stderr is not None and made.n in (449, 600)
    assert found["frechet_distance"].value < 0.05 < 0.5 < found["frechet_distance"].chance
    assert found["precision"].value > 0.85 > 0.1 > found["precision"].chance
    assert found["class_coverage"].value == 1.0 and found["class_divergence"].value < 0.05
    assert found["judge_accuracy"].value > 0.96 and found["judge_accuracy"].chance == pytest.approx(0.1, abs=0.03)


def test_noise_is_at_chance() -> None:
    noise = np.random.default_rng(5).uniform(-1, 1, (600, 1, 8, 8)).astype(np.float32)
    found = scores(Drawer(noise))
    assert found["frechet_distance"].value == pytest.approx(found["frechet_distance"].chance, rel=0.1)
    assert found["recall"].value == pytest.approx(found["recall"].chance, abs=0.05)


def test_one_class_alone_is_precise_and_covers_little() -> None:
    found = scores(Drawer(TRAINING["inputs"][TRAINING["targets"] == 3]))
    assert found["precision"].value > 0.8 > 0.4 > found["recall"].value
    assert found["class_coverage"].value == pytest.approx(0.1)
    assert found["class_divergence"].value == pytest.approx(math.log(10), abs=0.3)
    assert found["frechet_distance"].value > 5 * found["training_frechet_distance"].value


def test_a_judge_that_knows_nothing_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Classes that no image tells: only how little the judge knows is said."""

    def shuffled(split: str, n: int) -> dict[str, np.ndarray]:
        batch = DATA.held_out(split, n)  # type: ignore[arg-type]
        return {**batch, "targets": np.random.default_rng(0).permutation(batch["targets"])}

    data = DigitItems(DigitsSpec(augment="none"))
    monkeypatch.setattr(data, "held_out", shuffled)
    monkeypatch.setattr(data, "fingerprint", "shuffled")
    monkeypatch.setattr("engine.capabilities._image_judge.STEPS", 20)
    found = scores(Drawer(TRAINING["inputs"]), data=data)
    assert set(found) == {"judge_accuracy"} and found["judge_accuracy"].value < 0.3


def test_other_data_and_other_models_are_not_measured() -> None:
    assert scores(Drawer(TRAINING["inputs"]), data=toy.ToyPrepared(toy.ToyDataSpec())) == {}
    assert scores(torch.nn.Identity()) == {}
