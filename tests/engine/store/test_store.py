"""The store: what goes in comes out, nothing is lost, errors are told."""

import math
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.errors import InputError, ResourceError
from engine.events import (
    ArtifactSaved,
    Evaluation,
    Facts,
    Log,
    MetricBlock,
    Phase,
    PhaseName,
    Progress,
    RunState,
    Sample,
    StateChanged,
)
from engine.store import Store, mutations, schema, writer
from engine.store.decimate import min_max
from engine.study import LadderSpec, ResolvedTraining, RunSpec, StudySpec, study_id


def a_study(name: str = "demo", sizes: tuple[int, ...] = (1000, 4000), seeds: tuple[int, ...] = (0, 1)) -> StudySpec:
    return StudySpec(name=name, title="Demo", model={}, data={}, ladder=LadderSpec(sizes=sizes, seeds=seeds))


def runs_of(study: StudySpec) -> list[RunSpec]:
    values: dict[str, Any] = dict.fromkeys(ResolvedTraining.__struct_fields__, 1)
    values |= {"optimizer": "adamw", "lr_rule": "mup", "schedule": "wsd", "keep_best": False, "n_steps": 50}
    training = ResolvedTraining(**values)
    return [
        RunSpec(
            study=study.name,
            kind="pretrain",
            family="gpt",
            family_version=1,
            shape={"d_model": 8},
            size=size,
            size_index=index,
            seed=seed,
            n_params=size + 500,
            n_params_non_embedding=size,
            compute_flops=6.0 * size,
            memory_bytes=1,
            source="python-text",
            source_version=1,
            data={},
            training=training,
        )
        for index, size in enumerate(study.ladder.sizes)
        for seed in study.ladder.seeds
    ]


def block(run_id: int, steps: range, key: str = "train/loss", offset: float = 0.0) -> MetricBlock:
    n = np.arange(steps.start, steps.stop, steps.step, dtype=np.int64)
    return MetricBlock(run_id, key, n, n / 10 + offset)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "home") as opened:
        yield opened


@pytest.fixture
def run_id(store: Store) -> int:
    study = a_study()
    return store.writer.call(lambda c: mutations.add_study(c, study, runs_of(study))).result()[0]


def test_a_study_comes_back_as_it_went_in(store: Store) -> None:
    study = a_study()
    specs = runs_of(study)
    ids = store.writer.call(lambda c: mutations.add_study(c, study, specs)).result(10)
    reader = store.reader()
    assert reader.study_spec(study_id(study)) == study
    assert [reader.run_spec(i) for i in ids] == specs
    assert [r.id for r in reader.runs(study_id(study))] == ids
    assert [r.position for r in reader.runs()] == [0, 1, 2, 3]
    assert {r.state for r in reader.runs()} == {"queued"}
    assert reader.runs()[0].label == specs[0].label


def test_adding_a_study_again_keeps_its_runs_and_results(store: Store) -> None:
    study = a_study()
    specs = runs_of(study)
    ids = store.writer.call(lambda c: mutations.add_study(c, study, specs)).result(10)
    store.writer.emit(StateChanged(ids[0], RunState.FINISHED, 5.0))
    store.writer.call(lambda c: mutations.trash(c, study_id(study))).result(10)
    assert store.reader().studies() == []
    assert len(store.reader().studies(trashed=True)) == 1
    assert store.writer.call(lambda c: mutations.add_study(c, study, specs)).result(10) == ids
    assert store.reader().run(ids[0]).state == "finished"
    assert len(store.reader().studies()) == 1


def test_every_event_is_stored(store: Store, run_id: int) -> None:
    emit = store.writer.emit
    emit(StateChanged(run_id, RunState.RUNNING, 100.0))
    emit(Phase(run_id, PhaseName.TRAINING, 0.5))
    emit(Facts(run_id, {"device": "cpu", "data_fingerprint": "abc"}))
    emit(Facts(run_id, {"precision": "float32", "odd": math.nan}))
    emit(Progress(run_id, 10, 50, 640, 1.5, 400.0))
    emit(Evaluation(run_id, "language-modelling", "loss", 3.5, step=10))
    assert store.reader().run(run_id).val_loss is None
    emit(Evaluation(run_id, "language-modelling", "loss", 9.9))
    emit(Evaluation(run_id, "language-modelling", "loss", 3.0, 0.1, 64, 5.5))
    emit(Evaluation(run_id, "language-modelling", "bits_per_byte", 2.0))
    emit(Sample(run_id, 10, "text", "def f"))
    emit(Log(run_id, "warning", "slow", 101.0))
    emit(ArtifactSaved(run_id, "checkpoint", "last.safetensors", 10, 123, "ff"))
    emit(StateChanged(run_id, RunState.FAILED, 110.0, "it broke.", "Mend it.", "Traceback"))
    store.writer.flush()
    reader = store.reader()
    run = reader.run(run_id)
    assert run.facts == {"device": "cpu", "data_fingerprint": "abc", "precision": "float32", "odd": None}
    assert (run.step, run.n_steps, run.tokens_seen, run.seconds, run.tokens_per_second) == (10, 50, 640, 1.5, 400.0)
    assert (run.val_loss, run.val_bits_per_byte, run.started, run.finished) == (3.0, 2.0, 100.0, 110.0)
    assert (run.state, run.error, run.remedy, run.traceback) == ("failed", "it broke.", "Mend it.", "Traceback")
    found = [(e.metric, e.step, e.value, e.n) for e in reader.evaluations(run.study_id)]
    assert found == [("bits_per_byte", None, 2.0, None), ("loss", 10, 3.5, None), ("loss", None, 3.0, 64)]
    assert [(s.step, s.kind, s.content) for s in reader.samples(run_id)] == [(10, "text", "def f")]
    assert [(e.kind, e.level, e.text) for e in reader.log(run_id)] == [
        ("state", "running", ""),
        ("log", "warning", "slow"),
        ("state", "failed", "it broke."),
    ]
    assert [(a.path, a.n_bytes) for a in reader.artifacts(run_id)] == [("last.safetensors", 123)]


