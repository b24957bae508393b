"""What a model answered to the items it did best and worst on: asked, wanted, given."""

import html
from typing import TYPE_CHECKING

from PySide6.QtWidgets import QComboBox, QTextBrowser, QWidget

from engine.i18n import mark, tr
from lab_app.context import Context
from lab_app.widgets.basic import column, row, text_label
from lab_app.widgets.table import Column, RowsModel, Table

if TYPE_CHECKING:
    from engine.analysis.answers import Answer, Answers

KINDS = (mark("Worst: what was wanted was least likely"), mark("Best: what was wanted was likeliest"))
WHOLE_HEIGHT = 150


class AnswersView(QWidget):
    """A list, and the whole of the one that is chosen below it."""

    def __init__(self, context: Context) -> None:
        super().__init__()
        self.context = context
        self.found: Answers | None = None
        self.kind, self.label, self.said = QComboBox(), text_label("muted"), text_label("caption", wrap=True)
        for text in KINDS:
            self.kind.addItem(text)
        self.model = RowsModel()
        self.table, self.whole = Table(self.model), QTextBrowser()
        self.whole.setFixedHeight(WHOLE_HEIGHT)
        bar = row(self.label, self.kind, self.said, spacing=12)
        bar.setStretch(2, 1)
        self.setLayout(column(bar, self.table, self.whole, spacing=6, margins=(0, 8, 0, 0)))
        self.layout().setStretch(1, 1)
        self.kind.currentIndexChanged.connect(lambda _: self._fill())
        self.table.selectionModel().selectionChanged.connect(lambda *_: self._show_whole())
        context.language.changed.connect(self.speak)
        context.theme.changed.connect(self._show_whole)
        self.speak()

    def show_answers(self, found: "Answers | None") -> None:
        """Show those of a run."""
        if found is not self.found or found is None:
            self.found = found
            self._fill()

    def _fill(self) -> None:
        found = self.found
        rows = () if found is None else found.best if self.kind.currentIndex() else found.worst
        self.model.set_rows(rows)
        self.table.fit()
        for number in range(3):
            self.table.setColumnWidth(number, min(self.table.columnWidth(number), 240))
        self.said.setText(
            ""
            if found is None
            else tr(
                "{n} of {of:,} test items by {score}. Given is the model's own answer.",
                n=len(rows),
                of=found.n,
                score=tr(found.score),
            )
        )
        self.whole.clear()
        if rows:
            self.table.selectRow(0)

    def _show_whole(self) -> None:
        chosen = self.table.chosen()
        if not chosen:
            return
        one: Answer = self.model.rows[chosen[0]]
        muted = self.context.theme.colors.muted
        parts = ((tr("Asked"), one.prompt), (tr("Wanted"), one.wanted), (tr("Given"), one.given), ("", one.origin))
        self.whole.setHtml(
            "".join(
                f"<p style='margin:0 0 6px 0'><span style='color:{muted}'>{html.escape(title)}</span> "
                f"<span style='white-space:pre-wrap'>{html.escape(text)}</span></p>"
                for title, text in parts
                if text
            )
        )

    def speak(self) -> None:
        """Say everything in the language in use."""
        self.label.setText(tr("Show"))
        self.label.setBuddy(self.kind)
        self.kind.setAccessibleName(tr("Which answers"))
        for number, text in enumerate(KINDS):
            self.kind.setItemText(number, tr(text))
        self.table.setAccessibleName(tr("Answers"))
        self.whole.setAccessibleName(tr("The whole answer"))
        self.model.set_columns(
            [
                Column(tr("Wanted"), lambda a: " ".join(a.wanted.split())),
                Column(tr("Given"), lambda a: " ".join(a.given.split())),
                Column(tr("Score"), lambda a: f"{a.score:.2f}", number=True),
                Column(tr("Asked"), lambda a: " ".join(a.prompt.split())),
            ]
        )
        self._fill()
