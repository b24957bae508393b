"""Shapes and textures as functions of places, for whole batches at once: what procedural images are drawn with.

Places are float32 arrays of any one shape; a shape gives signed distances (negative inside) and is about 1 in radius, a
texture gives how much of a second colour there is, 0..1.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Distance = Callable[[Floats, Floats], Floats]
"""From (x, y) in the shape's own frame to the signed distance from its edge."""
Texture = Callable[[Floats, Floats], Floats]
"""From (x, y) in periods of the texture to the share of the second colour."""

AREA = 2.2
"""Of every shape in its own frame, so that none is told by how much it covers."""


def _fold(x: Floats, y: Floats, n: int) -> tuple[Floats, Floats]:
    """Radius, and angle from the middle of the nearest of ``n`` sectors, 0..pi / n."""
    sector = np.float32(2 * math.pi / n)
    angle = np.mod(np.arctan2(y, x) + sector / 2, sector) - sector / 2
    return np.hypot(x, y), np.abs(angle)


def _polygon(n: int) -> Distance:
    inradius = np.float32(math.sqrt(AREA / (n * math.tan(math.pi / n))))

    def distance(x: Floats, y: Floats) -> Floats:
        radius, angle = _fold(x, y, n)
        return np.asarray(radius * np.cos(angle) - inradius)

    return distance


def _star(n: int, ratio: float) -> Distance:
    """``ratio`` is that of the inner to the outer radius."""
    outer = math.sqrt(AREA / (n * ratio * math.sin(math.pi / n)))
    across, along = ratio * math.sin(math.pi / n), 1 - ratio * math.cos(math.pi / n)
    length = math.hypot(across, along)
    normal_x, normal_y = np.float32(across / length), np.float32(along / length)
    offset = np.float32(outer * across / length)

    def distance(x: Floats, y: Floats) -> Floats:
        radius, angle = _fold(x, y, n)
        return np.asarray(radius * (np.cos(angle) * normal_x + np.sin(angle) * normal_y) - offset)

    return distance


def _circle(x: Floats, y: Floats) -> Floats:
    return np.asarray(np.hypot(x, y) - np.float32(math.sqrt(AREA / math.pi)))


def _ring(x: Floats, y: Floats) -> Floats:
    """The hole's radius is half the outer one."""
    outer = math.sqrt(AREA / (math.pi * 0.75))
    return np.asarray(np.abs(np.hypot(x, y) - np.float32(0.75 * outer)) - np.float32(0.25 * outer))


def _crescent(x: Floats, y: Floats) -> Floats:
    """A circle without a smaller one beside its middle; its area was measured on a grid."""
    whole, bite = np.hypot(x, y) - np.float32(1.2), np.float32(1.02) - np.hypot(x - np.float32(0.7), y)
    return np.asarray(np.maximum(whole, bite))


def _box(x: Floats, y: Floats, half_width: float, half_height: float) -> Floats:
    return np.asarray(np.maximum(np.abs(x) - np.float32(half_width), np.abs(y) - np.float32(half_height)))


def _bar(x: Floats, y: Floats) -> Floats:
    """Three times as long as wide."""
    half = math.sqrt(AREA / 12)
    return _box(x, y, 3 * half, half)


def _cross(x: Floats, y: Floats) -> Floats:
    """Arms a third of its extent wide."""
    half = math.sqrt(AREA / 20)
    return np.minimum(_box(x, y, 3 * half, half), _box(x, y, half, 3 * half))


SHAPES: Mapping[str, Distance] = {
    "circle": _circle,
    "ring": _ring,
    "crescent": _crescent,
    "triangle": _polygon(3),
    "square": _polygon(4),
    "pentagon": _polygon(5),
    "hexagon": _polygon(6),
    "star": _star(5, 0.45),
    "cross": _cross,
    "bar": _bar,
}


def _wave(x: Floats) -> Floats:
    """-1..1 with period 1."""
    return np.asarray(np.sin(np.float32(2 * math.pi) * x))


def _plain(x: Floats, y: Floats) -> Floats:
    return np.zeros_like(x)


def _stripes(x: Floats, y: Floats) -> Floats:
    return _sharp(_wave(x))


def _checks(x: Floats, y: Floats) -> Floats:
    return _sharp(2 * _wave(x / 2) * _wave(y / 2))


def _dots(x: Floats, y: Floats) -> Floats:
    return _sharp(_wave(x) + _wave(y) - np.float32(0.8))


def _rings(x: Floats, y: Floats) -> Floats:
    return _sharp(_wave(np.hypot(x, y)))


def _sharp(wave: Floats) -> Floats:
    """With edges about a pixel wide."""
    return np.asarray((np.float32(0.5) + 2 * wave).clip(0, 1))


TEXTURES: Mapping[str, Texture] = {
    "plain": _plain,
    "striped": _stripes,
    "checked": _checks,
    "dotted": _dots,
    "ringed": _rings,
}


def hues(hue: Floats) -> NDArray[np.float32]:
    """(n,) places on the colour circle, 0..1, to colours (n, 3) in 0..1."""
    turns = hue[:, None] + np.array([0, 1 / 3, 2 / 3])
    return np.asarray(0.5 + 0.5 * np.cos(2 * math.pi * turns), np.float32)
