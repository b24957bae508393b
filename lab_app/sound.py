"""Playing a sound file with what the system has: Qt's own player would add a hundred megabytes to the program."""

import shutil
import sys
import wave
from pathlib import Path

from PySide6.QtCore import QObject, QProcess, QTimer, Signal

PROGRAMS: dict[str, tuple[str, ...]] = {
    "afplay": (),
    "pw-play": (),
    "paplay": (),
    "aplay": ("-q",),
    "ffplay": ("-nodisp", "-autoexit", "-loglevel", "quiet"),
}
"""What may be there to play a WAV, and the arguments that come before the file."""


def find_program() -> tuple[str, ...]:
    """The command that plays a WAV, without the file; empty where there is none."""
    for name, arguments in PROGRAMS.items():
        found = shutil.which(name)
        if found:
            return (found, *arguments)
    return ()


class Player(QObject):
    """Plays one file at a time; another one ends the one before."""

    changed = Signal()
    """A file began or ended."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.playing: Path | None = None
        self._command = find_program()
        self._process = QProcess(self)
        self._process.finished.connect(lambda *_: self._ended())
        self._process.errorOccurred.connect(lambda _: self._ended())
        self._end = QTimer(self, singleShot=True)
        self._end.timeout.connect(self._ended)

    @property
    def available(self) -> bool:
        """Whether this machine can play at all."""
        return sys.platform == "win32" or bool(self._command)

    def play(self, path: Path) -> None:
        """Play from the beginning."""
        self.stop()
        if not self.available or not path.is_file():
            return
        if sys.platform == "win32":
            import winsound

            winsound.PlaySound(str(path), winsound.SND_FILENAME | winsound.SND_ASYNC)
            with wave.open(str(path)) as file:
                self._end.start(round(1000 * file.getnframes() / file.getframerate()))
        else:
            self._process.start(self._command[0], [*self._command[1:], str(path)])
        self.playing = path
        self.changed.emit()

    def stop(self) -> None:
        """End what plays."""
        if self.playing is None:
            return
        if sys.platform == "win32":
            import winsound

            winsound.PlaySound(None, 0)
            self._end.stop()
        elif self._process.state() is not QProcess.ProcessState.NotRunning:
            self._process.blockSignals(True)
            self._process.kill()
            self._process.waitForFinished(1000)
            self._process.blockSignals(False)
        self._ended()

    def _ended(self) -> None:
        if self.playing is not None:
            self.playing = None
            self.changed.emit()
