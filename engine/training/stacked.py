"""Runs of one size, of several seeds and peak learning rates, trained as one stacked model by the one loop.

Each keeps its own curve, checkpoint and results.

Whether that is faster is measured on the run's own batches and remembered for the machine and the shape. Losses agree
with those of runs trained apart to 1e-4: float32 sums are taken in another order.
"""

import dataclasses
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import msgspec
import torch
from torch import Tensor, nn

from engine.errors import TrainingError
from engine.events import PhaseName, RunState
from engine.families.base import ParamGroup, StackedModel
from engine.task import Outcome, Task
from engine.training.compilation import compiled_or_eager, graph_mode
from engine.training.device import numerics
from engine.training.kernels import remembered
from engine.training.loop import Ending, Trainee, evaluation_due, train
from engine.training.optim import Optimizer, SharedOptimizer
from engine.training.schedule import lr_factor
from engine.training.session import Session

if TYPE_CHECKING:
    from engine.events import Control, Reporter
    from engine.study import ResolvedTraining

WORTHWHILE = 1.15
"""Times as fast as one after another from which a stack is taken: less is within the noise of the measurement."""
ROUNDS = 5


class MemberError(Exception):
    """Some members, by index, cannot go on; the others can."""

    def __init__(self, errors: Mapping[int, TrainingError]) -> None:
        super().__init__(", ".join(str(error) for error in errors.values()))
        self.errors = errors


class Fan:
    """Passes every call on to all of its targets."""

    def __init__(self, targets: Sequence[object]) -> None:
        self._targets = targets

    def __getattr__(self, name: str) -> Callable[..., None]:
        def call(*args: object) -> None:
            for target in self._targets:
                getattr(target, name)(*args)

        return call


class StackedCurve:
    """The curves of all members behind the one the loop writes to."""

    def __init__(self, members: Sequence[Trainee]) -> None:
        self._curves = [member.curve for member in members]
        self._plans = [member.spec.training for member in members]

    def add(self, step: int, lr: float, losses: Tensor, norms: Tensor) -> None:
        """Losses and norms are (members,). ``lr`` is the highest of the rates; each curve records its member's own."""
        factor = lr_factor(step - 1, self._plans[0])
        for index, (curve, plan) in enumerate(zip(self._curves, self._plans, strict=True)):
            curve.add(step, plan.learning_rate * factor, losses[index], norms[index])

    def due(self) -> bool:
        """Whether a block is full or old enough; the same for all."""
        return self._curves[0].due()

    def restart_timer(self) -> None:
        """Leave what was done beside training out of the blocks' speed."""
        for curve in self._curves:
            curve.restart_timer()

    def flush(self) -> None:
        """Send what is waiting of all; raises ``MemberError`` where a member's loss is no number."""
        errors: dict[int, TrainingError] = {}
        for index, curve in enumerate(self._curves):
            try:
                curve.flush()
            except TrainingError as error:
                errors[index] = error
        if errors:
            raise MemberError(errors)


@dataclass
class Stack:
    """Members and the stacked model that trains them; ``pull`` brings what it learned back into them."""

    sessions: Sequence[Session]
    members: Sequence[Trainee]
    model: StackedModel
    optimizer: Optimizer

    def push(self) -> None:
        """Take the members' optimizer state over, as it is after a resumption."""
        states = [member.optimizer.state_tensors() for member in self.members]
        if states[0]:
            self.optimizer.load_state_tensors(
                {
                    _stacked_name(name): value if value.dim() == 0 else torch.stack([state[name] for state in states])
                    for name, value in states[0].items()
                }
            )

    def pull(self, *, optimizer: bool = True) -> None:
        """Bring every member's weights, step and, where asked for, optimizer state up to date."""
        step = self.members[0].state.step
        state = self.optimizer.state_tensors() if optimizer else {}
        for index, member in enumerate(self.members):
            member.state.step = step
            member.model.load_state_dict(self.model.member(index), strict=False)
            if state:
                member.optimizer.load_state_tensors(
                    {_own_name(name): v.clone() if v.dim() == 0 else v[index] for name, v in state.items()}
                )


