"""Putting a bundle into a home: one transaction, files moved into place inside it, and nothing left of a half."""

import concurrent.futures
import json
import shutil
import sqlite3
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from engine.bundling import contents as c
from engine.bundling.journal import JOURNAL, STAGING, sweep
from engine.bundling.opening import Bundle, Counted
from engine.errors import InputError, ResourceError
from engine.files import require_space, write_text
from engine.i18n import mark, tr
from engine.sources.base import OnProgress
from engine.store import mutations
from engine.study import spec_hash

if TYPE_CHECKING:
    from engine.store import Store


@dataclass(frozen=True, slots=True)
class Restored:
    """Where the study is. ``added`` is False where all of the bundle was there already."""

    study_id: str
    added: bool


class _Interrupted(Exception):
    """Whoever waited for the writer is gone."""


def restore(store: "Store", bundle: Bundle, on_progress: OnProgress = lambda step, fraction: None) -> Restored:
    """Store a checked bundle; the same bundle a second time changes nothing but weights that were missing.

    Raises:
        InputError: the home has results of its own for this study, or the file has changed since it was checked.
        ResourceError: the disk is full or cannot be written; nothing is left.
        What ``on_progress`` raises, to stop it; nothing is left.
    """
    require_space(store.home, 2 * bundle.n_bytes)
    staging = store.home / STAGING
    try:
        write_text(store.home / JOURNAL, "[]")
        _stage(bundle, staging, on_progress)
        return _in_one(store, bundle, staging, on_progress)
    except OSError as error:
        raise ResourceError(
            tr("{path} cannot be written: {why}.", path=str(store.home), why=error.strerror or str(error)),
            tr("Free some space and import it again; nothing was kept."),
        ) from None
    finally:
        sweep(store.home)


def _in_one(store: "Store", bundle: Bundle, staging: Path, on_progress: OnProgress) -> Restored:
    """Store it in one transaction of the writer's thread, which is waited for also by one who is interrupted."""
    interrupted = threading.Event()

    def tell(step: str, fraction: float) -> None:
        if interrupted.is_set():
            raise _Interrupted
        on_progress(step, fraction)

    future = store.writer.call(lambda conn: _store(conn, store.home, bundle, staging, tell))
    try:
        return future.result()
    finally:
        interrupted.set()
        concurrent.futures.wait([future])


def _stage(bundle: Bundle, staging: Path, on_progress: OnProgress) -> None:
    shutil.rmtree(staging, ignore_errors=True)
    files = bundle.run_files()
    told = Counted(on_progress, mark("files"), sum(bundle.manifest.files[name].n_bytes for name in files))
    for name, (number, below) in files.items():
        bundle.extract(name, staging / str(number) / below, told)


def _store(conn: sqlite3.Connection, home: Path, bundle: Bundle, staging: Path, on_progress: OnProgress) -> Restored:
    """Called inside the writer's transaction."""
    study = bundle.manifest.study
    there = conn.execute("SELECT 1 FROM study WHERE id = ?", (study,)).fetchone() is not None
    if there:
        _refuse_other_results(conn, bundle)
        mutations.trash(conn, study, False)
        ids = _ids(conn, bundle)
        new = [part for part in bundle.artifacts if not _has(conn, ids[part.number], part.path)]
    else:
        added = mutations.add_study(conn, bundle.spec, bundle.specs)
        ids = dict(zip((run.number for run in bundle.runs), added, strict=True))
        _rows(conn, bundle, ids, on_progress)
        new = list(bundle.artifacts)
    _artifacts(conn, new, ids)
    _move(home, staging, bundle, ids, {part.number for part in new} if there else set(ids))
    return Restored(study, not there)


def _ids(conn: sqlite3.Connection, bundle: Bundle) -> dict[int, int]:
    """Number of a run in the bundle -> its id here."""
    known = dict(conn.execute("SELECT spec_hash, id FROM run WHERE study_id = ?", (bundle.manifest.study,)).fetchall())
    return {run.number: known[spec_hash(spec)] for run, spec in zip(bundle.runs, bundle.specs, strict=True)}


def _has(conn: sqlite3.Connection, run_id: int, path: str) -> bool:
    query = "SELECT 1 FROM artifact WHERE run_id = ? AND path = ?"
    return conn.execute(query, (run_id, path)).fetchone() is not None


def _refuse_other_results(conn: sqlite3.Connection, bundle: Bundle) -> None:
    """Raise unless everything the bundle measured is here already, number for number."""
    found = {
        tuple(row)
        for row in conn.execute(
            "SELECT spec_hash, capability, metric, coalesce(evaluation.step, -1), value FROM evaluation"
            " JOIN run ON run.id = run_id WHERE study_id = ?",
            (bundle.manifest.study,),
        )
    }
    hashes = {run.number: spec_hash(spec) for run, spec in zip(bundle.runs, bundle.specs, strict=True)}
    known = {row[0] for row in conn.execute("SELECT spec_hash FROM run WHERE study_id = ?", (bundle.manifest.study,))}
    told = {
        (hashes.get(number), capability, metric, -1 if step is None else step, None if value != value else value)
        for columns in bundle.rows(c.EVALUATIONS)
        for number, capability, metric, step, value in zip(
            *(columns[name] for name in ("number", "capability", "metric", "step", "value")), strict=True
        )
    }
    if not set(hashes.values()) <= known or not told <= found:
        raise InputError(
            tr("this home has results of its own for {study}.", study=bundle.manifest.study),
            tr("Import the bundle into another home with --home."),
        )


