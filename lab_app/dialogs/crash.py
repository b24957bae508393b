"""What happens on a bug: the traceback goes to a log file and to a dialog whose text can be copied."""

import faulthandler
import platform
import sys
import threading
import traceback
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING

from PySide6.QtCore import QObject, Qt, Signal, qVersion
from PySide6.QtWidgets import QApplication, QDialog, QPlainTextEdit, QWidget

from engine import __version__
from engine.i18n import tr
from lab_app.theme import mono_font
from lab_app.widgets.basic import button, column, row, text_label

if TYPE_CHECKING:
    from collections.abc import Callable

LOG = "app.log"
KEPT_BYTES = 1_000_000


class Recorder(QObject):
    """Catches what nobody caught, in any thread; faults of native code go to the same file."""

    caught = Signal(str)

    def __init__(self, home: Path) -> None:
        super().__init__()
        self.path = home / LOG
        if self.path.exists() and self.path.stat().st_size > KEPT_BYTES:
            self.path.replace(self.path.with_suffix(".old.log"))
        self._file: IO[str] | None = self.path.open("a", encoding="utf-8")
        self._faults_were_watched = faulthandler.is_enabled()
        faulthandler.enable(self._file)
        self._before: tuple[Callable[..., object], Callable[..., object]] = (sys.excepthook, threading.excepthook)
        sys.excepthook, threading.excepthook = self.hook, self._thread_hook

    def hook(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        """Replaces ``sys.excepthook``: exceptions in Qt slots end here."""
        if issubclass(kind, KeyboardInterrupt):
            QApplication.quit()
            return
        self.record(error.with_traceback(trace))

    def _thread_hook(self, caught: threading.ExceptHookArgs) -> None:
        if caught.exc_value is not None and not isinstance(caught.exc_value, SystemExit):
            self.record(caught.exc_value)

    def record(self, error: BaseException) -> None:
        """Write a bug down and tell whoever shows it. Safe from any thread."""
        text = "".join(traceback.format_exception(error))
        if self._file is not None:
            self._file.write(f"{text}\n")
            self._file.flush()
        self.caught.emit(text)

    def close(self) -> None:
        """Put back the hooks."""
        sys.excepthook, threading.excepthook = self._before
        faulthandler.disable()
        if self._faults_were_watched and sys.__stderr__ is not None:
            faulthandler.enable(sys.__stderr__)
        if self._file is not None:
            self._file.close()
            self._file = None


def diagnostics(home: Path, text: str = "") -> str:
    """What a report of a bug needs; no names of files beyond the program's own home."""
    from importlib import metadata

    versions = []
    for package in ("torch", "PySide6-Essentials", "pyqtgraph", "numpy", "scipy"):
        try:
            versions.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            versions.append(f"{package} -")
    lines = [
        f"Emergence Lab {__version__}, Python {platform.python_version()}, Qt {qVersion()}",
        platform.platform(),
        ", ".join(versions),
        f"home {home}",
    ]
    return "\n".join([*lines, "", text]).strip()


def end_of_log(home: Path, n_bytes: int = 20_000) -> str:
    """The last lines of the program's log; empty where there is none."""
    try:
        with (home / LOG).open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - n_bytes))
            return file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""


class CrashDialog(QDialog):
    """Says that something went wrong and that training goes on; the text can be copied."""

    def __init__(self, text: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(tr("Something went wrong"))
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.resize(720, 460)
        head, said = text_label("heading", wrap=True), text_label("muted", wrap=True)
        head.setText(tr("A part of the program failed. Runs in progress go on."))
        said.setText(tr("This is a fault of the program, not yours. The text below says what happened."))
        self.text = QPlainTextEdit(text)
        self.text.setReadOnly(True)
        self.text.setFont(mono_font())
        self.text.setAccessibleName(tr("Diagnostics"))
        copy, close = button(primary=True), button()
        copy.setText(tr("Copy diagnostics"))
        close.setText(tr("Close"))
        copy.clicked.connect(lambda _: QApplication.clipboard().setText(self.text.toPlainText()))
        close.clicked.connect(self.accept)
        self.setLayout(column(head, said, self.text, row(None, close, copy), spacing=8, margins=(16, 14, 16, 14)))
