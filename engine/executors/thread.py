"""Run in the calling thread: nothing to start, nothing to pickle, but a crash takes the program with it."""

import sys
import traceback
from typing import TYPE_CHECKING

from engine.errors import KnownError
from engine.events import RunState
from engine.i18n import tr
from engine.task import Outcome, RunOne, Task

if TYPE_CHECKING:
    from engine.events import Control, Reporter


def run_guarded(run_one: RunOne, task: Task, reporter: "Reporter", control: "Control") -> Outcome:
    """``run_one`` with whatever it raises turned into a failed outcome: one run never stops the ladder."""
    try:
        return run_one(task, reporter, control)
    except KnownError as error:
        return Outcome(task.run_id, RunState.FAILED, error.message, error.remedy)
    except MemoryError:
        return Outcome(
            task.run_id,
            RunState.FAILED,
            tr("The machine ran out of memory."),
            tr("Lower training.micro_batch_size, or train smaller models or fewer at a time."),
        )
    except Exception as error:  # noqa: BLE001 - any bug of a run is stored with the run, traceback and all
        message = tr("The run stopped because of a bug: {error}.", error=f"{type(error).__name__}: {error}")
        remedy = tr("Copy the diagnostics and report it.")
        return Outcome(task.run_id, RunState.FAILED, message, remedy, traceback.format_exc())


class ThreadExecutor:
    """Runs tasks in the thread that calls ``run``, which is the runner's slot thread."""

    name = "thread"

    def run(self, run_one: RunOne, task: Task, reporter: "Reporter", control: "Control") -> Outcome:
        """Run to the end and say how it ended; torch's number of threads is as before afterwards."""
        torch = sys.modules.get("torch")
        threads = torch.get_num_threads() if torch else 0
        try:
            return run_guarded(run_one, task, reporter, control)
        finally:
            torch = sys.modules.get("torch")
            if torch and threads and torch.get_num_threads() != threads:
                torch.set_num_threads(threads)

    def close(self) -> None:
        """Nothing is held."""
