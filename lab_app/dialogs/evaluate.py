"""Evaluate what is finished: which abilities, on which runs; scores are kept with the runs and shown here."""

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QComboBox, QFormLayout, QListWidget, QListWidgetItem, QWidget

from engine.capabilities import capabilities
from engine.events import RunState
from engine.figures.words import metric_name
from engine.i18n import tr
from engine.study import DERIVED
from lab_app import words
from lab_app.context import Context
from lab_app.dialogs.working import WorkingDialog
from lab_app.jobs import Preparing
from lab_app.widgets.basic import column, text_label
from lab_app.widgets.table import Column, RowsModel, Table

if TYPE_CHECKING:
    from engine.battery.runs import Measurement
    from engine.store.rows import RunRow


class EvaluateDialog(WorkingDialog):
    """Nothing is trained: the models are loaded and asked. What was measured before is answered at once."""

    evaluated = Signal(str)
    """Scores of a study were added; carries its id."""

    def __init__(self, context: Context, runs: "list[RunRow]", run_id: int, chosen: list[str], parent: QWidget) -> None:
        super().__init__(context, parent)
        self._study = context.selection.study
        self._labels = {run.id: run.label for run in runs}
        self.setWindowTitle(tr("Evaluate"))
        self.runs, self.abilities = QComboBox(), QListWidget()
        able = [run for run in runs if run.state == RunState.FINISHED and run.kind not in DERIVED]
        self.runs.addItem(tr("all finished runs ({n})", n=len(able)), [run.id for run in able])
        for run in able:
            self.runs.addItem(f"{run.id}: {run.label}", [run.id])
        self.runs.setCurrentIndex(max(0, self.runs.findData([run_id])))
        for name in capabilities:
            item = QListWidgetItem(tr(capabilities[name].title))
            item.setData(Qt.ItemDataRole.UserRole, name)
            item.setToolTip(tr(capabilities[name].description))
            item.setCheckState(Qt.CheckState.Checked if name in chosen else Qt.CheckState.Unchecked)
            self.abilities.addItem(item)
        self.scores = RowsModel()
        self.table = Table(self.scores)
        self._lay_out()

    def _lay_out(self) -> None:
        hint = text_label("muted", wrap=True)
        hint.setText(tr("On each run's own held-out data. What was measured before is known and not measured again."))
        form = QFormLayout()
        form.addRow(tr("Runs"), self.runs)
        form.addRow(tr("Abilities"), self.abilities)
        self.runs.setAccessibleName(tr("Runs"))
        self.abilities.setAccessibleName(tr("Abilities"))
        self.abilities.setMinimumHeight(150)
        self.table.setAccessibleName(tr("Scores"))
        self.scores.set_columns(
            [
                Column(tr("Run"), lambda row: row[0]),
                Column(tr("Ability"), lambda row: _ability(row[1])),
                Column(tr("Metric"), lambda row: _metric(row[1], row[2].metric)),
                Column(tr("Value"), lambda row: words.value(row[2].value), number=True),
                Column(tr("Standard error"), lambda row: words.value(row[2].stderr), number=True),
                Column(tr("Items"), lambda row: words.count(row[2].n), number=True),
                Column(tr("Chance"), lambda row: words.value(row[2].chance), number=True),
            ]
        )
        self.act.setText(tr("Evaluate"))
        self.act.setEnabled(self.ready())
        parts = (hint, form, self.table, self.said, self.progress)
        self.setLayout(column(*parts, self.buttons(), spacing=10, margins=(16, 16, 16, 14)))
        self.layout().setStretch(2, 1)
        self.resize(820, 620)
        self.act.clicked.connect(lambda _: self._evaluate())
        if not self.ready():
            self.say(tr("No run of this study is finished."))

    def ready(self) -> bool:
        return bool(self.runs.itemData(0))

    def chosen(self) -> list[str]:
        """Names of the abilities that are ticked."""
        items = (self.abilities.item(i) for i in range(self.abilities.count()))
        return [i.data(Qt.ItemDataRole.UserRole) for i in items if i.checkState() == Qt.CheckState.Checked]

    def _evaluate(self) -> None:
        names, runs, store = self.chosen(), list(self.runs.currentData()), self.context.lab.store
        if not names:
            self.say(tr("Choose at least one ability."), bad=True)
            return

        def work(progress: Preparing) -> "list[Measurement]":
            from engine.battery.runs import evaluate_runs

            return evaluate_runs(store, runs, names, {}, progress)

        self.begin(work, self._done)

    def _done(self, found: "list[Measurement]") -> None:
        rows = [(self._labels[one.run_id], one.capability, score) for one in found for score in one.scores]
        self.scores.set_rows(rows)
        self.table.fit()
        known = sum(one.known for one in found)
        empty = sorted({_ability(one.capability) for one in found if not one.scores})
        said = [tr("{n} scores; {known} of {all} were known.", n=len(rows), known=known, all=len(found))]
        said += [tr("{capability} could not be measured on this data.", capability=name) for name in empty]
        self.say(" ".join(said))
        self.evaluated.emit(self._study)


def _ability(kept: str) -> str:
    """The title of a capability, with the options that differ from the run's own."""
    name, space, options = kept.partition(" ")
    return tr(capabilities[name].title) + space + options


def _metric(kept: str, metric: str) -> str:
    """The title of a metric in the language in use; some have names that are made while measuring."""
    return metric_name(kept.partition(" ")[0], metric)
