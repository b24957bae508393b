"""What each event becomes in the database. Runs on the writer's thread, inside its transaction."""

import json
import math
import sqlite3
import time
from collections.abc import Sequence
from itertools import repeat

from engine.events import (
    ArtifactSaved,
    Evaluation,
    Event,
    Facts,
    Log,
    MetricBlock,
    Phase,
    Progress,
    Sample,
    StateChanged,
)
from engine.store.mutations import set_state

_VALIDATION = {
    ("language-modelling", "loss"): "val_loss",
    ("language-modelling", "bits_per_byte"): "val_bits_per_byte",
    ("validation", "loss"): "val_loss",
}


class Recorder:
    """Turns events into rows on one connection; remembers the ids of metric names."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._conn = connection
        self._keys: dict[str, int] = {}

    def forget(self) -> None:
        """Drop remembered ids: the transaction that made them may have been rolled back."""
        self._keys.clear()

    def record(self, events: Sequence[Event]) -> None:
        """Write the events in order."""
        for event in events:
            self._one(event)

    def _one(self, event: Event) -> None:
        match event:
            case MetricBlock():
                self._metrics(event)
            case Progress():
                self._progress(event)
            case Evaluation():
                self._evaluation(event)
            case StateChanged():
                set_state(
                    self._conn, event.run_id, event.state, event.time, event.message, event.remedy, event.traceback
                )
            case Sample():
                self._event(event.run_id, time.time(), "sample", event.kind, event.step, event.content)
            case Log():
                self._event(event.run_id, event.time, "log", event.level, None, event.text)
            case ArtifactSaved():
                self._artifact(event)
            case Facts():
                self._facts(event)
            case Phase():
                pass

    def _metrics(self, block: MetricBlock) -> None:
        key = self._keys.get(block.key)
        if key is None:
            self._conn.execute("INSERT OR IGNORE INTO metric_key (name) VALUES (?)", (block.key,))
            (key,) = self._conn.execute("SELECT id FROM metric_key WHERE name = ?", (block.key,)).fetchone()
            self._keys[block.key] = key
        # A resumed run repeats the steps after its checkpoint: the later value stands.
        self._conn.executemany(
            "INSERT OR REPLACE INTO metric VALUES (?, ?, ?, ?)",
            zip(repeat(block.run_id), repeat(key), block.steps.tolist(), block.values.tolist(), strict=False),
        )

    def _progress(self, event: Progress) -> None:
        self._conn.execute(
            "UPDATE run SET step = ?, n_steps = ?, tokens_seen = ?, seconds = ?, tokens_per_second = ? WHERE id = ?",
            (event.step, event.n_steps, event.tokens_seen, event.seconds, event.tokens_per_second, event.run_id),
        )

    def _evaluation(self, event: Evaluation) -> None:
        self._conn.execute(
            "INSERT INTO evaluation (run_id, capability, metric, step, value, stderr, n, chance)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (run_id, capability, metric, coalesce(step, -1)) DO UPDATE SET"
            " value = excluded.value, stderr = excluded.stderr, n = excluded.n, chance = excluded.chance",
            (
                event.run_id,
                event.capability,
                event.metric,
                event.step,
                event.value,
                event.stderr,
                event.n,
                event.chance,
            ),
        )
        column = _VALIDATION.get((event.capability, event.metric))
        if column and event.step is None:
            self._conn.execute(f"UPDATE run SET {column} = ? WHERE id = ?", (event.value, event.run_id))

    def _artifact(self, event: ArtifactSaved) -> None:
        self._conn.execute(
            "INSERT OR REPLACE INTO artifact (run_id, kind, path, step, n_bytes, sha256, created)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (event.run_id, event.kind, event.path, event.step, event.n_bytes, event.sha256, time.time()),
        )

    def _facts(self, event: Facts) -> None:
        row = self._conn.execute("SELECT facts_json FROM run WHERE id = ?", (event.run_id,)).fetchone()
        if row is None:
            raise LookupError(f"facts of run {event.run_id}, which is not in the store")
        facts = json.loads(row[0]) | {k: _plain(v) for k, v in event.values.items()}
        text = json.dumps(facts, sort_keys=True, ensure_ascii=False, allow_nan=False)
        self._conn.execute("UPDATE run SET facts_json = ? WHERE id = ?", (text, event.run_id))

    def _event(self, run_id: int, when: float, kind: str, level: str, step: int | None, text: str) -> None:
        self._conn.execute(
            "INSERT INTO event (run_id, time, kind, level, step, text) VALUES (?, ?, ?, ?, ?, ?)",
            (run_id, when, kind, level, step, text),
        )


def _plain(value: str | int | float | bool | None) -> str | int | float | bool | None:
    """JSON has no nan or infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
