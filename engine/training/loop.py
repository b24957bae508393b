"""The training loop: one plain function, for every family and source.

A batch is a pure function of the step and the rate is another, so the state of training is the weights, the
optimizer's moments, the generators and a step number. Nothing here waits for the device between two flushes.
"""

import enum
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from engine.events import Command, Control, PhaseName
from engine.sources.base import Prepared
from engine.study import ResolvedTraining, RunSpec
from engine.training.checkpoint import TrainState
from engine.training.optim import Optimizer
from engine.training.report import Clock, Curve, Teller
from engine.training.schedule import lr_factor

PAUSE_POLL_SECONDS = 0.5


class Ending(enum.Enum):
    """Why the loop came to an end."""

    DONE = "done"
    STOPPED = "stopped"
    CANCELLED = "cancelled"


@dataclass(slots=True)
class Trainee:
    """One model in training and all that the loop works with."""

    spec: RunSpec
    model: nn.Module
    loss: Callable[[Mapping[str, Tensor]], Tensor]
    """Training loss of a batch on the device, a scalar, or (members,) of a stack; eager or compiled."""
    optimizer: Optimizer
    prepared: Prepared
    device: torch.device
    state: TrainState
    curve: Curve
    clock: Clock
    teller: Teller
    control: Control
    evaluate: Callable[[], None]
    """Validate at the current step: keeps the best, marks overfitting, may set ``state.stopped_early``."""
    save: Callable[[], None]
    """Write the resumable checkpoint."""
    batch: Callable[[int], Sequence[tuple[float, Mapping[str, Tensor]]]]
    """The training batch of a step in micro-batches, on the device, each with its share of the batch's mean loss."""
    clip: Callable[[], Tensor]
    """Bound the gradient's norm; returns what it was."""


def train(run: Trainee) -> Ending:
    """Train from ``run.state.step`` to the end, or to where the control says.

    Raises:
        TrainingError: the loss is not finite; seen at the flush that follows.
        ResourceError: a checkpoint cannot be written.
    """
    plan, state, curve, optimizer = run.spec.training, run.state, run.curve, run.optimizer
    last_saved = time.monotonic()
    run.model.train()
    run.teller.phase(PhaseName.TRAINING)
    curve.restart_timer()
    while state.step < plan.n_steps and not state.stopped_early:
        if run.control.poll() is not Command.GO:
            command = obey(run)
            if command is not Command.GO:
                return Ending.STOPPED if command is Command.STOP else Ending.CANCELLED
            last_saved = time.monotonic()

        lr = plan.learning_rate * lr_factor(state.step, plan)
        optimizer.set_lr(lr)
        loss = backward(run, run.batch(state.step))
        norm = run.clip()
        optimizer.step()
        state.step += 1
        curve.add(state.step, lr, loss, norm)

        if curve.due():
            curve.flush()
        if evaluation_due(state.step, plan):
            curve.flush()
            run.evaluate()
            curve.restart_timer()
        if time.monotonic() - last_saved >= plan.checkpoint_seconds:
            curve.flush()
            run.save()
            last_saved = time.monotonic()
            curve.restart_timer()
    curve.flush()
    return Ending.DONE


def evaluation_due(step: int, plan: ResolvedTraining) -> bool:
    """At every ``eval_every`` steps and at the end, but not twice within half an interval of it."""
    regular = step % plan.eval_every == 0 and 2 * (plan.n_steps - step) >= plan.eval_every
    return regular or step == plan.n_steps


def backward(run: Trainee, parts: Sequence[tuple[float, Mapping[str, Tensor]]]) -> Tensor:
    """Gradients of the mean loss of a batch, accumulated over micro-batches; returns the loss, detached."""
    if len(parts) == 1:
        loss = run.loss(parts[0][1])
        loss.sum().backward()  # type: ignore[no-untyped-call]
        return loss.detach()
    total = torch.zeros((), device=run.device)
    for share, part in parts:
        loss = run.loss(part) * share
        loss.backward()  # type: ignore[no-untyped-call]
        total += loss.detach()
    return total


def obey(run: Trainee) -> Command:
    """Do what was asked: hold while paused, checkpoint before a stop. Returns GO, STOP or CANCEL."""
    run.curve.flush()
    command = run.control.poll()
    if command is Command.PAUSE:
        # A pause may last for days and end with the machine switched off.
        run.save()
        began = time.perf_counter()
        while (command := run.control.wait(PAUSE_POLL_SECONDS)) is Command.PAUSE:
            pass
        run.clock.leave_out(time.perf_counter() - began)
        run.curve.restart_timer()
        run.teller.phase(PhaseName.TRAINING)
    if command is Command.STOP:
        run.save()
    return command