def _stacked_name(name: str) -> str:
    return name.replace(".", "/")


def _own_name(name: str) -> str:
    return name.replace("/", ".")


def run_stack(task: Task, reporter: "Reporter", control: "Control") -> Outcome:
    """Train a task and its partners together; ``apart`` where they cannot be stacked or gain nothing by it."""
    sessions = [Session(one, reporter, control) for one in (task, *task.partners)]
    for session in sessions:
        session.check_versions()
        session.teller.phase(PhaseName.PREPARING)
    first = sessions[0]
    prepared = first.prepare()
    with numerics(first.placement):
        members = [session.trainee(prepared, compiled=False) for session in sessions]
        stack = _stack(sessions, members)
        if stack is None:
            return Outcome(task.run_id, RunState.INTERRUPTED, apart=True)
        gain = _gain(stack, task)
        if gain < WORTHWHILE and members[0].state.step == 0:
            return Outcome(task.run_id, RunState.INTERRUPTED, apart=True)
        run = _trainee(stack)
        for session in sessions:
            session.tell_facts(prepared, {"stacked": len(sessions), "stacked_gain": round(gain, 2)})
        try:
            ending = train(run)
        except MemberError as failed:
            return _some_failed(stack, failed)
        if ending is not Ending.DONE:
            state = RunState.INTERRUPTED if ending is Ending.STOPPED else RunState.CANCELLED
            return _all(sessions, state)
        stack.pull()
        for session, member in zip(sessions, members, strict=True):
            session.finish(member, prepared)
    return _all(sessions, RunState.FINISHED)


def _all(sessions: Sequence[Session], state: RunState) -> Outcome:
    first, *others = (Outcome(session.task.run_id, state) for session in sessions)
    return dataclasses.replace(first, partners=tuple(others))


def _some_failed(stack: Stack, failed: MemberError) -> Outcome:
    """The members that failed say why; the others are saved where they stand, to go on from there without them."""
    stack.pull()
    outcomes = []
    for index, (session, member) in enumerate(zip(stack.sessions, stack.members, strict=True)):
        error = failed.errors.get(index)
        if error is not None:
            outcomes.append(Outcome(session.task.run_id, RunState.FAILED, error.message, error.remedy))
            continue
        # The flush that found the failure comes before the evaluation of its step.
        if evaluation_due(member.state.step, member.spec.training):
            member.evaluate()
        member.save()
        outcomes.append(Outcome(session.task.run_id, RunState.INTERRUPTED))
    return dataclasses.replace(outcomes[0], partners=tuple(outcomes[1:]))


def _stack(sessions: Sequence[Session], members: Sequence[Trainee]) -> Stack | None:
    """The stack, or None where the members stand at different steps or their family has no stacked form."""
    first = members[0]
    if len({member.state.step for member in members}) > 1:
        return None
    session = sessions[0]
    model = session.family.stack([member.model for member in members])
    if model is None:
        return None
    module = cast("nn.Module", model).to(first.device)
    training, names = first.spec.training, {id(p): name for name, p in first.model.named_parameters()}
    groups = [
        ParamGroup(
            [cast("nn.Parameter", model.weight(names[id(p)])) for p in group.params],
            group.lr_scale,
            group.decay,
            group.matrix,
        )
        for group in session.family.param_groups(first.model, first.spec.shape, training.lr_rule, training.base_width)
        if group.params
    ]
    stack = Stack(sessions, members, model, _optimizer(module, groups, members))
    stack.push()
    return stack


def _highest(members: Sequence[Trainee]) -> "ResolvedTraining":
    """The training of the member with the highest rate; all else is the same for all."""
    return max((member.spec.training for member in members), key=lambda training: training.learning_rate)


def _optimizer(module: nn.Module, groups: Sequence[ParamGroup], members: Sequence[Trainee]) -> Optimizer:
    """Set to the highest rate; a member with a lower one takes its share of each step."""
    training = _highest(members)
    rates = torch.tensor([member.spec.training.learning_rate for member in members], dtype=torch.float64)
    if bool((rates == training.learning_rate).all()):
        return Optimizer(module, groups, training)
    return SharedOptimizer(module, groups, training, rates / training.learning_rate)


