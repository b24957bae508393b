"""Capability ``image-classification``: known answers, chance levels, standard errors, what noise and shifts do."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.capabilities import _classification as scoring
from engine.capabilities import capabilities
from engine.capabilities.base import ModelUnderTest, Score
from engine.families import families
from engine.families.base import build_for
from engine.sources import sources
from engine.sources.digits import DigitItems

NAME = "image-classification"
CAPABILITY = capabilities[NAME]


def classified(rows: list[list[float]], targets: list[int]) -> scoring.Classified:
    with np.errstate(divide="ignore"):
        return scoring.Classified(np.array(targets), np.log(np.array(rows)))


KNOWN = classified([[0.7, 0.2, 0.1], [0.3, 0.5, 0.2], [0.1, 0.6, 0.3], [0.25, 0.25, 0.5]], [0, 1, 2, 2])


def test_known_answers() -> None:
    assert scoring.top_k_score("x", KNOWN, 1).value == 0.75
    assert scoring.top_k_score("x", KNOWN, 2).value == 1.0
    nll = -np.log([0.7, 0.5, 0.3, 0.5]).mean()
    assert scoring.likelihood_score("x", KNOWN).value == pytest.approx(nll)
    distances = [0.09 + 0.04 + 0.01, 0.09 + 0.25 + 0.04, 0.01 + 0.36 + 0.49, 0.0625 + 0.0625 + 0.25]
    assert scoring.brier_score("x", KNOWN).value == pytest.approx(np.mean(distances))
    # Class 0: 1; class 1: precision 1/2, recall 1; class 2: precision 1, recall 1/2.
    assert scoring.macro_f1_score("x", KNOWN).value == pytest.approx((1 + 2 / 3 + 2 / 3) / 3)
    # Two bins: confidences 0.7 (right), 0.5 (right), 0.6 (wrong), 0.5 (right) all lie in the upper.
    assert scoring.calibration_score("x", KNOWN, 2).value == pytest.approx(abs(2.3 - 3) / 4)


def test_f1_agrees_with_scikit_learn() -> None:
    from sklearn.metrics import f1_score

    rng = np.random.default_rng(0)
    found = scoring.Classified(rng.integers(0, 7, 300), rng.standard_normal((300, 7)))
    expected = f1_score(found.targets, found.predicted, average="macro")
    assert scoring.macro_f1_score("x", found).value == pytest.approx(expected)


def test_chance_guesses_by_how_often_each_class_comes() -> None:
    assert scoring.top_k_score("x", KNOWN, 1).chance == 0.5
    assert scoring.top_k_score("x", KNOWN, 2).chance == 0.75
    entropy = -(0.5 * math.log(0.5) + 2 * 0.25 * math.log(0.25))
    assert scoring.likelihood_score("x", KNOWN).chance == pytest.approx(entropy)
    by_frequency = classified([[0.25, 0.25, 0.5]] * 4, [0, 1, 2, 2])
    for score in (scoring.brier_score, scoring.macro_f1_score, scoring.likelihood_score):
        assert score("x", by_frequency).value == pytest.approx(score("x", by_frequency).chance)
    assert scoring.calibration_score("x", by_frequency, 15).value == pytest.approx(0)


def test_bootstrap_errors_are_those_of_repeated_samples() -> None:
    rng, f1, ece = np.random.default_rng(1), [], []
    for _ in range(60):
        targets = rng.integers(0, 4, 400)
        logits = rng.standard_normal((400, 4)) + 2 * np.eye(4)[targets]
        found = scoring.Classified(targets, logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)))
        f1.append(scoring.macro_f1_score("x", found))
        ece.append(scoring.calibration_score("x", found, 10))
    for scores, tolerance in ((f1, 0.3), (ece, 0.4)):
        spread = np.std([score.value for score in scores], ddof=1)
        assert np.mean([score.stderr for score in scores]) == pytest.approx(spread, rel=tolerance)


def digits() -> DigitItems:
    data = sources["digits"].prepare(sources["digits"].Spec(), Path(), lambda step, fraction: None)
    assert isinstance(data, DigitItems)
    return data


def under_test(logits: object) -> ModelUnderTest:
    return ModelUnderTest(torch.nn.Identity(), logits, torch.device("cpu"), 1, 0)  # type: ignore[arg-type]


def measured(data: DigitItems, logits: object, **spec: object) -> dict[str, Score]:
    scores = CAPABILITY.evaluate(CAPABILITY.Spec(**spec), under_test(logits), data)
    return {score.metric: score for score in scores}


def test_the_nearest_training_digit_is_right_until_the_images_change() -> None:
    """A model whose behaviour is known: nearest neighbour in pixels reads 98 %, less under noise and when moved."""
    data = digits()
    items = data.all_items("train")
    known = torch.from_numpy(data.images(items)).flatten(1)
    classes = torch.eye(10)[torch.from_numpy(items[:, 1])]

    def logits(x: torch.Tensor) -> torch.Tensor:
        nearest = torch.cdist(x.flatten(1), known).argmin(dim=1)
        return 10 * classes[nearest]

    found = measured(data, logits)
    assert set(found) == {metric.name for metric in CAPABILITY.metrics}
    assert found["top1"].value > 0.97 and found["top1"].n == 449
    assert found["noise_top1"].value < found["top1"].value
    assert found["shift_top1"].value < 0.9 and found["ood_top1"].value < 0.9
    louder, further = measured(data, logits, noise=2.0), measured(data, logits, shift=3)
    assert louder["noise_top1"].value < found["noise_top1"].value
    assert further["shift_top1"].value < found["shift_top1"].value
    assert all(score.stderr is not None and score.stderr > 0 for score in found.values())
    assert measured(data, logits) == found


def test_guessing_scores_chance() -> None:
    data = digits()
    shares = np.bincount(data.all_items("validation")[:, 1], minlength=10) / 449
    found = measured(data, lambda x: torch.from_numpy(np.log(shares)).expand(len(x), 10))
    for name in ("nll", "brier", "top1", "top5", "macro_f1", "noise_nll", "shift_nll", "ood_nll"):
        assert found[name].value == pytest.approx(found[name].chance)


def test_what_is_no_classifier_of_images_is_not_measured() -> None:
    other = sources["sparse-parity"]
    data = other.prepare(other.Spec(), Path(), lambda step, fraction: None)
    model = under_test(lambda x: torch.zeros(len(x), 10))
    assert CAPABILITY.evaluate(CAPABILITY.Spec(), model, data) == []
    assert measured(digits(), lambda x: torch.zeros(len(x), 3)) == {}


@pytest.mark.parametrize("family", ["cnn", "vit"])
def test_a_family_shows_held_out_images_with_its_answers(family: str) -> None:
    from engine.expand import expand
    from engine.study import parse_study

    table = {"name": "x", "title": "x", "model": {"family": family}, "data": {"source": "digits"}}
    (spec,) = expand(parse_study({**table, "ladder": {"sizes": [2_000]}, "training": {"steps": 10}}))
    model, data = build_for(families[family], spec), digits()
    with torch.no_grad():
        (made,) = families[family].samples(model, spec, data, torch.device("cpu"))
        features = families[family].features(model, torch.zeros(3, 1, 8, 8))
    assert made.kind == "image" and made.values.dtype == np.uint8
    assert made.values.shape[0] > 140 and made.values.shape[1:] == (made.values.shape[1], 3)
    assert made.text.count("·") == 21
    assert features is not None and features.shape[0] == 3
