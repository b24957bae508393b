"""Source ``digits``: what it holds, splits that share nothing, pure batches, augmentation that stays light."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.sources import sources
from engine.sources._images import ImageData
from engine.sources.digits import N_IMAGES, DigitItems

DIGITS = sources["digits"]


def prepared(**spec: Any) -> DigitItems:
    data = DIGITS.prepare(DIGITS.Spec(**spec), Path(), lambda step, fraction: None)
    assert isinstance(data, DigitItems) and isinstance(data, ImageData)
    return data


def rows(data: DigitItems, split: Any) -> set[bytes]:
    return {image.tobytes() for image in data.held_out(split, N_IMAGES)["inputs"]}


def test_it_is_real_and_its_shape_is_known_in_advance() -> None:
    data, shape = prepared(), DIGITS.shape(DIGITS.Spec())
    assert not DIGITS.procedural
    assert shape.modality == "images" and shape.n_classes == len(data.class_names) == 10
    assert shape.n_train_items == data.n_items("train") == 1_348
    batch = data.train_batch(0, 16, 1, 0)
    assert batch["inputs"].shape == (16, *shape.sample_shape) and batch["inputs"].dtype == np.float32
    assert batch["targets"].shape == (16,) and batch["targets"].dtype == np.int64
    assert -1 <= batch["inputs"].min() < -0.9 and 0.5 < batch["inputs"].max() <= 1


def test_every_digit_is_in_one_split_and_none_comes_twice() -> None:
    data = prepared()
    train, validation, ood = (rows(data, split) for split in ("train", "validation", "ood"))
    assert len(train) + len(validation) == N_IMAGES
    assert not train & validation and not ood & (train | validation)
    assert data.report.exact_duplicates == data.report.leaked == 0
    assert sum(n for _, n in data.report.label_counts) == N_IMAGES


def test_out_of_distribution_are_held_out_digits_that_were_changed() -> None:
    data = prepared()
    validation, ood = data.held_out("validation", N_IMAGES), data.held_out("ood", N_IMAGES)
    assert np.array_equal(validation["targets"], ood["targets"])
    distance = np.abs(validation["inputs"] - ood["inputs"]).mean(axis=(1, 2, 3))
    assert distance.min() > 0.05


@pytest.mark.parametrize("augment", ["light", "none"])
def test_a_batch_is_a_pure_function_of_seed_and_step(augment: str) -> None:
    data = prepared(augment=augment)
    one, again = data.train_batch(40, 64, 1, 3), prepared(augment=augment).train_batch(40, 64, 1, 3)
    assert all(np.array_equal(one[name], again[name]) for name in one)
    for other in (data.train_batch(41, 64, 1, 3), data.train_batch(40, 64, 1, 4)):
        assert not np.array_equal(one["inputs"], other["inputs"])


def test_an_epoch_holds_every_training_image_once_and_augmentation_keeps_the_digit() -> None:
    plain, varied = prepared(augment="none"), prepared()
    whole, turned = plain.train_batch(0, 1_348, 1, 0), varied.train_batch(0, 1_348, 1, 0)
    assert {image.tobytes() for image in whole["inputs"]} == rows(plain, "train")
    assert np.array_equal(whole["targets"], turned["targets"])
    originals, changed = (batch["inputs"].reshape(1_348, -1) for batch in (whole, turned))
    assert not np.allclose(originals, changed, atol=0.1)
    distance = np.square(originals).sum(axis=1) - 2 * changed @ originals.T
    nearest = whole["targets"][distance.argmin(axis=1)]
    assert (nearest == whole["targets"]).mean() > 0.75


def test_a_preview_shows_images() -> None:
    for found in DIGITS.preview(DIGITS.Spec(), 2):
        assert found["origin"] in ("train", "validation", "ood") and found["label"] in "0123456789"
        assert found["image"].shape == (8, 8, 3) and found["image"].dtype == np.uint8
