"""A training for the window: every kind of event, no torch, and a test decides when it goes on."""

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from engine import events
from engine.events import Command, Control, PhaseName, Reporter, RunState
from engine.expand import expand
from engine.study import StudySpec, parse_study
from engine.task import Outcome, Task

POINTS = 20
HELD = 5
"""Points that every run gives before it waits to be let go."""


class Trainer:
    """``run_one`` of a lab: a loss that falls with steps and size. ``hold`` stops every run after a few points."""

    def __init__(self) -> None:
        self._go = threading.Event()
        self._go.set()
        self.fail: set[int] = set()
        """Sizes whose runs are made to fail."""
        self.began: list[tuple[int, int]] = []
        """(run id, point from which it went on)."""

    def hold(self) -> None:
        """Let no run past its first points."""
        self._go.clear()

    def release(self) -> None:
        """Let all runs go on to their ends."""
        self._go.set()

    def __call__(self, task: Task, reporter: Reporter, control: Control) -> Outcome:
        if task.spec.size in self.fail:
            raise RuntimeError("made to fail")
        task.folder.mkdir(parents=True, exist_ok=True)
        checkpoint = task.folder / "point"
        first = int(checkpoint.read_text()) if checkpoint.exists() else 0
        self.began.append((task.run_id, first))
        reporter.emit(events.Phase(task.run_id, PhaseName.TRAINING))
        reporter.emit(events.Log(task.run_id, "info", f"begins at point {first}", time.time()))
        for number in range(first, POINTS):
            command = self._obey(number, control)
            if command is Command.CANCEL:
                return Outcome(task.run_id, RunState.CANCELLED)
            if command is Command.STOP:
                checkpoint.write_text(str(number))
                return Outcome(task.run_id, RunState.INTERRUPTED)
            emit_point(task, reporter, number)
        emit_results(task, reporter)
        return Outcome(task.run_id, RunState.FINISHED)

    def _obey(self, number: int, control: Control) -> Command:
        while (command := control.poll()) in (Command.GO, Command.PAUSE):
            if command is Command.GO and (number < HELD or self._go.is_set()):
                return command
            time.sleep(0.005)
        return command


def final_loss(task: Task) -> float:
    """A power law of the size with a little noise of the seed."""
    return float(1.2 + 40 / task.spec.n_params_non_embedding**0.5 + 0.01 * task.spec.seed)


def emit_point(task: Task, reporter: Reporter, number: int) -> None:
    """One of ``POINTS`` equal parts of a run: curves, progress, an evaluation, now and then a sample."""
    training = task.spec.training
    each = max(1, training.n_steps // POINTS)
    step = min((number + 1) * each, training.n_steps)
    loss = final_loss(task) + 3.0 / (number + 1)
    values = {"train/loss": loss + 0.05, "lr": 0.01, "grad_norm": 0.5, "tokens_per_second": 1e4, "val/loss": loss}
    for key, value in values.items():
        reporter.emit(events.MetricBlock(task.run_id, key, np.array([step]), np.array([value])))
    share = step / training.n_steps
    reporter.emit(events.Progress(task.run_id, step, training.n_steps, int(share * training.tokens), 10.0 * share, 1e4))
    if number == HELD - 1:
        reporter.emit(events.Sample(task.run_id, step, "text", f"sample of run {task.run_id}"))


def emit_results(task: Task, reporter: Reporter) -> None:
    """The final numbers of a run."""
    loss = final_loss(task)
    training = task.spec.training
    reporter.emit(events.Progress(task.run_id, training.n_steps, training.n_steps, training.tokens, 10.0, 1e4))
    for metric, value in (("loss", loss), ("bits_per_byte", loss / np.log(2))):
        reporter.emit(events.Evaluation(task.run_id, "language-modelling", metric, float(value), 0.01, 100))
    reporter.emit(events.Evaluation(task.run_id, "word-completion", "exact_match", 1.5 - loss / 2, 0.02, 100, 0.0))


def small_study(**over: object) -> StudySpec:
    """Four sizes and one seed: enough for a law."""
    table: dict[str, object] = {
        "name": "small",
        "title": "A small study",
        "question": "What for?",
        "model": {"family": "gpt"},
        "data": {"source": "python-text"},
        "ladder": {"sizes": [2000, 5000, 11_000, 24_000], "seeds": [0]},
        "training": {"steps": 100},
        "capabilities": [{"name": "language-modelling"}, {"name": "word-completion"}],
    }
    return parse_study(table | over)


def a_plan(study: StudySpec, _home: Path) -> dict[str, Any]:
    """The document of ``engine.planning.plan`` with ten seconds for every run."""
    runs = [
        {
            "n_params": run.n_params,
            "tokens": run.training.tokens,
            "compute_flops": run.compute_flops,
            "memory_bytes": run.memory_bytes,
            "seconds": 10.0,
        }
        for run in expand(study)
    ]
    return {"runs": runs, "seconds": 10.0 * len(runs), "disk_bytes": 5 * 2**20, "fits": True, "reasons": []}
