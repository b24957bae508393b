"""Where the window is put together: Qt and its event loop, the lab, everything they share, and the way out."""

import argparse
import asyncio
import importlib
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import qasync
from PySide6.QtCore import QObject, Qt, QTimer, Signal
from PySide6.QtWidgets import QApplication, QMessageBox, QProgressDialog

from engine import __version__
from engine.errors import KnownError, ResourceError
from engine.events import RunState
from engine.i18n import LANGUAGES, language, tr
from engine.lab import Lab, default_home
from lab_app.bridge import Bridge
from lab_app.context import Context, Selection, Warmth
from lab_app.dialogs.crash import CrashDialog, Recorder, diagnostics
from lab_app.dialogs.start import BUILT, LOADED, OPENED, READY, Splash
from lab_app.hardware import Sensors
from lab_app.jobs import Jobs
from lab_app.language import Language
from lab_app.models.catalog import Catalog
from lab_app.operations import Operations
from lab_app.settings import Settings
from lab_app.theme import Theme
from lab_app.window import MainWindow

DESKTOP_FILE = "emergence-lab"


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The options of the window; leaves with a sentence and code 2 where one is wrong."""
    parser = argparse.ArgumentParser("main.py", description=tr("Opens the window; with a verb, works without one."))
    parser.add_argument("--home", type=Path, help=tr("The folder with all studies, weights and figures"))
    parser.add_argument("--safe-mode", action="store_true", help=tr("Ignore and keep no settings of the window"))
    return parser.parse_args(list(arguments))


def main(arguments: Sequence[str]) -> int:
    """Open the window and stay until it is closed. Returns the exit code."""
    options = parse(arguments)
    app = QApplication(["Emergence Lab"])
    app.setApplicationName("Emergence Lab")
    app.setApplicationVersion(__version__)
    app.setDesktopFileName(DESKTOP_FILE)  # what Wayland finds the icon by
    try:
        lab = Lab.open(options.home)
    except ResourceError as error:
        return _refuse(app, options.home or default_home(), error)
    loop = qasync.QEventLoop(app)
    asyncio.set_event_loop(loop)
    with loop:
        return loop.run_until_complete(Program(app, lab, safe_mode=options.safe_mode).run())


def _refuse(app: QApplication, home: Path, error: KnownError) -> int:
    """The lab cannot be opened: say so where a double-click is looked at, and where a terminal is."""
    print(error, file=sys.stderr)  # noqa: T201 - a terminal may be all there is
    Theme(app)
    box = QMessageBox(QMessageBox.Icon.Warning, "Emergence Lab", error.message)
    box.setInformativeText(error.remedy)
    box.setDetailedText(diagnostics(home))
    box.exec()
    return 2


class Loader(QObject):
    """Imports the training engine in a thread once the window is shown; it takes seconds and half a gigabyte."""

    loaded = Signal()
    failed = Signal(object)

    def start(self) -> None:
        """Begin to load."""
        threading.Thread(target=self._load, name="loader", daemon=True).start()

    def _load(self) -> None:
        try:
            importlib.import_module("engine.training.session")
        except Exception as error:  # noqa: BLE001 - handed to the window's thread, which shows it
            self.failed.emit(error)
        else:
            self.loaded.emit()


class Program(QObject):
    """One window on one lab. ``run`` returns when both are closed."""

    def __init__(self, app: QApplication, lab: Lab, *, safe_mode: bool = False) -> None:
        super().__init__()
        self.app, self.lab = app, lab
        self.recorder = Recorder(lab.home)
        self.recorder.caught.connect(self._show_bug)
        settings = Settings(lab.home, safe_mode=safe_mode)
        speech, theme, jobs = Language(), Theme(app, settings.text("theme", "system")), Jobs()
        known = settings.text("language")
        speech.use(known if known in LANGUAGES else language())
        self.context = Context(
            lab=lab,
            settings=settings,
            language=speech,
            theme=theme,
            jobs=jobs,
            bridge=Bridge(lab.runner.live),
            selection=Selection(),
            operations=Operations(lab, jobs),
            warmth=Warmth(),
        )
        jobs.failed.connect(self.recorder.record)
        lab.store.writer.on_error = self._store_failed
        self.catalog = Catalog(self.context.reader, jobs)
        self.catalog.load_now()
        self.sensors = Sensors(str(lab.home))
        self.window = MainWindow(self.context, self.catalog, self.sensors)
        theme.show_icon(self.window, self.window.setWindowIcon, "emergence-lab", "accent")
        self.loader = Loader()
        self.loader.loaded.connect(self._warm)
        self.loader.failed.connect(self._cannot_train)
        self.splash: Splash | None = None
        self._closing = asyncio.Event()
        self.window.closing.connect(self._closing.set)

    async def run(self) -> int:
        """Show the window and stay until it is closed and everything is saved. Returns the exit code."""
        asyncio.get_running_loop().set_exception_handler(self._task_failed)
        before = self._listen_to_signals()
        self.open()
        QTimer.singleShot(50, self.loader.start)  # after the first picture: importing holds the interpreter
        try:
            await self._closing.wait()
            return await self.leave()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            self.recorder.close()

    def open(self) -> None:
        """Show the window and let it follow what happens; needs no event loop of asyncio."""
        self.window.show()
        if not self.context.settings.flag("seen"):
            self._welcome()
        self.context.bridge.start()
        self.window.hardware.start()

    # -- the first start ----------------------------------------------------------------------------------------

    def _welcome(self) -> None:
        self.splash = Splash(self.context.theme, self.window)
        self.splash.reach(OPENED)
        self.splash.reach(BUILT)
        self.splash.show()

    def _warm(self) -> None:
        if self.splash is not None:
            self.splash.reach(LOADED)
            QTimer.singleShot(600, lambda: self.splash is not None and self.splash.reach(READY))
        self.context.settings.put("seen", True)
        self.context.warmth.mark_warm()

    def _cannot_train(self, error: Exception) -> None:
        if self.splash is not None:
            self.splash.accept()
        if isinstance(error, ImportError | OSError):
            sentence = tr("The training engine cannot be loaded: {why}.", why=str(error))
            remedy = tr("Install the program again; what was trained before can still be looked at.")
            self.window.show_error(ResourceError(sentence, remedy))
        else:
            self.recorder.record(error)

    # -- what goes wrong ----------------------------------------------------------------------------------------

    def _show_bug(self, text: str) -> None:
        CrashDialog(diagnostics(self.lab.home, text), self.window).show()

    def _store_failed(self, error: Exception) -> None:
        """Called from the writer's thread; the signal takes it to the window's."""
        self.context.operations.report(error)

    def _task_failed(self, _loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        error = context.get("exception")
        if isinstance(error, BaseException):
            self.recorder.record(error)

    def _listen_to_signals(self) -> dict[int, object]:
        """Ctrl-C in a terminal and the end of the session close the window as its button does, without asking."""
        return {
            number: signal.signal(number, lambda *_: self.window.leave()) for number in (signal.SIGINT, signal.SIGTERM)
        }

    # -- the way out --------------------------------------------------------------------------------------------

    async def leave(self) -> int:
        """Save everything and close the lab and the window. Returns the exit code."""
        context = self.context
        self.window.hardware.stop()
        running = any(run.state in (RunState.RUNNING, RunState.PAUSED) for run in self.catalog.active())
        saving = self._saving() if running else None
        if not running:
            self.window.hide()
        code = 0
        try:
            await asyncio.to_thread(self._close)
        except KnownError as error:
            QMessageBox.warning(self.window, "Emergence Lab", str(error))
            code = 2
        if saving is not None:
            saving.close()
        context.bridge.stop()
        self.catalog.stop()
        context.operations.undo_stack.clear()  # it would call the window's slots when both are deleted
        self.sensors.close()
        context.settings.sync()
        self.window.close()
        return code

    def _close(self) -> None:
        """Save and close; off the window's thread, since a checkpoint of a large model takes a while."""
        self.context.jobs.close()
        self.lab.close()

    def _saving(self) -> QProgressDialog:
        dialog = QProgressDialog(tr("Saving checkpoints…"), "", 0, 0, self.window)
        dialog.setWindowTitle("Emergence Lab")
        dialog.setCancelButton(None)
        dialog.setWindowModality(Qt.WindowModality.WindowModal)
        dialog.setMinimumDuration(0)
        dialog.show()
        return dialog
