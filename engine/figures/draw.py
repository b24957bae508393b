"""Draws a figure with matplotlib's own objects: no pyplot, no display, no state left behind."""

import contextlib
import re
import threading
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import matplotlib
import numpy as np
from matplotlib import font_manager, ticker
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure as Canvas

from engine.figures.model import Axis, Band, Figure, Grid, Series
from engine.figures.palette import OKABE_ITO, ordered
from engine.figures.style import FONTS, Style
from engine.figures.ticks import format_count, format_number, linear_ticks, log_ticks
from engine.i18n import language

MM = 1 / 25.4
MOST_CELLS_WITH_NUMBERS, MOST_NAMES = 16, 40
"""Classes of a grid up to which every cell has its number, and every row its name."""
LONGEST_NAME = 18
HALF_INK = 0.55
_MARKERS = {"": "", "circle": "o", "square": "s", "triangle": "^", "diamond": "D", "star": "*"}
_DASHES: dict[str, Any] = {
    "solid": "-",
    "dashed": (0, (4, 2)),
    "dotted": (0, (1, 1.6)),
    "dashdot": (0, (5, 1.6, 1, 1.6)),
}
_LOCK = threading.Lock()
"""rcParams are the process's own: one drawing at a time."""


@lru_cache(maxsize=1)
def _families() -> list[str]:
    """Font families in order: matplotlib's own, then the bundled one that has Chinese."""
    names = ["DejaVu Sans"]
    for path in sorted(FONTS.glob("*.[to]tf")):
        font_manager.fontManager.addfont(str(path))
        names.append(font_manager.FontProperties(fname=str(path)).get_name())
    return names


@contextlib.contextmanager
def drawing_rules(style: Style) -> Iterator[None]:
    """matplotlib's settings while a figure is drawn and saved."""
    rules: Any = {
        "font.family": _families(),
        "font.size": style.font_size,
        "mathtext.fontset": "dejavusans",
        "svg.fonttype": "path",  # looks the same where the fonts are missing
        "svg.hashsalt": "emergence-lab",  # equal figures, equal bytes
        "pdf.fonttype": 42,  # text that can be searched and edited
        "axes.unicode_minus": True,
        "text.color": style.foreground,
        "axes.labelcolor": style.foreground,
        "axes.edgecolor": style.foreground,
        "xtick.color": style.foreground,
        "ytick.color": style.foreground,
        "savefig.facecolor": style.background,
    }
    with _LOCK, matplotlib.rc_context(rules):
        yield


def draw(figure: Figure, style: Style) -> Canvas:
    """The figure at the style's size; to be called inside ``drawing_rules``."""
    canvas = Canvas((style.width_mm * MM, style.height_mm * MM), facecolor=style.background, layout="constrained")
    margin = 0.5 * style.font_size / 72
    canvas.get_layout_engine().set(w_pad=margin, h_pad=margin)  # type: ignore[union-attr, call-arg]
    axes = canvas.add_subplot(facecolor=style.background)
    if figure.grid is not None:
        _grid(axes, figure, figure.grid, style)
        return canvas
    for band in figure.bands:
        _band(axes, band, style)
    for line in figure.lines:
        across = axes.axhline if line.horizontal else axes.axvline
        across(
            line.value,
            color=style.foreground,
            lw=style.thin_line,
            ls=_DASHES[line.dash],
            label=_words(line.name) if line.legend else "_",
            zorder=1.5,
        )
    for series in figure.series:
        _series(axes, series, style)
    (x_low, x_high), (y_low, y_high) = figure.extent()
    _axis(axes, "x", figure.x, x_low, x_high, style)
    _axis(axes, "y", figure.y, y_low, y_high, style)
    _frame(axes, figure, style)
    return canvas


