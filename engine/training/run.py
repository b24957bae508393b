"""One run from its task to its outcome: what every executor calls.

Imports torch only when called, so that the program can name ``run_one`` before it has loaded it.
"""

import gc
from collections.abc import Callable
from typing import TYPE_CHECKING

from engine.errors import ResourceError
from engine.events import RunState
from engine.i18n import tr
from engine.task import Outcome, Task

if TYPE_CHECKING:
    from engine.events import Control, Reporter


def run_one(task: Task, reporter: "Reporter", control: "Control") -> Outcome:
    """Train the run of a task, or resume it from the checkpoint in its folder, and measure the finished model."""

    def run() -> Outcome:
        if task.partners:
            from engine.training.stacked import run_stack

            return run_stack(task, reporter, control)
        from engine.training.session import Session

        return Session(task, reporter, control).run()

    return guarded(task, run)


def guarded(task: Task, run: Callable[[], Outcome]) -> Outcome:
    """Do ``run``; known failures come back as outcomes.

    A disk that is full leaves the run interrupted, to be resumed. Anything else is raised, for the executor to keep
    with its traceback.
    """
    from engine.training.device import out_of_memory
    from engine.training.kernels import configure_allocator

    configure_allocator()
    try:
        return run()
    except ResourceError as error:
        return Outcome(task.run_id, RunState.INTERRUPTED, error.message, error.remedy)
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        if task.partners:
            # Each needs a fraction of it when it has its turn, and goes on from its checkpoint where it has one.
            return Outcome(task.run_id, RunState.INTERRUPTED, apart=True)
        return Outcome(
            task.run_id,
            RunState.FAILED,
            tr("Memory ran out while training {label}.", label=task.spec.label),
            tr("Lower training.micro_batch_size, or train smaller models or fewer at a time."),
        )
    finally:
        give_back()


def give_back() -> None:
    """Free what the run held now: its parts refer to each other, and the collector would let runs pile up."""
    import torch

    gc.collect()
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()
