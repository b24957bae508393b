"""One run of kind ``compress`` from its task to its outcome. Imports torch only when called."""

from typing import TYPE_CHECKING

from engine.training.run import guarded

if TYPE_CHECKING:
    from engine.events import Control, Reporter
    from engine.task import Outcome, Task


def run_one(task: "Task", reporter: "Reporter", control: "Control") -> "Outcome":
    """Compress the parent of a task, or go on from the checkpoint in its folder, and measure both models."""

    def run() -> "Outcome":
        from engine.adapting.compression.session import CompressSession

        return CompressSession(task, reporter, control).run()

    return guarded(task, run)
