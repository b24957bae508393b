"""Everything that is read from the store: read-only connections, one per thread, never the writer's.

A ``Reader`` may be shared by threads. What it returns is frozen and does not change when the store does.
"""

import json
import math
import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.errors import InputError
from engine.i18n import tr
from engine.store.decimate import min_max
from engine.store.faults import as_known
from engine.store.rows import (
    VALIDATION_LOSSES,
    ArtifactRow,
    EvaluationRow,
    EventRow,
    ForecastRow,
    LawRow,
    Row,
    RunRow,
    SampleRow,
    StudyRow,
)
from engine.study import DERIVED, RunSpec, StudySpec

R = TypeVar("R", bound=Row)
_POINT = np.dtype([("step", np.int64), ("value", np.float64)])
Curve = tuple[NDArray[np.int64], NDArray[np.float64]]


class _Held:
    """Closes its connection when the thread that used it is gone."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    def close(self) -> None:
        self.connection.close()

    __del__ = close


class Connections:
    """Hands each thread its own connection to the database at ``path``."""

    def __init__(self, connect: Callable[[], sqlite3.Connection], path: Path) -> None:
        self._connect = connect
        self._path = path
        self._local = threading.local()
        self._all: weakref.WeakSet[_Held] = weakref.WeakSet()
        self._lock = threading.Lock()

    @property
    def home(self) -> Path:
        """The folder that the database is in."""
        return self._path.parent

    def get(self) -> sqlite3.Connection:
        """The connection of the calling thread."""
        held: _Held | None = getattr(self._local, "held", None)
        if held is None:
            held = _Held(self._connect())
            self._local.held = held
            with self._lock:
                self._all.add(held)
        return held.connection

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The same for one query; what the machine is to blame for comes out as ``ResourceError``."""
        try:
            yield self.get()
        except sqlite3.Error as error:
            known = as_known(error, self._path)
            if known is None:
                raise
            raise known from error

    def close(self) -> None:
        """Close the connections of all threads; they must no longer be reading."""
        with self._lock:
            for held in list(self._all):
                held.close()


