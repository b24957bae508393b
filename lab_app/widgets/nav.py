"""The chain of pages as buttons, one checked."""

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtWidgets import QButtonGroup, QFrame, QToolButton

from lab_app.widgets.basic import row, text_label


class Nav(QFrame):
    """Buttons in the order of the chain with an arrow between each two."""

    chosen = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.setProperty("bar", True)
        self.buttons: dict[str, QToolButton] = {}
        self._group = QButtonGroup(self)
        self._layout = row(None, spacing=2, margins=(10, 5, 10, 5))
        self.setLayout(self._layout)

    def add(self, name: str) -> QToolButton:
        """A button at the end of the chain; the caller gives it its words and icon."""
        if self.buttons:
            arrow = text_label("muted")
            arrow.setText("›")
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
