"""Train: a new study in six steps, from the question to the estimate, or from a file."""

import copy
from pathlib import Path
from typing import Any

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtWidgets import QFileDialog, QListWidget, QListWidgetItem, QStackedWidget, QWidget

from engine.errors import KnownError
from engine.i18n import mark, tr
from engine.study import StudySpec, load_study, to_toml_table
from engine.tables import to_toml
from lab_app.context import Context
from lab_app.models.catalog import Catalog
from lab_app.page import Page
from lab_app.widgets.basic import button, column, frame, row, scrolled, text_label
from lab_app.wizard.base import BLANK, Step, study_of
from lab_app.wizard.data import DataStep
from lab_app.wizard.estimate import EstimateStep, ReviewStep
from lab_app.wizard.ladder import LadderStep
from lab_app.wizard.question import QuestionStep
from lab_app.wizard.training import TrainingStep

STEP_HEIGHT = 38


class TrainPage(Page):
    """The draft is one table; each step shows its part of it. Nothing is queued before Start."""

    name = "train"
    title = mark("Train")
    icon = "train"
    start_wanted = Signal(object)

    def __init__(self, context: Context, catalog: Catalog) -> None:
        super().__init__(context, catalog)
        self.table: dict[str, Any] = copy.deepcopy(dict(BLANK))
        self.question = QuestionStep(context)
        self.steps: list[Step] = [
            self.question,
            LadderStep(context),
            DataStep(context),
            TrainingStep(context),
            EstimateStep(context),
            ReviewStep(context),
        ]
        self.list = QListWidget()
        self.list.setProperty("steps", True)
        self.list.setFixedWidth(178)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.stack = QStackedWidget()
        for step in self.steps:
            item = QListWidgetItem()
            item.setSizeHint(QSize(0, STEP_HEIGHT))  # the style sheet's padding is not part of Qt's own hint
            self.list.addItem(item)
            holder = QWidget()
            holder.setLayout(column(step, None, margins=(4, 4, 12, 4)))
            self.stack.addWidget(scrolled(holder))
            step.changed.connect(self._edited)
        self.heading = text_label("title")
        self.problem = text_label("bad", wrap=True, selectable=True)
        self.back, self.next, self.save = button(), button(), button()
        self.start = button(primary=True)
        bottom = column(self.problem, row(self.back, self.next, None, self.save, self.start), spacing=6)
        right = column(self.stack, frame("page", bottom), spacing=6)
        self.setLayout(column(self.heading, row(self.list, right, spacing=14), spacing=10, margins=(22, 16, 22, 14)))
        self._connect()
        self._speak()
        self.begin(to_toml_table(load_study("quickstart")), own=False)

    def begin(self, table: dict[str, Any], *, own: bool = True) -> None:
        """Edit this table from the first step. ``own`` is False for the example shown at first."""
        self.table = copy.deepcopy(table)
        for step in self.steps:
            step.load(self.table)
        self.list.setCurrentRow(0)
        self._edited()

    def edit(self, study: StudySpec) -> None:
        """Edit a copy of a study."""
        self.begin(to_toml_table(study))

    def open_file(self, path: str) -> None:
        """Edit the study of a TOML file; raises ``InputError`` where it is none."""
        self.edit(load_study(path))

    def study(self) -> StudySpec:
        """The draft as a study; raises ``StudyError`` naming the field at fault."""
        self._collect()
        return study_of(self.table)

    def save_as(self) -> None:
        """Ask for a file and write the draft to it."""
        try:
            text = to_toml(to_toml_table(self.study()))
        except KnownError as error:
            self._show_problem(error)
            return
        name = f"{self.table['name']}.toml"
        chosen, _ = QFileDialog.getSaveFileName(self, tr("Save study"), name, "TOML (*.toml)")
        if chosen:
            try:
                Path(chosen).write_text(text, encoding="utf-8")
            except OSError as error:
                self.problem.setText(tr("{path} cannot be written: {error}.", path=chosen, error=error.strerror or ""))
                self.problem.show()

    def _connect(self) -> None:
        self.list.currentRowChanged.connect(self._go)
        self.back.clicked.connect(lambda _: self.list.setCurrentRow(self.list.currentRow() - 1))
        self.next.clicked.connect(lambda _: self.list.setCurrentRow(self.list.currentRow() + 1))
        self.save.clicked.connect(lambda _: self.save_as())
        self.start.clicked.connect(lambda _: self._start())
        self.question.start.activated.connect(lambda _: self._begin_from())
        self.context.theme.changed.connect(self._icons)
        self.context.language.changed.connect(self._speak)

    def _begin_from(self) -> None:
        table = self.question.table_to_begin_with()
        if table is not None:
            self.begin(table)

    def _go(self, number: int) -> None:
        if number < 0:
            return
        self._collect()
        self.stack.setCurrentIndex(number)
        self.steps[number].entered(self.table)
        self.back.setEnabled(number > 0)
        self.next.setEnabled(number + 1 < len(self.steps))

    def _collect(self) -> None:
        for step in self.steps:
            step.store(self.table)

    def _edited(self) -> None:
        try:
            self.study()
        except KnownError as error:
            self._show_problem(error)
            return
        self.problem.hide()
        self.start.setEnabled(True)

    def _show_problem(self, error: KnownError) -> None:
        self.problem.setText(str(error))
        self.problem.show()
        self.start.setEnabled(False)

    def _start(self) -> None:
        try:
            self.start_wanted.emit(self.study())
        except KnownError as error:
            self._show_problem(error)

    def _icons(self) -> None:
        for number, step in enumerate(self.steps):
            self.list.item(number).setIcon(self.context.theme.icon(step.icon))

    def _speak(self) -> None:
        self.heading.setText(tr("New study"))
        self.list.setAccessibleName(tr("Steps"))
        for number, step in enumerate(self.steps):
            self.list.item(number).setText(f"{number + 1}  {tr(step.title)}")
        self._icons()
        self.back.setText(tr("Back"))
        self.next.setText(tr("Next"))
        self.save.setText(tr("Save as…"))
        self.start.setText(tr("Start"))
