"""Runs that build on another wait for it, get its weights' folder, and say why they cannot start."""

import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from engine.events import Control, Reporter, RunState
from engine.expand import expand
from engine.runner import Runner
from engine.store import Store
from engine.study import RunSpec, StudySpec, spec_hash
from engine.task import Outcome, Task
from tests.engine.fakes import mark_home, run_one, tiny_study

seen: list[Task] = []


def remembering(task: Task, reporter: Reporter, control: Control) -> Outcome:
    seen.append(task)
    return run_one(task, reporter, control)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path) as store:
        yield store


@pytest.fixture
def runner(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runner]:
    seen.clear()
    monkeypatch.setattr("engine.runner.expand", with_children)
    runner = Runner(store, jobs=2, executor="thread", run_one=remembering)
    yield runner
    runner.stop_all()


def with_children(study: StudySpec) -> tuple[RunSpec, ...]:
    """Children first in the queue: waiting must not depend on the order."""
    parents = expand(study)
    children = [
        msgspec.structs.replace(p, kind="compress", parent=spec_hash(p), variant={"method": "int8"}) for p in parents
    ]
    return (*children, *parents)


def study_of_one() -> StudySpec:
    return tiny_study(ladder={"sizes": [2000], "seeds": [0]})


def test_a_child_starts_after_its_parent_and_gets_its_folder(store: Store, runner: Runner) -> None:
    study = runner.submit(tiny_study(ladder={"sizes": [2000, 5000], "seeds": [0]}))
    assert runner.wait(study, timeout=30)
    store.writer.flush()
    rows = store.reader().runs(study)
    assert [row.state for row in rows] == ["finished"] * 4
    by_hash = {row.spec_hash: row.id for row in rows}
    order = [task.run_id for task in seen]
    children = [task for task in seen if task.parent is not None]
    assert len(children) == 2
    for task in children:
        assert isinstance(task.spec.parent, str)
        parent = by_hash[task.spec.parent]
        assert task.parent is not None
        assert task.parent.folder == store.run_folder(parent)
        assert spec_hash(task.parent.spec) == task.spec.parent
        assert order.index(parent) < order.index(task.run_id)


def test_a_child_of_a_failed_run_says_so_and_goes_on_when_it_is_trained_again(
    tmp_path: Path, store: Store, runner: Runner
) -> None:
    sign = mark_home(tmp_path, "fail-2000")
    study = runner.submit(study_of_one())
    assert runner.wait(study, timeout=30)
    store.writer.flush()
    child, parent = store.reader().runs(study)
    assert (child.state, parent.state) == ("interrupted", "failed")
    assert parent.label in child.error
    assert child.remedy
    sign.unlink()
    runner.submit(study_of_one())
    assert runner.wait(study, timeout=30)
    store.writer.flush()
    assert [row.state for row in store.reader().runs(study)] == ["finished"] * 2


def test_a_parent_may_be_of_another_study_and_must_be_somewhere(
    store: Store, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = msgspec.structs.replace(study_of_one(), name="other")
    monkeypatch.setattr("engine.runner.expand", lambda study: with_children(study_of_one())[:1])
    study = runner.submit(other)
    assert runner.wait(study, timeout=30)
    store.writer.flush()
    (child,) = store.reader().runs(study)
    assert (RunState(child.state), child.error) == (
        RunState.INTERRUPTED,
        "The run that this one builds on is not here.",
    )
    monkeypatch.setattr("engine.runner.expand", expand)
    assert runner.wait(runner.submit(study_of_one()), timeout=30)
    runner.resume(child.id)
    assert runner.wait(study, timeout=30)
    store.writer.flush()
    assert store.reader().run(child.id).state == "finished"


def test_a_child_waits_while_its_parent_runs(tmp_path: Path, store: Store, runner: Runner) -> None:
    slow = mark_home(tmp_path, "slow")
    study = runner.submit(study_of_one())
    done = threading.Thread(target=lambda: runner.wait(study, timeout=30))
    done.start()
    done.join(0.15)
    assert [task.parent for task in seen] == [None]
    slow.unlink()
    done.join(30)
    assert len(seen) == 2
