"""A real lab on a temporary home with a training of seconds, and the whole window on it as the program makes it."""

import gc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import Qt, QTimer
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QWidget
from pytestqt.qtbot import QtBot
from shiboken6 import isValid

from tests.lab_app.desk import Desk, flush_deletions
from tests.lab_app.fakes import Trainer, a_plan


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def trainer() -> Iterator[Trainer]:
    trainer = Trainer()
    yield trainer
    trainer.release()


@pytest.fixture(autouse=True)
def no_calibration(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine's plan times real steps for seconds; the window's tests want its document only."""
    monkeypatch.setattr("engine.planning.plan", a_plan)


@pytest.fixture
def open_desk(qtbot: QtBot, home: Path, trainer: Trainer) -> Iterator[Callable[..., Desk]]:
    """Opens programs on the test's home; those left open are closed, and a bug in any of them fails the test."""
    opened: list[Desk] = []

    def make(*, jobs: int = 2, safe_mode: bool = False, welcome: bool = False, resize: bool = True) -> Desk:
        desk = Desk(qtbot, home, trainer, jobs, safe_mode)
        opened.append(desk)
        if not welcome:
            desk.settings.put("seen", True)
        if resize:
            desk.window.resize(1440, 900)
        desk.program.open()
        desk.qtbot.waitExposed(desk.window)
        return desk

    yield make
    for desk in opened:
        if not desk.closed:
            desk.close()
    assert [bug for desk in opened for bug in desk.bugs] == []


@pytest.fixture
def desk(open_desk: Callable[..., Desk]) -> Desk:
    """The window on an empty home."""
    return open_desk()


@pytest.fixture(autouse=True)
def nothing_left_of_qt(qapp: QApplication) -> Iterator[None]:
    """Fail a test that leaves a window open or a timer running, and let go of the keys it held."""
    yield
    # A click of Shift+Tab leaves Qt with Shift held: the next test's selectRow would extend its selection.
    QTest.keyRelease(QWidget(), Qt.Key.Key_Shift)
    flush_deletions()
    shown = [w for w in QApplication.topLevelWidgets() if isValid(w) and w.isVisible()]
    assert shown == [], f"left open: {shown}"
    gc.collect()
    timers = [o for o in gc.get_objects() if issubclass(type(o), QTimer) and isValid(o) and o.isActive()]
    assert timers == [], f"timers left running: {[(t.parent(), t.interval()) for t in timers]}"
