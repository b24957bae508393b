"""Bugs on record."""

import faulthandler
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtWidgets import QApplication

from engine import __version__
from lab_app.dialogs.crash import KEPT_BYTES, Recorder, diagnostics, end_of_log


@pytest.fixture
def recorder(tmp_path: Path, qapp: QApplication) -> Iterator[Recorder]:
    recorder = Recorder(tmp_path)
    yield recorder
    recorder.close()


def test_the_hooks_are_put_back(tmp_path: Path, qapp: QApplication) -> None:
    before, was_on = sys.excepthook, faulthandler.is_enabled()
    recorder = Recorder(tmp_path)
    assert sys.excepthook == recorder.hook
    recorder.close()
    assert sys.excepthook is before
    assert faulthandler.is_enabled() == was_on


def test_a_bug_is_written_and_told(recorder: Recorder, tmp_path: Path) -> None:
    told: list[str] = []
    recorder.caught.connect(told.append)
    try:
        _ = 1 / 0
    except ZeroDivisionError as error:
        recorder.hook(type(error), error, error.__traceback__)
    assert "ZeroDivisionError" in told[0] and "test_crash.py" in told[0]
    assert (tmp_path / "app.log").read_text().strip() == told[0].strip()
    assert "ZeroDivisionError" in end_of_log(tmp_path)


def test_a_bug_of_another_thread_is_kept_too(recorder: Recorder, tmp_path: Path) -> None:
    """``threading.excepthook``: what nobody caught in a thread of the program."""

    def broken() -> None:
        raise LookupError("in a thread")

    thread = threading.Thread(target=broken)
    thread.start()
    thread.join()
    assert "in a thread" in (tmp_path / "app.log").read_text()


def test_a_log_that_grew_is_put_aside(tmp_path: Path, qapp: QApplication) -> None:
    (tmp_path / "app.log").write_text("x" * (KEPT_BYTES + 1))
    Recorder(tmp_path).close()
    assert (tmp_path / "app.log").read_text() == ""
    assert (tmp_path / "app.old.log").stat().st_size > KEPT_BYTES


def test_the_end_of_a_log(tmp_path: Path) -> None:
    assert end_of_log(tmp_path) == ""
    (tmp_path / "app.log").write_bytes(b"\xff" + "日志 end".encode())
    assert end_of_log(tmp_path).endswith("日志 end")
    assert end_of_log(tmp_path, 3) == "end"


def test_diagnostics_name_versions_and_the_home(tmp_path: Path) -> None:
    text = diagnostics(tmp_path, "what happened")
    assert text.startswith(f"Emergence Lab {__version__}, Python {sys.version.split()[0]}")
    assert "torch " in text and "PySide6-Essentials 6" in text and f"home {tmp_path}" in text
    assert text.endswith("what happened")
