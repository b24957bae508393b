"""Shapes with textures before a background: images made by a program, with pairs of both kept out of training."""

from pathlib import Path
from typing import Annotated, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.families.base import DataShape
from engine.i18n import mark
from engine.sources import sources
from engine.sources._drawing import SHAPES, TEXTURES, Floats, hues
from engine.sources._images import DrawnItems, TestShare, check_shares, image_shape
from engine.sources._procedural import Items, ProceduralSpec, Split, Stream
from engine.sources.base import OnProgress, Preview, Source

FIELDS = {
    "shape": len(SHAPES),
    "texture": len(TEXTURES),
    "hue": 24,
    "level": 8,
    "background_hue": 24,
    "background_level": 8,
    "background_texture": len(TEXTURES),
    "y": 32,
    "x": 32,
    "radius": 16,
    "turn": 64,
    "period": 8,
    "texture_turn": 32,
    "phase": 16,
    "noise": 4_096,
}
"""Columns of an item before its class, and how many values each takes."""
COLUMN = {name: place for place, name in enumerate(FIELDS)}
RADIUS = (0.2, 0.35)
"""Smallest and largest, in sides of the image; the centre lies where the whole shape fits, or nearly."""
PERIOD = (0.14, 0.24)
SECOND_COLOUR = 0.2
"""Brightness of a texture's second colour beside its first."""
NOISE_SALT = 0x5A0E


class ShapesSpec(ProceduralSpec, frozen=True, kw_only=True):
    """What is drawn, how large, and what is to be told."""

    side: Annotated[
        int,
        msgspec.Meta(title=mark("Size"), description=mark("Pixels per side of the images."), ge=16, le=128),
    ] = 32
    label: Annotated[
        Literal["shape", "texture", "both"],
        msgspec.Meta(
            title=mark("Class"),
            description=mark("What is to be told; with both, every pair is a class and none is kept out of training."),
        ),
    ] = "shape"
    background: Annotated[
        Literal["textured", "plain"],
        msgspec.Meta(title=mark("Background"), description=mark("One colour, or a texture of its own.")),
    ] = "textured"
    noise: Annotated[
        float,
        msgspec.Meta(
            title=mark("Noise"),
            description=mark("Standard deviation of the noise added to each pixel, whose values go from -1 to 1."),
            ge=0,
            le=2,
        ),
    ] = 0.1
    test_fraction: TestShare = None


