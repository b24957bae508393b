"""A whole session: one button to a law, a restart, closing in the midst, and what goes wrong on the way."""

import asyncio
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import qasync
from PySide6.QtCore import QTimer
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QApplication, QLabel, QPushButton

from engine.errors import ResourceError
from engine.events import RunState
from lab_app.app import Loader
from lab_app.dialogs.crash import CrashDialog
from lab_app.dialogs.start import LOADED
from tests.lab_app.desk import Desk, in_modal, press
from tests.lab_app.fakes import HELD, POINTS, Trainer


def under_way(desk: Desk) -> list[int]:
    return [run.id for run in desk.runs() if run.state == "running"]


def points(desk: Desk, run: int) -> int:
    """Points of a run's loss in the Monitor page."""
    curves = desk.window.pages["monitor"].curves.get(run)
    return curves.buffer("train/loss").n if curves is not None else 0


def test_one_button_to_a_law(desk: Desk, trainer: Trainer) -> None:
    trainer.hold()
    home = desk.page("home")
    card = home.cards[home.studies[0].name]
    assert card.primary.text() == "Start"
    card.primary.click()
    desk.until(lambda: desk.window.page_name == "monitor")
    assert desk.context.selection.study.startswith(home.studies[0].name)
    assert len(desk.runs()) == len(home.studies[0].ladder.sizes) * len(home.studies[0].ladder.seeds)
    _watch(desk)
    trainer.release()
    desk.until(lambda: desk.states() == {"finished"})
    assert all(points(desk, run.id) == POINTS for run in desk.runs())
    desk.page("home")
    desk.until(lambda: card.primary.text() == "Show results")
    card.primary.click()
    assert desk.window.page_name == "scale"
    _see_the_law(desk)


def _watch(desk: Desk) -> None:
    """While it trains: growing curves, the queue, the status bar, the tree, the samples."""
    desk.until(lambda: len(under_way(desk)) == 2 and all(points(desk, run) == HELD for run in under_way(desk)))
    monitor, first = desk.monitor, under_way(desk)[0]
    x, y = monitor.loss_lines[first].validation.getData()
    assert len(x) == len(y) == HELD
    queue = desk.window.queue
    desk.until(lambda: queue.model.index(0, 3).data() == "25%")
    assert [run.state for run in queue.model.rows[:3]] == ["running", "running", "queued"]
    assert queue.model.index(0, 4).data() == "training" and queue.model.index(2, 4).data() == "queued"
    assert "10 runs waiting" in desk.window.status.activity.text()
    assert "tokens/s" in desk.window.status.speed.text()
    assert "left" in desk.window.status.left.text()
    study = desk.context.selection.study
    desk.context.selection.choose_run(study, first)
    desk.until(lambda: any(f"sample of run {first}" in label.text() for label in monitor.tabs.findChildren(QLabel)))
    assert "begins at point 0" in desk.window.log.view.toPlainText()
    desk.context.selection.choose_study("")
    assert monitor.empty.isVisible() and not monitor.curves
    desk.context.selection.choose_study(study)


def _see_the_law(desk: Desk) -> None:
    scale = desk.scale
    desk.until(lambda: scale.shown.law is not None)
    desk.settle()
    assert scale.view.figure is not None and scale.view.isVisible()
    assert scale.equation.text().startswith("L(N) = ") and scale.equation.isVisible()
    said = [scale.law_box.itemAt(i).widget().text() for i in range(3)]
    assert said[0].startswith("The exponent is 0.5") and "interval" in said[0]
    header, rows = scale.view.figure.table()
    assert len(header) == 5 and scale.table_model.rowCount() == len(rows) > 6
    losses = [float(scale.table_model.index(i, 2).data()) for i in range(6)]
    assert losses == sorted(losses, reverse=True)
    assert scale.view.accessibleDescription()


def test_a_study_with_failed_runs_offers_to_resume(desk: Desk, trainer: Trainer) -> None:
    home = desk.page("home")
    study = home.studies[0]
    trainer.fail = {study.ladder.sizes[0]}
    home.cards[study.name].primary.click()
    desk.until(lambda: sorted(desk.states()) == ["failed", "finished"])
    failed = next(run for run in desk.runs() if run.state == "failed")
    desk.context.selection.choose_run(failed.study_id, failed.id)
    desk.until(lambda: "made to fail" in desk.window.inspector.problem.text())
    assert desk.window.queue.model.rows[0].id == failed.id
    desk.page("home")
    card = home.cards[study.name]
    desk.until(lambda: card.primary.text() == "Resume")
    trainer.fail = set()
    card.primary.click()
    desk.until(lambda: desk.states() == {"finished"})


