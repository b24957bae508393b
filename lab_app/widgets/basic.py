"""Labels, cards, notes and layouts with the spacing that the whole window keeps to."""

from collections.abc import Callable
from typing import Any

from PySide6.QtCore import QPoint, QRect, QSize, Qt, Signal
from PySide6.QtGui import QFontMetrics, QPainter, QPaintEvent, QResizeEvent
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QLabel,
    QLayout,
    QLayoutItem,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QSplitter,
    QToolButton,
    QVBoxLayout,
    QWidget,
)


def text_label(role: str = "", *, wrap: bool = False, selectable: bool = False) -> QLabel:
    """A label in one of the roles of the style sheet: title, heading, muted, caption, number, bad, warn, good."""
    label = QLabel()
    label.setTextFormat(Qt.TextFormat.PlainText)
    if role:
        label.setProperty("role", role)
    label.setWordWrap(wrap)
    if selectable:
        label.setTextInteractionFlags(
            Qt.TextInteractionFlag.TextSelectableByMouse | Qt.TextInteractionFlag.TextSelectableByKeyboard
        )
    return label


def restyle(widget: QWidget, name: str, value: object) -> None:
    """Set a property that the style sheet looks at."""
    if widget.property(name) != value:
        widget.setProperty(name, value)
        widget.style().unpolish(widget)
        widget.style().polish(widget)


def button(*, primary: bool = False) -> QPushButton:
    """A push button; the primary one of a page stands out."""
    made = QPushButton()
    made.setProperty("primary", primary)
    made.setCursor(Qt.CursorShape.PointingHandCursor)
    return made


def row(*items: QWidget | QLayout | None, spacing: int = 8, margins: tuple[int, int, int, int] = (0, 0, 0, 0)):
    """A horizontal layout; None is a stretch."""
    return _fill(QHBoxLayout(), items, spacing, margins)


def column(*items: QWidget | QLayout | None, spacing: int = 8, margins: tuple[int, int, int, int] = (0, 0, 0, 0)):
    """A vertical layout; None is a stretch."""
    return _fill(QVBoxLayout(), items, spacing, margins)


def _fill(layout: Any, items: tuple[QWidget | QLayout | None, ...], spacing: int, margins: tuple[int, ...]) -> Any:
    layout.setSpacing(spacing)
    layout.setContentsMargins(*margins)
    for item in items:
        if item is None:
            layout.addStretch(1)
        elif isinstance(item, QLayout):
            layout.addLayout(item)
        else:
            layout.addWidget(item)
    return layout


def frame(kind: str, layout: QLayout) -> QFrame:
    """A frame drawn by the style sheet: ``card``, ``bar``, ``plain`` or ``page``."""
    made = QFrame()
    made.setProperty(kind, True)
    made.setLayout(layout)
    return made


def scrolled(inside: QWidget) -> QScrollArea:
    """``inside`` in a scroll area without a frame of its own, which scrolls only up and down."""
    area = QScrollArea()
    area.setWidgetResizable(True)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    area.viewport().setAutoFillBackground(False)
    area.setWidget(inside)
    inside.setAutoFillBackground(False)  # which setWidget has just turned on
    return area


def clear(layout: QLayout) -> None:
    """Take everything out of a layout and delete it."""
    while (item := layout.takeAt(0)) is not None:
        if item.widget() is not None:
            item.widget().hide()
            item.widget().deleteLater()
        elif item.layout() is not None:
            clear(item.layout())


class Elided(QLabel):
    """One line that ends in an ellipsis where it does not fit; the tool tip has all of it."""

    def __init__(self, role: str = "") -> None:
        super().__init__()
        if role:
            self.setProperty("role", role)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)

    def setText(self, text: str) -> None:
        super().setText(text)
        self.setToolTip(text)

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setPen(self.palette().windowText().color())
        fitted = QFontMetrics(self.font()).elidedText(self.text(), Qt.TextElideMode.ElideRight, self.width())
        painter.drawText(self.rect(), int(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter), fitted)

    def minimumSizeHint(self) -> QSize:
        return QSize(30, super().minimumSizeHint().height())


class Note(QFrame):
    """A line across the page that says something: an icon, words, perhaps one thing to do, and a way to close it."""

    def __init__(self, kind: str = "info", *, closable: bool = True) -> None:
        super().__init__()
        self.icon = QLabel()
        self.words = text_label(wrap=True, selectable=True)
        self.words.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        self.act = button()
        self.act.hide()
        self.closer = QToolButton()
        self.closer.setText("✕")
        self.closer.setVisible(closable)
        self.closer.clicked.connect(self.hide)
        self.setLayout(row(self.icon, self.words, self.act, self.closer, margins=(10, 6, 6, 6)))
        self._do: Callable[[], Any] | None = None
        self.act.clicked.connect(self._clicked)
        self.set_kind(kind)

    def set_kind(self, kind: str) -> None:
        """``info``, ``warn`` or ``bad``."""
        restyle(self, "note", kind)

    def say(self, words: str, action: str = "", do: Callable[[], Any] | None = None) -> None:
        """Show the words, with a button where there is something to do."""
        self.words.setText(words)
        self.act.setText(action)
        self.act.setVisible(bool(action))
        self._do = do
        self.show()

    def _clicked(self) -> None:
        if self._do is not None:
            self._do()


