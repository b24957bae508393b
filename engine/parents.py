"""Runs that build on another: which run that is, in this study or another of the home, and where its weights lie."""

from typing import TYPE_CHECKING

import msgspec

from engine.i18n import tr
from engine.study import RunSpec
from engine.task import Parent

if TYPE_CHECKING:
    from engine.store import Store


class Parents:
    """Finds the parents of queued runs. Used under the runner's lock."""

    def __init__(self, store: "Store") -> None:
        self._store = store
        self._reader = store.reader()
        self._found: dict[int, int] = {}

    def id_of(self, run_id: int, study_id: str, spec: RunSpec) -> int | None:
        """The parent's id; the run's own where it builds on none, None where no study of the home has the parent."""
        if spec.parent is msgspec.UNSET:
            return run_id
        if run_id not in self._found:
            row = self._reader.run_of_hash(spec.parent, study_id)
            if row is None:
                return None
            self._found[run_id] = row.id
        return self._found[run_id]

    def parent(self, run_id: int, study_id: str, spec: RunSpec) -> Parent | None:
        """What a run's task carries; None where it builds on none."""
        parent = self.id_of(run_id, study_id, spec)
        if parent is None or parent == run_id:
            return None
        return Parent(self._reader.run_spec(parent), self._store.run_folder(parent))

    def missing(self, spec: RunSpec) -> tuple[str, str]:
        """Why a run cannot start, and the remedy, where its parent is not here or will not finish by itself."""
        assert spec.parent is not msgspec.UNSET
        row = self._reader.run_of_hash(spec.parent)
        if row is None:
            return tr("The run that this one builds on is not here."), tr("Train it first, then resume this one.")
        return (
            tr("The run that this one builds on, {label}, did not finish.", label=row.label),
            tr("Let it finish, then resume this one."),
        )
