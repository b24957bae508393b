"""The confusion matrix with its words, its table twin, and the items of the chosen cell."""

from typing import TYPE_CHECKING

import numpy as np
from PySide6.QtGui import QIcon, QImage
from PySide6.QtWidgets import QCheckBox, QStackedWidget, QWidget

from engine.i18n import tr
from lab_app.context import Context
from lab_app.widgets.basic import Beside, column, frame, row, text_label
from lab_app.widgets.images import tile
from lab_app.widgets.matrix import Matrix
from lab_app.widgets.table import Column, RowsModel, Table

if TYPE_CHECKING:
    from engine.analysis.predictions import Predictions

ITEMS_WIDTH = 250
MOST_ITEMS = 200


class ConfusionView(QWidget):
    """Shows one run's predictions; None says why there are none."""

    def __init__(self, context: Context) -> None:
        super().__init__()
        self.context = context
        self.found: Predictions | None = None
        self.matrix = Matrix()
        self.shares, self.as_table = QCheckBox(), QCheckBox()
        self.said, self.problem = text_label(wrap=True, selectable=True), text_label("muted", wrap=True)
        self.twin_model, self.item_model = RowsModel(), RowsModel()
        self.twin, self.items = Table(self.twin_model), Table(self.item_model)
        self.items_title = text_label("caption", wrap=True)
        self.stack = QStackedWidget()
        self.stack.addWidget(self.matrix)
        self.stack.addWidget(self.twin)
        main = frame("plain", column(self.stack, margins=(10, 8, 10, 8)))
        side = frame("plain", column(self.items_title, self.items, spacing=6, margins=(10, 8, 10, 8)))
        self.beside = Beside(main, side, side_width=ITEMS_WIDTH)
        bar = row(self.said, self.shares, self.as_table, spacing=12)
        bar.setStretch(0, 1)
        self.setLayout(column(bar, self.problem, self.beside, spacing=6, margins=(0, 8, 0, 0)))
        self.layout().setStretch(2, 1)
        self.shares.toggled.connect(self.matrix.set_shares)
        self.as_table.toggled.connect(lambda on: self.stack.setCurrentIndex(int(on)))
        self.matrix.moved.connect(lambda *_: self._show_cell())
        context.language.changed.connect(self.speak)
        context.theme.changed.connect(self.matrix.update)
        self.speak()

    def show_predictions(self, found: "Predictions | None", problem: str = "") -> None:
        """Show these."""
        from engine.analysis.predictions import confusion

        changed = found is not self.found
        self.found = found
        self.problem.setText(problem)
        self.problem.setVisible(found is None)
        for part in (self.beside, self.shares, self.as_table, self.said):
            part.setVisible(found is not None)
        if found is not None and changed:
            self.matrix.show_counts(found.classes, confusion(found))
            self._fill_twin()
        elif found is None:
            self.matrix.show_counts((), np.zeros((0, 0), np.int64))
        self._summary()

    def _summary(self) -> None:
        if self.found is None:
            return
        counts = self.matrix.counts
        right, n = int(np.trace(counts)), int(counts.sum())
        summary = tr("{right:,} of {n:,} test items are told rightly ({share:.1%}).", right=right, n=n, share=right / n)
        self.said.setText(summary)
        self.matrix.setAccessibleName(f"{tr('Confusion matrix')}. {summary}")

    def _fill_twin(self) -> None:
        counts, names = self.matrix.counts, self.matrix.names
        columns = [Column(tr("True class"), lambda r: names[r])]
        for number, name in enumerate(names):
            columns.append(Column(name, lambda r, c=number: f"{int(counts[r, c]):,}", number=True))
        columns.append(Column(tr("All"), lambda r: f"{int(counts[r].sum()):,}", number=True))
        self.twin_model.set_columns(columns)
        self.twin_model.set_rows(range(len(names)))
        self.twin.fit()

    def _show_cell(self) -> None:
        if self.found is None or not self.matrix.names:
            self.item_model.set_rows(())
            return
        label, predicted = self.matrix.cursor
        inside = np.flatnonzero((self.found.labels == label) & (self.found.predicted == predicted))
        of_cell = self.found.probabilities[inside, predicted]
        order = inside[np.argsort(-of_cell, kind="stable")][:MOST_ITEMS]
        self.items_title.setText(self.matrix.words(label, predicted))
        found = self.found
        self.item_model.set_columns(
            [
                Column(tr("Sure"), lambda i: f"{found.probabilities[i, predicted]:.0%}", number=True),
                Column(
                    tr("Image") if found.images else tr("Text"),
                    lambda i: " ".join(found.texts[i].split()) or found.origins[i],
                    tip=lambda i: f"{found.texts[i]}\n\n{found.origins[i]}".strip(),
                    icon=lambda i: QIcon(tile(QImage.fromData(found.images[i]))) if i in found.images else None,
                ),
            ]
        )
        self.item_model.set_rows([int(i) for i in order])
        self.items.setColumnWidth(0, 56)

    def speak(self) -> None:
        """Say everything in the language in use."""
        self.shares.setText(tr("Shares of the row"))
        self.as_table.setText(tr("As a table"))
        self.twin.setAccessibleName(tr("Confusion matrix as a table"))
        self.items.setAccessibleName(tr("Items of the chosen cell"))
        self.matrix.titles = (tr("True class"), tr("Predicted class"))
        self.matrix.setAccessibleName(tr("Confusion matrix"))
        self.matrix.update()
        if self.found is not None:
            self._fill_twin()
            self._show_cell()
            self._summary()
