"""The studies and runs of the home, read off the window's thread, with what is live laid over them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
from PySide6.QtCore import QObject, QTimer, Signal

from engine.events import Phase, Progress, RunState
from lab_app.operations import ACTIVE

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.store.reader import Reader
    from engine.store.rows import RunRow, StudyRow
    from lab_app.bridge import Tick
    from lab_app.jobs import Jobs

RELOAD_MS = 200
"""Changes closer together than this are read once."""
SPEED_SMOOTHING = 0.2


@dataclass(slots=True)
class Live:
    """How far a run is and how fast it goes, from its progress events."""

    progress: Progress | None = None
    phase: Phase | None = None
    steps_per_second: float = 0.0

    def follow(self, new: Progress) -> None:
        """Take the newest progress; speed is smoothed so that the remaining time does not jump."""
        old = self.progress
        if old is not None and new.seconds > old.seconds and new.step > old.step:
            speed = (new.step - old.step) / (new.seconds - old.seconds)
            share = SPEED_SMOOTHING if self.steps_per_second else 1.0
            self.steps_per_second += share * (speed - self.steps_per_second)
        elif old is None and new.seconds > 0:
            self.steps_per_second = new.step / new.seconds
        self.progress = new

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the last step, None where the speed is not known yet."""
        if self.progress is None or self.steps_per_second <= 0:
            return None
        return (self.progress.n_steps - self.progress.step) / self.steps_per_second


class Catalog(QObject):
    """What there is. ``changed`` after every read; ``progressed`` carries the runs that went on."""

    changed = Signal()
    progressed = Signal(object)

    def __init__(self, reader: "Callable[[], Reader]", jobs: "Jobs", parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.studies: list[StudyRow] = []
        self.trashed: list[StudyRow] = []
        self.loaded = False
        self._reader = reader
        self._jobs = jobs
        self._runs: dict[str, list[RunRow]] = {}
        self._by_id: dict[int, RunRow] = {}
        self._states: dict[int, RunState] = {}
        self._live: dict[int, Live] = {}
        self._again = QTimer(self, singleShot=True, interval=RELOAD_MS)
        self._again.timeout.connect(self.reload)

    def reload_soon(self) -> None:
        """Read again shortly; several calls make one read."""
        if not self._again.isActive():
            self._again.start()

    def stop(self) -> None:
        """Read no more; the store is closed."""
        self._again.stop()

    def reload(self) -> None:
        """Read studies and runs now, in a job."""
        self._jobs.run(self._read, self._take, slot="catalog")

    def load_now(self) -> None:
        """The same in the caller's thread, for the first picture of the window."""
        self._take(self._read())

    def runs(self, study: str) -> list["RunRow"]:
        """Runs of a study, by size, variant and seed as they were expanded."""
        return self._runs.get(study, [])

    def run(self, run_id: int) -> "RunRow | None":
        """One run, None where it is not in the catalogue (yet)."""
        return self._by_id.get(run_id)

    def study(self, study_id: str) -> "StudyRow | None":
        """One study, also from the trash."""
        return next((row for row in (*self.studies, *self.trashed) if row.id == study_id), None)

    def waiting(self) -> list["RunRow"]:
        """Runs with something left to do or to decide: running and paused, then queued, then stopped ones."""
        order = {"running": 0, "paused": 1, "queued": 2, "interrupted": 3, "failed": 4}
        shown = {row.id for row in self.studies}
        left = [run for run in self._by_id.values() if run.state in order and run.study_id in shown]
        return sorted(left, key=lambda run: (order[run.state], run.position, run.id))

    def active(self) -> list["RunRow"]:
        """Runs that are running, paused or queued."""
        return [run for run in self._by_id.values() if run.state in ACTIVE]

    def live(self, run_id: int) -> Live:
        """What is known live of a run; empty where nothing is."""
        return self._live.setdefault(run_id, Live())

    def fraction(self, run: "RunRow") -> float:
        """How far a run is, 0..1."""
        live = self.live(run.id).progress
        step, of = (live.step, live.n_steps) if live is not None else (run.step, run.n_steps)
        return 1.0 if run.state == RunState.FINISHED else min(1.0, step / of) if of else 0.0

    def take(self, tick: "Tick") -> None:
        """Lay what just arrived over what was read."""
        for event in tick.states:
            self._states[event.run_id] = event.state
            if event.state != RunState.RUNNING:
                self._live.pop(event.run_id, None)
        for run_id, progress in tick.progress.items():
            self.live(run_id).follow(progress)
        for run_id, phase in tick.phases.items():
            self.live(run_id).phase = phase
        if tick.states:
            self._overlay({event.run_id for event in tick.states})
            self.changed.emit()
            self.reload_soon()
        elif tick.evaluations:
            self.reload_soon()
        moved = tick.progress.keys() | tick.phases.keys()
        if moved:
            self.progressed.emit(moved)

    def _read(self) -> tuple[list["StudyRow"], list["StudyRow"], dict[str, list["RunRow"]]]:
        reader = self._reader()
        studies, trashed = reader.studies(), reader.studies(trashed=True)
        by_study: dict[str, list[RunRow]] = {row.id: [] for row in (*studies, *trashed)}
        for run in sorted(reader.runs(), key=lambda r: r.id):
            by_study.setdefault(run.study_id, []).append(run)
        for row in trashed:
            by_study[row.id] = reader.runs(row.id)
        return studies, trashed, by_study

    def _take(self, read: tuple[list["StudyRow"], list["StudyRow"], dict[str, list["RunRow"]]]) -> None:
        self.studies, self.trashed, self._runs = read
        self._by_id = {run.id: run for runs in self._runs.values() for run in runs}
        self._overlay(self._states.keys())
        self.loaded = True
        self.changed.emit()

    def _overlay(self, run_ids: Iterable[int]) -> None:
        # The writer commits in batches: the event is newer than what was read.
        for run_id in run_ids:
            run, state = self._by_id.get(run_id), self._states.get(run_id)
            if run is None or state is None or run.state == state:
                continue
            fresh = msgspec.structs.replace(run, state=state.value)
            self._by_id[run_id] = fresh
            siblings = self._runs[run.study_id]
            siblings[next(i for i, r in enumerate(siblings) if r.id == run_id)] = fresh
