"""Where a run runs. The seam is picklable: a task goes in, events come out, commands are polled."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from engine.events import Control, Reporter, RunState
from engine.study import RunSpec


@dataclass(frozen=True, slots=True)
class Task:
    """All that a worker needs. ``folder`` is the run's own (checkpoints); ``cache`` is shared (prepared data)."""

    run_id: int
    spec: RunSpec
    folder: Path
    cache: Path


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a task ended. ``traceback`` is empty for known errors."""

    run_id: int
    state: RunState
    message: str = ""
    remedy: str = ""
    traceback: str = ""


RunOne = Callable[[Task, Reporter, Control], Outcome]
"""A picklable module-level function; ``engine.training.run.run_one`` is the one in use."""


class Executor(Protocol):
    """Runs tasks one at a time in a slot of its own. ``run`` is called from the runner's slot thread."""

    name: str

    def run(self, run_one: RunOne, task: Task, reporter: Reporter, control: Control) -> Outcome:
        """Run to the end and say how it ended; never raises for what the task did."""
        ...

    def close(self) -> None:
        """Give back processes and memory."""
        ...