def _trainee(stack: Stack) -> Trainee:
    """The stack as the loop sees it: one run whose losses and norms are (members,)."""
    first, members = stack.members[0], stack.members
    training = _highest(members)

    def evaluate() -> None:
        stack.pull(optimizer=False)
        for member in members:
            member.evaluate()

    def save() -> None:
        stack.pull()
        for member in members:
            member.save()

    tellers, clocks = Fan([m.teller for m in members]), Fan([m.clock for m in members])
    return dataclasses.replace(
        first,
        spec=msgspec.structs.replace(first.spec, training=training),
        model=cast("nn.Module", stack.model),
        loss=_loss(stack),
        optimizer=stack.optimizer,
        curve=cast("Any", StackedCurve(members)),
        clock=cast("Any", clocks),
        teller=cast("Any", tellers),
        evaluate=evaluate,
        save=save,
        batch=lambda step: [(1.0, _batch(members, step))],
        clip=lambda: clip_members(stack.optimizer.params, training.grad_clip or math.inf),
    )


def _whole(member: Trainee, step: int) -> Mapping[str, Tensor]:
    """The batch of a member of a stack, which has no micro-batches."""
    ((_, batch),) = member.batch(step)
    return batch


def _batch(members: Sequence[Trainee], step: int) -> Mapping[str, Tensor]:
    batches = [_whole(member, step) for member in members]
    return {name: torch.stack([batch[name] for batch in batches]) for name in batches[0]}


def _loss(stack: Stack) -> Callable[[Mapping[str, Tensor]], Tensor]:
    """The members' losses, compiled where the runs began so or there is time enough for it to pay."""
    session, member = stack.sessions[0], stack.members[0]
    wanted, works = session.spec.execution.compile, False
    loss: Callable[[Mapping[str, Tensor]], Tensor] = stack.model.losses
    # Not by itself: on a busy machine compiling a stack held small runs up for longer than it could ever win back.
    if session.placement.compile if member.state.step else wanted == "on":
        module = cast("nn.Module", stack.model)
        mode = graph_mode(member.device.type)
        loss, works = compiled_or_eager(loss, module, _batch(stack.members, 0), session.teller, mode)
    for one in stack.sessions:
        one.placement = dataclasses.replace(one.placement, compile=works)
    return loss


def clip_members(params: Sequence[Tensor], most: float) -> Tensor:
    """Bound each member's own gradient norm, as ``clip_grad_norm_`` does for one; returns the norms (members,)."""
    grads = [p.grad for p in params if p.grad is not None]
    norms = torch.stack([grad.flatten(1).square().sum(1) for grad in grads]).sum(0).sqrt()
    scale = (most / (norms + 1e-6)).clamp(max=1.0)
    for grad in grads:
        grad.mul_(scale.view(-1, *[1] * (grad.dim() - 1)))
    return norms


def _gain(stack: Stack, task: Task) -> float:
    """How many times faster the stack is than its members one after another."""
    first = stack.members[0]
    training, n = first.spec.training, len(stack.members)
    shape = "x".join(str(value) for value in first.spec.shape.values())
    key = f"stack gain {n} {training.batch_size}x{training.context} {shape} {stack.sessions[0].placement.precision}"

    def measure() -> str:
        apart, together = [], []
        for _ in range(ROUNDS + 1):
            apart.append(_seconds(lambda: [m.loss(_whole(m, 0)).backward() for m in stack.members]))  # type: ignore[no-untyped-call]
            together.append(_seconds(lambda: stack.model.losses(_batch(stack.members, 0)).sum().backward()))  # type: ignore[no-untyped-call]
        pairs = zip(apart[1:], together[1:], strict=True)
        return f"{statistics.median(a / b for a, b in pairs):.3f}"

    try:
        gain = remembered(key, first.device, task.cache, measure)
    finally:
        for member in stack.members:
            member.model.zero_grad(set_to_none=True)
        cast("nn.Module", stack.model).zero_grad(set_to_none=True)
    return float(gain)


def _seconds(do: Callable[[], object]) -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    began = time.perf_counter()
    do()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began
