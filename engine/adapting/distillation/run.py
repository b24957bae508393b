"""One run of kind ``distil`` from its task to its outcome. Imports torch only when called."""

from typing import TYPE_CHECKING

from engine.training.run import guarded

if TYPE_CHECKING:
    from engine.events import Control, Reporter
    from engine.task import Outcome, Task


def run_one(task: "Task", reporter: "Reporter", control: "Control") -> "Outcome":
    """Train the student of a task beside its teacher, or go on from the checkpoint in its folder, and measure it."""

    def run() -> "Outcome":
        from engine.adapting.distillation.session import DistilSession

        return DistilSession(task, reporter, control).run()

    return guarded(task, run)
