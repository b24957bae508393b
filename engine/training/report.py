"""What training says: step metrics kept on the device and sent in blocks, and the other events of one run."""

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from engine.errors import TrainingError
from engine.events import Facts, Log, MetricBlock, Phase, PhaseName, Progress
from engine.i18n import tr

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from engine.events import Event, Reporter
    from engine.study import ResolvedTraining, Scalar
    from engine.training.checkpoint import TrainState

BLOCK_STEPS = 100
BLOCK_SECONDS = 0.25
"""A block of metrics leaves after this many steps or seconds, whichever is first (measured: house style, point 6)."""
MAX_KEPT = 50_000
"""Steps since the last checkpoint that the next one repeats at most."""
CURVES = ("train/loss", "lr", "grad_norm")


class Teller:
    """Emits the events of one run."""

    def __init__(self, run_id: int, reporter: "Reporter") -> None:
        self.run_id = run_id
        self._reporter = reporter

    def emit(self, event: "Event") -> None:
        """Pass any event on."""
        self._reporter.emit(event)

    def phase(self, phase: PhaseName, fraction: float | None = None) -> None:
        """Say what the run is busy with."""
        self.emit(Phase(self.run_id, phase, fraction))

    def log(self, text: str, level: str = "info") -> None:
        """A line for the run's log."""
        self.emit(Log(self.run_id, level, text, time.time()))

    def facts(self, values: "Mapping[str, Scalar | None]") -> None:
        """Things found out that are stored with the run."""
        self.emit(Facts(self.run_id, dict(values)))

    def metrics(self, key: str, steps: "NDArray[np.int64]", values: "NDArray[np.float64]") -> None:
        """Values of one metric at many steps."""
        self.emit(MetricBlock(self.run_id, key, steps, values))

    def metric(self, key: str, step: int, value: float) -> None:
        """One value of one metric."""
        self.metrics(key, np.array([step], np.int64), np.array([value], np.float64))


@dataclass(slots=True)
class Clock:
    """Seconds of training over all resumptions, without the time a run was paused."""

    before: float = 0.0
    _started: float = field(default_factory=time.perf_counter)
    _paused: float = 0.0

    def seconds(self) -> float:
        """Total so far."""
        return self.before + time.perf_counter() - self._started - self._paused

    def leave_out(self, seconds: float) -> None:
        """Take a pause out of the total."""
        self._paused += seconds


class Curve:
    """Loss, rate and gradient norm of every step. ``add`` waits for nothing; ``flush`` is where the device is read."""

    def __init__(self, teller: Teller, clock: Clock, state: "TrainState", training: "ResolvedTraining") -> None:
        self._teller = teller
        self._clock = clock
        self._state = state
        self._n_steps = training.n_steps
        self._tokens_per_step = training.batch_size * training.context
        self._steps: list[int] = []
        self._rates: list[float] = []
        self._losses: list[Tensor] = []
        self._norms: list[Tensor] = []
        self._kept: list[NDArray[np.float64]] = []
        self._last_norm = float("nan")
        self._block_started = time.perf_counter()
        self.tokens_per_second = 0.0

    def add(self, step: int, lr: float, loss: Tensor, norm: Tensor) -> None:
        """Remember what update ``step`` (counted from 1) saw; both tensors are scalars on the device."""
        self._steps.append(step)
        self._rates.append(lr)
        self._losses.append(loss)
        self._norms.append(norm)

    def due(self) -> bool:
        """Whether a block is full or old enough."""
        return len(self._steps) >= BLOCK_STEPS or time.perf_counter() - self._block_started >= BLOCK_SECONDS

    def restart_timer(self) -> None:
        """Leave what was done beside training out of the block's speed."""
        self._block_started = time.perf_counter()

    def flush(self) -> None:
        """Send what is waiting. Raises ``TrainingError`` where loss or gradient is not finite, after sending it."""
        if not self._steps:
            return
        read = torch.stack((torch.stack(self._losses).float(), torch.stack(self._norms).float())).double().cpu().numpy()
        seconds = time.perf_counter() - self._block_started
        table = np.stack((np.array(self._steps, np.float64), read[0], np.array(self._rates), read[1]))
        self._steps, self._rates, self._losses, self._norms = [], [], [], []
        self.tokens_per_second = self._tokens_per_second(table.shape[1], seconds)
        self._send(table)
        step = int(table[0, -1])
        tokens = step * self._tokens_per_step
        self._teller.metric("tokens_per_second", step, self.tokens_per_second)
        spent = self._clock.seconds()
        self._teller.emit(Progress(self._teller.run_id, step, self._n_steps, tokens, spent, self.tokens_per_second))
        self._require_finite(table)
        self._state.interval_loss += float(table[1].sum())
        self._state.interval_steps += table.shape[1]
        self._last_norm = float(table[3, -1])
        self._kept.append(table)
        self.restart_timer()

    def kept(self) -> "NDArray[np.float64]":
        """(4, n) of step, loss, rate, norm since ``forget_kept``: a checkpoint repeats them when it is resumed.

        A checkpoint may be on disk before the writer's transaction with the same steps is; a kill between the two
        would leave a hole in the curve.
        """
        return np.concatenate(self._kept, axis=1)[:, -MAX_KEPT:] if self._kept else np.zeros((4, 0))

    def forget_kept(self) -> None:
        """The checkpoint with what was kept is on the disk, and what it holds was sent long ago."""
        self._kept = []

    def take_mean_loss(self) -> float:
        """Mean training loss since the last call, nan where there was no step; survives a resumption."""
        state = self._state
        mean = state.interval_loss / state.interval_steps if state.interval_steps else float("nan")
        state.interval_loss, state.interval_steps = 0.0, 0
        return mean

    def repeat(self, table: "NDArray[np.float64]") -> None:
        """Send again what a checkpoint kept; the store replaces equal steps."""
        if table.size:
            self._send(table)

    def _send(self, table: "NDArray[np.float64]") -> None:
        steps = table[0].astype(np.int64)
        for key, values in zip(CURVES, table[1:], strict=True):
            self._teller.metrics(key, steps, values)

    def _tokens_per_second(self, n_steps: int, seconds: float) -> float:
        return n_steps * self._tokens_per_step / max(seconds, 1e-9)

    def _require_finite(self, table: "NDArray[np.float64]") -> None:
        # A gradient that is not finite has already spoiled the weights: no checkpoint may follow it.
        bad = np.flatnonzero(~(np.isfinite(table[1]) & np.isfinite(table[3])))
        if not bad.size:
            return
        first = int(bad[0])
        step, lr = int(table[0, first]), float(table[2, first])
        norm = float(table[3, first - 1]) if first else self._last_norm
        if step == 1:
            cause = tr("the untrained model already gives it, so the data or the initial weights are at fault")
        elif np.isfinite(table[1, first]):
            cause = tr("the gradient overflowed at learning rate {lr:.3g}", lr=lr)
        else:
            cause = tr("training diverged: gradient norm {norm:.3g} at learning rate {lr:.3g}", norm=norm, lr=lr)
        raise TrainingError(
            tr("The loss is no longer a finite number at step {step}: {cause}.", step=step, cause=cause),
            tr("Lower training.learning_rate, lengthen the warm-up, or set training.grad_clip to 1."),
        )