def test_the_queue_is_reordered(desk: Desk, trainer: Trainer) -> None:
    trainer.hold()
    desk.submit()
    queue = desk.window.queue
    desk.until(lambda: [run.state for run in queue.model.rows] == ["running"] * 2 + ["queued"] * 2)
    desk.settle()  # a read of the store that is still under way would reset the table and its selection
    last = queue.model.rows[3].id
    queue.table.selectRow(3)
    desk.until(lambda: desk.context.selection.run == last)
    resume, pause, cancel, up, down = queue.buttons
    assert (resume.isEnabled(), pause.isEnabled(), cancel.isEnabled()) == (False, False, True)
    assert up.isEnabled() and down.isEnabled()
    up.click()
    desk.until(lambda: queue.model.rows[2].id == last)
    assert desk.lab.runner.queue()[0] == last


def test_cancelling_needs_a_selection(desk: Desk, trainer: Trainer) -> None:
    trainer.hold()
    desk.submit()
    queue = desk.window.queue
    desk.until(lambda: len(under_way(desk)) == 2)
    queue.table.clearSelection()
    queue.cancel()
    desk.settle()
    assert desk.states() == {"running", "queued"}


def test_a_restart_shows_the_same(desk: Desk, trainer: Trainer, open_desk: Callable[..., Desk]) -> None:
    trainer.hold()
    study = desk.submit()
    desk.page("monitor")
    desk.until(lambda: len(under_way(desk)) == 2 and all(points(desk, run) == HELD for run in under_way(desk)))
    ran = under_way(desk)
    seen = {run: desk.monitor.curves[run].buffer("val/loss").values.copy() for run in ran}
    desk.window.docks["log"].hide()
    desk.window.resize(790, 690)
    desk.monitor.axis.setCurrentIndex(desk.monitor.axis.findData("flops"))
    desk.close()

    again = open_desk()
    assert (again.context.selection.study, again.window.page_name) == (study, "monitor")
    assert again.window.docks["log"].isHidden() and not again.window.docks["queue"].isHidden()
    assert again.monitor.axis.currentData() == "flops"
    assert again.states() == {"interrupted"}
    again.until(lambda: all(points(again, run) == HELD for run in ran))
    for run in ran:
        assert again.monitor.curves[run].buffer("val/loss").values.tolist() == seen[run].tolist()
    _resume_from_home(again, ran)


def _resume_from_home(desk: Desk, ran: list[int]) -> None:
    note = desk.page("home").interrupted
    assert note.isVisible() and note.words.text().startswith("4 runs were interrupted")
    desk.trainer.began.clear()
    desk.trainer.release()
    note.act.click()
    desk.until(lambda: desk.states() == {"finished"})
    assert {run: first for run, first in desk.trainer.began if run in ran} == dict.fromkeys(ran, HELD)
    desk.until(lambda: not note.isVisible())
    desk.page("monitor")
    desk.until(lambda: all(points(desk, run) == POINTS for run in ran))


def test_the_geometry_is_kept(open_desk: Callable[..., Desk]) -> None:
    first = open_desk()
    first.window.resize(790, 690)  # as wide as the test's screen admits, or as the window needs
    size = (first.window.width(), first.window.height())
    first.close()
    kept = first.settings.data("window/geometry")
    assert not kept.isEmpty()
    second = open_desk(resize=False)
    assert (second.window.width(), second.window.height()) == size


def test_closing_while_runs_are_in_progress_asks_and_saves(
    desk: Desk, trainer: Trainer, open_desk: Callable[..., Desk]
) -> None:
    trainer.hold()
    desk.submit()
    desk.until(lambda: len(under_way(desk)) == 2)
    said: list[bool] = []
    desk.window.closing.connect(lambda: said.append(True))
    in_modal(press("Stay"))
    assert not desk.window.close()
    assert said == [] and desk.states() == {"running", "queued"}
    in_modal(press("Save and quit"))
    desk.window.close()
    assert said == [True]
    assert desk.close() == 0
    again = open_desk()
    assert again.states() == {"interrupted"}
    assert [run.error for run in again.runs()] == [""] * 4


def test_an_idle_window_closes_without_a_question(desk: Desk) -> None:
    desk.finish()
    said: list[bool] = []
    desk.window.closing.connect(lambda: said.append(True))
    desk.window.close()
    assert said == [True]


