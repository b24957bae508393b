"""What scenes are made of: shapes drawn into a bank of masks, colours, and the words that say what is seen."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from engine.sources._captions import END, PAD

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

SHAPES = ("circle", "square", "triangle", "diamond", "cross", "ring", "frame", "bar")
COLOURS = {
    "red": (0.90, 0.12, 0.12),
    "orange": (0.98, 0.55, 0.08),
    "yellow": (0.95, 0.90, 0.15),
    "green": (0.15, 0.65, 0.20),
    "cyan": (0.20, 0.80, 0.85),
    "blue": (0.15, 0.25, 0.90),
    "purple": (0.50, 0.12, 0.65),
    "pink": (0.98, 0.55, 0.75),
}
SIZES = ("small", "large")
BACKGROUNDS = {"black": 0.0, "grey": 0.45, "white": 1.0}
CELLS = ("top left", "top right", "bottom left", "bottom right")

SIDE = 32
"""Pixels of an image's side."""
CELL = SIDE // 2
SHIFTS = 3
"""Places an object may be at along each axis of its cell, a pixel apart."""
RADII = (4.0, 6.0)
"""Half the extent of a small and of a large object, in pixels."""
NOISE_STD = 0.05
N_NOISE = 256
OVERSAMPLING = 5
"""Points per pixel and axis at which a shape is looked up: edges are smooth."""

WORDS = (
    *("<pad>", "<end>", "a", "an", ",", "and", "there", "is", "we", "see"),
    *("above", "below", "left", "right", "of", "at", "top", "bottom", "on"),
    *SIZES,
    *COLOURS,
    *SHAPES,
    *BACKGROUNDS,
)
WORD: dict[str, int] = {word: number for number, word in enumerate(WORDS)}
CAPTION_LENGTH = 16
"""Tokens of the longest caption with its end: three objects, an opening and the background."""

OPENINGS = ((), ("there", "is"), ("we", "see"))
RELATIONS = (("left", "of"), ("right", "of"), ("above",), ("below",))
JOINED = 4
"""The two objects are only named, with ``and`` between them; before it in the same table are ``RELATIONS``."""


def _inside(shape: str, x: Floats, y: Floats) -> NDArray[np.bool_]:
    """Where a shape of half extent 1 around the origin is; y points down."""
    far, near = np.maximum(np.abs(x), np.abs(y)), np.minimum(np.abs(x), np.abs(y))
    radius = np.hypot(x, y)
    inside = {
        "circle": radius <= 1,
        "square": far <= 0.85,
        "triangle": (np.abs(x) <= (y + 1) / 1.8) & (y <= 0.8),
        "diamond": np.abs(x) + np.abs(y) <= 1,
        "cross": (far <= 1) & (near <= 0.3),
        "ring": (radius <= 1) & (radius >= 0.55),
        "frame": (far <= 0.9) & (far >= 0.5),
        "bar": (np.abs(x) <= 1) & (np.abs(y) <= 0.4),
    }
    return np.asarray(inside[shape], np.bool_)


@lru_cache(maxsize=1)
def masks() -> Floats:
    """(shapes, sizes, SHIFTS, SHIFTS, CELL, CELL): the share of each pixel of a cell that is covered.

    A shape is moved down and right by whole pixels, from one before the middle to one after it.
    """
    fine = (np.arange(CELL * OVERSAMPLING) + 0.5) / OVERSAMPLING - CELL / 2
    offsets = np.arange(SHIFTS) - SHIFTS // 2
    y, x = fine[:, None] - offsets[:, None, None, None], fine - offsets[:, None, None]
    bank = [[_inside(shape, *np.broadcast_arrays(x / r, y / r)) for r in RADII] for shape in SHAPES]
    pixels = (CELL, OVERSAMPLING)
    split = np.asarray(bank, np.float32).reshape(len(SHAPES), len(SIZES), SHIFTS, SHIFTS, *pixels, *pixels)
    return np.asarray(split.mean(axis=(5, 7)), np.float32)


@lru_cache(maxsize=1)
def noise() -> Floats:
    """(N_NOISE, 3, SIDE, SIDE): what is added to an image, the same on every machine."""
    drawn = np.random.default_rng(0x5CE4E).standard_normal((N_NOISE, 3, SIDE, SIDE))
    return np.asarray(NOISE_STD * drawn, np.float32)


