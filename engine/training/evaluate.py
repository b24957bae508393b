"""Measuring a model: validation loss while it trains, its capabilities when it is done, and text to look at."""

import contextlib
import math
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import numpy as np
import torch
from torch import Tensor, nn

from engine.capabilities import capabilities
from engine.capabilities.base import ModelUnderTest, Score
from engine.events import Evaluation, PhaseName, Sample
from engine.families import families
from engine.families.base import Family
from engine.i18n import tr
from engine.sources.base import Batch, Prepared
from engine.study import RunSpec, convert
from engine.training.report import Teller

EVAL_TOKENS_PER_BATCH = 8_192
"""Tokens of one validation forward pass: large enough to be efficient, small enough for any memory."""
PROMPT_TOKENS = 16
SAMPLE_TOKENS = 80
LANGUAGE_MODELLING = "language-modelling"
VALIDATION = "validation"
"""Under what name the loss of data that are not tokens is told; no capability."""


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
        size = max(1, EVAL_TOKENS_PER_BATCH // training.context)
        self._family = family
        self._batches = [
            to_tensors(batch, device)
            for batch in prepared.validation_batches(size, training.context, training.eval_tokens)
        ]
        self._bytes_per_token = prepared.bytes_per_token

    def loss(self, model: nn.Module) -> tuple[float, float | None]:
        """Mean loss over every batch, weighted by its length, and bits per byte (None where it means nothing)."""
        with evaluating(model):
            losses = torch.stack([self._family.loss(model, batch).loss.double() for batch in self._batches])
        weights = torch.tensor([_n_items(batch) for batch in self._batches], dtype=torch.float64)
        loss = float((losses.cpu() * weights).sum() / weights.sum())
        bits = loss / math.log(2) / self._bytes_per_token
        return loss, bits if math.isfinite(bits) else None


def under_test(model: nn.Module, spec: RunSpec, device: torch.device) -> ModelUnderTest:
    """A trained model as capabilities see it."""

    def logits(tokens: Tensor) -> Tensor:
        out: Tensor = model(tokens.to(device))
        return out.float()

    return ModelUnderTest(model, logits, device, spec.training.context, spec.seed)


def final_evaluations(
    model: nn.Module, spec: RunSpec, prepared: Prepared, device: torch.device, teller: Teller, modality: str
) -> None:
    """Score the finished model on every capability of its study; language modelling is always one, for tokens.

    Of other data the plain validation loss is told, so that every run has one that a law can be fitted to.
    """
    uses: dict[str, Mapping[str, Any]] = {use.name: use.options for use in spec.capabilities}
    if modality == "tokens" and not uses.get(LANGUAGE_MODELLING):
        uses = {**uses, LANGUAGE_MODELLING: {"tokens": spec.training.final_eval_tokens}}
    subject = under_test(model, spec, device)
    for done, (name, options) in enumerate(uses.items()):
        teller.phase(PhaseName.EVALUATING, done / len(uses))
        capability = capabilities[name]
        with evaluating(model):
            scores = capability.evaluate(convert(dict(options), capability.Spec, name), subject, prepared)
        for score in scores:
            teller.emit(_evaluation(teller.run_id, name, score))
        if not scores:
            teller.log(
                tr("{capability} could not be measured on this data.", capability=tr(capability.title)), "warning"
            )
    if modality != "tokens":
        teller.emit(_validation_loss(model, spec, prepared, device, teller.run_id))
    teller.phase(PhaseName.EVALUATING, 1.0)


def _validation_loss(
    model: nn.Module, spec: RunSpec, prepared: Prepared, device: torch.device, run_id: int
) -> Evaluation:
    """The family's loss over ``final_eval_tokens`` held-out tokens (or samples)."""
    training = msgspec.structs.replace(spec.training, eval_tokens=spec.training.final_eval_tokens)
    spec = msgspec.structs.replace(spec, training=training)
    loss, _ = Validation(spec, families[spec.family], prepared, device).loss(model)
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


def sample_text(model: nn.Module, spec: RunSpec, prepared: Prepared, device: torch.device) -> str | None:
    """A prompt from the validation split and what the model makes of it; None where the data is not text.

    Drawn at temperature 0.8 with a generator of the run's own, so that a resumed run draws the same. Where only
    answers are scored, the prompt is the question and the likeliest answer is shown.
    """
    context = spec.training.context
    batch = next(iter(prepared.validation_batches(1, context, context)), None)
    if batch is None or "inputs" not in batch or batch["inputs"].dtype.kind != "i":
        return None
    first, n_made = _answer_place(batch)
    start = batch["inputs"][:1, : first + 1 if n_made else min(PROMPT_TOKENS, context)]
    try:
        prompt = prepared.decode(start[0])
    except TypeError:
        return None
    tokens = torch.from_numpy(np.ascontiguousarray(start)).to(device)
    generator = torch.Generator(device=device).manual_seed(spec.seed)
    with evaluating(model):
        for _ in range(n_made or SAMPLE_TOKENS):
            logits = model(tokens[:, -context:])[:, -1].float() / 0.8
            if n_made:
                drawn = logits.argmax(-1, keepdim=True)
            else:
                drawn = torch.multinomial(logits.softmax(-1), 1, generator=generator)
            tokens = torch.cat((tokens, drawn), dim=1)
    made = prepared.decode(tokens[0, start.shape[1] :].cpu().numpy())
    return f"{prompt}⟶{made}"


def _answer_place(batch: Batch) -> tuple[int, int]:
    """First position whose target is scored and how many are, of the first row; (0, 0) where all are."""
    scored = np.flatnonzero(batch["targets"][0] >= 0)
    return (int(scored[0]), len(scored)) if len(scored) and scored[0] else (0, 0)


def tell_sample(
    model: nn.Module, spec: RunSpec, prepared: Prepared, device: torch.device, teller: Teller, step: int
) -> None:
    """Emit a sample of text where the data is text."""
    text = sample_text(model, spec, prepared, device)
    if text is not None:
        teller.emit(Sample(teller.run_id, step, "text", text))


def _evaluation(run_id: int, capability: str, score: Score) -> Evaluation:
    return Evaluation(run_id, capability, score.metric, score.value, score.stderr, score.n, score.chance)


def _n_items(batch: Mapping[str, Tensor]) -> int:
    """What a batch's mean loss is a mean over: target tokens that count, else samples."""
    if "targets" in batch:
        return int((batch["targets"] >= 0).sum()) if not batch["targets"].is_floating_point() else len(batch["targets"])
    return len(next(iter(batch.values())))
