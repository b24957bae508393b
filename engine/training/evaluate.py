"""Measuring a model: validation loss while it trains, its capabilities when it is done, and text to look at."""

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import torch
from torch import Tensor, nn

from engine.capabilities import capabilities
from engine.capabilities.base import ModelUnderTest, Score, uses_of
from engine.events import ArtifactSaved, Evaluation, PhaseName, Sample
from engine.families import families
from engine.families.base import Family, Shape, training_hints
from engine.i18n import tr
from engine.sources.base import Batch, Prepared
from engine.study import RunSpec, convert
from engine.training.checkpoint import write_bytes
from engine.training.media import write_made
from engine.training.report import Teller

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from engine.training.loop import Trainee

EVAL_TOKENS_PER_BATCH = 8_192
"""Tokens (or samples) of one validation forward pass at most: large enough to be efficient."""
EVAL_ACTIVATION_BYTES = 512 * 2**20
"""What they may take, by what a backward pass would keep: an image is one sample and may be megabytes."""
MOST_OF_AN_ERROR = 500
"""Characters of what torch says that are kept in a run's log."""
SAMPLES = "samples"
"""Folder of what a model made, in the run's folder."""
VALIDATION = "validation"
"""Under what name the loss of what is no language model is told; no capability."""


def eval_rows(family: Family, shape: Shape, context: int) -> int:
    """Sequences (or samples) of one validation forward pass: whole sets, where a loss is one of several samples."""
    per_row = family.counts(shape, context).activation_bytes_per_token * context
    rows = max(1, min(EVAL_TOKENS_PER_BATCH // context, int(EVAL_ACTIVATION_BYTES / max(1.0, per_row))))
    together = family.compared(shape)
    return max(1, rows // together) * together


def whole_sets(batches: Iterable[Batch], together: int) -> list[Batch]:
    """The batches without what is left over from whole sets of so many samples; as they are where none is whole.

    A loss that compares samples would otherwise depend on how many a batch can hold, and so on the model's size.
    """
    given = list(batches)
    kept = [{name: array[: _rows(batch) // together * together] for name, array in batch.items()} for batch in given]
    return [batch for batch in kept if _rows(batch)] or given


def to_tensors(batch: Batch, device: torch.device) -> dict[str, Tensor]:
    """A batch's arrays as tensors on the device, without a copy on CPU."""
    if device.type == "cpu":
        return {name: torch.from_numpy(array) for name, array in batch.items()}
    pinned = {name: torch.from_numpy(array).pin_memory() for name, array in batch.items()}
    return {name: tensor.to(device, non_blocking=True) for name, tensor in pinned.items()}


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; the random numbers drawn inside do not change what training draws."""
    devices = [p.device for p in model.parameters() if p.device.type == "cuda"][:1]
    training = model.training
    model.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=devices):
            yield
    finally:
        model.train(training)


class Validation:
    """The same held-out batches every time, loaded once: mean loss in nats per token (or sample)."""

    def __init__(self, spec: RunSpec, family: Family, prepared: Prepared, device: torch.device) -> None:
        training = spec.training
        size = eval_rows(family, spec.shape, training.context)
        self._family = family
        batches = prepared.validation_batches(size, training.context, training.eval_tokens)
        sets = whole_sets(batches, family.compared(spec.shape))
        self._batches = [to_tensors(batch, device) for batch in sets]
        self._counted = torch.tensor([family.counted(spec.shape, batch) for batch in sets], dtype=torch.float64)
        self._bytes_per_token = prepared.bytes_per_token if family.predicts_next else math.nan

    def loss(self, model: nn.Module) -> tuple[float, float | None, dict[str, float]]:
        """Mean loss over all batches, by what each counts; bits per byte, None where it means nothing; extras."""
        with evaluating(model):
            outs = [self._family.loss(model, batch) for batch in self._batches]
        weights = self._counted

        def mean(values: list[Tensor]) -> float:
            return float((torch.stack(values).double().cpu() * weights).sum() / weights.sum())

        loss = mean([out.loss for out in outs])
        bits = loss / math.log(2) / self._bytes_per_token
        extras = {name: mean([out.extras[name] for out in outs]) for name in outs[0].extras}
        return loss, bits if math.isfinite(bits) else None, extras


def under_test(
    model: nn.Module, spec: RunSpec, device: torch.device, keep: "Callable[[str, str, bytes], None] | None" = None
) -> ModelUnderTest:
    """A trained model as capabilities see it; what they ``keep`` of it is kept with its run."""

    def logits(tokens: Tensor) -> Tensor:
        out: Tensor = model(tokens.to(device))
        return out.float()

    return ModelUnderTest(
        module=model,
        logits=logits,
        device=device,
        context=spec.training.context,
        seed=spec.seed,
        family=families[spec.family],
        shape=spec.shape,
        hints=training_hints(spec),
        outputs=getattr(model, "outputs", None),
        keep=keep,
    )


def final_evaluations(
    model: nn.Module,
    spec: RunSpec,
    prepared: Prepared,
    device: torch.device,
    teller: Teller,
    folder: Path,
    unable: tuple[type[Exception], ...] = (),
) -> None:
    """Score the finished model on every capability of its study; language modelling is always one, where it can be.

    Of other families the plain validation loss is told, so that every run has one that a law can be fitted to.
    ``unable`` is what a capability may raise that asks more of a model than it can do: it is told as not measured.
    """
    is_language_model = families[spec.family].predicts_next
    uses = uses_of(spec, is_language_model)

    def keep(kind: str, name: str, content: bytes) -> None:
        write_bytes(folder / name, content)
        teller.emit(ArtifactSaved(teller.run_id, kind, name, spec.training.n_steps, len(content)))

    subject = under_test(model, spec, device, keep)
    for done, (name, options) in enumerate(uses.items()):
        teller.phase(PhaseName.EVALUATING, done / len(uses))
        capability = capabilities[name]
        scores: list[Score] = []
        try:
            with evaluating(model):
                scores = capability.evaluate(convert(dict(options), capability.Spec, name), subject, prepared)
        except unable as error:
            teller.log(f"{type(error).__name__}: {error}"[:MOST_OF_AN_ERROR], "warning")
        for score in scores:
            teller.emit(_evaluation(teller.run_id, name, score))
        if not scores:
            teller.log(
                tr("{capability} could not be measured on this data.", capability=tr(capability.title)), "warning"
            )
    if not is_language_model:
        teller.emit(_validation_loss(model, spec, prepared, device, teller.run_id))
    teller.phase(PhaseName.EVALUATING, 1.0)


def _validation_loss(
    model: nn.Module, spec: RunSpec, prepared: Prepared, device: torch.device, run_id: int
) -> Evaluation:
    """The family's loss over ``final_eval_tokens`` held-out tokens (or samples)."""
    training = msgspec.structs.replace(spec.training, eval_tokens=spec.training.final_eval_tokens)
    spec = msgspec.structs.replace(spec, training=training)
    loss, *_ = Validation(spec, families[spec.family], prepared, device).loss(model)
    return Evaluation(run_id, VALIDATION, "loss", loss)


def tracked_metrics(
    model: nn.Module, spec: RunSpec, prepared: Prepared, device: torch.device
) -> Iterator[tuple[str, float]]:
    """``capability/metric`` and value of every capability that is to be measured during training."""
    for use in spec.capabilities:
        if use.during_training is True:
            capability = capabilities[use.name]
            with evaluating(model):
                options = convert(dict(use.options), capability.Spec, use.name)
                scores = capability.evaluate(options, under_test(model, spec, device), prepared)
            yield from ((f"{use.name}/{score.metric}", score.value) for score in scores)


def tell_samples(run: "Trainee", folder: Path) -> None:
    """Emit what the model makes at the current step: text as it is, images and waves as files under ``folder``."""
    spec, teller, step = run.spec, run.teller, run.state.step
    with evaluating(run.model):
        made = families[spec.family].samples(run.model, spec, run.prepared, run.device)
    for number, thing in enumerate(made):
        if thing.kind == "text":
            teller.emit(Sample(teller.run_id, step, "text", thing.text))
            continue
        path = write_made(thing, folder / SAMPLES, f"{step:08d}-{number}")
        name = f"{SAMPLES}/{path.name}"
        teller.emit(ArtifactSaved(teller.run_id, "sample", name, step, path.stat().st_size))
        teller.emit(Sample(teller.run_id, step, thing.kind, f"{name}\n{thing.text}".rstrip()))


def _evaluation(run_id: int, capability: str, score: Score) -> Evaluation:
    return Evaluation(run_id, capability, score.metric, score.value, score.stderr, score.n, score.chance)


def _rows(batch: Mapping[str, "Tensor | NDArray[Any]"]) -> int:
    return len(next(iter(batch.values())))
