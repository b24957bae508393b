"""A matrix of counts with names on both sides: shaded by share of the row, walked with the arrow keys."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QPoint, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QColor, QFontMetrics, QKeyEvent, QMouseEvent, QPainter, QPaintEvent
from PySide6.QtWidgets import QSizePolicy, QToolTip, QWidget

from engine.i18n import tr

NAME_SHARE, LEAST_CELL, MOST_CELL = 0.3, 16, 110
"""Share of the width that names may take; pixels of a cell at the least and at the most."""
HEAD, TURNED = 24, 92
"""Height of the names above the columns: level, and where they are turned."""
DARKEST = 0.9
"""Of a full cell: how much of the accent colour; text on it keeps its contrast."""


class Matrix(QWidget):
    """Rows are what things are, columns what they are taken for. ``moved`` carries the cell of the cursor."""

    moved = Signal(int, int)

    def __init__(self) -> None:
        super().__init__()
        self.names: tuple[str, ...] = ()
        self.counts: NDArray[np.int64] = np.zeros((0, 0), np.int64)
        self.as_shares = False
        self.cursor = (0, 0)
        self.titles = ("", "")
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setMouseTracking(True)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)

    def show_counts(self, names: Sequence[str], counts: NDArray[np.int64]) -> None:
        """Counts (true, predicted). The cursor goes to the commonest mistake."""
        self.names, self.counts = tuple(names), counts
        wrong = counts * (1 - np.eye(len(counts), dtype=np.int64))
        place = np.unravel_index(int(wrong.argmax()), wrong.shape) if wrong.any() else (0, 0)
        self.updateGeometry()
        self.go(int(place[0]), int(place[1]))

    def set_shares(self, shares: bool) -> None:
        """Write shares of the row, or counts, into the cells."""
        self.as_shares = shares
        self._describe()
        self.update()

    def go(self, row: int, column: int) -> None:
        """Move the cursor to a cell that there is."""
        n = len(self.names)
        if n:
            self.cursor = (min(max(row, 0), n - 1), min(max(column, 0), n - 1))
            self._describe()
            self.update()
            self.moved.emit(*self.cursor)

    def words(self, row: int, column: int) -> str:
        """One cell as a sentence."""
        of, n = int(self.counts[row].sum()), int(self.counts[row, column])
        values = {"n": f"{n:,}", "of": f"{of:,}", "share": f"{n / max(1, of):.0%}"}
        if row == column:
            return tr("{label}: {n} of {of} are told rightly ({share}).", label=self.names[row], **values)
        return tr(
            "{label} taken for {other}: {n} of {of} ({share}).",
            label=self.names[row],
            other=self.names[column],
            **values,
        )

    def sizeHint(self) -> QSize:
        side = max(1, len(self.names))
        return QSize(120 + side * 44, HEAD + 20 + side * 40)

    def minimumSizeHint(self) -> QSize:
        return QSize(220, 60 + LEAST_CELL * len(self.names))

    # -- painting -----------------------------------------------------------------------------------------------

    def paintEvent(self, event: QPaintEvent) -> None:
        if not self.names:
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        left, top, width, height = self._grid()
        self._paint_names(painter, left, top, width, height)
        share = self.counts / np.maximum(1, self.counts.sum(axis=1, keepdims=True))
        for row in range(len(self.names)):
            for column in range(len(self.names)):
                area = QRectF(left + column * width, top + row * height, width - 1.5, height - 1.5)
                self._paint_cell(painter, area, row, column, float(share[row, column]))

    def _paint_cell(self, painter: QPainter, area: QRectF, row: int, column: int, share: float) -> None:
        palette = self.palette()
        ink, paper = palette.highlight().color(), palette.alternateBase().color()
        painter.setPen(Qt.PenStyle.NoPen)
        filling = _mixed(paper, ink, DARKEST * share)
        painter.setBrush(filling)
        painter.drawRoundedRect(area, 3, 3)
        if (row, column) == self.cursor:
            pen = painter.pen()
            pen.setStyle(Qt.PenStyle.SolidLine)
            pen.setColor(palette.windowText().color())
            pen.setWidthF(2.0 if self.hasFocus() else 1.2)
            painter.setPen(pen)
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRoundedRect(area.adjusted(1, 1, -1, -1), 3, 3)
        text = f"{share:.0%}" if self.as_shares else f"{int(self.counts[row, column]):,}"
        metrics = QFontMetrics(self.font())
        if metrics.horizontalAdvance(text) > area.width() - 2 or metrics.height() > area.height():
            return
        quiet = not self.counts[row, column]
        inks = (palette.windowText().color(), palette.highlightedText().color())
        readable = max(inks, key=lambda one: abs(_lightness(one) - _lightness(filling)))
        painter.setPen(palette.placeholderText().color() if quiet else readable)
        painter.drawText(area, Qt.AlignmentFlag.AlignCenter, text)

    def _paint_names(self, painter: QPainter, left: float, top: float, width: float, height: float) -> None:
        metrics, palette = QFontMetrics(self.font()), self.palette()
        middle = Qt.AlignmentFlag.AlignVCenter
        painter.setPen(palette.placeholderText().color())
        painter.drawText(QRectF(0, 0, left - 8, 18), middle | Qt.AlignmentFlag.AlignRight, f"{self.titles[0]} ↓")
        columns = QRectF(left, 0, max(width * len(self.names), self.width() - left), 18)
        painter.drawText(columns, middle | Qt.AlignmentFlag.AlignLeft, f"{self.titles[1]} →")
        painter.setPen(palette.windowText().color())
        every = max(1, int(np.ceil(metrics.height() / max(height, 1))))
        for number, name in list(enumerate(self.names))[::every]:
            area = QRectF(0, top + number * height, left - 8, height - 1.5)
            fitted = metrics.elidedText(name, Qt.TextElideMode.ElideRight, int(left) - 8)
            painter.drawText(area, middle | Qt.AlignmentFlag.AlignRight, fitted)
        turned = self._turned(width)
        every = max(1, int(np.ceil(metrics.height() / max(width, 1)))) if turned else 1
        for number, name in list(enumerate(self.names))[::every]:
            if not turned:
                area = QRectF(left + number * width, top - HEAD, width - 1.5, HEAD - 4)
                painter.drawText(area, Qt.AlignmentFlag.AlignHCenter | Qt.AlignmentFlag.AlignBottom, name)
                continue
            painter.save()
            painter.translate(left + (number + 0.5) * width, top - 5)
            painter.rotate(-90)
            room = TURNED - 8
            fitted = metrics.elidedText(name, Qt.TextElideMode.ElideRight, room)
            painter.drawText(QRectF(0, -10, room, 20), middle | Qt.AlignmentFlag.AlignLeft, fitted)
            painter.restore()

    def _turned(self, width: float) -> bool:
        metrics = QFontMetrics(self.font())
        return any(metrics.horizontalAdvance(name) > width - 4 for name in self.names)

    def _grid(self) -> tuple[float, float, float, float]:
        """Left and top of the cells, and width and height of one."""
        metrics, n = QFontMetrics(self.font()), len(self.names)
        wanted = max(metrics.horizontalAdvance(name) for name in (*self.names, f"{self.titles[0]} ↓")) + 14
        left = min(float(wanted), max(60.0, self.width() * NAME_SHARE))
        width = min(MOST_CELL, max(3.0, (self.width() - left) / n))
        top = 20.0 + (TURNED if self._turned(width) else HEAD)
        height = min(MOST_CELL * 0.5, max(3.0, (self.height() - top) / n))
        return left, top, width, height

    # -- mouse, keys and words ----------------------------------------------------------------------------------

    def _cell_at(self, at: QPoint) -> tuple[int, int] | None:
        if not self.names:
            return None
        left, top, width, height = self._grid()
        row, column = int((at.y() - top) // height), int((at.x() - left) // width)
        inside = 0 <= row < len(self.names) and 0 <= column < len(self.names)
        return (row, column) if inside else None

    def mousePressEvent(self, event: QMouseEvent) -> None:
        cell = self._cell_at(event.position().toPoint())
        if cell is not None:
            self.go(*cell)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        cell = self._cell_at(event.position().toPoint())
        if cell is None:
            QToolTip.hideText()
        else:
            QToolTip.showText(event.globalPosition().toPoint(), self.words(*cell), self)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        keys = {
            Qt.Key.Key_Left: (0, -1),
            Qt.Key.Key_Right: (0, 1),
            Qt.Key.Key_Up: (-1, 0),
            Qt.Key.Key_Down: (1, 0),
        }
        step = keys.get(Qt.Key(event.key()))
        if step is None:
            super().keyPressEvent(event)
        else:
            self.go(self.cursor[0] + step[0], self.cursor[1] + step[1])

    def _describe(self) -> None:
        if self.names:
            self.setAccessibleDescription(self.words(*self.cursor))


def _mixed(paper: QColor, ink: QColor, share: float) -> QColor:
    parts = zip(paper.getRgb()[:3], ink.getRgb()[:3], strict=True)
    return QColor(*(round(a + (b - a) * share) for a, b in parts))


def _lightness(color: QColor) -> float:
    """0 to 1, as the eye tells greys apart: L* of the sRGB luminance (CIE 1976), over 100."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in color.getRgbF()[:3]]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return (116 * luminance ** (1 / 3) - 16) / 100 if luminance > 0.008856 else 9.033 * luminance
