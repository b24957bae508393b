"""The first start: visible steps over the shown window while the training engine loads."""

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QDialog, QProgressBar, QWidget

from engine.i18n import mark, tr
from lab_app.theme import Theme
from lab_app.widgets.basic import Steps, button, column, row, text_label

STEPS = (
    mark("Opening the data folder"),
    mark("Building the window"),
    mark("Loading the training engine (once per start, some seconds)"),
    mark("Ready"),
)
OPENED, BUILT, LOADED, READY = 1, 2, 3, 4


class Splash(QDialog):
    """Does not block: the window behind it can be used at once."""

    def __init__(self, theme: Theme, parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle(tr("Welcome to Emergence Lab"))
        self.setModal(False)
        logo = text_label()
        logo.setPixmap(theme.pixmap("emergence-lab", theme.colors.text, 56))
        head, said = text_label("title"), text_label("muted", wrap=True)
        head.setText("Emergence Lab")
        said.setText(tr("What happens to a model's abilities as it grows?"))
        self.steps = Steps()
        self.steps.set_steps([tr(step) for step in STEPS])
        self.busy = QProgressBar()
        self.busy.setRange(0, 0)
        self.busy.setTextVisible(False)
        self.busy.setFixedHeight(6)
        self.busy.setAccessibleName(tr("Loading"))
        close = button()
        close.setText(tr("Hide"))
        close.clicked.connect(self.accept)
        top = row(logo, column(head, said, spacing=2), spacing=14)
        top.setStretch(1, 1)
        self.setLayout(column(top, self.steps, self.busy, row(None, close), spacing=14, margins=(24, 22, 24, 18)))
        self.setMinimumWidth(440)
        self.setWindowFlag(Qt.WindowType.WindowContextHelpButtonHint, False)
        self.steps.finished.connect(self.accept)

    def reach(self, number: int) -> None:
        """What is done so far: ``OPENED``, ``BUILT``, ``LOADED`` or ``READY``."""
        self.steps.reach(number)
