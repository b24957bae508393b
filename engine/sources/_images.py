"""What sources of labelled images share: pixels to numbers and back, light augmentation, pictures to look at.

A batch of images is ``inputs`` float32 (b, channels, h, w) in -1..1 and ``targets`` int64 (b,).
"""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Protocol, runtime_checkable

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.errors import InputError
from engine.families.base import DataShape
from engine.i18n import mark, tr
from engine.sources._procedural import SPLITS, Items, Procedural, Split
from engine.sources.base import Batch, Preview

TestShare = Annotated[
    Annotated[float, msgspec.Meta(gt=0, le=0.5)] | None,
    msgspec.Meta(
        title=mark("Test share"),
        description=mark("Share held out for results alone; by default none, and a fifth where a model is fine-tuned."),
    ),
]

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]

MOST_HELD_OUT = 0.9
MIDDLE = 127.5
"""The pixel value that becomes 0."""
AUGMENT_SALT = 0xA06
MOST_VALIDATED = 4_096
"""Images of the validation split that a loss is measured on at most, however many tokens a study asks for: an image
counts as one, takes a thousand times as much memory, and this many give an accuracy to within 0.8 %."""
TILE = 48
"""Pixels that an image of a picture has at least, per side."""


@runtime_checkable
class ImageData(Protocol):
    """Prepared labelled images, as capabilities and families know them."""

    fingerprint: str
    class_names: tuple[str, ...]

    def held_out(self, split: Split, n: int) -> Batch:
        """The same ``n`` images of a split every time, all where it has fewer, none where there is no such split."""
        ...


def image_shape(channels: int, height: int, width: int, class_names: Sequence[str], **known: Any) -> DataShape:
    """The data shape of labelled images of one size: a sample is read at once. ``known`` are further fields of it."""
    names = tuple(class_names)
    sample = (channels, height, width)
    return DataShape("images", n_classes=len(names), sample_shape=sample, fixed_context=1, class_names=names, **known)


def check_shares(validation: float, test: float | None) -> None:
    """Raise ``InputError`` where nothing is left to train on."""
    if validation + (test or 0.0) > MOST_HELD_OUT:
        raise InputError(
            tr("data.test_fraction: with the validation share it leaves next to nothing to train on."),
            tr("Hold out {share:.0%} at most in all.", share=MOST_HELD_OUT),
        )


def test_note(n: int) -> list[str]:
    """What a report says of the images of the test split; nothing where there are none."""
    return [tr("Held out for results alone: {n:,} images.", n=n)] if n else []


def normalised(pixels: Pixels) -> Floats:
    """uint8 (n, h, w) or (n, h, w, channels) to float32 (n, channels, h, w) in -1..1."""
    channels_first = pixels[:, None] if pixels.ndim == 3 else np.moveaxis(pixels, 3, 1)
    return np.ascontiguousarray(channels_first, np.float32) / np.float32(MIDDLE) - np.float32(1)


def to_pixels(images: NDArray[np.floating[Any]]) -> Pixels:
    """(n, channels, h, w) in about -1..1 to uint8 (n, h, w, 3); what is beyond is cut off."""
    pixels = np.rint((images.clip(-1, 1) + 1) * MIDDLE).astype(np.uint8)
    return np.moveaxis(np.broadcast_to(pixels, (len(pixels), 3, *pixels.shape[2:])), 1, 3)


