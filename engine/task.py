"""A run handed to a worker and how it ended. Below both the executors, which carry it, and the training that obeys."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from engine.events import Control, Reporter, RunState
from engine.study import RunSpec


@dataclass(frozen=True, slots=True)
class Parent:
    """The finished run that another builds on: what it was, and the folder that holds its weights."""

    spec: RunSpec
    folder: Path


@dataclass(frozen=True, slots=True)
class Task:
    """All that a worker needs. ``folder`` is the run's own (checkpoints); ``cache`` is shared (prepared data)."""

    run_id: int
    spec: RunSpec
    folder: Path
    cache: Path
    partners: tuple["Task", ...] = ()
    """Runs that differ from this one in seed and peak learning rate only and may be trained with it as one stack."""
    parent: Parent | None = None
    """Of a run whose spec names one."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a task ended. ``traceback`` is empty for known errors."""

    run_id: int
    state: RunState
    message: str = ""
    remedy: str = ""
    traceback: str = ""
    partners: tuple["Outcome", ...] = ()
    """How the partners ended; one that is missing ended as the run itself did."""
    apart: bool = False
    """Nothing was trained: apart is faster than together here, and the runs want their turns one by one."""


RunOne = Callable[[Task, Reporter, Control], Outcome]
"""A picklable module-level function; ``engine.training.run.run_one`` is the one in use."""
