"""The chain of pages as buttons, one checked."""

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QButtonGroup, QFrame, QLabel, QLayout, QToolButton

from lab_app.widgets.basic import row, text_label


class Nav(QFrame):
    """Buttons in the order of the chain with an arrow between each two.

    Where there is little room the arrows go first, then the words of pages that are not in view: their icons have
    the words as a tip.
    """

    chosen = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.setProperty("bar", True)
        self.buttons: dict[str, QToolButton] = {}
        self._arrows: list[QLabel] = []
        self._group = QButtonGroup(self)
        self._layout = row(None, spacing=2, margins=(10, 5, 10, 5))
        self._layout.setSizeConstraint(QLayout.SizeConstraint.SetNoConstraint)
        self.setLayout(self._layout)

    def add(self, name: str) -> QToolButton:
        """A button at the end of the chain; the caller gives it its words and icon."""
        if self.buttons:
            arrow = text_label("muted")
            arrow.setText("›")
            self._arrows.append(arrow)
            self._layout.insertWidget(self._layout.count() - 1, arrow)
        made = QToolButton()
        made.setProperty("nav", True)
        made.setCheckable(True)
        made.setIconSize(QSize(18, 18))
        made.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        made.clicked.connect(lambda _: self.chosen.emit(name))
        self._group.addButton(made)
        self.buttons[name] = made
        self._layout.insertWidget(self._layout.count() - 1, made)
        return made

    def check(self, name: str) -> None:
        """Show which page is in view."""
        self.buttons[name].setChecked(True)
        self.fit()

    def minimumSizeHint(self) -> QSize:
        return QSize(len(self.buttons) * 44, super().minimumSizeHint().height())

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self.fit()

    def fit(self) -> None:
        """Show as much as the width has room for."""
        for arrows, words in ((True, True), (False, True), (False, False)):
            for arrow in self._arrows:
                arrow.setVisible(arrows)
            for button in self.buttons.values():
                style = Qt.ToolButtonStyle
                full = words or button.isChecked()
                button.setToolButtonStyle(style.ToolButtonTextBesideIcon if full else style.ToolButtonIconOnly)
            self._layout.invalidate()
            if self._layout.sizeHint().width() <= self.width():
                return
