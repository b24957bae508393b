"""What a run tells the world while it trains, and what the world may ask of it. A leaf: imports no other part.

Events are frozen and picklable, so that they cross threads and processes alike.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class RunState(StrEnum):
    """Where a run stands. The transitions are the table ``engine.runner.TRANSITIONS``."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"


class Command(StrEnum):
    """What a running job is asked to do; it looks at step boundaries."""

    GO = "go"
    PAUSE = "pause"  # hold at the next step boundary, stay in memory
    STOP = "stop"  # checkpoint, then leave: the run becomes interrupted and can be resumed
    CANCEL = "cancel"  # leave without a checkpoint: the run becomes cancelled


class PhaseName(StrEnum):
    """What a run is busy with; shown by name so that 100 % never looks stuck."""

    PREPARING = "preparing data"
    BUILDING = "building the model"
    COMPILING = "compiling"
    TRAINING = "training"
    EVALUATING = "evaluating"
    SAVING = "saving"


@dataclass(frozen=True, slots=True)
class StateChanged:
    """A run entered a state. ``time`` is seconds since the epoch."""

    run_id: int
    state: RunState
    time: float
    message: str = ""
    remedy: str = ""
    traceback: str = ""


@dataclass(frozen=True, slots=True)
class Phase:
    """The run is busy with ``phase``; ``fraction`` is in 0..1 where it is known."""

    run_id: int
    phase: PhaseName
    fraction: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class MetricBlock:
    """Values of one metric at many steps: ``steps`` int64 (n,), ``values`` float64 (n,)."""

    run_id: int
    key: str
    steps: NDArray[np.int64]
    values: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is. ``seconds`` is time spent training, over all resumptions."""

    run_id: int
    step: int
    n_steps: int
    tokens_seen: int
    seconds: float
    tokens_per_second: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One measured number. ``stderr`` is of the mean over ``n`` items; ``step`` is None for the final model."""

    run_id: int
    capability: str
    metric: str
    value: float
    stderr: float | None = None
    n: int | None = None
    chance: float | None = None
    step: int | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """Something the model made at a step, to be looked at: text, or a file under the run's folder."""

    run_id: int
    step: int
    kind: str
    content: str


@dataclass(frozen=True, slots=True)
class ArtifactSaved:
    """A file of the run; ``path`` is relative to the run's folder.

    ``kind`` is checkpoint, best, weights, sample or predictions.
    """

    run_id: int
    kind: str
    path: str
    step: int
    n_bytes: int
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Log:
    """A line for the run's log; ``level`` is info or warning."""

    run_id: int
    level: str
    text: str
    time: float


@dataclass(frozen=True, slots=True)
class Facts:
    """Things found out when the run started that are stored with it (device, precision, versions, data hash)."""

    run_id: int
    values: Mapping[str, str | int | float | bool | None] = field(default_factory=dict)


Event = StateChanged | Phase | MetricBlock | Progress | Evaluation | Sample | ArtifactSaved | Log | Facts


class Reporter(Protocol):
    """Where a run's events go. ``emit`` may block for back-pressure; it is called from the training thread."""

    def emit(self, event: Event) -> None: ...


class Control(Protocol):
    """What the runner asks of a run. Cheap enough to poll at every step; safe from any thread."""

    def poll(self) -> Command: ...

    def wait(self, seconds: float) -> Command:
        """Block until the command is no longer ``PAUSE``, or for ``seconds``; returns the command."""
        ...
