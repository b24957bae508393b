"""Every change a person or the runner makes to the store: plain functions of the writing connection.

Hand them to ``Writer.call``, which wraps each in a transaction of its own.
"""

import json
import sqlite3
import time as clock
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from engine.errors import InputError
from engine.events import RunState
from engine.i18n import tr
from engine.study import RunSpec, StudySpec, canonical_json, spec_hash, study_id

_OVER = (RunState.FINISHED, RunState.FAILED, RunState.CANCELLED, RunState.INTERRUPTED)


def add_study(conn: sqlite3.Connection, study: StudySpec, runs: Sequence[RunSpec]) -> list[int]:
    """Store a study and queue its runs behind all others; returns the run ids in the order of ``runs``.

    Idempotent: a study or run that is there already keeps its id, state and results; a trashed study comes back.
    """
    key = study_id(study)
    now = clock.time()
    conn.execute(
        "INSERT INTO study (id, name, title, spec_json, spec_hash, created) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (id) DO UPDATE SET trashed = NULL",
        (key, study.name, study.title, canonical_json(study).decode(), spec_hash(study), now),
    )
    have = dict(conn.execute("SELECT spec_hash, id FROM run WHERE study_id = ?", (key,)).fetchall())
    (position,) = conn.execute("SELECT coalesce(max(position), -1) + 1 FROM run").fetchone()
    ids: list[int] = []
    for spec in runs:
        digest = spec_hash(spec)
        if digest not in have:
            have[digest] = _insert_run(conn, key, spec, digest, position, now)
            position += 1
        ids.append(have[digest])
    return ids


def _insert_run(conn: sqlite3.Connection, key: str, spec: RunSpec, digest: str, position: int, now: float) -> int:
    values: dict[str, Any] = {
        "study_id": key,
        "family": spec.family,
        "kind": spec.kind,
        "label": spec.label,
        "seed": spec.seed,
        "size": spec.size,
        "size_index": spec.size_index,
        "variant_json": msgspec.json.encode(spec.variant, order="sorted").decode(),
        "state": RunState.QUEUED.value,
        "position": position,
        "spec_json": canonical_json(spec).decode(),
        "spec_hash": digest,
        "n_params": spec.n_params,
        "n_params_non_embedding": spec.n_params_non_embedding,
        "compute_flops": spec.compute_flops,
        "n_steps": spec.training.n_steps,
        "created": now,
    }
    columns = ", ".join(values)
    marks = ", ".join("?" * len(values))
    cursor = conn.execute(f"INSERT INTO run ({columns}) VALUES ({marks})", tuple(values.values()))
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def set_state(
    conn: sqlite3.Connection,
    run_id: int,
    state: RunState,
    time: float | None = None,
    message: str = "",
    remedy: str = "",
    traceback: str = "",
) -> None:
    """Put a run into a state and leave a line about it in ``event``. ``time`` is now unless given."""
    now = clock.time() if time is None else time
    changed = conn.execute(
        "UPDATE run SET state = ?, error = ?, remedy = ?, traceback = ?,"
        " started = CASE WHEN ? THEN coalesce(started, ?) ELSE started END,"
        " finished = CASE WHEN ? THEN ? ELSE NULL END WHERE id = ?",
        (state.value, message, remedy, traceback, state is RunState.RUNNING, now, state in _OVER, now, run_id),
    )
    if not changed.rowcount:
        raise _no_run(run_id)
    conn.execute(
        "INSERT INTO event (run_id, time, kind, level, text) VALUES (?, ?, 'state', ?, ?)",
        (run_id, now, state.value, message),
    )


def set_position(conn: sqlite3.Connection, run_id: int, position: int) -> None:
    """Give a run its place in the queue; smaller runs first, ties go by id."""
    if not conn.execute("UPDATE run SET position = ? WHERE id = ?", (position, run_id)).rowcount:
        raise _no_run(run_id)


def save_law(conn: sqlite3.Connection, study_id: str, form: str, document: Mapping[str, Any]) -> None:
    """Keep a fitted law of a study, in place of an earlier one of the same form."""
    conn.execute(
        "INSERT INTO law (study_id, form, document_json, created) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (study_id, form) DO UPDATE SET document_json = excluded.document_json,"
        " created = excluded.created",
        (study_id, form, msgspec.json.encode(document).decode(), clock.time()),
    )


def lock_forecast(
    conn: sqlite3.Connection, study_id: str, form: str, document: Mapping[str, Any], once: bool = False
) -> int:
    """Keep a forecast for good and return its id; with ``once`` the one of equal ``act`` that is there stays the one.

    The database itself refuses to change or delete it from here on.
    """
    if once:
        found = conn.execute(
            "SELECT id FROM forecast WHERE study_id = ? AND json_extract(document_json, '$.act') = ?",
            (study_id, document["act"]),
        ).fetchone()
        if found is not None:
            return int(found[0])
    cursor = conn.execute(
        "INSERT INTO forecast (study_id, form, document_json, created) VALUES (?, ?, ?, ?)",
        (study_id, form, msgspec.json.encode(document).decode(), clock.time()),
    )
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def score_forecast(conn: sqlite3.Connection, forecast_id: int, score: Mapping[str, Any]) -> None:
    """Put the score beside a forecast, once; a forecast that has one keeps it."""
    conn.execute(
        "UPDATE forecast SET score_json = ?, scored = ? WHERE id = ? AND score_json IS NULL",
        (msgspec.json.encode(score).decode(), clock.time(), forecast_id),
    )


def keep_scores(conn: sqlite3.Connection, key: str, values: Mapping[str, Any], scores: Sequence[Any]) -> None:
    """Remember what was measured under a key that says on which weights and how; see ``engine.battery``."""
    conn.execute(
        "INSERT OR REPLACE INTO measured (key, weights, capability, version, options_json, fingerprint, scores_json,"
        " created) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            key,
            values["weights"],
            values["capability"],
            values["version"],
            msgspec.json.encode(values["options"], order="sorted").decode(),
            values["fingerprint"],
            msgspec.json.encode(scores).decode(),
            clock.time(),
        ),
    )


def rename(conn: sqlite3.Connection, study_id: str, title: str) -> None:
    """Change the title a study is shown under."""
    if not title.strip():
        raise InputError(tr("a study needs a title."))
    _set_study(conn, study_id, "title", title.strip())


def notes(conn: sqlite3.Connection, study_id: str, text: str) -> None:
    """Replace the notes on a study."""
    _set_study(conn, study_id, "notes", text)


def tags(conn: sqlite3.Connection, study_id: str, names: Sequence[str]) -> None:
    """Replace the tags of a study; blanks and repeats are left out, order is kept."""
    kept = list(dict.fromkeys(name.strip() for name in names if name.strip()))
    _set_study(conn, study_id, "tags", json.dumps(kept, ensure_ascii=False))


def trash(conn: sqlite3.Connection, study_id: str, trashed: bool = True) -> None:
    """Put a study in the trash, or take it out with ``trashed=False``; nothing is deleted."""
    _set_study(conn, study_id, "trashed", clock.time() if trashed else None)


def _set_study(conn: sqlite3.Connection, study_id: str, column: str, value: str | float | None) -> None:
    if not conn.execute(f"UPDATE study SET {column} = ? WHERE id = ?", (value, study_id)).rowcount:
        raise InputError(tr("there is no study {name!r} here.", name=study_id))


def _no_run(run_id: int) -> InputError:
    return InputError(tr("there is no run {run_id} here.", run_id=run_id))
