"""The tables of ``lab.db``, as migrations: a change to the schema is a new function at the end, never an edit.

Times are seconds since the epoch, UTC. A value that is not a number is stored as NULL, SQLite's way, and read as nan.
"""

import sqlite3

from engine.errors import ResourceError
from engine.i18n import tr
from engine.store.light import without

with without("pandas"):  # sqlite-utils takes it in where it is installed: a second of every start, for nothing here
    from sqlite_utils import Database
    from sqlite_utils.migrations import Migrations

migrations = Migrations("emergence-lab")


@migrations()
def m001_first_tables(db: Database) -> None:
    """Studies, runs, their metrics and evaluations, laws and forecasts, files and events."""
    for statement in _FIRST:
        db.conn.execute(statement)


_FIRST = (
    """CREATE TABLE study (
        id TEXT PRIMARY KEY, name TEXT NOT NULL, title TEXT NOT NULL, spec_json TEXT NOT NULL,
        spec_hash TEXT NOT NULL, created REAL NOT NULL, notes TEXT NOT NULL DEFAULT '',
        tags TEXT NOT NULL DEFAULT '[]', trashed REAL)""",
    """CREATE TABLE run (
        id INTEGER PRIMARY KEY, study_id TEXT NOT NULL REFERENCES study(id), family TEXT NOT NULL,
        kind TEXT NOT NULL, label TEXT NOT NULL, seed INTEGER NOT NULL, size INTEGER NOT NULL,
        size_index INTEGER NOT NULL, variant_json TEXT NOT NULL, state TEXT NOT NULL, position INTEGER NOT NULL,
        spec_json TEXT NOT NULL, spec_hash TEXT NOT NULL, facts_json TEXT NOT NULL DEFAULT '{}',
        n_params INTEGER NOT NULL, n_params_non_embedding INTEGER NOT NULL,
        tokens_seen INTEGER NOT NULL DEFAULT 0, compute_flops REAL NOT NULL,
        val_loss REAL, val_bits_per_byte REAL, seconds REAL NOT NULL DEFAULT 0,
        tokens_per_second REAL NOT NULL DEFAULT 0, step INTEGER NOT NULL DEFAULT 0, n_steps INTEGER NOT NULL,
        created REAL NOT NULL, started REAL, finished REAL,
        error TEXT NOT NULL DEFAULT '', remedy TEXT NOT NULL DEFAULT '', traceback TEXT NOT NULL DEFAULT '',
        UNIQUE (study_id, spec_hash))""",
    "CREATE INDEX run_queue ON run (state, position)",
    "CREATE TABLE metric_key (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)",
    """CREATE TABLE metric (
        run_id INTEGER NOT NULL, key_id INTEGER NOT NULL, step INTEGER NOT NULL, value REAL,
        PRIMARY KEY (run_id, key_id, step)) WITHOUT ROWID""",
    """CREATE TABLE evaluation (
        run_id INTEGER NOT NULL REFERENCES run(id), capability TEXT NOT NULL, metric TEXT NOT NULL,
        step INTEGER, value REAL, stderr REAL, n INTEGER, chance REAL)""",
    # NULL is the final model; NULLs differ from each other in a plain unique index.
    "CREATE UNIQUE INDEX evaluation_once ON evaluation (run_id, capability, metric, coalesce(step, -1))",
    """CREATE TABLE law (
        study_id TEXT NOT NULL REFERENCES study(id), form TEXT NOT NULL, document_json TEXT NOT NULL,
        created REAL NOT NULL, PRIMARY KEY (study_id, form))""",
    """CREATE TABLE forecast (
        id INTEGER PRIMARY KEY, study_id TEXT NOT NULL REFERENCES study(id), form TEXT NOT NULL,
        document_json TEXT NOT NULL, created REAL NOT NULL, score_json TEXT, scored REAL)""",
    """CREATE TABLE artifact (
        run_id INTEGER NOT NULL REFERENCES run(id), kind TEXT NOT NULL, path TEXT NOT NULL, step INTEGER NOT NULL,
        n_bytes INTEGER NOT NULL, sha256 TEXT NOT NULL DEFAULT '', created REAL NOT NULL,
        PRIMARY KEY (run_id, path))""",
    # kind is log, state or sample; level is the log level, the new state, or what kind of sample.
    """CREATE TABLE event (
        id INTEGER PRIMARY KEY, run_id INTEGER NOT NULL REFERENCES run(id), time REAL NOT NULL,
        kind TEXT NOT NULL, level TEXT NOT NULL, step INTEGER, text TEXT NOT NULL)""",
    "CREATE INDEX event_by_run ON event (run_id, kind, id)",
)


@migrations()
def m002_forecasts_are_locked(db: Database) -> None:
    """A forecast can be neither changed nor taken back; a score can be given to it once."""
    for statement in _LOCKED:
        db.conn.execute(statement)


_LOCKED = (
    """CREATE TRIGGER forecast_cannot_be_changed
        BEFORE UPDATE OF id, study_id, form, document_json, created ON forecast
        BEGIN SELECT RAISE(ABORT, 'a locked forecast cannot be changed'); END""",
    """CREATE TRIGGER forecast_is_scored_once
        BEFORE UPDATE OF score_json, scored ON forecast WHEN OLD.score_json IS NOT NULL
        BEGIN SELECT RAISE(ABORT, 'a forecast is scored once'); END""",
    """CREATE TRIGGER forecast_cannot_be_deleted
        BEFORE DELETE ON forecast
        BEGIN SELECT RAISE(ABORT, 'a locked forecast cannot be deleted'); END""",
    # INSERT OR REPLACE deletes without asking the trigger above.
    """CREATE TRIGGER forecast_cannot_be_replaced
        BEFORE INSERT ON forecast WHEN EXISTS (SELECT 1 FROM forecast WHERE id = NEW.id)
        BEGIN SELECT RAISE(ABORT, 'a locked forecast cannot be replaced'); END""",
    "CREATE INDEX forecast_by_study ON forecast (study_id)",
)


@migrations()
def m003_scores_by_weights(db: Database) -> None:
    """What was measured on which weights, so that it is not measured again."""
    db.conn.execute(
        """CREATE TABLE measured (
            key TEXT PRIMARY KEY, weights TEXT NOT NULL, capability TEXT NOT NULL, version INTEGER NOT NULL,
            options_json TEXT NOT NULL, fingerprint TEXT NOT NULL, scores_json TEXT NOT NULL, created REAL NOT NULL)"""
    )


def apply(connection: sqlite3.Connection) -> None:
    """Bring a database up to this program's schema.

    Raises:
        ResourceError: the database was made by a newer version of the program.
    """
    db = Database(connection, execute_plugins=False)
    refuse_newer(connection)
    if migrations.pending(db):
        migrations.apply(db)


def refuse_newer(connection: sqlite3.Connection) -> None:
    """Raise ``ResourceError`` where the database has migrations that this program does not know."""
    known = {m.name for m in migrations.pending(Database(memory=True, execute_plugins=False))}
    try:
        found = {
            name
            for (name,) in connection.execute(
                "SELECT name FROM _sqlite_migrations WHERE migration_set = ?", (migrations.name,)
            )
        }
    except sqlite3.OperationalError:  # no such table: a new file
        return
    if found - known:
        raise ResourceError(
            tr("this folder was written by a newer version of Emergence Lab."), tr("Update the program to open it.")
        )
