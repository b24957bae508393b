"""Source ``shapes``: areas, what is drawn where, pure batches, splits that share nothing, pairs kept out, speed."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.sources import sources
from engine.sources._drawing import AREA, SHAPES, TEXTURES
from engine.sources._images import ImageData
from engine.sources._procedural import SPLITS
from engine.sources.shapes import COLUMN, ShapeItems, kept_out

SOURCE = sources["shapes"]
MIN_IMAGES_PER_SECOND = 2_000
"""Several times what the smallest model of a study takes on one core."""


def prepared(**spec: Any) -> ShapeItems:
    data = SOURCE.prepare(SOURCE.Spec(**spec), Path(), lambda step, fraction: None)
    assert isinstance(data, ShapeItems) and isinstance(data, ImageData)
    return data


@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_covers_as_much_and_stays_within_its_frame(name: str) -> None:
    grid = np.linspace(-2, 2, 401, dtype=np.float32)
    x, y = np.meshgrid(grid, grid)
    inside = SHAPES[name](x, y) < 0
    assert inside.mean() * 16 == pytest.approx(AREA, rel=0.03)
    assert np.hypot(x, y)[inside].max() < 1.4


def test_distances_are_distances_near_the_edge() -> None:
    """A pixel is covered as far as its middle is within the edge: the gradient there is of length one."""
    grid = np.linspace(-1.5, 1.5, 601, dtype=np.float32)
    x, y = np.meshgrid(grid, grid)
    for shape in SHAPES.values():
        distance = shape(x, y)
        slope = np.hypot(*np.gradient(distance, float(grid[1] - grid[0])))
        assert np.median(slope[np.abs(distance) < 0.03]) == pytest.approx(1, abs=0.02)


def test_it_says_that_it_is_made_and_its_shape_is_known_in_advance() -> None:
    assert SOURCE.procedural and any("program" in note for note in prepared().report.notes)
    for label, n_classes in (("shape", 10), ("texture", 5), ("both", 50)):
        shape = SOURCE.shape(SOURCE.Spec(label=label, side=24))
        data = prepared(label=label, side=24)
        batch = data.train_batch(0, 200, 1, 0)
        assert shape.n_classes == len(data.class_names) == n_classes
        assert batch["inputs"].shape == (200, *shape.sample_shape) and batch["inputs"].dtype == np.float32
        assert batch["targets"].dtype == np.int64 and 0 <= batch["targets"].min() <= batch["targets"].max() < n_classes


def test_a_batch_is_a_pure_function_of_seed_and_step() -> None:
    data = prepared()
    one, again = data.train_batch(5, 16, 1, 3), prepared().train_batch(5, 16, 1, 3)
    assert all(np.array_equal(one[name], again[name]) for name in one)
    for other in (data.train_batch(6, 16, 1, 3), data.train_batch(5, 16, 1, 4)):
        assert not np.array_equal(one["inputs"], other["inputs"])
    assert prepared(noise=0.2).fingerprint != data.fingerprint


def test_an_image_does_not_depend_on_what_else_is_in_the_batch() -> None:
    data = prepared()
    items = data.items("validation", 30)
    assert np.array_equal(data.images(items)[7:9], data.images(items[7:9]))


def test_splits_share_no_item_and_training_never_shows_the_pairs_kept_out() -> None:
    data = prepared(validation_fraction=0.2)
    items = {split: data.items(split, 3_000) for split in SPLITS}
    keys = {split: set(data.key(part).tolist()) for split, part in items.items()}
    assert not keys["train"] & keys["validation"] and not keys["ood"] & (keys["train"] | keys["validation"])
    pairs = {
        split: set(zip(part[:, COLUMN["shape"]].tolist(), part[:, COLUMN["texture"]].tolist(), strict=True))
        for split, part in items.items()
    }
    assert pairs["train"] == pairs["validation"] and not pairs["train"] & pairs["ood"]
    assert len(pairs["train"] | pairs["ood"]) == len(SHAPES) * len(TEXTURES) and len(pairs["ood"]) == len(SHAPES)
    assert all(texture == kept_out(np.array([shape]))[0] for shape, texture in pairs["ood"])


def test_where_pairs_are_the_classes_all_are_trained_on_and_none_is_new() -> None:
    data = prepared(label="both")
    assert len(set(data.items("train", 3_000)[:, -1].tolist())) == 50
    assert len(data.held_out("ood", 100)["targets"]) == 0
    assert data.class_names[1] == "striped circle"


def test_what_is_drawn_is_what_the_item_says() -> None:
    """A plain shape before a plain background shows in the middle of where it lies, and nowhere in a corner."""
    data = prepared(noise=0.0, background="plain", side=64)
    items = data.items("train", 400)
    free = (items[:, COLUMN["x"]] == 16) & (items[:, COLUMN["y"]] == 16) | (items[:, COLUMN["texture"]] == 0)
    items = items[free].copy()
    items[:, COLUMN["x"]] = items[:, COLUMN["y"]] = 16
    items[:, COLUMN["texture"]] = 0
    solid = items[np.isin(items[:, COLUMN["shape"]], [0, 4, 5, 6, 7, 8])]
    images = data.images(solid)
    assert np.ptp(images[:, :, :2, :2].reshape(len(solid), 3, -1), axis=2).max() == 0
    assert np.abs(images[:, :, 32, 32] - images[:, :, 0, 0]).max(axis=1).min() > 0
    changed = (np.abs(images - images[:, :, :1, :1]).max(axis=1) > 1e-4).mean(axis=(1, 2))
    assert 0.05 < changed.min() and changed.max() < 0.4


def test_held_out_images_are_the_same_every_time_and_no_more_than_fit_into_memory() -> None:
    data = prepared()
    assert np.array_equal(data.held_out("validation", 9)["inputs"], prepared().held_out("validation", 9)["inputs"])
    assert sum(len(batch["targets"]) for batch in data.validation_batches(512, 1, 1_000)) == 1_000
    many = sum(len(batch["targets"]) for batch in prepared(side=16).validation_batches(4_096, 1, 65_536))
    assert many == 4_096


def test_a_preview_shows_images() -> None:
    for found in SOURCE.preview(SOURCE.Spec(), 2):
        assert found["origin"] in SPLITS and found["label"] in SHAPES
        assert found["image"].shape == (32, 32, 3) and found["image"].dtype == np.uint8


def test_it_never_starves_training() -> None:
    data, n, start = prepared(), 0, time.process_time()
    while time.process_time() - start < 0.2:
        data.train_batch(n, 64, 1, 0)
        n += 1
    assert n * 64 / (time.process_time() - start) > MIN_IMAGES_PER_SECOND