def test_resuming_clears_the_error_and_keeps_the_first_start(store: Store, run_id: int) -> None:
    store.writer.emit(StateChanged(run_id, RunState.RUNNING, 1.0))
    store.writer.emit(StateChanged(run_id, RunState.INTERRUPTED, 2.0, "stopped"))
    store.writer.emit(StateChanged(run_id, RunState.RUNNING, 3.0))
    store.writer.flush()
    run = store.reader().run(run_id)
    assert (run.started, run.finished, run.error) == (1.0, None, "")


def test_a_repeated_step_takes_the_later_value_and_nan_survives(store: Store, run_id: int) -> None:
    store.writer.emit(block(run_id, range(0, 20)))
    store.writer.emit(block(run_id, range(10, 30), offset=100.0))
    store.writer.emit(MetricBlock(run_id, "lr", np.array([1, 2]), np.array([math.nan, math.inf])))
    store.writer.flush()
    reader = store.reader()
    steps, values = reader.curve(run_id, "train/loss")
    assert steps.dtype == np.int64 and values.dtype == np.float64
    assert steps.tolist() == list(range(30))
    assert values[9] == 0.9 and values[10] == 101.0
    assert reader.metric_keys(run_id) == ["lr", "train/loss"]
    np.testing.assert_array_equal(reader.curve(run_id, "lr")[1], [math.nan, math.inf])
    assert reader.curve_full(run_id, "train/loss", after_step=27)[0].tolist() == [28, 29]
    assert len(reader.curve(run_id, "unknown")[0]) == 0


def test_laws_and_what_a_person_may_change(store: Store, run_id: int) -> None:
    key = store.reader().run(run_id).study_id
    call = store.writer.call
    call(lambda c: mutations.save_law(c, key, "power", {"params": {"E": 1.0}, "bad": math.nan})).result(10)
    call(lambda c: mutations.save_law(c, key, "power", {"params": {"E": 2.0}})).result(10)
    call(lambda c: mutations.rename(c, key, " New ")).result(10)
    call(lambda c: mutations.notes(c, key, "a note")).result(10)
    call(lambda c: mutations.tags(c, key, ["a", " ", "b", "a"])).result(10)
    call(lambda c: mutations.set_position(c, run_id, 7)).result(10)
    reader = store.reader()
    assert reader.law(key) == {"params": {"E": 2.0}}
    assert reader.law(key, "other") is None
    study = reader.study(key)
    assert (study.title, study.notes, study.tags) == ("New", "a note", ("a", "b"))
    assert reader.runs()[-1].id == run_id
    for wrong in (lambda c: mutations.rename(c, key, " "), lambda c: mutations.notes(c, "no", "x")):
        with pytest.raises(InputError):
            call(wrong).result(10)
    with pytest.raises(InputError):
        reader.run(999)
    with pytest.raises(InputError):
        reader.study("no")


def test_a_call_that_fails_is_rolled_back_and_hurts_nobody_else(store: Store, run_id: int) -> None:
    def half(conn: sqlite3.Connection) -> None:
        mutations.set_position(conn, run_id, 42)
        raise KeyError("half")

    store.writer.emit(block(run_id, range(5)))
    with pytest.raises(KeyError):
        store.writer.call(half).result(10)
    assert store.reader().run(run_id).position == 0
    assert len(store.reader().curve(run_id, "train/loss")[0]) == 5


def test_an_event_that_is_a_bug_is_told_once_and_the_others_are_kept(store: Store, run_id: int) -> None:
    told: list[Exception] = []
    store.writer.on_error = told.append
    store.writer.emit(block(run_id, range(5)))
    store.writer.emit(Facts(999, {"device": "cpu"}))
    store.writer.emit(block(run_id, range(5, 10)))
    with pytest.raises(LookupError):
        store.writer.flush()
    store.writer.flush()
    assert len(store.reader().curve(run_id, "train/loss")[0]) == 10
    assert [type(e) for e in told] == [LookupError]


