"""One run that compresses its parent: fine-tuned on the way where it is pruned, written, read again and measured."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec
import torch
from torch import nn

from engine.adapting.compression.codec import COMPRESSED
from engine.adapting.compression.load import compress, load_compressed
from engine.adapting.compression.prune import PruningOptimizer
from engine.adapting.compression.quantize import BITS
from engine.capabilities._cost import (
    Timing,
    can,
    file_bytes,
    footprint,
    forward_passes,
    median_of,
    seconds_in_turns,
)
from engine.capabilities.cost import LARGE_BATCH, NAME, CostSpec
from engine.errors import TrainingError
from engine.events import ArtifactSaved, Command, Evaluation, PhaseName, Progress, RunState
from engine.families.base import ParamGroup, training_hints
from engine.i18n import tr
from engine.quiet import quiet_torchao
from engine.study import CompressionMethod, convert
from engine.task import Outcome
from engine.training import checkpoint as ck
from engine.training.device import numerics
from engine.training.evaluate import evaluating, final_evaluations
from engine.training.loop import Trainee
from engine.training.optim import Optimizer
from engine.training.session import Session

if TYPE_CHECKING:
    from engine.sources.base import Prepared

UNABLE = (NotImplementedError, RuntimeError)
"""What torch raises where a capability trains what cannot be trained: integers, or a network that was cut."""


class CompressSession(Session):
    """The parent's session, from its weights on; a quantized run takes no step."""

    @property
    def method(self) -> CompressionMethod:
        """What is done to the parent."""
        assert self.spec.compression is not msgspec.UNSET
        return self.spec.compression

    def run(self) -> Outcome:
        """Fine-tune where the method does, then write, read and measure."""
        if self.method.method not in BITS and self.spec.training.n_steps:
            return super().run()
        self.check_versions()
        self.teller.phase(PhaseName.PREPARING)
        prepared = self.prepare()
        with numerics(self.placement):
            self.teller.phase(PhaseName.BUILDING)
            self.tell_facts(prepared)
            if self.control.poll() is Command.CANCEL:
                return Outcome(self.task.run_id, RunState.CANCELLED)
            self.conclude(self._parent(), prepared, 0)
        self.teller.emit(Progress(self.task.run_id, 0, 0, 0, 0.0, 0.0))
        return Outcome(self.task.run_id, RunState.FINISHED)

    def build(self) -> nn.Module:
        """The parent with its weights."""
        parent = self.task.parent
        model = self._blank()
        if parent is None:
            raise TrainingError(tr("The run that this one builds on is not here."))
        path = parent.folder / ck.WEIGHTS
        ck.load_weights(model, path)
        return model

    def optimizer(self, model: nn.Module, groups: Sequence[ParamGroup]) -> Optimizer:
        return PruningOptimizer(model, groups, self.spec.training, self.method)

    def trainee(self, prepared: "Prepared", *, compiled: bool = True) -> Trainee:
        """As any run's; what is due before its next step is cut."""
        run = super().trainee(prepared, compiled=compiled)
        assert isinstance(run.optimizer, PruningOptimizer)
        run.optimizer.next_step = run.state.step
        if run.state.step == 0:
            run.optimizer.cut_if_due()
        return run

    def finish(self, run: Trainee, prepared: "Prepared") -> None:
        """Save, then compress what was fine-tuned."""
        self._save(run, prepared)
        self.conclude(run.model, prepared, run.state.step)

    def conclude(self, model: nn.Module, prepared: "Prepared", step: int) -> None:
        """Write ``model`` compressed, and measure what is read back from the file beside the parent."""
        path = self.task.folder / COMPRESSED
        self.teller.phase(PhaseName.SAVING)
        quiet_torchao()
        with evaluating(model):
            n_bytes = compress(model, self.method, path, self._probe(model))
        self.teller.emit(ArtifactSaved(self.task.run_id, "compressed", COMPRESSED, step, n_bytes, ck.sha256(path)))
        self.write_description(prepared)
        child = load_compressed(self._at_place(self._blank()), path)
        asked = [use for use in self.spec.capabilities if use.name != NAME]
        measured = msgspec.structs.replace(self.spec, capabilities=tuple(asked))
        final_evaluations(child, measured, prepared, self.placement.device, self.teller, self.task.folder, UNABLE)
        self._costs(child, self._parent().eval(), n_bytes)

    def _parent(self) -> nn.Module:
        return self._at_place(self.build())

    def _blank(self) -> nn.Module:
        return self.family.blank(self.spec.shape, training_hints(self.spec))

    def _at_place(self, model: nn.Module) -> nn.Module:
        model.to(self.placement.device)
        self._configure(model)
        return model

    def _probe(self, model: nn.Module) -> Callable[[], object]:
        """Everything that is asked of a model, of what this one can do: by it layers are tried."""
        spec, family = self.spec, self.family
        context, device = spec.training.context, self.placement.device
        (whole,) = forward_passes(family, [model], spec.shape, context, 2, device)
        batch = {name: tensor.to(device) for name, tensor in family.example(spec.shape, 2, context).items()}
        calls: list[Callable[[], object]] = [
            whole,
            lambda: family.loss(model, batch),
            lambda: family.features(model, batch["inputs"]),
        ]
        able = [call for call in calls if can(call)]

        def probe() -> None:
            for call in able:
                call()

        return probe

    def _costs(self, child: nn.Module, parent: nn.Module, n_bytes: int) -> None:
        """Tell what both cost, timed in turns."""
        self.teller.phase(PhaseName.EVALUATING)
        options = next((use.options for use in self.spec.capabilities if use.name == NAME), {})
        seconds = convert(dict(options), CostSpec, NAME).seconds
        now, before = footprint(child), footprint(parent)
        assert self.task.parent is not None
        parent_bytes = (self.task.parent.folder / ck.WEIGHTS).stat().st_size
        found: dict[str, float] = {
            "bytes": n_bytes,
            "memory": now.memory,
            "nonzero": now.nonzero,
            "sparsity": now.sparsity,
            "parent_bytes": parent_bytes,
            "parent_memory": before.memory,
            "parent_nonzero": before.nonzero,
            "smaller": parent_bytes / n_bytes,
        }
        if self.method.method not in BITS:
            found["dense_bytes"] = file_bytes(child)
        for metric, value in found.items():
            self.teller.emit(Evaluation(self.task.run_id, NAME, metric, float(value)))
        for name, batch in (("", 1), ("_batch", LARGE_BATCH)):
            spec, device = self.spec, self.placement.device
            calls = forward_passes(self.family, [child, parent], spec.shape, spec.training.context, batch, device)
            taken = seconds_in_turns(calls, seconds, device)
            self._tell_timing(f"latency{name}", median_of(1e3 * taken[:, 0]))
            self._tell_timing(f"parent_latency{name}", median_of(1e3 * taken[:, 1]))
            self._tell_timing(f"faster{name}", median_of(taken[:, 1] / taken[:, 0]))
        self.teller.facts({"latency_threads": torch.get_num_threads()})

    def _tell_timing(self, metric: str, timing: Timing) -> None:
        self.teller.emit(Evaluation(self.task.run_id, NAME, metric, timing.median, timing.stderr, timing.n))
        self.teller.facts({f"{metric}_low": timing.low, f"{metric}_high": timing.high})
