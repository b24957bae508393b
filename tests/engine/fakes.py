"""A study that expands and a training that needs no torch."""

import time
from pathlib import Path

import numpy as np

from engine import events
from engine.errors import ResourceError
from engine.events import Command, Control, Reporter, RunState
from engine.study import StudySpec, parse_study
from engine.task import Outcome, Task


def tiny_study(**over: object) -> StudySpec:
    table: dict[str, object] = {
        "name": "tiny",
        "title": "A tiny study",
        "model": {"family": "gpt"},
        "data": {"source": "python-text"},
        "ladder": {"sizes": [2000, 5000, 11_000, 24_000], "seeds": [0, 1]},
        "training": {"steps": 20},
    }
    return parse_study(table | over)


def run_one(task: Task, reporter: Reporter, control: Control) -> Outcome:
    """Twenty steps of a loss that falls with size; the file ``step`` in the run's folder is its checkpoint."""
    if (task.folder.parent / f"fail-{task.spec.size}").exists():
        raise RuntimeError("made to fail")
    if (task.folder.parent / "full").exists():
        raise ResourceError("the disk is full.", "Free some space.")
    task.folder.mkdir(parents=True, exist_ok=True)
    checkpoint = task.folder / "step"
    first = int(checkpoint.read_text()) if checkpoint.exists() else 0
    slow = (task.folder.parent / "slow").exists()
    n_steps = task.spec.training.n_steps
    for step in range(first, n_steps):
        command = control.poll()
        while command is Command.PAUSE:
            command = control.wait(1.0)
        if command is Command.CANCEL:
            return Outcome(task.run_id, RunState.CANCELLED)
        if command is Command.STOP:
            checkpoint.write_text(str(step))
            return Outcome(task.run_id, RunState.INTERRUPTED)
        reporter.emit(events.MetricBlock(task.run_id, "train/loss", np.array([step]), np.array([1.0])))
        time.sleep(0.02 if slow else 0)
    _finish(task, reporter, n_steps)
    return Outcome(task.run_id, RunState.FINISHED)


def _finish(task: Task, reporter: Reporter, n_steps: int) -> None:
    loss = 1.2 + 40 / task.spec.n_params_non_embedding**0.5 + 0.01 * task.spec.seed
    reporter.emit(events.Progress(task.run_id, n_steps, n_steps, task.spec.training.tokens, 1.0, 100.0))
    for metric, value in (("loss", loss), ("bits_per_byte", loss / np.log(2))):
        reporter.emit(events.Evaluation(task.run_id, "language-modelling", metric, float(value), 0.01, 100))


def until(condition: object, seconds: float = 10.0) -> None:
    """Wait until a function is true; fails the test after ``seconds``."""
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.01)


def mark_home(home: Path, name: str) -> Path:
    """Leave a sign for ``run_one`` where it looks: ``slow``, ``full`` or ``fail-SIZE``."""
    sign = home / "artifacts" / name
    sign.parent.mkdir(parents=True, exist_ok=True)
    sign.touch()
    return sign