def draw(background: Ints, objects: Ints, shift: Ints, brightness: Floats, grain: Ints) -> Floats:
    """Images float32 (n, 3, SIDE, SIDE), black -1 and white 1 but for the noise.

    Args:
        background: (n,) which of ``BACKGROUNDS``.
        objects: (n, k, 4) shape, colour, size and cell of each; a negative cell is no object.
        shift: (n, k, 2) which of ``SHIFTS`` places, down and right.
        brightness: (n, k) what the colour is multiplied by.
        grain: (n,) which of ``noise()`` is added.
    """
    n = len(objects)
    ground = np.asarray(list(BACKGROUNDS.values()), np.float32)[background]
    cover = np.zeros((n, len(CELLS), CELL, CELL), np.float32)
    paint = np.zeros((n, 3, len(CELLS)), np.float32)
    row, place = np.nonzero(objects[..., 3] >= 0)
    shape, colour, size, cell = objects[row, place].T
    cover[row, cell] = masks()[shape, size, shift[row, place, 0], shift[row, place, 1]]
    paint[row, :, cell] = np.asarray(list(COLOURS.values()), np.float32)[colour] * brightness[row, place, None]
    paint -= ground[:, None, None]
    # Cells are two by two and share no pixel, so that all are painted at once.
    whole = np.ascontiguousarray(cover.reshape(n, 2, 2, CELL, CELL).swapaxes(2, 3)).reshape(n, 1, 2, CELL, 2, CELL)
    images = (whole * paint.reshape(n, 3, 2, 1, 2, 1)).reshape(n, 3, SIDE, SIDE)
    images += ground[:, None, None, None]
    images += noise()[grain]
    images *= 2.0
    images -= 1.0
    return images


def describe(background: Ints, objects: Ints, wording: Ints) -> Ints:
    """Captions int64 (n, CAPTION_LENGTH): words, ``END``, then ``PAD``.

    Args:
        background: (n,) which of ``BACKGROUNDS``.
        objects: (n, 3, 4) shape, colour, size and cell; a negative cell is no object.
        wording: (n, 4) opening, whether sizes are said, what links one object to its place or two to each other
            (``link_of``; -1 for nothing said), whether the background is said.
    """
    n = len(objects)
    count = (objects[:, :, 3] >= 0).sum(axis=1)
    opening, sized, link, on = wording.T
    slots: list[Ints] = [_phrases(OPENINGS, 2)[opening]]
    for j in range(3):
        there = count > j
        said = sized.astype(np.bool_) & (count < 3)
        slots += [np.where(there[:, None], _named(objects[:, j], said), PAD)]
        if j == 0:
            pair = np.where((count == 2)[:, None], _phrases((*RELATIONS, ("and",)), 2)[link], PAD)
            slots += [pair, np.where(count == 3, WORD[","], PAD)[:, None]]
        if j == 1:
            slots += [np.where(count == 3, WORD["and"], PAD)[:, None]]
    places = _phrases(tuple(("at", *cell.split()) for cell in CELLS), 3)[np.maximum(objects[:, 0, 3], 0)]
    slots += [np.where(((count == 1) & (link >= 0))[:, None], places, PAD)]
    grounds = _phrases(tuple(("on", ground) for ground in BACKGROUNDS), 2)[background]
    slots += [np.where((on == 1)[:, None], grounds, PAD), np.full((n, 1), END)]
    return _compacted(np.concatenate(slots, axis=1))


def link_of(objects: Ints, axis: Ints) -> Ints:
    """(n,) which of ``RELATIONS`` the first object is in to the second: along columns where ``axis`` is 0, if they
    differ in that, else along rows."""
    first, second = objects[:, 0, 3], objects[:, 1, 3]
    same_column, same_row = first % 2 == second % 2, first // 2 == second // 2
    across = same_row | (~same_column & (axis == 0))
    return np.where(across, first % 2 > second % 2, 2 + (first // 2 > second // 2)).astype(np.int64)


def prompts() -> Ints:
    """``a red circle`` for every colour and shape, int64 (shapes * colours, CAPTION_LENGTH); shape by shape."""
    n_shapes, n_colours = len(SHAPES), len(COLOURS)
    objects = np.full((n_shapes * n_colours, 3, 4), -1)
    objects[:, 0] = 0
    objects[:, 0, 0] = np.repeat(np.arange(n_shapes), n_colours)
    objects[:, 0, 1] = np.tile(np.arange(n_colours), n_shapes)
    wording = np.tile(np.array([0, 0, -1, 0]), (len(objects), 1))
    return describe(np.zeros(len(objects), np.int64), objects, wording)


def spell(tokens: NDArray[np.integer]) -> str:
    """The words of a caption up to its end."""
    words = []
    for token in tokens:
        if token in (PAD, END):
            break
        words.append(WORDS[int(token)])
    return " ".join(words).replace(" ,", ",")


def _named(objects: Ints, sized: NDArray[np.bool_]) -> Ints:
    """(n, 4): article, size where it is said, colour and shape."""
    size = np.where(sized, WORD[SIZES[0]] + objects[:, 2], PAD)
    colour = WORD[next(iter(COLOURS))] + objects[:, 1]
    article = np.where(~sized & (colour == WORD["orange"]), WORD["an"], WORD["a"])
    return np.stack([article, size, colour, WORD[SHAPES[0]] + objects[:, 0]], axis=1)


@lru_cache(maxsize=8)
def _phrases(words: tuple[tuple[str, ...], ...], width: int) -> Ints:
    """(n, width) tokens of phrases, padded."""
    return np.asarray([[WORD[word] for word in phrase] + [PAD] * (width - len(phrase)) for phrase in words], np.int64)


def _compacted(slots: Ints) -> Ints:
    """The same with padding moved to the end, cut to ``CAPTION_LENGTH``."""
    order = np.argsort(slots == PAD, axis=1, kind="stable")
    return np.ascontiguousarray(np.take_along_axis(slots, order, axis=1)[:, :CAPTION_LENGTH])
