"""A study in two acts: its forecast is locked once, before the large sizes begin, and scored after them."""

import sqlite3
from pathlib import Path

import msgspec
import pytest

from engine.analysis.forecasts import intact
from engine.errors import InputError
from engine.events import RunState
from engine.expand import expand
from engine.forecasting import Gate, first_held, forecast_documents, lock, score
from engine.lab import Lab
from engine.results import study_document
from engine.runner import Runner
from engine.store import Store, mutations
from engine.study import StudySpec, study_id
from tests.engine.fakes import mark_home, run_one, tiny_study, until

SIZES = [2000, 5000, 11_000, 24_000, 52_000]


def two_acts(hold: int = 2, **over: object) -> StudySpec:
    return tiny_study(ladder={"sizes": SIZES, "seeds": [0, 1]}, forecast={"hold": hold, "level": 0.8}, **over)


def opened(home: Path) -> Lab:
    return Lab.open(home, jobs=2, executor="thread", run_one=run_one)


def test_only_the_largest_sizes_wait() -> None:
    assert first_held(tiny_study()) is None
    assert first_held(two_acts(hold=2)) == 3
    assert len(expand(two_acts())) == 10


def test_the_forecast_is_locked_before_the_large_sizes_begin_and_scored_after(tmp_path: Path) -> None:
    with opened(tmp_path) as lab:
        study = lab.runner.submit(two_acts())
        assert lab.runner.wait(study, timeout=60)
        document = study_document(lab.reader(), study)
        runs = lab.reader().runs(study)
    assert document["state"] == "finished"
    (forecast,) = document["forecasts"]
    assert forecast["intact"]
    assert [t["size"] for t in forecast["targets"]] == SIZES[3:]
    assert [t["runs"] for t in forecast["targets"]] == [2, 2]
    assert len(forecast["points"]) == 6
    assert forecast["level"] == 0.8
    large = [run for run in runs if run.size_index >= 3]
    small = [run for run in runs if run.size_index < 3]
    assert max(run.finished or 0 for run in small) <= forecast["time"] <= min(run.started or 0 for run in large)
    assert forecast["score"]["loss_n"] == 2
    assert {(row["capability"], row["metric"]) for row in forecast["score"]["outcomes"]} == {
        ("language-modelling", "loss"),
        ("language-modelling", "bits_per_byte"),
    }
    assert document["law"]["n_points"] == 10  # the law itself is fitted to all, afterwards


def test_a_study_without_a_second_act_has_no_forecast(tmp_path: Path) -> None:
    with opened(tmp_path) as lab:
        study = lab.runner.submit(tiny_study())
        assert lab.runner.wait(study, timeout=60)
        assert forecast_documents(lab.reader(), study) == []


def test_a_kill_between_the_acts_neither_loses_the_lock_nor_locks_twice(tmp_path: Path) -> None:
    study = two_acts()

    store = Store.open(tmp_path)
    # A runner that does nothing when the small sizes are done leaves what a kill would have left.
    killed = Runner(store, jobs=2, executor="thread", run_one=run_one, holds=Gate(store).holds)
    identity = killed.submit(study)
    until(lambda: sum(r.state == RunState.FINISHED for r in store.reader().runs(identity)) == 6)
    killed.stop_all()
    store.close()
    for _ in range(2):  # the second time everything is done
        with opened(tmp_path) as lab:
            lab.runner.submit(study)
            assert lab.runner.wait(identity, timeout=60)
            assert len(lab.reader().forecasts(identity)) == 1
            assert {run.state for run in lab.reader().runs(identity)} == {"finished"}


def test_a_kill_in_the_second_act_goes_on_under_the_same_lock(tmp_path: Path) -> None:
    with opened(tmp_path) as lab:
        slow = mark_home(tmp_path, "slow")
        identity = lab.runner.submit(two_acts())
        until(lambda: lab.reader().forecasts(identity), 60)
        (before,) = lab.reader().forecasts(identity)
    slow.unlink()
    with opened(tmp_path) as lab:
        lab.runner.submit(two_acts())
        assert lab.runner.wait(identity, timeout=60)
        (after,) = lab.reader().forecasts(identity)
    assert after.document == before.document
    assert before.score is None
    assert after.score is not None


def test_a_failed_small_run_leaves_the_large_ones_waiting_with_the_reason(tmp_path: Path) -> None:
    sign = mark_home(tmp_path, "fail-5000")
    with opened(tmp_path) as lab:
        identity = lab.runner.submit(two_acts())
        assert lab.runner.wait(identity, timeout=60)
        lab.store.writer.flush()
        runs = lab.reader().runs(identity)
        assert lab.reader().forecasts(identity) == []
        waiting = [run for run in runs if run.size_index >= 3]
        assert {run.state for run in waiting} == {"interrupted"}
        assert "not locked" in waiting[0].error
        sign.unlink()
        lab.runner.submit(two_acts())
        assert lab.runner.wait(identity, timeout=60)
        lab.store.writer.flush()
        assert len(lab.reader().forecasts(identity)) == 1
        assert {run.state for run in lab.reader().runs(identity)} == {"finished"}


