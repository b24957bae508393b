"""The test items that a model was surest and rightest of, and those it was most wrong about: texts or images."""

from typing import TYPE_CHECKING

from PySide6.QtGui import QImage
from PySide6.QtWidgets import QComboBox, QPlainTextEdit, QStackedWidget, QWidget

from engine.i18n import mark, tr
from lab_app.context import Context
from lab_app.widgets.basic import column, frame, row, text_label
from lab_app.widgets.images import ImageGrid, Picture
from lab_app.widgets.table import Column, RowsModel, Table

if TYPE_CHECKING:
    from engine.analysis.predictions import Example, Predictions

SHOWN = 50
KINDS = (mark("Worst: the true class was least likely"), mark("Best: the true class was likeliest"))


class ExamplesView(QWidget):
    """A list, and the whole text of the one that is chosen below it."""

    def __init__(self, context: Context) -> None:
        super().__init__()
        self.found: Predictions | None = None
        self.kind, self.label = QComboBox(), text_label("muted")
        for text in KINDS:
            self.kind.addItem(text)
        self.model = RowsModel()
        self.table = Table(self.model)
        self.text = QPlainTextEdit()
        self.text.setReadOnly(True)
        self.text.setFixedHeight(110)
        self.grid, self.stack, texts = ImageGrid(), QStackedWidget(), QWidget()
        texts.setLayout(column(self.table, self.text, spacing=6))
        texts.layout().setStretch(0, 1)
        for part in (texts, frame("plain", column(self.grid, margins=(8, 8, 8, 8)))):
            self.stack.addWidget(part)
        self.setLayout(column(row(self.label, self.kind, None), self.stack, spacing=6, margins=(0, 8, 0, 0)))
        self.layout().setStretch(1, 1)
        self.kind.currentIndexChanged.connect(lambda _: self._fill())
        self.table.selectionModel().selectionChanged.connect(lambda *_: self._show_text())
        context.language.changed.connect(self.speak)
        self.speak()

    def show_predictions(self, found: "Predictions | None") -> None:
        """Show the items of a run."""
        if found is not self.found or found is None:
            self.found = found
            self._fill()

    def _fill(self) -> None:
        from engine.analysis.predictions import examples

        best, worst = examples(self.found, SHOWN) if self.found is not None else ([], [])
        rows = best if self.kind.currentIndex() else worst
        images = any(one.image for one in rows)
        self.stack.setCurrentIndex(int(images))
        if images:
            self.grid.show_pictures([_picture(one) for one in rows if one.image], wide=True)
            return
        self.model.set_rows(rows)
        self.table.fit()
        for number in (0, 1):
            self.table.setColumnWidth(number, min(self.table.columnWidth(number), 170))
        self.text.clear()
        if rows:
            self.table.selectRow(0)

    def _show_text(self) -> None:
        chosen = self.table.chosen()
        if chosen:
            one: Example = self.model.rows[chosen[0]]
            self.text.setPlainText(f"{one.text}\n\n{one.origin}")

    def speak(self) -> None:
        """Say everything in the language in use."""
        self.label.setText(tr("Show"))
        self.label.setBuddy(self.kind)
        self.kind.setAccessibleName(tr("Which examples"))
        for number, text in enumerate(KINDS):
            self.kind.setItemText(number, tr(text))
        self.table.setAccessibleName(tr("Examples"))
        self.text.setAccessibleName(tr("The whole text"))
        self.grid.setAccessibleName(tr("Examples"))
        self.model.set_columns(
            [
                Column(tr("True class"), lambda e: e.label),
                Column(tr("Taken for"), lambda e: e.predicted),
                Column(tr("P(true)"), lambda e: f"{e.p_label:.1%}", number=True),
                Column(tr("Text"), lambda e: " ".join(e.text.split())),
            ]
        )
        self._fill()


def _picture(one: "Example") -> Picture:
    said = tr("{label}: P {p}", label=one.label, p=f"{one.p_label:.1%}")
    if one.predicted != one.label:
        said += "\n" + tr("taken for {other}: P {p}", other=one.predicted, p=f"{one.p_predicted:.1%}")
    return Picture(QImage.fromData(one.image), said, f"{said}\n{one.origin}")