class Flow(QLayout):
    """Items side by side with equal widths, as many in a line as fit at ``minimum`` pixels each."""

    def __init__(self, minimum: int = 260, spacing: int = 12) -> None:
        super().__init__()
        self._items: list[QLayoutItem] = []
        self._minimum = minimum
        self.setSpacing(spacing)
        self.setContentsMargins(0, 0, 0, 0)

    def addItem(self, item: QLayoutItem) -> None:
        self._items.append(item)

    def count(self) -> int:
        return len(self._items)

    def itemAt(self, index: int) -> QLayoutItem | None:
        return self._items[index] if 0 <= index < len(self._items) else None

    def takeAt(self, index: int) -> QLayoutItem | None:
        return self._items.pop(index) if 0 <= index < len(self._items) else None

    def hasHeightForWidth(self) -> bool:
        return True

    def heightForWidth(self, width: int) -> int:
        return self._place(QRect(0, 0, width, 0), move=False)

    def setGeometry(self, rect: QRect) -> None:
        super().setGeometry(rect)
        self._place(rect, move=True)

    def sizeHint(self) -> QSize:
        return self.minimumSize()

    def minimumSize(self) -> QSize:
        tallest = max((item.minimumSize().height() for item in self._items), default=0)
        return QSize(min(self._minimum, 200), tallest)

    def _place(self, rect: QRect, *, move: bool) -> int:
        gap = self.spacing()
        shown = [item for item in self._items if item.widget() is None or not item.widget().isHidden()]
        per_line = max(1, min(len(shown) or 1, (rect.width() + gap) // (self._minimum + gap)))
        width = (rect.width() - gap * (per_line - 1)) // per_line
        y = rect.y()
        for start in range(0, len(shown), per_line):
            line = shown[start : start + per_line]
            height = max(self._height(item, width) for item in line)
            for number, item in enumerate(line):
                if move:
                    item.setGeometry(QRect(QPoint(rect.x() + number * (width + gap), y), QSize(width, height)))
            y += height + gap
        return max(0, y - gap - rect.y())

    @staticmethod
    def _height(item: QLayoutItem, width: int) -> int:
        return item.heightForWidth(width) if item.hasHeightForWidth() else item.sizeHint().height()


class Beside(QSplitter):
    """A main part with a side panel: to its right where there is room, below it where there is not."""

    def __init__(self, main: QWidget, side: QWidget, *, side_width: int, wide: int = 640) -> None:
        super().__init__(Qt.Orientation.Vertical)
        self._side, self._side_width, self._wide = side, side_width, wide
        self.addWidget(main)
        self.addWidget(side)
        self.setChildrenCollapsible(False)
        self.setStretchFactor(0, 1)

    def show_side(self, shown: bool) -> None:
        """Show or hide the panel; a splitter forgets the size of what it hid."""
        appears = shown and self._side.isHidden()
        self._side.setVisible(shown)
        if appears:
            self._divide()

    def resizeEvent(self, event: QResizeEvent) -> None:
        wanted = Qt.Orientation.Horizontal if event.size().width() >= self._wide else Qt.Orientation.Vertical
        if self.orientation() != wanted:
            self.setOrientation(wanted)
            self._divide()
        super().resizeEvent(event)

    def _divide(self) -> None:
        beside = self.orientation() == Qt.Orientation.Horizontal
        self.setSizes([self.width() - self._side_width, self._side_width] if beside else [420, 150])


class Steps(QFrame):
    """The steps of something that takes a while: done, under way, to come; in words and marks."""

    finished = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._layout = column(spacing=5)
        self.setLayout(self._layout)
        self._labels: list[QLabel] = []
        self._texts: list[str] = []
        self._at = 0

    def set_steps(self, texts: list[str]) -> None:
        """The words of all steps; what was reached stays reached."""
        self._texts = texts
        while len(self._labels) < len(texts):
            self._labels.append(text_label())
            self._layout.addWidget(self._labels[-1])
        self._draw()

    def reach(self, number: int) -> None:
        """Step ``number`` (from 0) is under way, those before it are done."""
        self._at = number
        self._draw()
        if number >= len(self._texts):
            self.finished.emit()

    def _draw(self) -> None:
        for number, (label, text) in enumerate(zip(self._labels, self._texts, strict=True)):
            sign, role = ("✓", "good") if number < self._at else ("●", "") if number == self._at else ("○", "muted")
            label.setText(f"{sign}  {text}")
            restyle(label, "role", role)