class ShapeItems(DrawnItems, Stream):
    """Rows of ``FIELDS`` and the class; the images are drawn from them.

    Out of distribution are the pairs of a shape and a texture that training never shows together: one texture of each
    shape, two shapes of each texture. Where pairs are the classes there are none.
    """

    def __init__(self, spec: ShapesSpec) -> None:
        check_shares(spec.validation_fraction, spec.test_fraction)
        self.side, self.label, self.noise = spec.side, spec.label, spec.noise
        self._textured = spec.background == "textured"
        super().__init__(
            "shapes",
            Shapes.version,
            spec,
            class_names(spec.label),
            item_length=len(FIELDS) + 1,
            answer_length=1,
            validation_fraction=spec.validation_fraction,
            test_fraction=spec.test_fraction or 0.0,
        )

    def sample(self, rng: np.random.Generator, n: int, *, ood: bool) -> Items:
        """See ``Stream``."""
        items = np.empty((n, self.item_length), np.int64)
        for name, column in COLUMN.items():
            items[:, column] = rng.integers(0, FIELDS[name], n)
        shape, texture = items[:, COLUMN["shape"]], items[:, COLUMN["texture"]]
        if ood:
            texture[:] = kept_out(shape)
        elif self.label != "both":
            texture[:] = (kept_out(shape) + rng.integers(1, len(TEXTURES), n)) % len(TEXTURES)
        items[:, -1] = {"shape": shape, "texture": texture, "both": shape * len(TEXTURES) + texture}[self.label]
        return items

    def is_ood(self, items: Items) -> NDArray[np.bool_]:
        """Whether its pair is one that is kept out."""
        pair_kept_out = items[:, COLUMN["texture"]] == kept_out(items[:, COLUMN["shape"]])
        return np.asarray(pair_kept_out & (self.label != "both"), np.bool_)

    def draw(self, split: Split, rng: np.random.Generator, n: int) -> Items:
        """See ``Stream``; nothing out of distribution where pairs are the classes."""
        return super().draw(split, rng, 0 if split == "ood" and self.label == "both" else n)

    def n_items(self, split: Split) -> int:
        """Not known: there are about 10^20 of them."""
        return 0

    def images(self, items: Items) -> Floats:
        """float32 (n, 3, side, side) in about -1..1."""
        middle = (self.side - 1) / 2
        y, x = np.mgrid[: self.side, : self.side].astype(np.float32) - np.float32(middle)
        inside = self._inside(items, y, x)[:, None]
        of_shape = self._coloured(items, "hue", "level", "texture", y, x)
        background = "background_texture" if self._textured else ""
        behind = self._coloured(items, "background_hue", "background_level", background, y, x)
        images = 2 * (behind + inside * (of_shape - behind)) - 1
        if self.noise:
            images += np.float32(self.noise) * self._noise(items)
        return np.ascontiguousarray(images, np.float32)

    def _field(self, items: Items, name: str, low: float, high: float) -> Floats:
        """(n, 1, 1) a column's values spread over a range."""
        values = low + (high - low) * (items[:, COLUMN[name]] + 0.5) / FIELDS[name]
        return values.astype(np.float32)[:, None, None]

    def _inside(self, items: Items, y: Floats, x: Floats) -> Floats:
        """(n, side, side) how much of each pixel the shape covers."""
        radius = self._field(items, "radius", *RADIUS) * np.float32(self.side)
        free = np.float32(self.side / 2) - radius
        from_y = (y - free * self._field(items, "y", -1, 1)) / radius
        from_x = (x - free * self._field(items, "x", -1, 1)) / radius
        turned_y, turned_x = _turned(from_y, from_x, self._field(items, "turn", 0, 2 * np.pi))
        distance = np.empty_like(turned_y)
        for number, shape in enumerate(SHAPES.values()):
            of_shape = items[:, COLUMN["shape"]] == number
            distance[of_shape] = shape(turned_x[of_shape], turned_y[of_shape])
        return (np.float32(0.5) - distance * radius).clip(0, 1)

    def _coloured(self, items: Items, hue: str, level: str, texture: str, y: Floats, x: Floats) -> Floats:
        """(n, 3, side, side) a colour, with a darker one where the texture says so."""
        colour = hues(items[:, COLUMN[hue]] / FIELDS[hue])[:, :, None, None]
        bright = (0.25 + 0.75 * colour) * self._field(items, level, 0.4, 1.0)[:, None]
        if not texture:
            return np.broadcast_to(bright, (*bright.shape[:2], *y.shape))
        period = self._field(items, "period", *PERIOD) * np.float32(self.side)
        phase = self._field(items, "phase", 0, 1)
        turned_y, turned_x = _turned(y / period, x / period, self._field(items, "texture_turn", 0, np.pi))
        share = np.empty_like(turned_y)
        for number, pattern in enumerate(TEXTURES.values()):
            chosen = items[:, COLUMN[texture]] == number
            share[chosen] = pattern(turned_x[chosen] + phase[chosen], turned_y[chosen] + phase[chosen])
        return bright * (1 - np.float32(1 - SECOND_COLOUR) * share[:, None])

    def _noise(self, items: Items) -> Floats:
        """(n, 3, side, side) normal numbers, a stretch of one long row for each item."""
        length = 3 * self.side**2
        row = np.random.default_rng((NOISE_SALT, self.side)).standard_normal(length + FIELDS["noise"], dtype=np.float32)
        stretches = np.lib.stride_tricks.sliding_window_view(row, length)
        return stretches[items[:, COLUMN["noise"]]].reshape(-1, 3, self.side, self.side)


def _turned(y: Floats, x: Floats, angle: Floats) -> tuple[Floats, Floats]:
    cos, sin = np.cos(angle), np.sin(angle)
    return cos * y - sin * x, cos * x + sin * y


def kept_out(shape: NDArray[np.int64]) -> NDArray[np.int64]:
    """The texture that training never shows on each of these shapes."""
    return shape % len(TEXTURES)


def class_names(label: str) -> tuple[str, ...]:
    """The classes, by number."""
    if label == "both":
        return tuple(f"{texture} {shape}" for shape in SHAPES for texture in TEXTURES)
    return tuple(SHAPES if label == "shape" else TEXTURES)


@sources.register("shapes")
class Shapes(Source):
    """Ten shapes in five textures, any colour, size, place and turn: endless images, and pairs that are new."""

    name = "shapes"
    version = 1
    title = mark("Shapes and textures")
    Spec = ShapesSpec
    procedural = True

    def shape(self, spec: ShapesSpec) -> DataShape:
        """Colour images in ten, five or fifty classes."""
        return image_shape(3, spec.side, spec.side, class_names(spec.label))

    def prepare(self, spec: ShapesSpec, cache: Path, on_progress: OnProgress) -> ShapeItems:
        """Nothing to load; see ``Source.prepare``."""
        return ShapeItems(spec)

    def preview(self, spec: ShapesSpec, n: int = 5) -> list[Preview]:
        """The first ``n`` images of each split."""
        return ShapeItems(spec).preview(n)