@pytest.mark.parametrize("how", ["button", "signal"])
def test_the_program_runs_until_it_is_closed(
    desk: Desk, qapp: QApplication, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(Loader, "_load", lambda self: self.loaded.emit())
    before = signal.getsignal(signal.SIGINT)
    loop = qasync.QEventLoop(qapp)

    def leave() -> None:
        assert desk.context.warmth.warm
        assert signal.getsignal(signal.SIGINT) is not before
        desk.window.close() if how == "button" else os.kill(os.getpid(), signal.SIGINT)

    QTimer.singleShot(300, leave)
    with loop:
        assert loop.run_until_complete(asyncio.wait_for(desk.program.run(), 30)) == 0
    desk.forget()
    assert signal.getsignal(signal.SIGINT) is before
    desk.lab.__class__.open(desk.home).close()  # the home was given back


def test_the_first_start_shows_its_steps_and_the_next_does_not(open_desk: Callable[..., Desk]) -> None:
    desk = open_desk(welcome=True)
    splash = desk.program.splash
    assert splash is not None and splash.isVisible()
    assert desk.window.status.activity.text() == "Loading the training engine…"
    desk.program._warm()
    assert splash.steps._at == LOADED
    desk.until(lambda: not splash.isVisible())
    assert desk.window.status.activity.text() == "Idle"
    desk.close()
    assert open_desk(welcome=True).program.splash is None


def test_an_engine_that_cannot_be_loaded_is_a_sentence(desk: Desk) -> None:
    desk.program.loader.failed.emit(ImportError("libtorch.so is missing"))
    assert "libtorch.so is missing" in desk.window.note.words.text()
    assert desk.window.note.isVisible()


def test_a_writer_that_fails_is_said_in_the_window(desk: Desk) -> None:
    error = ResourceError("the disk is full.", "Free some space.")
    assert desk.lab.store.writer.on_error is not None
    thread = threading.Thread(target=desk.lab.store.writer.on_error, args=(error,))
    thread.start()
    thread.join()
    desk.until(lambda: "the disk is full" in desk.window.note.words.text())


def test_an_exception_in_a_slot_is_logged_and_shown(desk: Desk, home: Path) -> None:
    def broken() -> None:
        raise ZeroDivisionError("a bug in a slot")

    QTimer.singleShot(0, broken)
    desk.until(lambda: desk.bugs)
    assert "a bug in a slot" in (home / "app.log").read_text()
    dialog = desk.dialog(CrashDialog)
    assert "ZeroDivisionError: a bug in a slot" in dialog.text.toPlainText()
    copy = next(b for b in dialog.findChildren(QPushButton) if b.text() == "Copy diagnostics")
    copy.click()
    assert QGuiApplication.clipboard().text() == dialog.text.toPlainText()
    dialog.accept()
    desk.do("copy_diagnostics")
    assert "a bug in a slot" in QGuiApplication.clipboard().text()
    desk.bugs.clear()


def test_a_bug_in_a_job_is_shown_too(desk: Desk) -> None:
    def broken() -> None:
        raise KeyError("a bug in a thread")

    desk.context.jobs.run(broken)
    desk.until(lambda: desk.bugs)
    assert "a bug in a thread" in desk.bugs.pop()
    desk.dialog(CrashDialog).accept()


def test_safe_mode_reads_and_keeps_nothing(open_desk: Callable[..., Desk]) -> None:
    first = open_desk()
    first.window.use_theme("dark")
    first.page("monitor")
    first.close()
    before = first.settings.path.read_bytes()
    safe = open_desk(safe_mode=True)
    assert safe.context.theme.mode == "system" and safe.window.page_name == "home"
    safe.window.use_theme("light")
    safe.close()
    assert first.settings.path.read_bytes() == before


def test_a_home_whose_last_study_and_page_are_gone_opens(home: Path, open_desk: Callable[..., Desk]) -> None:
    home.mkdir()
    (home / "app.ini").write_text(
        "[last]\nstudy=gone-12345678\npage=nowhere\n[window]\ngeometry=rubbish\nstate=@ByteArray(xx)\n"
        "[General]\nlanguage=klingon\ntheme=pink\ncosts={broken\n[monitor]\nsmooth=many\naxis=x\n"
    )
    desk = open_desk()
    assert (desk.window.page_name, desk.context.language.name, desk.context.theme.mode) == ("home", "en", "system")
    assert desk.monitor.smooth.value() == 4
    assert desk.window.study() is None and not desk.enabled("save_study")


def test_runs_cancelled_by_the_window_end_cancelled(desk: Desk, trainer: Trainer) -> None:
    trainer.hold()
    desk.submit()
    desk.until(lambda: len(under_way(desk)) == 2)
    queue = desk.window.queue
    queue.table.selectAll()
    queue.cancel()
    desk.until(lambda: {desk.lab.runner.state(run.id) for run in desk.runs()} == {RunState.CANCELLED})
