"""A family and a source small enough that a test trains a hundred steps in a blink."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from engine.events import Command, Event, PhaseName, RunState
from engine.families import families
from engine.families.base import Counts, DataShape, Family, LossOutput, Made, ParamGroup
from engine.sources import sources
from engine.sources.base import Batch, QualityReport, Source
from engine.study import CapabilityUse, ExecutionSpec, ResolvedTraining, RunSpec, TableSpec
from engine.task import Outcome, Task

VOCAB = 128
TEXT = ("the running painter understood nothing about running paintings and understood everything else. " * 60).encode()


class ToySpec(TableSpec, frozen=True, kw_only=True):
    """Nothing to set."""


class ToyDataSpec(TableSpec, frozen=True, kw_only=True):
    """A step from which the data give nothing but infinities; -1 for never."""

    bad_from: int = -1
    salt: int = 0


class ToyFamily(Family):
    """Embedding, dropout, one hidden layer: enough to need every part of a checkpoint, generators included."""

    name = "toy"
    version = 1
    title = "Toy"
    Spec = ToySpec
    modalities = frozenset({"tokens"})
    predicts_next = True

    def samples(self, model: Any, spec: RunSpec, prepared: Any, device: Any) -> list[Made]:
        from engine.families._text_samples import continued

        grey = np.full((2, 3, 3), 128, np.uint8)
        return [*continued(model, spec, prepared, device), Made("image", "grey", grey)]

    def resolve(self, spec: Any, size: int, data: DataShape, context: int) -> dict[str, Any]:
        return {"width": size, "vocab_size": data.vocab_size}

    def counts(self, shape: Mapping[str, Any], context: int) -> Counts:
        return Counts(1, 1, 1.0, 1.0)

    def width(self, shape: Mapping[str, Any]) -> int:
        return int(shape["width"])

    def build(self, shape: Mapping[str, Any], seed: int, *, training: object = None) -> Any:
        import torch
        from torch import nn

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            width = int(shape["width"])
            return nn.Sequential(
                nn.Embedding(VOCAB, width), nn.Dropout(0.1), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, VOCAB)
            )

    def loss(self, model: Any, batch: Mapping[str, Any]) -> LossOutput:
        from torch.nn import functional

        loss = functional.cross_entropy(model(batch["inputs"]).flatten(0, 1).float(), batch["targets"].flatten())
        return LossOutput(loss * batch["factor"].mean() if "factor" in batch else loss)

    def param_groups(self, model: Any, shape: Any, rule: str, base_width: int) -> list[ParamGroup]:
        matrices = [model[2].weight]
        rest = [p for p in model.parameters() if p is not matrices[0]]
        return [ParamGroup(matrices, 0.5, matrix=True), ParamGroup(rest, decay=False)]


class ToyPrepared:
    """Windows of one sentence, again and again."""

    bytes_per_token = 1.0
    report = QualityReport(1, 1, 1, len(TEXT), len(TEXT), 0, 0, 0)

    def __init__(self, spec: ToyDataSpec) -> None:
        self.spec = spec
        self.fingerprint = f"toy-{spec.salt}"
        self._tokens = np.frombuffer(TEXT, np.uint8).astype(np.int64)

    def train_batch(self, step: int, batch_size: int, context: int, seed: int) -> Batch:
        starts = np.random.default_rng((seed, step)).integers(0, len(self._tokens) - context - 1, batch_size)
        batch = self._windows(starts, context)
        if 0 <= self.spec.bad_from <= step:
            batch["factor"] = np.full(batch_size, np.inf, np.float32)
        return batch

    def epochs(self, n_steps: int, batch_size: int, context: int) -> float:
        return n_steps * batch_size * context / len(TEXT)

    def validation_batches(self, batch_size: int, context: int, max_tokens: int) -> Iterator[Batch]:
        starts = np.arange(0, len(self._tokens) - context - 1, context)[: max(1, max_tokens // context)]
        for first in range(0, len(starts), batch_size):
            yield self._windows(starts[first : first + batch_size], context)

    def decode(self, tokens: Any) -> str:
        return bytes(np.asarray(tokens, np.uint8)).decode("latin-1")

    def _windows(self, starts: Any, context: int) -> Batch:
        at = starts[:, None] + np.arange(context)
        return {"inputs": self._tokens[at], "targets": self._tokens[at + 1]}


class ToySource(Source):
    """The sentence."""

    name = "toy-text"
    version = 1
    title = "Toy text"
    Spec = ToyDataSpec

    def shape(self, spec: Any) -> DataShape:
        return DataShape("tokens", VOCAB)

    def prepare(self, spec: Any, cache: Path, on_progress: Any) -> ToyPrepared:
        on_progress("toy", 1.0)
        return ToyPrepared(spec)


def register() -> None:
    """Make both known in this process, for good: what a worker process does for itself."""
    if "toy" not in families:
        families.register("toy")(ToyFamily)
    if "toy-text" not in sources:
        sources.register("toy-text")(ToySource)


@contextlib.contextmanager
def registered() -> Iterator[None]:
    """Both are known inside and gone afterwards: tests share a process with those of the documentation."""
    register()
    try:
        yield
    finally:
        families._items.pop("toy")
        sources._items.pop("toy-text")


TRAINING = ResolvedTraining(
    context=32, batch_size=8, micro_batch_size=8, n_steps=120, tokens=120 * 256, optimizer="adamw", learning_rate=0.01,
    lr_rule="fixed", base_width=16, beta1=0.9, beta2=0.95, eps=1e-8, weight_decay=0.1, grad_clip=1.0, schedule="wsd",
    warmup_steps=5, decay_steps=24, final_lr_fraction=0.0, eval_every=20, eval_tokens=1024, final_eval_tokens=2048,
    checkpoint_seconds=60.0, keep_best=False, early_stopping_patience=0,
)  # fmt: skip


def spec(data: Mapping[str, Any] | None = None, capabilities: tuple[str, ...] = (), **training: Any) -> RunSpec:
    """A resolved toy run with some fields of its training changed; ``precision`` and ``compile`` are execution's."""
    execution = {k: training.pop(k) for k in ("precision", "compile", "threads", "device") if k in training}
    return RunSpec(
        study="toy", kind="pretrain", family="toy", family_version=1, shape={"width": 16, "vocab_size": VOCAB}, size=16,
        size_index=0, seed=3, n_params=5_000, n_params_non_embedding=300, compute_flops=1e6, memory_bytes=10**6,
        source="toy-text", source_version=1, data=dict(data or {}),
        training=msgspec.structs.replace(TRAINING, **training),
        capabilities=tuple(CapabilityUse(name=name) for name in capabilities),
        execution=ExecutionSpec(**{"threads": 1, "device": "cpu"} | execution),
    )  # fmt: skip


