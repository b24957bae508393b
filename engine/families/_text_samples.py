"""Text that a model makes while it trains: what it goes on with, or fills in."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from engine.families._masking import FillsIn, choose, fixed_generator, n_masked
from engine.families.base import Made

if TYPE_CHECKING:
    from engine.sources.base import Batch, Prepared
    from engine.study import RunSpec

PROMPT_TOKENS = 16
SAMPLE_TOKENS = 80
TEMPERATURE = 0.8


def continued(model: nn.Module, spec: "RunSpec", prepared: "Prepared", device: torch.device) -> Sequence[Made]:
    """A prompt from the validation split and how the model goes on; nothing where the data is not text.

    Drawn with a generator of the run's own, so that a resumed run draws the same. Where only answers are scored, the
    prompt is the question and the likeliest answer is shown.
    """
    context = spec.training.context
    batch = next(iter(prepared.validation_batches(1, context, context)), None)
    if batch is None:
        return ()
    first, n_made = _answer_place(batch)
    start = batch["inputs"][:1, : first + 1 if n_made else min(PROMPT_TOKENS, context)]
    try:
        prompt = prepared.decode(start[0])
    except TypeError:
        return ()
    tokens = torch.from_numpy(np.ascontiguousarray(start)).to(device)
    generator = torch.Generator(device=device).manual_seed(spec.seed)
    for _ in range(n_made or SAMPLE_TOKENS):
        logits = model(tokens[:, -context:])[:, -1].float() / TEMPERATURE
        if n_made:
            drawn = logits.argmax(-1, keepdim=True)
        else:
            drawn = torch.multinomial(logits.softmax(-1), 1, generator=generator)
        tokens = torch.cat((tokens, drawn), dim=1)
    made = prepared.decode(tokens[0, start.shape[1] :].cpu().numpy())
    return (Made("text", f"{prompt}⟶{made}"),)


def filled_in(
    family: FillsIn, model: nn.Module, spec: "RunSpec", prepared: "Prepared", device: torch.device
) -> Sequence[Made]:
    """A held-out window with some tokens hidden and the likeliest in their place, marked; nothing where it is no text.

    ``[x]`` is right, ``[x≠y]`` wrong where y stood. The places are the same every time.
    """
    context = spec.training.context
    batch = next(iter(prepared.validation_batches(1, context, context)), None)
    if batch is None:
        return ()
    tokens = torch.from_numpy(batch["inputs"][:1])
    n = n_masked(tokens.shape[1], family.masked_fraction(model))
    places = choose(tokens, n, fixed_generator()).sort(dim=1).values
    hidden = tokens.scatter(1, places, family.mask_token(model))
    logits = model(hidden.to(device))
    logits[..., family.mask_token(model)] = -torch.inf  # no text has it
    said = logits.argmax(-1).cpu()
    parts, last = [], 0
    try:
        for place in places[0].tolist():
            truth, guess = (prepared.decode(row[0, place : place + 1].numpy()) for row in (tokens, said))
            parts += [
                prepared.decode(tokens[0, last:place].numpy()),
                f"[{guess}]" if guess == truth else f"[{guess}≠{truth}]",
            ]
            last = place + 1
        parts.append(prepared.decode(tokens[0, last:].numpy()))
    except TypeError:
        return ()
    return (Made("text", "".join(parts)),)


def _answer_place(batch: "Batch") -> tuple[int, int]:
    """First position whose target is scored and how many are, of the first row; (0, 0) where all are."""
    scored = np.flatnonzero(batch["targets"][0] >= 0)
    return (int(scored[0]), len(scored)) if len(scored) and scored[0] else (0, 0)
