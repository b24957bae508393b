"""One suite for every executor."""

import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from engine.errors import InputError
from engine.events import Command, Log, Phase, RunState
from engine.executors import make_executor
from engine.task import Outcome
from tests.engine.training import toy


@pytest.fixture(scope="module", params=["thread", "process"])
def executor(request: pytest.FixtureRequest) -> Iterator[Any]:
    made = make_executor(request.param)
    yield made
    made.close()


@pytest.fixture(scope="module")
def process() -> Iterator[Any]:
    made = make_executor("process")
    yield made
    made.close()


def start(executor: Any, run_one: Any, task: Any, reporter: Any, control: Any) -> Callable[[], Outcome]:
    """Run in a slot thread, as the runner does; the returned function waits for the outcome."""
    outcomes: list[Outcome] = []
    slot = threading.Thread(
        target=lambda: outcomes.append(executor.run(run_one, task, reporter, control)), name="test slot"
    )
    slot.start()

    def wait() -> Outcome:
        slot.join(60)
        assert not slot.is_alive()
        return outcomes[0]

    return wait


def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.005)


def test_finishes_with_every_event_in_order(executor: Any, tmp_path: Path) -> None:
    recorder = toy.Recorder()
    outcome = executor.run(toy.run_counting, toy.task(tmp_path, toy.spec(n_steps=20)), recorder, toy.Commands())
    assert outcome == Outcome(7, RunState.FINISHED)
    assert [log.text for log in recorder.of(Log)] == [str(i) for i in range(21)]


@pytest.mark.parametrize(
    ("command", "state"), [(Command.STOP, RunState.INTERRUPTED), (Command.CANCEL, RunState.CANCELLED)]
)
def test_obeys_stop_and_cancel(executor: Any, tmp_path: Path, command: Command, state: RunState) -> None:
    recorder, control = toy.Recorder(), toy.Commands()
    wait = start(executor, toy.run_counting, toy.task(tmp_path, toy.spec(n_steps=300)), recorder, control)
    until(lambda: len(recorder.events) > 2)
    control.command = command
    assert wait().state is state


def test_pauses_and_goes_on(executor: Any, tmp_path: Path) -> None:
    recorder, control = toy.Recorder(), toy.Commands()
    wait = start(executor, toy.run_counting, toy.task(tmp_path, toy.spec(n_steps=60)), recorder, control)
    until(lambda: len(recorder.of(Log)) > 2)
    control.command = Command.PAUSE
    until(lambda: bool(recorder.of(Phase)))
    seen = len(recorder.of(Log))
    time.sleep(0.15)
    assert len(recorder.of(Log)) == seen
    control.command = Command.GO
    assert wait().state is RunState.FINISHED
    assert len(recorder.of(Log)) == 61


def test_a_bug_keeps_its_traceback_and_the_executor_goes_on(executor: Any, tmp_path: Path) -> None:
    task = toy.task(tmp_path, toy.spec(n_steps=1))
    outcome = executor.run(toy.run_bug, task, toy.Recorder(), toy.Commands())
    assert outcome.state is RunState.FAILED
    assert "a bug in the middle" in outcome.message
    assert "run_bug" in outcome.traceback
    assert executor.run(toy.run_counting, task, toy.Recorder(), toy.Commands()).state is RunState.FINISHED


def test_a_known_error_has_a_remedy_and_no_traceback(executor: Any, tmp_path: Path) -> None:
    outcome = executor.run(toy.run_known, toy.task(tmp_path), toy.Recorder(), toy.Commands())
    assert outcome == Outcome(7, RunState.FAILED, "it diverged.", "Lower the rate.")


def test_trains_and_resumes_a_real_run(executor: Any, tmp_path: Path) -> None:
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    assert executor.run(toy.run_toy, toy.task(whole), toy.Recorder(), toy.Commands()).state is RunState.FINISHED
    recorder, control = toy.Recorder(), toy.Commands()

    def stop_at_evaluation(event: object) -> None:
        if getattr(event, "key", "") == "val/loss":
            control.command = Command.STOP

    recorder = toy.Recorder(stop_at_evaluation)
    assert executor.run(toy.run_toy, toy.task(halves), recorder, control).state in {
        RunState.INTERRUPTED,
        RunState.FINISHED,  # the command takes 50 ms to reach a worker
    }
    assert executor.run(toy.run_toy, toy.task(halves), recorder, toy.Commands()).state is RunState.FINISHED
    assert toy.same_weights(whole, halves)


def test_threads_are_as_before(tmp_path: Path) -> None:
    import torch

    before = torch.get_num_threads()
    make_executor("thread").run(toy.run_threads, toy.task(tmp_path), toy.Recorder(), toy.Commands())
    assert torch.get_num_threads() == before


def test_a_crash_is_told_and_the_next_run_has_a_new_worker(process: Any, tmp_path: Path) -> None:
    recorder = toy.Recorder()
    task = toy.task(tmp_path, toy.spec(n_steps=1))
    outcome = process.run(toy.run_crash, task, recorder, toy.Commands())
    assert outcome.state is RunState.FAILED
    assert "memory" in outcome.message and "last checkpoint" in outcome.remedy and not outcome.traceback
    assert [log.text for log in recorder.of(Log)] == ["before the crash"]
    assert process.run(toy.run_counting, task, toy.Recorder(), toy.Commands()).state is RunState.FINISHED


def test_the_worker_stays_for_the_next_run(process: Any, tmp_path: Path) -> None:
    task = toy.task(tmp_path, toy.spec(n_steps=1))
    process.run(toy.run_counting, task, toy.Recorder(), toy.Commands())
    pid = process.pid
    process.run(toy.run_counting, task, toy.Recorder(), toy.Commands())
    assert process.pid == pid is not None


def _hold_a_worker(pipe: Any, folder: str) -> None:
    executor = make_executor("process")

    def tell(_: object) -> None:
        if executor.pid is not None:
            pipe.send(executor.pid)

    executor.run(toy.run_counting, toy.task(Path(folder), toy.spec(n_steps=300)), toy.Recorder(tell), toy.Commands())


def test_a_worker_ends_with_its_parent(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    parent = context.Process(target=_hold_a_worker, args=(theirs, str(tmp_path)))
    parent.start()
    theirs.close()
    worker = psutil.Process(ours.recv())
    parent.kill()
    parent.join()
    parent.close()
    ours.close()
    _, alive = psutil.wait_procs([worker], timeout=10)
    assert not alive


def test_unknown_executor() -> None:
    with pytest.raises(InputError, match="process, thread"):
        make_executor("cloud")
