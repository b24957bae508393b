"""Counts as bars with their names: how many of each."""

from collections.abc import Sequence

from PySide6.QtCore import QRectF, QSize, Qt
from PySide6.QtGui import QFontMetrics, QPainter, QPaintEvent
from PySide6.QtWidgets import QSizePolicy, QWidget

ROW = 20
NAME_SHARE = 0.34


class Bars(QWidget):
    """One line for each: name, bar, count. The accessible description says the same in words."""

    def __init__(self) -> None:
        super().__init__()
        self._counts: list[tuple[str, int]] = []
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def show_counts(self, counts: Sequence[tuple[str, int]]) -> None:
        """In the order given."""
        self._counts = list(counts)
        self.setFixedHeight(ROW * len(counts))
        self.setAccessibleDescription(", ".join(f"{name}: {n:,}" for name, n in counts))
        self.updateGeometry()
        self.update()

    def sizeHint(self) -> QSize:
        return QSize(240, ROW * len(self._counts))

    def paintEvent(self, event: QPaintEvent) -> None:
        if not self._counts:
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        metrics, palette = QFontMetrics(self.font()), self.palette()
        most = max(1, *(n for _, n in self._counts))
        wanted = max(metrics.horizontalAdvance(name) for name, _ in self._counts) + 10
        left = min(wanted, self.width() * NAME_SHARE)
        right = metrics.horizontalAdvance(f"{most:,}") + 10
        room = max(10.0, self.width() - left - right)
        for number, (name, n) in enumerate(self._counts):
            top = number * ROW
            painter.setPen(palette.windowText().color())
            flags = Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft
            fitted = metrics.elidedText(name, Qt.TextElideMode.ElideRight, int(left) - 8)
            painter.drawText(QRectF(0, top, left, ROW), flags, fitted)
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(palette.mid().color())
            painter.drawRoundedRect(QRectF(left, top + 4, room, ROW - 8), 3, 3)
            painter.setBrush(palette.highlight().color())
            if n:
                painter.drawRoundedRect(QRectF(left, top + 4, max(3.0, room * n / most), ROW - 8), 3, 3)
            painter.setPen(palette.windowText().color())
            flags = Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignRight
            painter.drawText(QRectF(left + room, top, right, ROW), flags, f"{n:,}")
