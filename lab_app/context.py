"""What every page and dock is given: the lab, and the few objects that make up the window's state."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Signal

if TYPE_CHECKING:
    from engine.lab import Lab
    from engine.store.reader import Reader
    from lab_app.bridge import Bridge
    from lab_app.jobs import Jobs
    from lab_app.language import Language
    from lab_app.operations import Operations
    from lab_app.settings import Settings
    from lab_app.theme import Theme


class Selection(QObject):
    """Which study and run the window is about, and which runs the eye hides from the plots."""

    study_changed = Signal(str)
    run_changed = Signal(int)
    hidden_changed = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.study = ""
        self.run = 0
        self.hidden: frozenset[int] = frozenset()

    def choose_study(self, study: str) -> None:
        """Make ``study`` the one all pages show; the empty id means none."""
        if study != self.study:
            self.study = study
            self.run = 0
            self.study_changed.emit(study)
            self.run_changed.emit(0)

    def choose_run(self, study: str, run: int) -> None:
        """Make one run of a study the one the inspector and the log show."""
        self.choose_study(study)
        if run != self.run:
            self.run = run
            self.run_changed.emit(run)

    def hide(self, runs: frozenset[int], hidden: bool) -> None:
        """Take runs out of the plots, or put them back."""
        wanted = self.hidden | runs if hidden else self.hidden - runs
        if wanted != self.hidden:
            self.hidden = wanted
            self.hidden_changed.emit()


class Warmth(QObject):
    """Whether torch is loaded. What needs it waits here instead of loading it in the window's thread."""

    warmed = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.warm = False
        self._waiting: list[Callable[[], None]] = []

    def when_warm(self, do: Callable[[], None]) -> None:
        """Call ``do`` as soon as torch is loaded, at once where it is."""
        if self.warm:
            do()
        else:
            self._waiting.append(do)

    def mark_warm(self) -> None:
        """Torch is loaded: call everything that waited."""
        self.warm = True
        waiting, self._waiting = self._waiting, []
        for do in waiting:
            do()
        self.warmed.emit()


@dataclass(frozen=True, slots=True)
class Context:
    """Made once in ``lab_app.app``, handed to everything; nothing is looked up globally."""

    lab: "Lab"
    settings: "Settings"
    language: "Language"
    theme: "Theme"
    jobs: "Jobs"
    bridge: "Bridge"
    selection: Selection
    operations: "Operations"
    warmth: Warmth

    def reader(self) -> "Reader":
        """A read-only view of the store."""
        return self.lab.reader()