def _grid(axes: Axes, figure: Figure, grid: Grid, style: Style) -> None:
    """Counts in cells that are darker the larger their share of the row; of many classes the shade alone."""
    shares = grid.shares
    n_rows, n_columns = shares.shape
    ink = LinearSegmentedColormap.from_list("cells", [style.background, _color(OKABE_ITO[0], style)])
    axes.imshow(shares, cmap=ink, vmin=0.0, vmax=1.0, aspect="auto", interpolation="nearest")
    size = min(style.tick_size, 0.62 * style.height_mm / 25.4 * 72 / max(n_rows, n_columns))
    if n_rows <= MOST_CELLS_WITH_NUMBERS:
        for row in range(n_rows):
            for column in range(n_columns):
                # On a cell that is nearly full the text takes the colour of the paper.
                color = style.background if shares[row, column] > HALF_INK else style.foreground
                text = f"{grid.counts[row, column]:,}"
                axes.text(column, row, text, ha="center", va="center", fontsize=size, color=color)
    step = max(1, -(-n_rows // MOST_NAMES))
    for side, names, turned in ((axes.xaxis, grid.columns, True), (axes.yaxis, grid.rows, False)):
        shown = [_words(_short(name)) for name in names[::step]]
        side.set_ticks(range(0, len(names), step), shown, fontsize=size)
        if turned and (len(names) > 6 or max(map(len, shown)) > 8):
            for label in side.get_ticklabels():
                label.set(rotation=40, ha="right", rotation_mode="anchor")
    axes.tick_params(length=0)
    axes.set_xlabel(figure.x.label, fontsize=style.font_size)
    axes.set_ylabel(figure.y.label, fontsize=style.font_size)
    for spine in axes.spines.values():
        spine.set_color(style.grid)
    if style.title:
        axes.set_title(figure.title, fontsize=style.title_size, loc="left", pad=0.6 * style.title_size)


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


def _band(axes: Axes, band: Band, style: Style) -> None:
    axes.fill_between(
        band.x,
        band.lo,
        band.hi,
        color=_color(band.color, style),
        alpha=style.band_alpha,
        lw=0,
        label=_words(band.name) if band.legend else "_",
        zorder=1,
    )


def _series(axes: Axes, series: Series, style: Style) -> None:
    color = _color(series.color, style)
    if series.shade is not None:
        color = ordered(series.shade, *style.ordered)
    label = _words(series.label or series.name) if series.legend else "_"
    size = style.marker_size * (0.6 if series.faint or series.thin else 1.0)
    look: dict[str, Any] = {
        "color": color,
        "lw": style.thin_line if series.thin else style.line_width,
        "ls": _DASHES[series.dash] if series.line else "none",
        "marker": _MARKERS[series.marker],
        "ms": size,
        "mfc": style.background if series.hollow else color,
        "mec": color,
        "mew": style.thin_line,
        "alpha": 0.45 if series.faint else 1.0,
        "label": label,
        "zorder": 2 if series.line and not series.marker else 2.5 if series.faint or series.lo is not None else 3,
    }
    if series.line and len(series.x) > 30:
        look["markevery"] = (0.05, 0.18)  # markers tell lines apart; one per point would cover them
    if series.lo is not None and series.hi is not None:
        errors = np.abs(np.stack([series.y - series.lo, series.hi - series.y]))
        axes.errorbar(series.x, series.y, errors, elinewidth=style.thin_line, capsize=0.4 * size, **look)
    else:
        axes.plot(series.x, series.y, **look)


def _color(color: str, style: Style) -> str:
    return style.instead.get(color, color) or style.foreground


def _axis(axes: Axes, which: str, axis: Axis, low: float, high: float, style: Style) -> None:
    if axis.scale == "log":
        room = (high / low) ** 0.05 if high > low else 1.5
        low, high = low / room, high * room
    else:
        room = 0.05 * (high - low) or 0.5
        low, high = low - room, high + room
    side = axes.xaxis if which == "x" else axes.yaxis
    (axes.set_xscale if which == "x" else axes.set_yscale)(axis.scale)
    (axes.set_xlim if which == "x" else axes.set_ylim)(low, high)
    most = 7 if which == "x" else 6
    ticks = log_ticks(low, high, most) if axis.scale == "log" else linear_ticks(low, high, most)
    shown = format_count if axis.kind == "count" else format_number
    side.set_major_locator(ticker.FixedLocator(ticks))
    side.set_major_formatter(ticker.FixedFormatter([_words(shown(tick)) for tick in ticks]))
    side.set_minor_locator(ticker.NullLocator())
    (axes.set_xlabel if which == "x" else axes.set_ylabel)(axis.label, fontsize=style.font_size)


def _frame(axes: Axes, figure: Figure, style: Style) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_linewidth(style.axis_width)
    axes.tick_params(labelsize=style.tick_size, width=style.axis_width, length=0.4 * style.tick_size, pad=2)
    axes.grid(color=style.grid, lw=style.axis_width * 0.8)
    axes.set_axisbelow(True)
    if style.title:
        axes.set_title(figure.title, fontsize=style.title_size, loc="left", pad=0.6 * style.title_size)
    handles, labels = axes.get_legend_handles_labels()
    if not handles:
        return
    place: dict[str, Any] = {"loc": figure.legend_at}
    if figure.legend_at == "right of plot":
        place = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0), "borderaxespad": 0.2}
    legend = axes.legend(
        handles,
        labels,
        fontsize=style.legend_size,
        title=_folded(figure.legend_title) if figure.legend_at == "right of plot" else figure.legend_title or None,
        title_fontsize=style.legend_size,
        frameon=False,
        handlelength=1.8,
        handletextpad=0.5,
        labelspacing=0.35,
        **place,
    )
    legend.set_zorder(4)


def _folded(title: str) -> str:
    """A legend's title in two lines: before and in the brackets."""
    return title.replace(" (", "\n(").replace("（", "\n（") if language() in {"en", "zh_CN"} else title


def _words(text: str) -> str:
    """Plain text with its powers set as mathematics: N^0.35 becomes a superscript."""
    plain = text.replace("$", r"\$")
    return re.sub(r"(\w+)\^(-?[\d.]+)", r"$\\mathdefault{\1^{\2}}$", plain)
