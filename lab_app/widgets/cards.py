"""Cards of the Home page."""

from collections.abc import Callable

from PySide6.QtCore import QSize
from PySide6.QtWidgets import QFrame, QProgressBar, QSizePolicy, QWidget

from lab_app.widgets.basic import button, column, row, text_label
from lab_app.widgets.meters import Ladder


class StudyCard(QFrame):
    """A featured study: its question, its ladder, what it costs, and one button that does the next thing."""

    def __init__(self, color: Callable[[int, int], str]) -> None:
        super().__init__()
        self.setProperty("card", True)
        self.title = text_label("heading", wrap=True)
        self.question = text_label("muted", wrap=True)
        self.ladder = Ladder(color)
        self.sizes = text_label("caption", wrap=True)
        self.cost = text_label("caption", wrap=True)
        self.progress = QProgressBar()
        self.progress.setTextVisible(False)
        self.progress.setFixedHeight(6)
        self.primary = button(primary=True)
        self.second = button()
        for one in (self.primary, self.second):
            one.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self.setLayout(
            column(
                self.title,
                self.question,
                self.ladder,
                self.sizes,
                self.cost,
                None,
                self.progress,
                row(self.primary, self.second, None),
                spacing=7,
                margins=(16, 14, 16, 14),
            )
        )

    def sizeHint(self) -> QSize:
        return QSize(300, super().sizeHint().height())


class FactRow(QWidget):
    """A name on the left, a value on the right."""

    def __init__(self) -> None:
        super().__init__()
        self.name = text_label("muted")
        self.value = text_label(selectable=True)
        self.setLayout(row(self.name, None, self.value, spacing=12))

    def show_fact(self, name: str, value: str) -> None:
        """Both are already translated."""
        self.name.setText(name)
        self.value.setText(value)
        self.value.setAccessibleName(f"{name}: {value}")