def picture(images: NDArray[np.floating[Any]], columns: int = 8) -> Pixels:
    """One picture uint8 (height, width, 3) of images (n, channels, h, w), row by row, enlarged where they are small."""
    pixels = to_pixels(images)
    n, height, width, _ = pixels.shape
    factor = max(1, -(-TILE // min(height, width)))
    gap, rows = max(1, factor // 2), -(-n // columns)
    step_y, step_x = height * factor + gap, width * factor + gap
    out = np.full((rows * step_y + gap, min(n, columns) * step_x + gap, 3), MIDDLE, np.uint8)
    for number, tile in enumerate(pixels.repeat(factor, axis=1).repeat(factor, axis=2)):
        top, left = gap + number // columns * step_y, gap + number % columns * step_x
        out[top : top + height * factor, left : left + width * factor] = tile
    return out


def moved(images: Floats, degrees: NDArray[np.floating[Any]], shift: NDArray[np.floating[Any]]) -> Floats:
    """Images (n, channels, h, w) each turned about its middle by ``degrees`` (n,) and then shifted.

    ``shift`` is (n, 2), rows down and columns right, in pixels. Values between pixels are bilinear; what comes in
    from outside is the nearest pixel of the edge.
    """
    n, _, height, width = images.shape
    y = np.arange(height, dtype=np.float32)[:, None] - np.float32((height - 1) / 2)
    x = np.arange(width, dtype=np.float32) - np.float32((width - 1) / 2)
    turn = np.deg2rad(degrees).astype(np.float32)[:, None, None]
    y, x = y - shift[:, :1, None].astype(np.float32), x - shift[:, 1:, None].astype(np.float32)
    cos, sin = np.cos(turn), np.sin(turn)
    from_y = (cos * y - sin * x + np.float32((height - 1) / 2)).clip(0, height - 1)
    from_x = (cos * x + sin * y + np.float32((width - 1) / 2)).clip(0, width - 1)
    top, left = from_y.astype(np.int64), from_x.astype(np.int64)
    part_y, part_x = (from_y - top)[..., None], (from_x - left)[..., None]
    bottom, right = np.minimum(top + 1, height - 1), np.minimum(left + 1, width - 1)
    which = np.arange(n)[:, None, None]
    upper = images[which, :, top, left] * (1 - part_x) + images[which, :, top, right] * part_x
    lower = images[which, :, bottom, left] * (1 - part_x) + images[which, :, bottom, right] * part_x
    return np.ascontiguousarray(np.moveaxis(upper * (1 - part_y) + lower * part_y, 3, 1), np.float32)


def augmented(images: Floats, seed: int, step: int, *, pixels: float, degrees: float) -> Floats:
    """Images shifted by up to ``pixels`` and turned by up to ``degrees``: a pure function of its arguments."""
    rng = np.random.default_rng((seed, step, AUGMENT_SALT))
    n = len(images)
    return moved(images, rng.uniform(-degrees, degrees, n), rng.uniform(-pixels, pixels, (n, 2)))


class DrawnItems(Procedural):
    """Items (n, item_length) that stand for images, the class last; subclasses make the images.

    Goes before ``Listed`` or ``Stream`` in a class's bases. Implements ``ImageData``.
    """

    @abstractmethod
    def images(self, items: Items) -> Floats:
        """float32 (n, channels, h, w) in -1..1, a pure function of the items."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """What each class is called, by number."""
        return self.vocabulary

    def held_out(self, split: Split, n: int) -> Batch:
        """See ``ImageData``."""
        return self.batch(self.items(split, n), 1)

    def validation_batches(self, batch_size: int, context: int, max_tokens: int) -> Iterator[Batch]:
        """See ``Prepared``: ``max_tokens`` images, ``MOST_VALIDATED`` at most."""
        yield from super().validation_batches(batch_size, context, min(max_tokens, MOST_VALIDATED))

    def batch(self, items: Items, context: int) -> Batch:
        """Images float32 (n, channels, h, w) and classes int64 (n,)."""
        return {"inputs": self.images(items), "targets": np.ascontiguousarray(items[:, -1])}

    def decode(self, tokens: NDArray[np.integer[Any]]) -> str:
        """Raises ``TypeError``: images are not text."""
        raise TypeError("images are not text")

    def preview(self, n: int) -> list[Preview]:
        """The first ``n`` images of every split that there is."""
        found: list[Preview] = []
        for split in (*SPLITS, "test"):
            batch = self.held_out(split, n)
            for label, image in zip(batch["targets"].tolist(), to_pixels(batch["inputs"]), strict=True):
                found.append({"origin": split, "label": self.class_names[label], "image": image})
        return found
