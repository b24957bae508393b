"""The queue and the state machine, with a training that needs no torch."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.errors import InputError
from engine.events import Event, MetricBlock, RunState, StateChanged
from engine.livefeed import LiveFeed
from engine.runner import TRANSITIONS, Runner
from engine.store import Store
from tests.engine.fakes import mark_home, run_one, tiny_study, until


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path) as store:
        yield store


@pytest.fixture
def runner(store: Store) -> Iterator[Runner]:
    runner = Runner(store, jobs=1, executor="thread", run_one=run_one)
    yield runner
    runner.stop_all()


def states(store: Store, study: str) -> list[str]:
    store.writer.flush()
    return [run.state for run in store.reader().runs(study)]


def test_every_state_has_its_row() -> None:
    assert set(TRANSITIONS) == set(RunState)
    assert all(targets <= set(RunState) for targets in TRANSITIONS.values())


def test_a_study_runs_to_the_end_in_order(store: Store, runner: Runner) -> None:
    seen: list[Event] = []
    study = runner.submit(tiny_study())
    assert runner.wait(study, seen.append, timeout=30)
    assert states(store, study) == ["finished"] * 8
    started = [e.run_id for e in seen if isinstance(e, StateChanged) and e.state is RunState.RUNNING]
    assert started == sorted(started)
    assert all(run.facts["python"] for run in store.reader().runs(study))


def test_a_failed_run_keeps_its_traceback_and_stops_nothing(tmp_path: Path, store: Store, runner: Runner) -> None:
    sign = mark_home(tmp_path, "fail-5000")
    study = runner.submit(tiny_study())
    assert runner.wait(study, timeout=30)
    assert sorted(states(store, study)) == ["failed"] * 2 + ["finished"] * 6
    failed = next(run for run in store.reader().runs(study) if run.state == "failed")
    assert "made to fail" in failed.traceback
    sign.unlink()
    assert runner.submit(tiny_study()) == study
    assert runner.wait(study, timeout=30)
    assert states(store, study) == ["finished"] * 8


def test_pause_resume_and_cancel(tmp_path: Path, store: Store, runner: Runner) -> None:
    mark_home(tmp_path, "slow")
    study = runner.submit(tiny_study())
    first, second, *rest = [run.id for run in store.reader().runs(study)]
    until(lambda: runner.state(first) is RunState.RUNNING)
    runner.pause(first)
    assert runner.state(first) is RunState.PAUSED
    with pytest.raises(InputError, match="cannot become paused"):
        runner.pause(second)
    runner.cancel(second)
    runner.move(rest[-1], 0)
    assert runner.queue() == (rest[-1], *rest[:-1])
    runner.resume(first)
    until(lambda: runner.state(first) is RunState.FINISHED)
    until(lambda: runner.state(rest[-1]) is RunState.RUNNING)
    runner.cancel(rest[-1])
    until(lambda: runner.state(rest[-1]) is RunState.CANCELLED)
    for run_id in rest[:-1]:
        if runner.state(run_id) is RunState.QUEUED:
            runner.cancel(run_id)
    assert runner.wait(study, timeout=30)
    runner.retry(second)
    assert runner.wait(study, timeout=30)
    assert runner.state(second) is RunState.FINISHED


def test_stopped_and_started_again_it_goes_on_where_it_was(tmp_path: Path, store: Store) -> None:
    sign = mark_home(tmp_path, "slow")
    before = Runner(store, jobs=2, executor="thread", run_one=run_one)
    study = before.submit(tiny_study())
    first = store.reader().runs(study)[0].id
    until(lambda: before.state(first) is RunState.RUNNING)
    before.stop_all()
    assert set(states(store, study)) <= {"interrupted", "finished"}
    sign.unlink()
    after = Runner(store, jobs=2, executor="thread", run_one=run_one)
    after.submit(tiny_study())
    assert after.wait(study, timeout=30)
    after.stop_all()
    assert states(store, study) == ["finished"] * 8


def test_what_a_dead_process_left_running_is_interrupted(store: Store) -> None:
    before = Runner(store, jobs=1, executor="thread", run_one=run_one)
    study = before.submit(tiny_study(ladder={"sizes": [2000]}))
    before.wait(study, timeout=30)
    before.stop_all()
    store.writer.call(lambda conn: conn.execute("UPDATE run SET state = 'running'").rowcount).result()
    Runner(store, jobs=1, executor="thread", run_one=run_one)
    assert states(store, study) == ["interrupted"]


def test_the_live_feed_drops_metrics_but_never_what_happened() -> None:
    import numpy as np

    feed = LiveFeed(capacity=3)
    for step in range(10):
        feed.push(MetricBlock(1, "loss", np.array([step]), np.array([0.0])))
        feed.push(StateChanged(1, RunState.RUNNING, float(step)))
    drained = feed.drain(100)
    assert sum(isinstance(e, StateChanged) for e in drained) == 10
    assert [int(e.steps[0]) for e in drained if isinstance(e, MetricBlock)] == [7, 8, 9]
    assert (feed.dropped, len(feed)) == (7, 0)