def task(folder: Path, run: RunSpec | None = None) -> Task:
    """A task in a folder of its own."""
    return Task(7, run or spec(), folder / "run", folder / "cache")


class Recorder:
    """A reporter that keeps everything, and calls ``on_event`` with each."""

    def __init__(self, on_event: Any = None) -> None:
        self.events: list[Event] = []
        self._on_event = on_event

    def emit(self, event: Event) -> None:
        self.events.append(event)
        if self._on_event is not None:
            self._on_event(event)

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def curve(self, key: str) -> dict[int, float]:
        """Step -> value as the store would have it: a later block replaces equal steps."""
        from engine.events import MetricBlock

        blocks = [block for block in self.of(MetricBlock) if block.key == key]
        return {int(s): float(v) for b in blocks for s, v in zip(b.steps, b.values, strict=True)}


class Commands:
    """A control that a test sets by hand."""

    def __init__(self, command: Command = Command.GO) -> None:
        self.command = command

    def poll(self) -> Command:
        return self.command

    def wait(self, seconds: float) -> Command:
        deadline = time.monotonic() + seconds
        while self.command is Command.PAUSE and time.monotonic() < deadline:
            time.sleep(0.005)
        return self.command


class StopAfter(Commands):
    """Gives a command after so many polls: the loop polls once a step."""

    def __init__(self, polls: int, command: Command = Command.STOP) -> None:
        super().__init__()
        self.left, self.then = polls, command

    def poll(self) -> Command:
        self.left -= 1
        if self.left < 0:
            self.command = self.then
        return self.command


def weights(folder: Path) -> dict[str, Any]:
    """The finished weights of the run of ``task(folder)``."""
    from safetensors.numpy import load_file

    return load_file(folder / "run" / "weights.safetensors")


def same_weights(a: Path, b: Path) -> bool:
    """Whether two finished runs are equal bit for bit."""
    one, other = weights(a), weights(b)
    return one.keys() == other.keys() and all(one[k].tobytes() == other[k].tobytes() for k in one)


# What executors are tried with: picklable, and torch only where it must be.


def run_toy(task: Task, reporter: Any, control: Any) -> Outcome:
    """The real thing, in whatever process."""
    from engine.training.run import run_one

    register()
    return run_one(task, reporter, control)


def run_counting(task: Task, reporter: Any, control: Any) -> Outcome:
    """Obeys commands and says what it sees, for 300 steps of 10 ms at most."""
    from engine.events import Log, Phase

    for step in range(300):
        command = control.poll()
        if command is Command.PAUSE:
            reporter.emit(Phase(task.run_id, PhaseName.SAVING))
            while (command := control.wait(0.1)) is Command.PAUSE:
                pass
        if command is Command.STOP:
            return Outcome(task.run_id, RunState.INTERRUPTED)
        if command is Command.CANCEL:
            return Outcome(task.run_id, RunState.CANCELLED)
        reporter.emit(Log(task.run_id, "info", str(step), time.time()))
        if step >= task.spec.training.n_steps:
            break
        time.sleep(0.01)
    return Outcome(task.run_id, RunState.FINISHED)


def run_bug(task: Task, reporter: Any, control: Any) -> Outcome:
    """A bug."""
    raise ZeroDivisionError("a bug in the middle")


def run_known(task: Task, reporter: Any, control: Any) -> Outcome:
    """An expected failure."""
    from engine.errors import TrainingError

    raise TrainingError("it diverged.", "Lower the rate.")


def run_crash(task: Task, reporter: Any, control: Any) -> Outcome:
    """Dies as the out-of-memory killer would have it."""
    from engine.events import Log

    reporter.emit(Log(task.run_id, "info", "before the crash", time.time()))
    time.sleep(0.2)
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def run_threads(task: Task, reporter: Any, control: Any) -> Outcome:
    """Leaves torch with another number of threads."""
    import torch

    torch.set_num_threads(3)
    return Outcome(task.run_id, RunState.FINISHED)
