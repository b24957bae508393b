"""One plot: our axes, our colours, log or linear, the same under both schemes."""

import math
from typing import Any

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray
from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QFont, QMouseEvent
from PySide6.QtWidgets import QWidget

from engine.figures.ticks import format_count, format_number, linear_ticks, log_ticks
from lab_app.plots.buffer import log10
from lab_app.theme import Theme

Floats = NDArray[np.float64]
SYMBOLS = {"circle": "o", "square": "s", "triangle": "t1", "diamond": "d", "star": "star"}
DASHES = {
    "solid": Qt.PenStyle.SolidLine,
    "dashed": Qt.PenStyle.DashLine,
    "dotted": Qt.PenStyle.DotLine,
    "dashdot": Qt.PenStyle.DashDotLine,
}
PIXELS_PER_TICK = {"bottom": 70, "left": 28}
FEWEST_TICKS = 4
"""Fewer leave a log axis of less than a decade without a second number to read a ratio from."""


class Axis(pg.AxisItem):
    """Ticks as the exported figures have them. Where ``log`` is set the axis shows 10 to the power of its values."""

    def __init__(self, side: str) -> None:
        super().__init__(side)
        self.log = False
        self.kind = "number"
        self.side = side
        self.enableAutoSIPrefix(False)

    def tickValues(self, low: float, high: float, size: float) -> list[tuple[float, list[float]]]:
        # What is raised in here is swallowed by Qt in the midst of painting and may crash: never raise.
        if not (math.isfinite(low) and math.isfinite(high)) or high <= low or size <= 0:
            return []
        most = max(FEWEST_TICKS, int(size / PIXELS_PER_TICK[self.side]))
        if not self.log:
            found = linear_ticks(low, high, most)
        elif not -300 < low < high < 300:
            return []
        else:
            found = [math.log10(tick) for tick in log_ticks(10**low, 10**high, most) if tick > 0]
        return [(1.0, found)]

    def tickStrings(self, values: list[float], scale: float, spacing: float) -> list[str]:
        shown = format_count if self.kind == "count" else format_number
        usable = [value for value in values if math.isfinite(value) and (abs(value) < 300 or not self.log)]
        return [shown(10**value if self.log else value) for value in usable]


class Plot(pg.PlotWidget):
    """Values are given as they are; ``place`` turns them into what a log axis draws."""

    scales_changed = Signal()

    def __init__(self, theme: Theme, parent: QWidget | None = None) -> None:
        self.axes = {side: Axis(side) for side in ("bottom", "left")}
        super().__init__(parent, axisItems=self.axes)
        self._theme = theme
        self._titles = {"bottom": "", "left": ""}
        self.setMenuEnabled(False)
        self.hideButtons()
        self.getPlotItem().showGrid(x=True, y=True, alpha=0.25)
        self.setMinimumSize(140, 84)
        self.setFrameShape(self.Shape.NoFrame)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        theme.changed.connect(self.restyle)
        self.restyle()

    @property
    def x_log(self) -> bool:
        """Whether the horizontal axis is logarithmic."""
        return self.axes["bottom"].log

    @property
    def y_log(self) -> bool:
        """Whether the vertical axis is logarithmic."""
        return self.axes["left"].log

    def set_log(self, x: bool, y: bool) -> None:
        """Choose the scales; whoever draws must draw again (``scales_changed``)."""
        if (x, y) != (self.x_log, self.y_log):
            self.axes["bottom"].log, self.axes["left"].log = x, y
            for axis in self.axes.values():
                axis.picture = None
                axis.update()
            self.scales_changed.emit()

    def set_titles(self, x: str, y: str, x_kind: str = "number", y_kind: str = "number") -> None:
        """Labels of the axes and how their ticks read: ``count`` or ``number``."""
        self._titles = {"bottom": x, "left": y}
        self.axes["bottom"].kind, self.axes["left"].kind = x_kind, y_kind
        for side, title in self._titles.items():
            self.axes[side].setLabel(title, color=self._theme.colors.muted)
            self.axes[side].showLabel(bool(title))

    def place(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """The points where they are drawn."""
        return (log10(x) if self.x_log else x), (log10(y) if self.y_log else y)

    def fit(self) -> None:
        """Show everything and keep showing it as it grows."""
        self.getViewBox().enableAutoRange()

    def restyle(self) -> None:
        """Take over the scheme's colours."""
        colors = self._theme.colors
        self.setBackground(colors.surface)
        font = QFont(self.font())
        font.setPointSizeF(max(8.0, font.pointSizeF() - 1.0))
        for side, axis in self.axes.items():
            axis.setPen(pg.mkPen(colors.border))
            axis.setTextPen(pg.mkPen(colors.muted))
            axis.setTickFont(font)
            axis.setLabel(self._titles[side], color=colors.muted)
            axis.showLabel(bool(self._titles[side]))

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        self.fit()
        super().mouseDoubleClickEvent(event)

    def keyPressEvent(self, event: Any) -> None:
        if event.key() in (Qt.Key.Key_Home, Qt.Key.Key_0):
            self.fit()
            return
        box = self.getViewBox()
        zoom = {Qt.Key.Key_Plus: 0.8, Qt.Key.Key_Equal: 0.8, Qt.Key.Key_Minus: 1.25}.get(event.key())
        shift = {
            Qt.Key.Key_Left: (-0.1, 0.0),
            Qt.Key.Key_Right: (0.1, 0.0),
            Qt.Key.Key_Up: (0.0, 0.1),
            Qt.Key.Key_Down: (0.0, -0.1),
        }.get(event.key())
        if zoom is not None:
            box.scaleBy((zoom, zoom))
        elif shift is not None:
            area = box.viewRect()
            box.translateBy(shift[0] * area.width(), shift[1] * area.height())
        else:
            super().keyPressEvent(event)
