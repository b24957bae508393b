"""One program on one home, and what a test does to it."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PySide6.QtCore import QCoreApplication, QEvent, QTimer
from PySide6.QtWidgets import QAbstractButton, QApplication, QDialog, QWidget
from pytestqt.qtbot import QtBot

from engine.lab import Lab
from engine.store.rows import RunRow
from engine.study import StudySpec
from lab_app.app import Program
from lab_app.context import Context
from lab_app.pages.monitor import MonitorPage
from lab_app.pages.scale import ScalePage
from lab_app.pages.train import TrainPage
from lab_app.settings import Settings
from lab_app.window import MainWindow
from tests.lab_app.fakes import Trainer, small_study

PATIENCE_MS = 20_000


class Desk:
    """One program, with what a test does to it and waits for."""

    def __init__(self, qtbot: QtBot, home: Path, trainer: Trainer, jobs: int, safe_mode: bool) -> None:
        app = QApplication.instance()
        assert isinstance(app, QApplication)
        self.qtbot, self.home, self.trainer = qtbot, home, trainer
        lab = Lab.open(home, jobs=jobs, executor="thread", run_one=trainer)
        self.program = Program(app, lab, safe_mode=safe_mode)
        self.bugs: list[str] = []
        self.program.recorder.caught.connect(self.bugs.append)
        self.closed = False

    @property
    def window(self) -> MainWindow:
        return self.program.window

    @property
    def context(self) -> Context:
        return self.program.context

    @property
    def lab(self) -> Lab:
        return self.program.lab

    @property
    def settings(self) -> Settings:
        return self.context.settings

    def page(self, name: str) -> Any:
        """A page, brought into view."""
        return self.window.show_page(name)

    @property
    def monitor(self) -> MonitorPage:
        return self.page("monitor")

    @property
    def scale(self) -> ScalePage:
        return self.page("scale")

    @property
    def train(self) -> TrainPage:
        return self.page("train")

    def do(self, action: str) -> None:
        """Trigger an action that is enabled, as a menu does."""
        found = self.window.actions_table.by_id[action]
        assert found.isEnabled(), f"{action} is disabled"
        found.trigger()

    def enabled(self, action: str) -> bool:
        return self.window.actions_table.by_id[action].isEnabled()

    def until(self, condition: Callable[[], object]) -> None:
        """Keep the window going until something is true."""
        self.qtbot.waitUntil(lambda: bool(condition()), timeout=PATIENCE_MS)

    def settle(self) -> None:
        """Wait until everything that was read or written off the window's thread has come back."""
        self.qtbot.wait(1)
        self.until(lambda: self.context.jobs.pending == 0)

    def runs(self, study: str = "") -> list[RunRow]:
        """The runs of a study as the window knows them."""
        return self.program.catalog.runs(study or self.context.selection.study)

    def states(self) -> set[str]:
        return {run.state for run in self.runs()}

    def submit(self, study: StudySpec | None = None) -> str:
        """Queue a study and choose it."""
        identity = self.lab.runner.submit(study or small_study())
        self.program.catalog.load_now()
        self.context.selection.choose_study(identity)
        return identity

    def finish(self, study: StudySpec | None = None) -> str:
        """Have a study trained to its end, its law fitted, and chosen."""
        identity = self.submit(study)
        assert self.lab.runner.wait(identity, timeout=PATIENCE_MS / 1000)
        self.lab.store.writer.flush()
        self.context.bridge.drain()
        self.program.catalog.load_now()
        self.settle()
        return identity

    def dialog(self, kind: type[QDialog]) -> Any:
        """The open dialog of that kind."""
        found = [d for d in self.window.findChildren(kind) if not d.isHidden()]
        assert len(found) == 1, f"{len(found)} dialogs of {kind.__name__} are open"
        return found[0]

    def close(self) -> int:
        """The way out, as after the window was closed: save, close, and let go of every widget."""
        self.closed = True  # even where leaving fails
        self.window.leave()
        code = asyncio.run(self.program.leave())
        self.forget()
        return code

    def forget(self) -> None:
        """Delete every widget of a program that has left."""
        self.closed = True
        self.context.language.use("en")  # takes Qt's translator from the application
        self.window.deleteLater()
        flush_deletions()
        self.program.recorder.close()


def flush_deletions() -> None:
    """Delete what asked to be deleted, now."""
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    QCoreApplication.processEvents()


def in_modal(act: Callable[[Any], None]) -> None:
    """Do something to the next modal dialog that opens: called before what opens it."""
    tries = [0]

    def look() -> None:
        widget = QApplication.activeModalWidget()
        tries[0] += 1
        if widget is not None:
            act(widget)
        elif tries[0] < 200:
            QTimer.singleShot(10, look)

    QTimer.singleShot(0, look)


def press(text: str) -> Callable[[QWidget], None]:
    """For ``in_modal``: press the button with this text."""

    def act(dialog: QWidget) -> None:
        next(b for b in dialog.findChildren(QAbstractButton) if b.text().replace("&", "") == text).click()

    return act
