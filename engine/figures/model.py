"""A figure as data: series, axes, bands, lines and where it all comes from. Who draws it is no matter.

The exporter draws it with matplotlib, the app with pyqtgraph; neither is imported here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Marker = Literal["", "circle", "square", "triangle", "diamond", "star"]
Dash = Literal["solid", "dashed", "dotted", "dashdot"]


@dataclass(frozen=True, slots=True)
class Axis:
    """``kind`` says how ticks read: counts as 10k, 1M; numbers plainly; scores in 0..1 plainly."""

    label: str
    scale: Literal["linear", "log"] = "linear"
    kind: Literal["count", "number"] = "number"


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """Points or a line, x and y (n,). ``lo`` and ``hi`` (n,) are ends of error bars.

    ``color`` is ``#rrggbb``, or empty for the colour of text; ``shade`` in 0..1, where given, is a place on the
    ordered scale of model size and stands before it.
    """

    name: str
    x: Floats
    y: Floats
    lo: Floats | None = None
    hi: Floats | None = None
    color: str = ""
    shade: float | None = None
    marker: Marker = ""
    hollow: bool = False
    line: bool = False
    dash: Dash = "solid"
    thin: bool = False
    faint: bool = False
    """Behind the rest: single seeds beside their mean."""
    legend: bool = True
    label: str = ""
    """What the legend calls it, where that is shorter than its name."""


@dataclass(frozen=True, slots=True, eq=False)
class Band:
    """A filled interval over x (n,)."""

    name: str
    x: Floats
    lo: Floats
    hi: Floats
    color: str = ""
    legend: bool = True


@dataclass(frozen=True, slots=True)
class Line:
    """A reference across the whole plot at one value."""

    name: str
    value: float
    horizontal: bool = True
    dash: Dash = "dotted"
    legend: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Cells in place of series: counts (rows, columns) of true and predicted classes, shaded by share of the row."""

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    counts: NDArray[np.int64]

    @property
    def shares(self) -> Floats:
        """(rows, columns) of 0..1, each row adding up to 1; a row without anything is 0."""
        return np.asarray(self.counts / np.maximum(1, self.counts.sum(axis=1, keepdims=True)), np.float64)


@dataclass(frozen=True, slots=True)
class Figure:
    """One plot. ``provenance`` holds plain JSON values; ``caption`` says in words what is shown."""

    id: str
    title: str
    x: Axis
    y: Axis
    series: tuple[Series, ...]
    bands: tuple[Band, ...] = ()
    lines: tuple[Line, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    caption: str = ""
    legend_at: Literal["best", "upper right", "upper left", "lower right", "lower left", "right of plot"] = "best"
    legend_title: str = ""
    grid: Grid | None = None

    def table(self) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        """What is plotted: columns (series, x, y, lo, hi) and one row per point; the table twin and the CSV.

        Of a grid it is (true, predicted, count, share) and one row per cell.
        """
        if self.grid is not None:
            return ("true", "predicted", "count", "share"), _cells(self.grid)
        rows: list[tuple[Any, ...]] = []
        for series in self.series:
            for i, (x, y) in enumerate(zip(series.x.tolist(), series.y.tolist(), strict=True)):
                lo = None if series.lo is None else float(series.lo[i])
                hi = None if series.hi is None else float(series.hi[i])
                rows.append((series.name, x, y, lo, hi))
        for band in self.bands:
            ends = zip(band.x.tolist(), band.lo.tolist(), band.hi.tolist(), strict=True)
            rows += [(band.name, x, None, lo, hi) for x, lo, hi in ends]
        for line in self.lines:
            rows.append(
                (line.name, *((float("nan"), line.value) if line.horizontal else (line.value, None)), None, None)
            )
        return ("series", "x", "y", "lo", "hi"), rows

    def extent(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """((x lowest, x highest), (y lowest, y highest)) of all that is finite, and positive on log axes."""
        xs = [s.x for s in self.series] + [b.x for b in self.bands]
        ys = [part for s in self.series for part in (s.y, s.lo, s.hi) if part is not None]
        ys += [part for b in self.bands for part in (b.lo, b.hi)]
        xs += [np.array([line.value]) for line in self.lines if not line.horizontal]
        ys += [np.array([line.value]) for line in self.lines if line.horizontal]
        return _extent(xs, self.x.scale), _extent(ys, self.y.scale)


def _cells(grid: Grid) -> list[tuple[Any, ...]]:
    shares = grid.shares
    return [
        (name, other, int(grid.counts[row, column]), float(shares[row, column]))
        for row, name in enumerate(grid.rows)
        for column, other in enumerate(grid.columns)
    ]


def _extent(parts: list[Floats], scale: str) -> tuple[float, float]:
    values = np.concatenate(parts) if parts else np.empty(0)
    values = values[np.isfinite(values) & ((values > 0) | (scale == "linear"))]
    return (float(values.min()), float(values.max())) if len(values) else (1.0, 10.0)
