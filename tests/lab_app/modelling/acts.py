"""What a person does in the tabs of the Models page, and the words of the tables that are tried."""

from pathlib import Path
from typing import Any

from PySide6.QtCore import QMimeData, QPointF, Qt, QUrl
from PySide6.QtGui import QDropEvent

from lab_app.modelling.draft import RECIPE
from lab_app.modelling.fine_tune import FineTuneTab
from lab_app.modelling.results import ResultsTab
from lab_app.widgets.form import Field
from tests.lab_app.desk import Desk

WORDS = {"fruit": ("apple", "pear", "plum", "grape"), "tool": ("saw", "file", "drill", "plane")}
FILLERS = ("the", "a", "was", "is", "very", "old", "new", "on", "table", "there", "here", "and")


def drop(widget: Any, path: Path) -> None:
    """As a file manager does."""
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(path))])
    copy, left = Qt.DropAction.CopyAction, Qt.MouseButton.LeftButton
    widget.dropEvent(QDropEvent(QPointF(5, 5), copy, data, left, Qt.KeyboardModifier.NoModifier))


def field(tab: FineTuneTab, name: str) -> Field:
    return next(f for f in tab.recipe.form.fields if f.name == name)


def said(results: ResultsTab) -> list[str]:
    layout = results.sentences
    return [layout.itemAt(i).widget().text() for i in range(layout.count())]


def choose_task(desk: Desk, tab: FineTuneTab, name: str) -> None:
    tab.task.setCurrentIndex(tab.task.findData(name))
    desk.settle()


def train(desk: Desk, tab: FineTuneTab, epochs: float, rate: float) -> ResultsTab:
    """Start what is set up, wait for it, and look at what came of it."""
    tab.go(RECIPE)
    for name, value in {"epochs": epochs, "learning_rate": rate, "batch_size": 16}.items():
        field(tab, name).write(value)
    tab.recipe.seeds.setValue(1)
    for box in tab.recipe.compare.values():
        box.setChecked(False)
    desk.until(lambda: tab.checked is not None)
    tab.start.click()
    desk.until(lambda: desk.window.page_name == "monitor")
    study = desk.context.selection.study
    assert desk.lab.runner.wait(study, timeout=60)
    desk.lab.store.writer.flush()
    desk.context.bridge.drain()
    desk.program.catalog.load_now()
    desk.settle()
    assert desk.states() == {"finished"}
    results: ResultsTab = desk.page("models").show_tab("results")
    desk.until(lambda: results.run and results.of_run.learning is not None)
    desk.settle()
    return results
