"""Everything the window asks of the lab. What a person may regret goes on the undo stack."""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QObject, Signal
from PySide6.QtGui import QUndoCommand, QUndoStack

from engine.errors import KnownError
from engine.events import RunState
from engine.i18n import tr
from engine.store import mutations

if TYPE_CHECKING:
    import sqlite3

    from engine.lab import Lab
    from engine.store.rows import RunRow, StudyRow
    from engine.study import StudySpec
    from lab_app.jobs import Jobs

RESUMABLE = frozenset({RunState.PAUSED, RunState.INTERRUPTED, RunState.FAILED, RunState.CANCELLED})
STOPPABLE = frozenset({RunState.QUEUED, RunState.RUNNING, RunState.PAUSED, RunState.INTERRUPTED})
ACTIVE = frozenset({RunState.QUEUED, RunState.RUNNING, RunState.PAUSED})


class _Edit(QUndoCommand):
    """One change of a study's texts, with what undoes it."""

    def __init__(self, text: str, redo: Callable[[], None], undo: Callable[[], None]) -> None:
        super().__init__(text)
        self._redo, self._undo = redo, undo

    def redo(self) -> None:
        self._redo()

    def undo(self) -> None:
        self._undo()


class Operations(QObject):
    """Calls the runner and the writer off the window's thread and says what changed."""

    changed = Signal(str)
    """A study was added or edited; carries its id."""
    refused = Signal(object)
    """A ``KnownError`` to be shown where the user is."""

    def __init__(self, lab: "Lab", jobs: "Jobs", parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._lab = lab
        self._jobs = jobs
        self.undo_stack = QUndoStack(self)

    def submit(self, study: "StudySpec", then: Callable[[str], Any] | None = None) -> None:
        """Queue a study; ``then(study_id)`` is called when its runs are in the store."""

        def done(study_id: str) -> None:
            self.changed.emit(study_id)
            if then is not None:
                then(study_id)

        def work() -> str:
            from engine.bases import settle

            return self._lab.runner.submit(settle(study, self._lab.home))

        self._jobs.run(work, done, self.report)

    def resume(self, runs: Iterable["RunRow"]) -> None:
        """Go on with whatever can be gone on with, in queue order."""
        wanted = [run.id for run in sorted(runs, key=lambda r: (r.position, r.id)) if run.state in RESUMABLE]
        self._each(self._lab.runner.resume, wanted)

    def pause(self, runs: Iterable["RunRow"]) -> None:
        """Hold running runs at their next step."""
        self._each(self._lab.runner.pause, [run.id for run in runs if run.state == RunState.RUNNING])

    def cancel(self, runs: Iterable["RunRow"]) -> None:
        """End runs for good; what is queued first, so that nothing starts in the place of what ends."""
        wanted = [run for run in runs if run.state in STOPPABLE]
        wanted.sort(key=lambda run: run.state == RunState.RUNNING)
        self._each(self._lab.runner.cancel, [run.id for run in wanted])

    def move(self, run_id: int, position: int) -> None:
        """Give a queued run another place in the queue; 0 is next."""
        self._each(lambda run: self._lab.runner.move(run, position), [run_id])

    def rename(self, study: "StudyRow", title: str) -> None:
        """Change a study's title, undoably."""
        if title.strip() and title.strip() != study.shown_title:
            self._edit(tr("Rename"), study.id, mutations.rename, title.strip(), study.title)

    def notes(self, study: "StudyRow", text: str) -> None:
        """Replace a study's notes, undoably."""
        if text != study.notes:
            self._edit(tr("Notes"), study.id, mutations.notes, text, study.notes)

    def tags(self, study: "StudyRow", names: Sequence[str]) -> None:
        """Replace a study's tags, undoably."""
        if tuple(names) != study.tags:
            self._edit(tr("Tags"), study.id, mutations.tags, tuple(names), study.tags)

    def trash(self, study: "StudyRow", trashed: bool = True) -> None:
        """Put a study in the trash or take it out, undoably. Its files stay."""
        self._edit(tr("Move to trash"), study.id, mutations.trash, trashed, not trashed)

    def report(self, error: Exception) -> None:
        """Show a known error to the user; anything else is a bug and goes to the crash dialog."""
        if isinstance(error, KnownError):
            self.refused.emit(error)
        else:
            self._jobs.failed.emit(error)

    def _edit(self, text: str, study_id: str, mutation: Callable[..., None], new: object, old: object) -> None:
        def put(value: object) -> None:
            self._write(study_id, lambda conn: mutation(conn, study_id, value))

        self.undo_stack.push(_Edit(text, lambda: put(new), lambda: put(old)))

    def _write(self, study_id: str, change: Callable[["sqlite3.Connection"], None]) -> None:
        future = self._lab.store.writer.call(change)
        self._jobs.run(future.result, lambda _: self.changed.emit(study_id), self.report)

    def _each(self, act: Callable[[int], None], runs: Sequence[int]) -> None:
        def work() -> list[Exception]:
            errors: list[Exception] = []
            for run in runs:
                try:
                    act(run)
                except KnownError as error:
                    # The run went on by itself between the click and now: the others still want doing.
                    errors.append(error)
            return errors

        def done(errors: list[Exception]) -> None:
            if errors and len(errors) == len(runs):
                self.refused.emit(errors[0])

        if runs:
            self._jobs.run(work, done, self.report)
