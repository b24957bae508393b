"""Fine-tune: a task, then a base, data and a recipe in three steps, checked together once there is enough of it."""

import dataclasses
from itertools import islice
from pathlib import Path
from typing import Any

from PySide6.QtCore import QTimer
from PySide6.QtGui import QDragEnterEvent, QDropEvent
from PySide6.QtWidgets import QComboBox, QStackedWidget, QWidget

from engine.errors import KnownError
from engine.i18n import mark, tr
from engine.sources import sources
from engine.sources._saved_datasets import is_saved
from lab_app.context import Context
from lab_app.jobs import Preparing
from lab_app.modelling.base_step import BaseStep
from lab_app.modelling.data_step import DataStep
from lab_app.modelling.draft import BASE, DATA, RECIPE, Checked, Draft, checked, step_of, task_named, tasks
from lab_app.modelling.recipe_step import RecipeStep
from lab_app.modelling.steps import DONE, OPEN, WRONG, StepBar
from lab_app.modelling.tab import Tab
from lab_app.models.catalog import Catalog
from lab_app.widgets.basic import Elided, button, column, row, scrolled, text_label

TITLES = (mark("Base"), mark("Data"), mark("Recipe"))
SOON_MS = 350
CONFIG = "config.json"
"""The file that a model folder has."""
MOST = 1_000
"""Files of a folder that are looked at to tell what it holds."""


