"""Compress: what is done to the chosen study's models, or to one run's, asked in one small dialog."""

from PySide6.QtWidgets import QCheckBox, QDialog, QDoubleSpinBox, QFormLayout, QWidget

from engine.compressing import PRUNING
from engine.i18n import mark, tr
from engine.study import CompressionMethod
from lab_app.widgets.basic import button, column, row, text_label

METHODS = {
    "int8-weights": (mark("8-bit weights"), mark("The file shrinks to about a quarter.")),
    "int8-dynamic": (mark("8 bits, activations too"), mark("Layers that can also compute with integers.")),
    "int4-weights": (mark("4-bit weights"), mark("The file shrinks to about a seventh.")),
    "prune-unstructured": (mark("Prune single weights"), mark("Cuts the smallest and trains on.")),
    "prune-structured": (mark("Prune units"), mark("Cuts heads, hidden units and channels and trains on.")),
}
"""What each is called, and what it does."""


class CompressDialog(QDialog):
    """``methods`` holds what was chosen once it was accepted."""

    def __init__(self, title: str, parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle(tr("Compress"))
        said = text_label("muted", wrap=True)
        said.setText(tr("Of {what} smaller models are made, each measured beside the one it comes from.", what=title))
        self.boxes: dict[str, QCheckBox] = {}
        choices = column(spacing=4)
        for method, (name, does) in METHODS.items():
            box = QCheckBox(tr(name))
            box.setAccessibleDescription(tr(does))
            box.setChecked(method == "int8-weights")
            box.toggled.connect(lambda _: self._enable())
            hint = text_label("caption", wrap=True)
            hint.setText(tr(does))
            choices.addWidget(box)
            choices.addWidget(hint)
            self.boxes[method] = box
        self.amount = QDoubleSpinBox()
        self.amount.setRange(5, 95)
        self.amount.setDecimals(0)
        self.amount.setSuffix(" %")
        self.amount.setValue(50)
        self.amount.setAccessibleName(tr("Share that pruning cuts"))
        form = QFormLayout()
        form.addRow(tr("Share that pruning cuts"), self.amount)
        self.go, leave = button(primary=True), button()
        self.go.setText(tr("Compress"))
        leave.setText(tr("Cancel"))
        self.go.clicked.connect(self.accept)
        leave.clicked.connect(self.reject)
        buttons = row(None, leave, self.go)
        self.setLayout(column(said, choices, form, None, buttons, spacing=12, margins=(18, 16, 18, 14)))
        self.setMinimumWidth(440)
        self._enable()

    @property
    def methods(self) -> list[CompressionMethod]:
        """What was chosen."""
        share = self.amount.value() / 100
        return [
            CompressionMethod(method=name, amount=share) if name in PRUNING else CompressionMethod(method=name)
            for name, box in self.boxes.items()
            if box.isChecked()
        ]

    def _enable(self) -> None:
        self.amount.setEnabled(any(self.boxes[name].isChecked() for name in PRUNING))
        self.go.setEnabled(bool(self.methods))