def test_the_database_refuses_to_change_a_forecast(tmp_path: Path) -> None:
    with opened(tmp_path) as lab:
        study = lab.runner.submit(two_acts())
        assert lab.runner.wait(study, timeout=60)
    connection = sqlite3.connect(tmp_path / "lab.db")
    for statement, words in (
        ("UPDATE forecast SET document_json = '{}'", "cannot be changed"),
        ("UPDATE forecast SET created = 0", "cannot be changed"),
        ("UPDATE forecast SET score_json = '{}'", "scored once"),
        ("DELETE FROM forecast", "cannot be deleted"),
        (
            "INSERT OR REPLACE INTO forecast (id, study_id, form, document_json, created) VALUES (1, 'x', '', '', 0)",
            "replaced",
        ),
    ):
        with pytest.raises(sqlite3.IntegrityError, match=words):
            connection.execute(statement)
    connection.close()


def test_a_seal_shows_what_was_changed(tmp_path: Path) -> None:
    with opened(tmp_path) as lab:
        study = lab.runner.submit(two_acts())
        assert lab.runner.wait(study, timeout=60)
        (row,) = lab.reader().forecasts(study)
    document = row.document
    assert intact(document)
    document["targets"][0]["predictions"][0]["predicted"] *= 1.0001
    assert not intact(document)


def test_a_forecast_by_hand_is_scored_by_a_later_study_of_the_same_recipe(tmp_path: Path) -> None:
    with opened(tmp_path) as lab:
        study = lab.runner.submit(tiny_study())
        assert lab.runner.wait(study, timeout=60)
        with pytest.raises(InputError, match="trained already"):
            lock(lab.store, study, [24_000])
        row = lock(lab.store, study, [52_000, 110_000], level=0.9)
        with pytest.raises(InputError, match="not all sizes"):
            score(lab.store, row)
        larger = tiny_study(ladder={"sizes": [52_000, 110_000], "seeds": [0, 1]}, name="larger")
        other = lab.runner.submit(larger)
        assert lab.runner.wait(other, timeout=60)
        document = score(lab.store, row)
        assert document["loss_n"] == 2
        (scored,) = lab.reader().forecasts(study)
        with pytest.raises(InputError, match="has been scored"):
            score(lab.store, scored)


def test_what_a_study_of_the_same_recipe_left_unfinished_does_not_hold_up_the_score(tmp_path: Path) -> None:
    with opened(tmp_path) as lab:
        mark_home(tmp_path, "slow")
        left = lab.runner.submit(two_acts(execution={"threads": 1}))
        until(lambda: any(run.state == RunState.RUNNING for run in lab.reader().runs(left)))
    (tmp_path / "artifacts" / "slow").unlink()
    with opened(tmp_path) as lab:
        study = lab.runner.submit(two_acts())
        assert lab.runner.wait(study, timeout=60)
        (row,) = lab.reader().forecasts(study)
        assert row.score is not None
        assert row.score["outcomes"][0]["runs"] == 2


def test_another_recipe_does_not_score_it(tmp_path: Path) -> None:
    with opened(tmp_path) as lab:
        study = lab.runner.submit(tiny_study())
        assert lab.runner.wait(study, timeout=60)
        row = lock(lab.store, study, [52_000])
        other = tiny_study(ladder={"sizes": [52_000], "seeds": [0]}, training={"steps": 20, "learning_rate": 0.003})
        identity = lab.runner.submit(other)
        assert lab.runner.wait(identity, timeout=60)
        with pytest.raises(InputError, match="not all sizes"):
            score(lab.store, row)


def test_locking_one_act_twice_keeps_the_first(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    study = two_acts()
    store.writer.call(lambda conn: mutations.add_study(conn, study, expand(study))).result()
    identity = study_id(study)
    ids = [
        store.writer.call(
            lambda conn, v=value: mutations.lock_forecast(conn, identity, "f", {"act": 1, "value": v}, once=True)
        ).result()
        for value in (1, 2)
    ]
    (row,) = store.reader().forecasts(identity)
    store.close()
    assert ids == [row.id, row.id]
    assert row.document["value"] == 1


def test_a_study_without_the_section_keeps_its_id() -> None:
    assert b"forecast" not in msgspec.json.encode(tiny_study())
