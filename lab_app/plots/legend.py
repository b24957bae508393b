"""The legend of a figure, below the plot: on a small window one inside it would cover what is measured."""

from dataclasses import dataclass

import pyqtgraph as pg
from PySide6.QtCore import QPoint, QPointF, QRectF, Qt
from PySide6.QtGui import QBrush, QColor, QFontMetrics, QPainter, QPaintEvent, QPen, QResizeEvent
from PySide6.QtWidgets import QSizePolicy, QWidget

from lab_app.theme import Theme

SAMPLE_WIDTH, GAP, BETWEEN = 26, 6, 16


@dataclass(frozen=True, slots=True)
class Entry:
    """What stands for a series: a line, a marker, or a filled band (``brush`` without ``symbol``)."""

    name: str
    pen: QPen | None = None
    symbol: str | None = None
    symbol_pen: QPen | None = None
    brush: QBrush | None = None


class Legend(QWidget):
    """Entries from left to right, wrapped to the width there is."""

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self._theme = theme
        self.entries: list[Entry] = []
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)

    def set_entries(self, entries: list[Entry]) -> None:
        """Show these; none hides the legend, and one that no layout holds stays hidden: it would be a window."""
        self.entries = entries
        self.setAccessibleName(", ".join(entry.name for entry in entries))
        self.setVisible(bool(entries) and self.parentWidget() is not None)
        self._fit()
        self.update()

    def resizeEvent(self, event: QResizeEvent) -> None:
        self._fit()
        super().resizeEvent(event)

    def _fit(self) -> None:
        """As high as the lines it takes; layouts inside splitters and tabs do not ask for a height by width."""
        places = self._places(self.width())
        self.setFixedHeight(places[-1].y() + self._line() + 2 if places else 0)

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        metrics, height = QFontMetrics(self.font()), self._line()
        for entry, at in zip(self.entries, self._places(self.width()), strict=True):
            self._sample(painter, entry, QRectF(at.x(), at.y(), SAMPLE_WIDTH, height))
            painter.setPen(QColor(self._theme.colors.text))
            left = at.x() + SAMPLE_WIDTH + GAP
            shown = metrics.elidedText(entry.name, Qt.TextElideMode.ElideRight, self.width() - left)
            painter.drawText(QPointF(left, at.y() + (height + metrics.ascent() - metrics.descent()) / 2), shown)

    def _line(self) -> int:
        return QFontMetrics(self.font()).height() + 3

    def _places(self, width: int) -> list[QPoint]:
        metrics, places, x, y = QFontMetrics(self.font()), [], 0, 2
        for entry in self.entries:
            wide = SAMPLE_WIDTH + GAP + metrics.horizontalAdvance(entry.name) + 2
            if x and x + wide > width:
                x, y = 0, y + self._line()
            places.append(QPoint(x, y))
            x += wide + BETWEEN
        return places

    @staticmethod
    def _sample(painter: QPainter, entry: Entry, area: QRectF) -> None:
        middle = area.center()
        if entry.symbol is None and entry.brush is not None:
            painter.fillRect(area.adjusted(2, 4, -2, -4), entry.brush)
        if entry.pen is not None:
            painter.setPen(entry.pen)
            painter.drawLine(QPointF(area.left(), middle.y()), QPointF(area.right(), middle.y()))
        if entry.symbol is not None:
            painter.save()
            painter.translate(middle)
            painter.scale(9, 9)
            pen = QPen(entry.symbol_pen or QPen())
            pen.setCosmetic(True)
            painter.setPen(pen)
            painter.setBrush(entry.brush or Qt.BrushStyle.NoBrush)
            painter.drawPath(pg.graphicsItems.ScatterPlotItem.Symbols[entry.symbol])
            painter.restore()