def test_a_full_disk_is_told_and_nothing_is_lost_once_there_is_room(
    store: Store, run_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "RETRY_SECONDS", 0.05)
    told: list[Exception] = []
    store.writer.on_error = told.append
    pages = store.writer.call(lambda c: c.execute("PRAGMA page_count").fetchone()[0]).result(10)
    limit = store.writer._connection.execute
    limit(f"PRAGMA max_page_count = {pages}")  # SQLite's own way to a full disk
    with pytest.raises(ResourceError, match="full"):
        for start in range(0, 100_000, 1000):
            store.writer.emit(block(run_id, range(start, start + 1000)))
        store.writer.flush(10)
    with pytest.raises(ResourceError, match="full"):
        store.writer.emit(Log(run_id, "info", "x", 0.0))
    assert len(told) == 1
    stored = store.writer._put
    limit("PRAGMA max_page_count = 1000000")
    deadline = time.monotonic() + 10
    while store.writer._done < stored and time.monotonic() < deadline:
        time.sleep(0.02)
    store.writer.flush(10)
    steps, _ = store.reader().curve_full(run_id, "train/loss")
    assert len(steps) > 0 and np.array_equal(steps, np.arange(len(steps)))


def test_closing_on_a_full_disk_says_so(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    pages = store.writer.call(lambda c: c.execute("PRAGMA page_count").fetchone()[0]).result(10)
    store.writer._connection.execute(f"PRAGMA max_page_count = {pages}")
    store.writer.emit(block(1, range(100_000)))
    with pytest.raises(ResourceError, match="full"):
        store.close()


def test_emit_blocks_while_too_much_is_pending(store: Store, run_id: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "MAX_PENDING_ROWS", 20_000)
    hold = threading.Event()
    held = store.writer.call(lambda _: hold.wait(10))
    emitted: list[int] = []

    def train() -> None:
        for start in range(0, 3 * writer.MAX_PENDING_ROWS, writer.MAX_PENDING_ROWS // 4):
            store.writer.emit(block(run_id, range(start, start + writer.MAX_PENDING_ROWS // 4)))
            emitted.append(start)

    thread = threading.Thread(target=train)
    thread.start()
    time.sleep(0.3)
    assert 0 < len(emitted) <= 4
    hold.set()
    thread.join(30)
    assert held.result(1) and len(emitted) == 12
    store.writer.flush(30)
    assert len(store.reader().curve_full(run_id, "train/loss")[0]) == 3 * writer.MAX_PENDING_ROWS


def test_what_is_queued_survives_close_and_reopening(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    study = a_study()
    ids = store.writer.call(lambda c: mutations.add_study(c, study, runs_of(study))).result(10)
    for start in range(0, 50_000, 1000):
        store.writer.emit(block(ids[0], range(start, start + 1000)))
    store.close()
    store.close()
    with pytest.raises(ResourceError):
        store.writer.emit(Log(ids[0], "info", "late", 0.0))
    with Store.open(tmp_path, read_only=True) as again:
        assert len(again.reader().curve_full(ids[0], "train/loss")[0]) == 50_000
        with pytest.raises(ResourceError):
            _ = again.writer


def test_readers_are_read_only_and_one_per_thread(store: Store, run_id: int) -> None:
    reader = store.reader()
    with pytest.raises(sqlite3.OperationalError):
        reader._connections.get().execute("DELETE FROM run")
    seen: list[object] = [reader._connections.get()]
    thread = threading.Thread(target=lambda: seen.append((reader._connections.get(), reader.run(run_id).id)))
    thread.start()
    thread.join()
    assert isinstance(seen[1], tuple) and seen[1][0] is not seen[0] and seen[1][1] == run_id


def test_homes_that_cannot_be_used_are_known_errors(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ResourceError):
        Store.open(tmp_path / "file")
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "lab.db").write_bytes(b"not a database at all" * 100)
    with pytest.raises(ResourceError, match="damaged"):
        Store.open(damaged)
    with pytest.raises(InputError):
        Store.open(tmp_path / "none", read_only=True)


def test_a_newer_schema_is_refused_in_words(tmp_path: Path) -> None:
    Store.open(tmp_path).close()
    with sqlite3.connect(tmp_path / "lab.db") as conn:
        conn.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES (?, 'm999', '')",
            (schema.migrations.name,),
        )
    conn.close()
    for read_only in (False, True):
        with pytest.raises(ResourceError, match="newer"):
            Store.open(tmp_path, read_only=read_only)


def test_decimation_keeps_ends_spikes_and_gaps() -> None:
    rng = np.random.default_rng(0)
    for n in (3, 10, 99, 2001, 12_345):
        steps = np.arange(n, dtype=np.int64) * 3
        values = rng.normal(size=n)
        values[n // 2] = 50.0
        few_steps, few = min_max(steps, values, 100)
        assert len(few) <= 100 and few.max() == 50.0 and few.min() == values.min()
        assert few_steps[0] == 0 and few_steps[-1] == steps[-1] and np.all(np.diff(few_steps) > 0)
        np.testing.assert_array_equal(values[few_steps // 3], few)
    values[700] = math.nan
    assert np.isnan(min_max(steps, values, 100)[1]).any()
