"""Capability ``image-text``: ranks and likelihoods with known answers, chance for an untrained model."""

from pathlib import Path

import numpy as np
import pytest
import torch

from engine.capabilities import capabilities
from engine.capabilities.base import ModelUnderTest
from engine.capabilities.image_text import ImageTextSpec, _found, _naming, _retrieval
from engine.families import families
from engine.families.base import Made
from engine.sources import sources

IMAGE_TEXT, CLIP, SCENES = capabilities["image-text"], families["clip"], sources["scenes"]


def test_ranks_and_likelihoods_are_known() -> None:
    logits = np.log(np.array([[0.7, 0.2, 0.1], [0.5, 0.25, 0.25], [0.2, 0.3, 0.5]]))
    found = _found(logits, np.array([0, 1, 0]))
    assert found.rank.tolist() == [1.0, 2.5, 3.0]  # what ties counts as half before
    assert np.exp(found.log_likelihood) == pytest.approx([0.7, 0.25, 0.2])
    scores = {score.metric: score for score in _retrieval("text", found)}
    assert scores["text_r1"].value == pytest.approx(1 / 3) and scores["text_r1"].chance == pytest.approx(1 / 3)
    assert scores["text_r5"].value == scores["text_r5"].chance == 1.0
    assert scores["text_mrr"].value == pytest.approx((1 + 0.4 + 1 / 3) / 3)
    assert scores["text_mrr"].chance == pytest.approx((1 + 1 / 2 + 1 / 3) / 3)
    accuracy, likelihood = _naming("seen", found, 3)
    assert accuracy.value == pytest.approx(1 / 3) and accuracy.chance == pytest.approx(1 / 3)
    assert likelihood.chance == pytest.approx(-np.log(3))
    assert accuracy.stderr == pytest.approx(np.std([1, 0, 0], ddof=1) / 3**0.5)


def test_a_model_to_which_all_is_alike_scores_chance() -> None:
    found = _found(np.zeros((8, 8)), np.arange(8))
    assert found.rank.tolist() == [4.5] * 8
    assert found.log_likelihood == pytest.approx(-np.log(8))


@pytest.fixture(scope="module")
def under_test() -> ModelUnderTest:
    shape = CLIP.resolve(CLIP.Spec(), 17_000, SCENES.shape(SCENES.Spec()), 1)
    model = CLIP.build(shape, 0).eval()
    return ModelUnderTest(model, model, torch.device("cpu"), 1, 0, CLIP, shape)


@torch.no_grad()
def test_every_metric_is_scored_and_an_untrained_model_is_near_chance(under_test: ModelUnderTest) -> None:
    data = SCENES.prepare(SCENES.Spec(), Path(), lambda step, fraction: None)
    scores = IMAGE_TEXT.evaluate(ImageTextSpec(images=256, pairs=64), under_test, data)
    assert [score.metric for score in scores] == [metric.name for metric in IMAGE_TEXT.metrics]
    by_name = {score.metric: score for score in scores}
    assert all(score.stderr is not None and score.n in (256, 64) for score in scores)
    for name in ("unseen_accuracy", "seen_accuracy", "text_r1", "image_r1"):
        assert by_name[name].value < 0.1
    assert by_name["unseen_accuracy"].chance == 1 / 64 and by_name["text_r1"].chance == 1 / 64
    assert by_name["unseen_log_likelihood"].value < by_name["unseen_log_likelihood"].chance + 0.2


@torch.no_grad()
def test_data_of_another_kind_are_not_measured(under_test: ModelUnderTest) -> None:
    other = sources["sparse-parity"]
    data = other.prepare(other.Spec(), Path(), lambda step, fraction: None)
    assert IMAGE_TEXT.evaluate(ImageTextSpec(), under_test, data) == []
    assert list(CLIP.samples(under_test.module, None, data, under_test.device)) == []  # type: ignore[arg-type]


@torch.no_grad()
def test_samples_show_held_out_images_and_what_comes_nearest(under_test: ModelUnderTest) -> None:
    data = SCENES.prepare(SCENES.Spec(), Path(), lambda step, fraction: None)
    (made,) = CLIP.samples(under_test.module, None, data, under_test.device)  # type: ignore[arg-type]
    assert isinstance(made, Made) and made.kind == "image" and made.values.dtype == np.uint8
    lines = made.text.split("\n")
    assert len(lines) == 10 and lines[1] == "n = 128" and lines[2].startswith("1. ")
    right = data.decode(data.held_out_pairs(128)["captions"][0])
    assert lines[2] == f"1. {right}" or lines[2].endswith(f"({right})")