class FineTuneTab(Tab):
    """Nothing is queued before Start; what is wrong is said at the step where it can be mended."""

    name = "fine-tune"
    title = mark("Fine-tune")

    def __init__(self, context: Context, catalog: Catalog) -> None:
        super().__init__(context, catalog)
        self.draft = Draft()
        self.checked: Checked | None = None
        self._task: Preparing | None = None
        self.base, self.data, self.recipe = BaseStep(context), DataStep(context), RecipeStep(context)
        self.task, self.task_label, self.task_about = QComboBox(), text_label(), Elided("caption")
        for one in tasks():
            self.task.addItem("", one.name)
        self.steps = StepBar(len(TITLES), context.theme)
        self.stack = QStackedWidget()
        for step in (self.base, self.data):
            self.stack.addWidget(step)
        holder = QWidget()
        holder.setLayout(column(self.recipe, margins=(0, 0, 8, 0)))
        self.stack.addWidget(scrolled(holder))
        self.back, self.next, self.start = button(), button(), button(primary=True)
        self.said = text_label("muted", wrap=True)
        bottom = row(self.back, self.next, self.said, self.start)
        bottom.setStretch(2, 1)
        top = row(self.task_label, self.task, self.task_about)
        top.setStretch(2, 1)
        self.setLayout(column(top, self.steps, self.stack, bottom, spacing=10, margins=(0, 10, 0, 0)))
        self.layout().setStretch(2, 1)
        self._soon = QTimer(self, singleShot=True, interval=SOON_MS)
        self.setAcceptDrops(True)
        self._connect()
        self._speak()

    def _connect(self) -> None:
        self.task.currentIndexChanged.connect(lambda _: self._set_task())
        self.steps.chosen.connect(self.go)
        self.back.clicked.connect(lambda _: self.go(self.step - 1))
        self.next.clicked.connect(lambda _: self.go(self.step + 1))
        self.start.clicked.connect(lambda _: self._start())
        for step in (self.base, self.data, self.recipe):
            step.changed.connect(self._edited)
        self._soon.timeout.connect(self.check)
        self.context.language.changed.connect(self._speak)

    @property
    def step(self) -> int:
        """The step in view."""
        return self.stack.currentIndex()

    def entered(self) -> None:
        self.base.load()

    def closing(self) -> None:
        self._soon.stop()
        self._stop()

    def go(self, number: int) -> None:
        """Bring a step into view."""
        number = min(max(number, BASE), RECIPE)
        self.stack.setCurrentIndex(number)
        self.steps.go(number)
        if number == RECIPE:
            self.recipe.estimate()
        self._show()

    def _set_task(self) -> None:
        """Another task: other bases, other data, other fields."""
        self._stop()
        self.draft.task = name = self.task.currentData()
        for step in (self.base, self.data, self.recipe):
            step.set_task(name)
        self.go(BASE)
        self._edited()
        self._speak()

    # -- what is dropped ----------------------------------------------------------------------------------------

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        if any(url.isLocalFile() for url in event.mimeData().urls()):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        event.acceptProposedAction()
        self.take(next(Path(url.toLocalFile()) for url in event.mimeData().urls() if url.isLocalFile()))

    def take(self, path: Path) -> None:
        """A folder with a model in it becomes the base, everything else the data.

        At the first step a folder without data becomes the base too, so that is said why it is none.
        """
        if _holds_model(path) or (self.step == BASE and path.is_dir() and not _holds_data(path, self.data.task.source)):
            self.base.take(path)
            self.go(BASE)
        else:
            self.data.take(str(path))
            self.go(DATA)

    # -- checking it --------------------------------------------------------------------------------------------

    def _edited(self) -> None:
        self._stop()
        self.checked = None
        self._collect()
        self.recipe.show_checked(None)
        self._show()
        if self.base.ready and self.draft.complete and not self.data.problem:
            self._soon.start()

    def _collect(self) -> None:
        self.draft.base, self.draft.base_title = self.base.base, self.base.base_title
        self.draft.data = self.data.values()
        self.recipe.store(self.draft)

    def check(self) -> None:
        """Resolve and prepare the whole, off the window's thread."""
        self._stop()
        self._collect()
        task = self._task = Preparing()
        snapshot, home = dataclasses.replace(self.draft), self.context.lab.home
        self.data.show_checking(task)

        def done(found: Checked) -> None:
            if self._task is task:
                self._show_checked(found)

        def failed(error: Exception) -> None:
            if self._task is task:
                self._show_problem(error)

        run = lambda: self.context.jobs.run(lambda: checked(snapshot, home, task), done, failed)  # noqa: E731
        self.context.warmth.when_warm(run)
        self._show()

    def _stop(self) -> None:
        self._soon.stop()
        if self._task is not None:
            self._task.stop()
            self._task = None
            self.data.show_checking(None)

    def _show_checked(self, found: Checked) -> None:
        self._task, self.checked = None, found
        self.data.show_checked(found)
        self.recipe.show_checked(found)
        if self.step == RECIPE:
            self.recipe.estimate()
        self._show()

    def _show_problem(self, error: Exception) -> None:
        self._task = None
        known = isinstance(error, KnownError)
        where = step_of(error) if isinstance(error, KnownError) else DATA
        text = str(error) if known else tr("This failed.")
        self.data.show_checked(None, text if where == DATA else "")
        self.recipe.show_checked(None, text if where == RECIPE else "")
        if where == BASE:
            self.base.show_problem(text)
        self._show()
        if not known:
            self.context.operations.report(error)

    def _start(self) -> None:
        if self.checked is not None:
            self.start_wanted.emit(self.checked.study)

    # -- showing it ---------------------------------------------------------------------------------------------

    def _show(self) -> None:
        states: list[Any] = [OPEN, OPEN, OPEN]
        if self.base.ready:
            states[BASE] = DONE
        if self.checked is not None:
            states = [DONE, DONE, DONE]
        for number, step in enumerate((self.base, self.data, self.recipe)):
            state = WRONG if step.problem else states[number]
            self.steps.buttons[number].show_step(tr(TITLES[number]), step.chosen_words, state)
        self.back.setEnabled(self.step > BASE)
        self.next.setEnabled(self.step < RECIPE)
        self.start.setEnabled(self.checked is not None)
        self.said.setText(self._what_is_missing())

    def _what_is_missing(self) -> str:
        if self.base.problem or self.data.problem or self.recipe.problem:
            return tr("Something is wrong at the marked step.")
        if self._task is not None or self._soon.isActive():
            return tr("Checking the data…")
        if self.checked is not None:
            return tr("Ready: training can be watched on Monitor.")
        if not self.base.ready:
            return tr("Choose a base.") if not self.base.base else ""
        return tr("Choose data.") if self.data.path is None else ""

    def _speak(self) -> None:
        self.task_label.setText(tr("Task"))
        self.task_label.setBuddy(self.task)
        self.task.setAccessibleName(tr("Task"))
        for number, one in enumerate(tasks()):
            self.task.setItemText(number, tr(one.title))
        about = task_named(self.draft.task).about
        self.task_about.setText(tr(about) if about else "")
        self.back.setText(tr("Back"))
        self.next.setText(tr("Next"))
        self.start.setText(tr("Start training"))
        self._show()


def _holds_data(path: Path, source: str) -> bool:
    """Whether it is a saved dataset, or it or a folder directly below it has a file that the source reads."""
    return is_saved(path) or any(
        one.suffix.lower() in sources[source].reads
        for pattern in ("*", "*/*")
        for one in islice(path.glob(pattern), MOST)
    )


def _holds_model(path: Path) -> bool:
    """Whether a folder or one directly below it has the configuration of a model."""
    return path.is_dir() and ((path / CONFIG).is_file() or any(path.glob(f"*/{CONFIG}")))
