"""One run's set-up and what the loop calls: data, model, resuming, validation, checkpoints, the finished weights."""

import dataclasses
import math
import platform
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec
import torch
from torch import Tensor, nn

from engine.errors import TrainingError
from engine.events import ArtifactSaved, PhaseName, RunState
from engine.families import families
from engine.families.base import build_for
from engine.i18n import tr
from engine.sources import sources
from engine.sources.base import TokenisedText
from engine.study import ExecutionSpec, convert, spec_hash
from engine.task import Outcome, Task
from engine.training import checkpoint as ck
from engine.training.batches import micro_batches
from engine.training.device import Placement, numerics, place
from engine.training.evaluate import Validation, final_evaluations, tell_samples, to_tensors, tracked_metrics
from engine.training.kernels import choose_attention
from engine.training.loop import Ending, Trainee, train
from engine.training.optim import Optimizer
from engine.training.report import Clock, Curve, Teller

if TYPE_CHECKING:
    from engine.events import Control, Reporter
    from engine.families.base import ParamGroup
    from engine.sources.base import Prepared
    from engine.study import Scalar

OVERFITTING_RISE = 0.01
"""Relative rise of the validation loss over its best, at evaluation, from which a run is marked as overfitting."""
SAMPLES = 4
"""How often text is sampled during a run."""