class Reader:
    """Queries over the store. Cheap to make; raises ``InputError`` for ids that are not there."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def studies(self, trashed: bool = False) -> list[StudyRow]:
        """Studies, newest first; those in the trash with ``trashed=True``."""
        where = "IS NOT NULL" if trashed else "IS NULL"
        return [
            _study(row) for row in self._all(f"SELECT * FROM study WHERE trashed {where} ORDER BY created DESC, id")
        ]

    def study(self, study_id: str) -> StudyRow:
        """One study, also from the trash."""
        row = self._one("SELECT * FROM study WHERE id = ?", study_id)
        if row is None:
            raise InputError(tr("there is no study {name!r} here.", name=study_id))
        return _study(row)

    def study_spec(self, study_id: str) -> StudySpec:
        """The study as it was asked."""
        return msgspec.json.decode(self.study(study_id).spec_json, type=StudySpec)

    def runs(self, study_id: str | None = None) -> list[RunRow]:
        """Runs of a study in the order they were expanded, or of all studies not in the trash, by queue position."""
        if study_id is not None:
            return self._rows(RunRow, "SELECT * FROM run WHERE study_id = ? ORDER BY id", study_id)
        return self._rows(
            RunRow,
            "SELECT run.* FROM run JOIN study ON study.id = run.study_id WHERE trashed IS NULL"
            " ORDER BY position, run.id",
        )

    def ladder(self, study_id: str) -> list[RunRow]:
        """The runs of a study that are sizes of its ladder: those that were trained, not what was made of them."""
        return [run for run in self.runs(study_id) if run.kind not in DERIVED]

    def a_run_of_each_family(self) -> list[RunRow]:
        """The first run of each family in each study: what tells units and shapes without reading them all."""
        return self._rows(
            RunRow, "SELECT * FROM run WHERE id IN (SELECT min(id) FROM run GROUP BY study_id, family) ORDER BY id"
        )

    def run(self, run_id: int) -> RunRow:
        """One run."""
        found = self._rows(RunRow, "SELECT * FROM run WHERE id = ?", run_id)
        if not found:
            raise InputError(tr("there is no run {run_id} here.", run_id=run_id))
        return found[0]

    def run_spec(self, run_id: int) -> RunSpec:
        """The run, resolved and frozen, as it was queued."""
        return msgspec.json.decode(self.run(run_id).spec_json, type=RunSpec)

    def run_of_hash(self, digest: str, study_id: str = "") -> RunRow | None:
        """The run with this hash of its spec: that of ``study_id`` before others, a finished one before others."""
        found = self._rows(
            RunRow,
            "SELECT * FROM run WHERE spec_hash = ? ORDER BY study_id <> ?, state <> 'finished', id LIMIT 1",
            digest,
            study_id,
        )
        return found[0] if found else None

    def metric_keys(self, run_id: int) -> list[str]:
        """Names of the metrics that a run has, by name."""
        # One seek per name instead of a walk over the run's rows.
        found = self._all(
            "SELECT name FROM metric_key WHERE EXISTS"
            " (SELECT 1 FROM metric WHERE run_id = ? AND key_id = metric_key.id) ORDER BY name",
            run_id,
        )
        return [row["name"] for row in found]

    def curve(self, run_id: int, key: str, max_points: int = 2000) -> Curve:
        """Steps (n,) int64 and values (n,) float64 of a metric, at most about ``max_points``.

        Each bucket of steps keeps its smallest and largest value, so that no spike is lost; ends are kept.
        """
        return min_max(*self.curve_full(run_id, key), max_points)

    def curve_full(self, run_id: int, key: str, after_step: int = -1) -> Curve:
        """Every point of a metric after ``after_step``, by step."""
        sql = (
            "SELECT step, value FROM metric WHERE run_id = ? AND key_id = (SELECT id FROM metric_key WHERE name = ?)"
            " AND step > ? ORDER BY step"
        )
        values = (run_id, key, after_step)
        with self._connections.reading() as connection:
            cursor = connection.cursor()
            cursor.row_factory = None
            cursor.execute(sql, values)
            try:
                points = np.fromiter(cursor, dtype=_POINT)
            except TypeError:  # a NULL, which stands for nan; rare, so only then look at each value
                rows = cursor.execute(sql, values).fetchall()
                points = np.array([(step, _number(value)) for step, value in rows], dtype=_POINT)
        return np.ascontiguousarray(points["step"]), np.ascontiguousarray(points["value"])

    def evaluations(self, study_id: str, final_only: bool = False) -> list[EvaluationRow]:
        """What was measured on the study's runs, by size, seed, capability, metric and step (final last)."""
        final = "AND evaluation.step IS NULL" if final_only else ""
        rows = self._all(
            "SELECT evaluation.*, seed, size_index, n_params, n_params_non_embedding FROM evaluation"
            f" JOIN run ON run.id = run_id WHERE study_id = ? {final}"
            " ORDER BY n_params_non_embedding, run_id, capability, metric, evaluation.step IS NULL, evaluation.step",
            study_id,
        )
        return [EvaluationRow(**{**dict(row), "value": _number(row["value"])}) for row in rows]

    def scores(self, study_id: str, capability: str, metric: str) -> dict[int, float]:
        """Run -> final score of one metric; a validation loss is the run's own, under either of its names."""
        if (capability, metric) in VALIDATION_LOSSES:
            return {run.id: run.val_loss for run in self.runs(study_id) if run.val_loss is not None}
        rows = self.evaluations(study_id, final_only=True)
        return {row.run_id: row.value for row in rows if (row.capability, row.metric) == (capability, metric)}

    def law(self, study_id: str, form: str | None = None) -> dict[str, Any] | None:
        """The law last fitted to a study, or the one of a form; None where there is none."""
        row = self._one(
            "SELECT document_json FROM law WHERE study_id = ? AND (? IS NULL OR form = ?)"
            " ORDER BY created DESC LIMIT 1",
            study_id,
            form,
            form,
        )
        if row is None:
            return None
        document: dict[str, Any] = json.loads(row["document_json"])
        return document

    def laws(self, study_id: str) -> list[dict[str, Any]]:
        """Every law of a study, one for each form, oldest first."""
        rows = self._all("SELECT document_json FROM law WHERE study_id = ? ORDER BY created, form", study_id)
        return [json.loads(row["document_json"]) for row in rows]

    def law_rows(self, study_id: str) -> list[LawRow]:
        """The same as they are stored."""
        return self._rows(LawRow, "SELECT * FROM law WHERE study_id = ? ORDER BY created, form", study_id)

    def forecasts(self, study_id: str | None = None) -> list[ForecastRow]:
        """Locked forecasts of a study, or of the whole home, oldest first."""
        return self._rows(ForecastRow, "SELECT * FROM forecast WHERE ?1 IS NULL OR study_id = ?1 ORDER BY id", study_id)

    def studies_measured(self, capability: str, metric: str) -> list[str]:
        """Studies with a final score of a metric, by id."""
        rows = self._all(
            "SELECT DISTINCT study_id FROM evaluation JOIN run ON run.id = run_id"
            " WHERE capability = ? AND metric = ? AND evaluation.step IS NULL ORDER BY study_id",
            capability,
            metric,
        )
        return [row["study_id"] for row in rows]

    def measured(self, key: str) -> str | None:
        """Scores as JSON that were kept under a key; None where nothing was measured under it."""
        row = self._one("SELECT scores_json FROM measured WHERE key = ?", key)
        return None if row is None else str(row["scores_json"])

    def samples(self, run_id: int) -> list[SampleRow]:
        """What the model made while training, oldest first."""
        return self._rows(
            SampleRow,
            "SELECT run_id, step, level AS kind, text AS content, time FROM event"
            " WHERE run_id = ? AND kind = 'sample' ORDER BY id",
            run_id,
        )

    def log(self, run_id: int) -> list[EventRow]:
        """Log lines and changes of state, oldest first."""
        return self._rows(EventRow, "SELECT * FROM event WHERE run_id = ? AND kind <> 'sample' ORDER BY id", run_id)

    def artifacts(self, run_id: int) -> list[ArtifactRow]:
        """Files of a run, by step."""
        return self._rows(ArtifactRow, "SELECT * FROM artifact WHERE run_id = ? ORDER BY step, path", run_id)

    def file(self, run_id: int, kind: str) -> Path | None:
        """Where the newest file of a kind lies that a run kept; None where it kept none."""
        kept = [artifact for artifact in self.artifacts(run_id) if artifact.kind == kind]
        return self._connections.home / "artifacts" / str(run_id) / kept[-1].path if kept else None

    def _all(self, sql: str, *values: object) -> list[sqlite3.Row]:
        with self._connections.reading() as connection:
            return connection.execute(sql, values).fetchall()

    def _one(self, sql: str, *values: object) -> sqlite3.Row | None:
        with self._connections.reading() as connection:
            row: sqlite3.Row | None = connection.execute(sql, values).fetchone()
        return row

    def _rows(self, kind: type[R], sql: str, *values: object) -> list[R]:
        return [kind(**dict(row)) for row in self._all(sql, *values)]


def _study(row: sqlite3.Row) -> StudyRow:
    return StudyRow(**{**dict(row), "tags": tuple(json.loads(row["tags"]))})


def _number(value: float | None) -> float:
    return math.nan if value is None else value