def _rows(conn: sqlite3.Connection, bundle: Bundle, ids: dict[int, int], on_progress: OnProgress) -> None:
    study = bundle.manifest.study
    conn.execute(
        "UPDATE study SET title = ?, created = ?, notes = ?, tags = ? WHERE id = ?",
        (
            bundle.study.title,
            bundle.study.created,
            bundle.study.notes,
            json.dumps(bundle.study.tags, ensure_ascii=False),
            study,
        ),
    )
    for run in bundle.runs:
        values = {name: getattr(run, name) for name in run.__struct_fields__ if name not in _NOT_COLUMNS}
        values["facts_json"] = json.dumps(run.facts, sort_keys=True, ensure_ascii=False, allow_nan=False)
        changes = ", ".join(f"{name} = ?" for name in values)
        conn.execute(f"UPDATE run SET {changes} WHERE id = ?", (*values.values(), ids[run.number]))
    for law in bundle.laws:
        conn.execute(
            "INSERT INTO law (study_id, form, document_json, created) VALUES (?, ?, ?, ?)",
            (study, law.form, msgspec.json.encode(law.document).decode(), law.created),
        )
    for row in bundle.forecasts:
        conn.execute(
            "INSERT INTO forecast (study_id, form, document_json, created, score_json, scored)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (study, row.form, row.document_json, row.created, row.score_json, row.scored),
        )
    _tables(conn, bundle, ids, on_progress)


_NOT_COLUMNS = ("number", "spec_json", "facts")


def _tables(conn: sqlite3.Connection, bundle: Bundle, ids: dict[int, int], on_progress: OnProgress) -> None:
    into = {
        c.CURVES: "metric (run_id, key_id, step, value)",
        c.EVALUATIONS: "evaluation (run_id, capability, metric, step, value, stderr, n, chance)",
        c.EVENTS: "event (run_id, time, kind, level, step, text)",
    }
    total, done = sum(bundle.n_rows(name) for name in into) or 1, 0
    keys: dict[str, int] = {}
    for name, table in into.items():
        for columns in bundle.rows(name):
            on_progress(mark("storing"), done / total)
            done += len(columns["number"])
            if name == c.CURVES:
                columns["key"] = [_key(conn, keys, key) for key in columns["key"]]
            _insert(conn, table, columns, ids)
    on_progress(mark("storing"), 1.0)


def _key(conn: sqlite3.Connection, known: dict[str, int], name: str) -> int:
    """The number of a metric's name."""
    if name not in known:
        conn.execute("INSERT OR IGNORE INTO metric_key (name) VALUES (?)", (name,))
        (known[name],) = conn.execute("SELECT id FROM metric_key WHERE name = ?", (name,)).fetchone()
    return known[name]


def _insert(conn: sqlite3.Connection, table: str, columns: dict[str, list[Any]], ids: dict[int, int]) -> None:
    marks = ", ".join("?" * len(columns))
    try:
        columns["number"] = [ids[number] for number in columns["number"]]
        conn.executemany(f"INSERT INTO {table} VALUES ({marks})", zip(*columns.values(), strict=True))
    except (KeyError, sqlite3.IntegrityError):
        raise InputError(tr("the tables of the bundle contradict each other.")) from None


def _artifacts(conn: sqlite3.Connection, parts: list[c.ArtifactPart], ids: dict[int, int]) -> None:
    conn.executemany(
        "INSERT INTO artifact (run_id, kind, path, step, n_bytes, sha256, created) VALUES (?, ?, ?, ?, ?, ?, ?)",
        [(ids[p.number], p.kind, p.path, p.step, p.n_bytes, p.sha256, p.created) for p in parts],
    )


def _move(home: Path, staging: Path, bundle: Bundle, ids: dict[int, int], numbers: set[int]) -> None:
    """Put the files of these runs where they belong; what was moved is taken back where a move fails."""
    moves = [
        (staging / str(number) / below, home / "artifacts" / str(ids[number]) / below)
        for number, below in bundle.run_files().values()
        if number in numbers
    ]
    moves = [(source, target) for source, target in moves if not target.exists()]
    write_text(home / JOURNAL, json.dumps(sorted({ids[number] for number in numbers})))
    done: list[Path] = []
    try:
        for source, target in moves:
            target.parent.mkdir(parents=True, exist_ok=True)
            source.rename(target)
            done.append(target)
    except OSError:
        for target in done:
            target.unlink(missing_ok=True)
        raise