class Session:
    """One run. ``run`` is called once."""

    def __init__(self, task: Task, reporter: "Reporter", control: "Control") -> None:
        self.task = task
        self.spec = task.spec
        # How many jobs or threads a run was given may change between resumptions; what it computes may not.
        self._hash = spec_hash(msgspec.structs.replace(task.spec, execution=ExecutionSpec()))
        self.teller = Teller(task.run_id, reporter)
        self.control = control
        self.family = families[task.spec.family]
        self.source = sources[task.spec.source]
        self._data = convert(dict(self.spec.data), self.source.Spec, "data")
        self._resumed = self._read_checkpoint()
        self.placement = self._place()

    def run(self) -> Outcome:
        """Prepare, build, train, measure, save."""
        self.check_versions()
        self.teller.phase(PhaseName.PREPARING)
        prepared = self.prepare()
        with numerics(self.placement):
            self.teller.phase(PhaseName.BUILDING)
            run = self.trainee(prepared)
            self.tell_facts(prepared)
            ending = train(run)
            if ending is not Ending.DONE:
                state = RunState.INTERRUPTED if ending is Ending.STOPPED else RunState.CANCELLED
                return Outcome(self.task.run_id, state)
            self.finish(run, prepared)
        return Outcome(self.task.run_id, RunState.FINISHED)

    # Set-up

    def prepare(self) -> "Prepared":
        """The data, made ready or found ready in the cache."""
        return self.source.prepare(self._data, self.task.cache, self._preparing)

    def _preparing(self, step: str, fraction: float) -> None:
        self.teller.phase(PhaseName.PREPARING, fraction)

    def _read_checkpoint(self) -> ck.Checkpoint | None:
        path = self.task.folder / ck.LAST
        if not path.exists():
            return None
        found = ck.load_checkpoint(path)
        if found.header.spec_hash != self._hash:
            raise TrainingError(
                tr("The checkpoint in the run's folder is of another run."),
                tr("Move {path} away to train the run from the start.", path=str(path)),
            )
        return found

    def _place(self) -> Placement:
        """Decide device and precision, or keep what the run began with: changing it would change the result."""
        placement = place(self.spec, self.family.width(self.spec.shape), self.family.lengths_vary(self.spec.shape))
        if self._resumed is None:
            return placement
        kept = self._resumed.header.placement
        if kept["device"] != placement.device.type:
            self.teller.log(
                tr("The run began on {old} and goes on on {new}.", old=kept["device"], new=placement.device.type),
                "warning",
            )
            return placement
        return Placement(
            placement.device,
            str(kept["precision"]),
            int(kept["threads"]),
            bool(kept["compile"]),
            str(kept["attention"]),
        )

    def check_versions(self) -> None:
        """Raise ``TrainingError`` where the run was resolved for another version of its family or source."""
        for what, spec_version, now in (
            (self.family.name, self.spec.family_version, self.family.version),
            (self.source.name, self.spec.source_version, self.source.version),
        ):
            if spec_version != now:
                text = tr("{what} is now version {now}; the run was made for version {then}.",
                          what=what, now=now, then=spec_version)  # fmt: skip
                raise TrainingError(text, tr("Start the study again to train with the version at hand."))

    def trainee(self, prepared: "Prepared", *, compiled: bool = True) -> Trainee:
        """The run as the loop wants it, new or as its checkpoint left it. ``compiled`` False keeps its loss eager."""
        spec, training = self.spec, self.spec.training
        torch.manual_seed(spec.seed)
        model = self.build().to(self.placement.device)
        autocast = self._configure(model)
        groups = self.family.param_groups(model, spec.shape, training.lr_rule, training.base_width)
        optimizer = self.optimizer(model, groups)
        state = self._restore(model, optimizer, prepared)
        clock = Clock(state.seconds)
        curve = Curve(self.teller, clock, state, training)
        validation = Validation(spec, self.family, prepared, self.placement.device)
        run = Trainee(
            spec=spec,
            model=model,
            loss=self._loss_function(model, prepared, autocast, compiled=compiled),
            optimizer=optimizer,
            prepared=prepared,
            device=self.placement.device,
            state=state,
            curve=curve,
            clock=clock,
            teller=self.teller,
            control=self.control,
            evaluate=lambda: self._evaluate(run, validation, prepared),
            save=lambda: self._save(run, prepared),
            batch=lambda step: self._parts(prepared, step),
            clip=lambda: nn.utils.clip_grad_norm_(optimizer.params, training.grad_clip or math.inf),
        )
        if self._resumed is not None:
            self._tell_again(run)
        return run

    def _parts(self, prepared: "Prepared", step: int) -> list[tuple[float, dict[str, Tensor]]]:
        spec, training = self.spec, self.spec.training
        batch = prepared.train_batch(step, training.batch_size, training.context, spec.seed)
        parts = micro_batches(self.family, spec.shape, batch, training.micro_batch_size)
        return [(share, to_tensors(part, self.placement.device)) for share, part in parts]

    def build(self) -> nn.Module:
        """The model before its first step, on CPU."""
        return build_for(self.family, self.spec)

    def optimizer(self, model: nn.Module, groups: "Sequence[ParamGroup]") -> Optimizer:
        """What updates it."""
        return Optimizer(model, groups, self.spec.training)

    def training_loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """What is differentiated, a scalar; its value is what the curve of the loss shows."""
        return self.family.loss(model, batch).loss

    def weights(self, model: nn.Module) -> dict[str, Tensor]:
        """The finished model: its tensors by name."""
        return model.state_dict()

    def _configure(self, model: nn.Module) -> bool:
        """Set how the model computes; True where only autocast can, since the model has no such settings."""
        dtype = torch.bfloat16 if self.placement.precision == "bfloat16" else torch.float32
        configure = getattr(model, "configure", None)
        if configure is None:
            return dtype is torch.bfloat16
        if not self.placement.attention and "head_dim" in self.spec.shape:
            shape, training = self.spec.shape, self.spec.training
            chosen = choose_attention(
                self.placement.device,
                dtype,
                batch=training.micro_batch_size,
                n_heads=int(shape["n_heads"]),
                context=training.context,
                head_dim=int(shape["head_dim"]),
                cache=self.task.cache,
            )
            self.placement = dataclasses.replace(self.placement, attention=chosen)
        configure(compute_dtype=dtype, attention=self.placement.attention)
        return False

    def _loss_function(
        self, model: nn.Module, prepared: "Prepared", autocast: bool, *, compiled: bool
    ) -> Callable[[Mapping[str, Tensor]], Tensor]:
        """The training loss, compiled where it was decided so and works."""
        device = self.placement.device.type

        def eager(batch: Mapping[str, Tensor]) -> Tensor:
            if not autocast:
                return self.training_loss(model, batch)
            with torch.autocast(device, torch.bfloat16):
                return self.training_loss(model, batch)

        if not (compiled and self.placement.compile):
            return eager
        from engine.training.compilation import compiled_or_eager

        self.teller.phase(PhaseName.COMPILING)
        training = self.spec.training
        batch = prepared.train_batch(0, training.micro_batch_size, training.context, self.spec.seed)
        model.train()
        loss, works = compiled_or_eager(eager, model, to_tensors(batch, self.placement.device), self.teller)
        self.placement = dataclasses.replace(self.placement, compile=works)
        return loss

    def _restore(self, model: nn.Module, optimizer: Optimizer, prepared: "Prepared") -> ck.TrainState:
        found = self._resumed
        if found is None:
            return ck.TrainState()
        if found.header.fingerprint != prepared.fingerprint:
            raise TrainingError(
                tr("The data have changed since this run was begun."),
                tr("Start the study again to train on the data as they are now."),
            )
        try:
            model.load_state_dict(dict(found.tensors["model"]))
        except RuntimeError as error:
            raise TrainingError(tr("The checkpoint does not fit the model: {error}", error=str(error))) from error
        optimizer.load_state_tensors(found.tensors.get("optimizer", {}))
        ck.restore_rng(found.tensors["rng"], self.placement.device)
        return found.header.state

    def _tell_again(self, run: Trainee) -> None:
        """What the checkpoint kept of the curves, in case the store had not yet written it when the run was killed."""
        assert self._resumed is not None
        run.curve.repeat(self._resumed.tensors["curve"]["recent"].numpy())
        for step, loss, bits in run.state.validation:
            self._tell_validation(step, loss, bits)
        for key, step, value in run.state.tracked:
            self.teller.metric(key, step, value)
        self.teller.log(tr("Resumed from step {step}.", step=run.state.step))
        self._resumed = None  # its tensors are a second copy of the model

    def tell_facts(self, prepared: "Prepared", more: "Mapping[str, Scalar] | None" = None) -> None:
        """Store what was decided and found when the run began."""
        device = self.placement.device
        training = self.spec.training
        self.teller.facts(
            {
                "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine(),
                "device_type": device.type,
                "precision": self.placement.precision,
                "threads": self.placement.threads,
                "compiled": self.placement.compile,
                "attention": self.placement.attention,
                "torch": torch.__version__,
                "python": platform.python_version(),
                "data_fingerprint": prepared.fingerprint,
                "epochs": prepared.epochs(training.n_steps, training.batch_size, training.context),
                "optimizer": training.optimizer,
                "lr_rule": training.lr_rule,
                **self.family.facts(self.spec.shape, training.context),
                **(more or {}),
            }
        )

    # What the loop calls

    def _evaluate(self, run: Trainee, validation: Validation, prepared: "Prepared") -> None:
        state, training = run.state, run.spec.training
        self.teller.phase(PhaseName.EVALUATING)
        loss, bits, extras = validation.loss(run.model)
        train_loss = run.curve.take_mean_loss()
        state.validation.append((state.step, loss, bits))
        self._tell_validation(state.step, loss, bits)
        parts = ((f"val/{name}", value) for name, value in extras.items())
        for key, value in (*parts, *tracked_metrics(run.model, run.spec, prepared, run.device)):
            state.tracked.append((key, state.step, value))
            self.teller.metric(key, state.step, value)
        number = -(-state.step // training.eval_every)
        total = -(-training.n_steps // training.eval_every)
        if number * SAMPLES // total > (number - 1) * SAMPLES // total:
            tell_samples(run, self.task.folder)
        if state.best_loss is None or loss < state.best_loss:
            state.best_loss, state.best_step, state.evaluations_without_gain = loss, state.step, 0
            if training.keep_best:
                self._write_weights(run, ck.BEST, "best")
        else:
            state.evaluations_without_gain += 1
            self._mark_overfitting(run, loss, train_loss)
            patience = training.early_stopping_patience
            if patience and state.evaluations_without_gain >= patience:
                state.stopped_early = True
                self.teller.log(
                    tr(
                        "Stopped early at step {step}: no gain since step {best}.",
                        step=state.step,
                        best=state.best_step,
                    )
                )
        self.teller.phase(PhaseName.TRAINING)

    def _mark_overfitting(self, run: Trainee, loss: float, train_loss: float) -> None:
        """Once: the validation loss has risen clearly over its best while the training loss is below it."""
        state = run.state
        assert state.best_loss is not None
        rising = loss > state.best_loss * (1 + OVERFITTING_RISE) and train_loss < state.best_loss
        if state.overfitting_from or not rising or state.evaluations_without_gain < 2:
            return
        state.overfitting_from = state.best_step
        self.teller.metric("overfitting", state.best_step, state.best_loss)
        self.teller.log(
            tr("Overfitting since step {step}: validation loss rises, training loss falls.", step=state.best_step),
            "warning",
        )

    def _tell_validation(self, step: int, loss: float, bits: float | None) -> None:
        self.teller.metric("val/loss", step, loss)
        if bits is not None:
            self.teller.metric("val/bits_per_byte", step, bits)

    def _save(self, run: Trainee, prepared: "Prepared") -> None:
        """The resumable checkpoint; an interrupted write leaves the one before."""
        self.teller.phase(PhaseName.SAVING)
        run.state.seconds = run.clock.seconds()
        header = ck.Header(
            format=ck.FORMAT,
            spec_hash=self._hash,
            fingerprint=prepared.fingerprint,
            placement={
                "device": self.placement.device.type,
                "precision": self.placement.precision,
                "threads": self.placement.threads,
                "compile": self.placement.compile,
                "attention": self.placement.attention,
            },
            state=run.state,
        )
        parts = {
            "model": run.model.state_dict(),
            "optimizer": run.optimizer.state_tensors(),
            "rng": ck.rng_tensors(self.placement.device),
            "curve": {"recent": ck.curve_tensor(run.curve.kept())},
        }
        n_bytes = ck.save_checkpoint(self.task.folder / ck.LAST, header, parts)
        run.curve.forget_kept()
        self.teller.emit(ArtifactSaved(self.task.run_id, "checkpoint", ck.LAST, run.state.step, n_bytes))
        self.teller.phase(PhaseName.TRAINING)

    def _write_weights(self, run: Trainee, name: str, kind: str) -> None:
        path = self.task.folder / name
        weights = self.weights(run.model)
        # One entry only: safetensors writes several in no fixed order, and equal weights should be equal files.
        n_bytes = ck.write_tensors(path, weights, {"format": "pt"})
        digest = ck.sha256(path)
        self.teller.emit(ArtifactSaved(self.task.run_id, kind, name, run.state.step, n_bytes, digest))

    def finish(self, run: Trainee, prepared: "Prepared") -> None:
        """Save, write the weights and measure them: after early stopping and fine-tuning the best, where kept."""
        self._save(run, prepared)
        self.write_and_measure(run, prepared)

    def write_and_measure(self, run: Trainee, prepared: "Prepared") -> None:
        """Write the weights, describe and measure them."""
        state, training = run.state, run.spec.training
        best = self.task.folder / ck.BEST
        wants_best = state.stopped_early or run.spec.kind == "finetune"
        if wants_best and training.keep_best and best.exists():
            ck.load_weights(run.model, best)
            self.teller.log(tr("The finished model is the best one, of step {step}.", step=state.best_step))
        self.teller.phase(PhaseName.SAVING)
        self._write_weights(run, ck.WEIGHTS, "weights")
        self.write_description(prepared)
        final_evaluations(run.model, self.spec, prepared, run.device, self.teller, self.task.folder)

    def write_description(self, prepared: "Prepared") -> None:
        """What the model is, beside its file: it must outlive the cache that its data came from."""
        ck.write_text(self.task.folder / ck.MODEL, msgspec.json.format(msgspec.json.encode(self.spec)).decode())
        if isinstance(prepared, TokenisedText):
            for name, text in prepared.tokenizer_files().items():
                ck.write_text(self.task.folder / name, text)
