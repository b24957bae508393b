"""Handwritten digits that come with scikit-learn: 1,797 real images of 8 x 8 pixels (Alpaydin & Kaynak 1998)."""

from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.families.base import DataShape
from engine.i18n import mark, tr
from engine.sources import sources
from engine.sources._images import DrawnItems, Floats, TestShare, augmented, check_shares, image_shape, moved, test_note
from engine.sources._procedural import Items, Listed, Split
from engine.sources.base import Batch, OnProgress, Preview, QualityReport, Source
from engine.study import TableSpec

N_IMAGES, SIDE, LEVELS, N_CLASSES = 1_797, 8, 16, 10
"""What scikit-learn's file holds: images, pixels per side, the brightest pixel, and classes."""
NAMES = tuple(str(digit) for digit in range(N_CLASSES))
SPLIT_SALT, OOD_SALT = 0xD161, 0xD162
OOD_DEGREES = (20.0, 35.0)
OOD_PIXELS = (1.0, 2.0)
OOD_NOISE = 0.5
"""Std of the noise added out of distribution, in units of half the range of a pixel."""
AUGMENT_PIXELS, AUGMENT_DEGREES = 1.0, 10.0


class DigitsSpec(TableSpec, frozen=True, kw_only=True):
    """How much is held out, and whether training images are varied."""

    validation_fraction: Annotated[
        float,
        msgspec.Meta(
            title=mark("Validation share"),
            description=mark("Share of the images that are never trained on, the same ones every time."),
            gt=0,
            le=0.5,
        ),
    ] = 0.25
    augment: Annotated[
        Literal["light", "none"],
        msgspec.Meta(
            title=mark("Augmentation"),
            description=mark("Light: training images are shifted by up to a pixel and turned by up to 10 degrees."),
        ),
    ] = "light"
    train_images: Annotated[
        Annotated[int, msgspec.Meta(ge=N_CLASSES, le=N_IMAGES)] | None,
        msgspec.Meta(
            title=mark("Training images"),
            description=mark("How many of the images that are not held out are trained on; by default all of them."),
        ),
    ] = None
    test_fraction: TestShare = None


class DigitItems(DrawnItems, Listed):
    """Rows (place, class) of images that are all in memory.

    Out of distribution is every held-out digit once, in turn turned by 20 to 35 degrees, shifted by 1 to 2 pixels both
    ways, or under noise: further than augmentation goes.
    """

    def __init__(self, spec: DigitsSpec) -> None:
        check_shares(spec.validation_fraction, spec.test_fraction)
        images, labels = load()
        places = parts(spec)
        asked = places["test"] if spec.test_fraction else places["validation"]
        self._augment = spec.augment == "light"
        self._labels = labels
        self._images = np.concatenate([images, out_of_distribution(images[asked])])
        splits = {name: np.stack([rows, labels[rows]], axis=1) for name, rows in places.items()}
        splits["ood"] = np.stack([N_IMAGES + np.arange(len(asked)), labels[asked]], axis=1)
        super().__init__("digits", Digits.version, spec, NAMES, item_length=2, answer_length=1, splits=splits)

    def images(self, items: Items) -> Floats:
        """float32 (n, 1, 8, 8) in -1..1."""
        return self._images[items[:, 0]]

    def train_batch(self, step: int, batch_size: int, context: int, seed: int) -> Batch:
        """See ``Listed``; each image is varied anew at every step where augmentation is on."""
        batch = super().train_batch(step, batch_size, context, seed)
        if self._augment:
            batch["inputs"] = augmented(batch["inputs"], seed, step, pixels=AUGMENT_PIXELS, degrees=AUGMENT_DEGREES)
        return batch

    def _report(self) -> QualityReport:
        n_train, n_validation = self.n_items("train"), self.n_items("validation")
        notes = [tr("Real handwriting of 13 people who are in both splits: that of others may be read less well.")]
        notes.append(tr("Duplicates are images whose pixels are all equal."))
        notes += test_note(self.n_items("test"))
        flat = self._images[:N_IMAGES].reshape(N_IMAGES, -1)
        held_out = {row.tobytes() for row in flat[self.all_items("validation")[:, 0]]}
        return QualityReport(
            n_documents=N_IMAGES,
            n_train=n_train,
            n_validation=n_validation,
            bytes_train=n_train * SIDE * SIDE,
            bytes_validation=n_validation * SIDE * SIDE,
            exact_duplicates=N_IMAGES - len(np.unique(flat, axis=0)),
            near_duplicates=0,
            leaked=sum(row.tobytes() in held_out for row in flat[self.all_items("train")[:, 0]]),
            label_counts=tuple(zip(self.class_names, np.bincount(self._labels).tolist(), strict=True)),
            notes=tuple(notes),
        )


def parts(spec: DigitsSpec) -> dict[Split, NDArray[np.int64]]:
    """Places of the images of each split. What is held out comes first in one fixed order, tests before validation:

    test images of a fine-tuning are never among what a base was pretrained on, whose validation share is as large.
    """
    order = np.random.default_rng(SPLIT_SALT).permutation(N_IMAGES)
    n_test = round((spec.test_fraction or 0.0) * N_IMAGES)
    n_held_out = n_test + round(spec.validation_fraction * N_IMAGES)
    train = order[n_held_out:][: spec.train_images]
    return {"train": train, "validation": order[n_test:n_held_out], "test": order[:n_test]}


@lru_cache(maxsize=1)
def load() -> tuple[Floats, NDArray[np.int64]]:
    """Every image, float32 (1797, 1, 8, 8) in -1..1, and its class, int64 (1797,)."""
    from sklearn.datasets import load_digits

    found = load_digits()
    images = np.ascontiguousarray(found.images[:, None], np.float32) * np.float32(2 / LEVELS) - np.float32(1)
    return images, found.target.astype(np.int64)


def out_of_distribution(images: Floats) -> Floats:
    """The same images, each changed in one of three ways; the same every time."""
    rng = np.random.default_rng(OOD_SALT)
    n = len(images)
    way = np.arange(n) % 3
    side, sides = rng.choice([-1, 1], n), rng.choice([-1, 1], (n, 2))
    degrees = np.where(way == 0, side * rng.uniform(*OOD_DEGREES, n), 0.0)
    shift = np.where((way == 1)[:, None], sides * rng.uniform(*OOD_PIXELS, (n, 2)), 0.0)
    noise = np.where(way == 2, OOD_NOISE, 0.0)[:, None, None, None] * rng.standard_normal(images.shape)
    return (moved(images, degrees, shift) + noise).astype(np.float32)


@sources.register("digits")
class Digits(Source):
    """1,797 handwritten digits of 8 x 8 pixels, real and on every machine that has scikit-learn."""

    name = "digits"
    version = 1
    title = mark("Handwritten digits")
    Spec = DigitsSpec

    def shape(self, spec: DigitsSpec) -> DataShape:
        """Grey images of 8 x 8 pixels in ten classes."""
        return image_shape(1, SIDE, SIDE, NAMES, n_train_items=len(parts(spec)["train"]))

    def prepare(self, spec: DigitsSpec, cache: Path, on_progress: OnProgress) -> DigitItems:
        """Read from scikit-learn's own file; see ``Source.prepare``."""
        return DigitItems(spec)

    def preview(self, spec: DigitsSpec, n: int = 5) -> list[Preview]:
        """The first ``n`` digits of each split."""
        return DigitItems(spec).preview(n)
