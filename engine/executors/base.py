"""Where a run runs. The seam is picklable: a task goes in, events come out, commands are polled."""

from typing import Protocol

from engine.events import Control, Reporter
from engine.task import Outcome, RunOne, Task

__all__ = ["Executor", "Outcome", "RunOne", "Task"]


class Executor(Protocol):
    """Runs tasks one at a time in a slot of its own. ``run`` is called from the runner's slot thread."""

    name: str

    def run(self, run_one: RunOne, task: Task, reporter: Reporter, control: Control) -> Outcome:
        """Run to the end and say how it ended; never raises for what the task did."""
        ...

    def close(self) -> None:
        """Give back processes and memory."""
        ...
