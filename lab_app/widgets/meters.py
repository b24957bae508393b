"""Small painted things: a bar with words, a line without axes, a ladder of dots."""

import math
from collections.abc import Callable, Sequence

from PySide6.QtCore import QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QPainter, QPaintEvent, QPen, QPolygonF
from PySide6.QtWidgets import QSizePolicy, QWidget


class Meter(QWidget):
    """A name, a value in words, and a bar of the share below them."""

    def __init__(self) -> None:
        super().__init__()
        self._name, self._words, self._share = "", "", 0.0
        self.setMinimumHeight(34)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def sizeHint(self) -> QSize:
        return QSize(160, 34)

    def show_value(self, name: str, words: str, share: float) -> None:
        """``share`` in 0..1; a screen reader hears the name and the words."""
        self._name, self._words, self._share = name, words, min(max(share, 0.0), 1.0)
        self.setAccessibleName(f"{name}: {words}")
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        palette = self.palette()
        text = QRectF(0, 0, self.width(), self.height() - 10)
        painter.setPen(palette.windowText().color())
        painter.drawText(text, int(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter), self._name)
        painter.drawText(text, int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter), self._words)
        bar = QRectF(0, self.height() - 8, self.width(), 5)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(palette.mid())
        painter.drawRoundedRect(bar, 2.5, 2.5)
        painter.setBrush(palette.highlight())
        bar.setWidth(max(0.0, bar.width() * self._share))
        painter.drawRoundedRect(bar, 2.5, 2.5)


class Sparkline(QWidget):
    """The course of something over the last while, without axes."""

    def __init__(self, height: int = 36, low: float | None = None, high: float | None = None) -> None:
        super().__init__()
        self._values: list[float] = []
        self._low, self._high = low, high
        self.setFixedHeight(height)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def show_values(self, values: Sequence[float]) -> None:
        """At most a few hundred numbers, oldest first."""
        self._values = [v for v in values if math.isfinite(v)]
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        if len(self._values) < 2:
            return
        low = min(self._values) if self._low is None else self._low
        high = max(self._values) if self._high is None else self._high
        span = (high - low) or 1.0
        width, height = self.width() - 2, self.height() - 4
        step = width / (len(self._values) - 1)
        line = [QPointF(1 + i * step, 2 + height * (1 - (v - low) / span)) for i, v in enumerate(self._values)]
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        color = self.palette().highlight().color()
        fill = QColor(color)
        fill.setAlpha(45)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(fill)
        painter.drawPolygon(QPolygonF([*line, QPointF(line[-1].x(), self.height()), QPointF(1, self.height())]))
        painter.setPen(QPen(color, 1.4))
        painter.drawPolyline(QPolygonF(line))


class Ladder(QWidget):
    """The sizes of a ladder as dots along a log axis; with results, each as high as its loss."""

    def __init__(self, color: Callable[[int, int], str]) -> None:
        super().__init__()
        self._color = color
        self._sizes: list[float] = []
        self._values: list[float | None] = []
        self.setFixedHeight(86)

    def show_sizes(self, sizes: Sequence[float], values: Sequence[float | None] = ()) -> None:
        """``values`` belong to the sizes in order; None where there is no result yet."""
        self._sizes = [float(size) for size in sizes]
        self._values = list(values) or [None] * len(sizes)
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        if not self._sizes:
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        palette = self.palette()
        painter.setPen(QPen(palette.mid().color(), 1))
        base = self.height() - 12.0
        painter.drawLine(QPointF(2, base), QPointF(self.width() - 2, base))
        points = self._points(base)
        measured = [point for point, value in zip(points, self._values, strict=True) if value is not None]
        if len(measured) > 1:
            painter.setPen(QPen(palette.mid().color(), 1.5))
            painter.drawPolyline(QPolygonF(measured))
        for number, (point, value) in enumerate(zip(points, self._values, strict=True)):
            color = QColor(self._color(number, len(points)))
            painter.setPen(QPen(color, 1.6, Qt.PenStyle.SolidLine if value is not None else Qt.PenStyle.DotLine))
            painter.setBrush(color if value is not None else Qt.BrushStyle.NoBrush)
            radius = 4.0 + 5.0 * number / max(1, len(points) - 1)
            painter.drawEllipse(point, radius, radius)
            painter.setPen(QPen(palette.mid().color(), 1))
            painter.drawLine(QPointF(point.x(), base), QPointF(point.x(), base + 4))

    def _points(self, base: float) -> list[QPointF]:
        logs = [math.log(size) for size in self._sizes]
        low, span = min(logs), (max(logs) - min(logs)) or 1.0
        inner = self.width() - 32
        known = [value for value in self._values if value is not None]
        bottom, height = min(known, default=0.0), (max(known, default=1.0) - min(known, default=0.0)) or 1.0
        points = []
        for number, (log, value) in enumerate(zip(logs, self._values, strict=True)):
            radius = 4.0 + 5.0 * number / max(1, len(logs) - 1)
            # Without a result the dots stand on the axis, waiting.
            up = radius + 3 if value is None else 13 + (base - 30) * (value - bottom) / height
            points.append(QPointF(16 + inner * (log - low) / span, base - up))
        return points
