"""The bar of steps: each says what it is and what was chosen in it, and whether something is wrong there."""

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtWidgets import QButtonGroup, QPushButton, QSizePolicy, QWidget

from engine.i18n import tr
from lab_app.theme import Theme
from lab_app.widgets.basic import Elided, column, restyle, row, text_label

OPEN, DONE, WRONG = "", "done", "wrong"
SIGNS = {DONE: ("check", "good"), WRONG: ("warning", "bad")}


class StepButton(QPushButton):
    """A number and a title, and below them what was chosen."""

    def __init__(self, number: int, theme: Theme) -> None:
        super().__init__()
        self._number, self._theme, self.state = number, theme, OPEN
        self.setCheckable(True)
        self.setProperty("step", True)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.heading, self.chosen, self.sign = text_label("heading"), Elided("caption"), text_label()
        for part in (self.heading, self.chosen, self.sign):
            part.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        words = row(column(self.heading, self.chosen, spacing=1), self.sign, margins=(12, 6, 10, 6))
        words.setStretch(0, 1)
        self.setLayout(words)
        self.setMinimumHeight(self.heading.sizeHint().height() + self.chosen.sizeHint().height() + 18)

    def sizeHint(self) -> QSize:
        return QSize(150, self.layout().sizeHint().height())

    minimumSizeHint = sizeHint

    def show_step(self, title: str, chosen: str, state: str) -> None:
        """All three are in the language in use."""
        self.state = state
        self.heading.setText(f"{self._number}  {title}")
        self.chosen.setText(chosen)
        self.setToolTip(chosen)
        self.setAccessibleName(f"{self._number} {title}: {chosen}")
        said = {DONE: tr("done"), WRONG: tr("something is wrong here")}.get(state, "")
        self.setAccessibleDescription(said)
        self.restyle()

    def restyle(self) -> None:
        """The sign in the colours in use."""
        restyle(self.chosen, "role", "bad" if self.state == WRONG else "caption")
        if self.state in SIGNS:
            icon, role = SIGNS[self.state]
            self.sign.setPixmap(self._theme.pixmap(icon, getattr(self._theme.colors, role), 18))
        self.sign.setVisible(self.state in SIGNS)


class StepBar(QWidget):
    """Steps from left to right, one of them in view."""

    chosen = Signal(int)

    def __init__(self, n: int, theme: Theme) -> None:
        super().__init__()
        self.buttons = [StepButton(number + 1, theme) for number in range(n)]
        group = QButtonGroup(self)
        for number, button in enumerate(self.buttons):
            group.addButton(button)
            button.clicked.connect(lambda _, number=number: self.chosen.emit(number))
        self.setLayout(row(*self.buttons, spacing=8))
        self.buttons[0].setChecked(True)
        theme.changed.connect(lambda: [button.restyle() for button in self.buttons])

    def go(self, number: int) -> None:
        """Show which step is in view."""
        self.buttons[number].setChecked(True)
