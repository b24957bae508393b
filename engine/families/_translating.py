"""Translating with an encoder-decoder: greedy decoding and beam search over a whole batch, and samples of it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from engine.families._encoder_decoder import EncoderDecoder
from engine.families.base import Made
from engine.sources._pairs import BEGIN, END, PAD

if TYPE_CHECKING:
    from engine.sources.base import Prepared

SHOWN = 4
"""Held-out texts in a sample."""
LENGTH_PENALTY = 1.0
"""Hypotheses are compared by their log-probability over their length to this power (Wu 2016 in its simple form)."""


@torch.no_grad()
def translate(model: nn.Module, source: Tensor, longest: int, beams: int = 1) -> Tensor:
    """Tokens int64 (batch, up to ``longest``) that the model makes of ``source`` (batch, s).

    Each row ends with ``END`` and is filled up with ``PAD``; one without was cut at ``longest``. One beam is greedy
    decoding, more a search for the likeliest text (``beam_search``). Every step reads the whole text so far again,
    which is quick for texts of tens of tokens.
    """
    assert isinstance(model, EncoderDecoder)
    return greedy(model, source, longest) if beams == 1 else beam_search(model, source, longest, beams)


def greedy(model: EncoderDecoder, source: Tensor, longest: int) -> Tensor:
    """The likeliest token after each; see ``translate``."""
    memory, seen = model.encode(source)
    tokens = torch.full((len(source), 1), BEGIN, device=source.device)
    going = torch.ones(len(source), dtype=torch.bool, device=source.device)
    for _ in range(longest):
        logits = model.logits(model.decode(memory, seen, tokens)[:, -1])
        following = torch.where(going, logits.argmax(-1), PAD)
        tokens = torch.cat((tokens, following[:, None]), dim=1)
        going &= following != END
        if not going.any():
            break
    return tokens[:, 1:]


def beam_search(model: EncoderDecoder, source: Tensor, longest: int, beams: int) -> Tensor:
    """The best of the texts found by keeping the ``beams`` likeliest beginnings of each row; see ``translate``.

    A text that has ended keeps its place until it is no longer among the best by log-probability per token, ``END``
    counted; what has not ended at ``longest`` is compared as it is.
    """
    batch, device = len(source), source.device
    memory, seen = (x.repeat_interleave(beams, 0) for x in _apart(model, source))
    tokens = torch.full((batch * beams, 1), BEGIN, device=device)
    # The beams of a row begin alike, so that at first only one may be gone on with.
    total = torch.full((batch, beams), -torch.inf, device=device, dtype=torch.float64)
    total[:, 0] = 0.0
    length = torch.zeros(batch, beams, device=device, dtype=torch.int64)
    ended = torch.zeros(batch, beams, device=device, dtype=torch.bool)
    rows = torch.arange(batch, device=device)[:, None] * beams
    for _ in range(longest):
        stream = model.decode(memory, seen.flatten(0, 1), tokens)[:, -1]
        step = model.logits(stream).double().log_softmax(-1).view(batch, beams, -1)
        step[..., PAD] = -torch.inf
        vocab_size = step.shape[-1]
        # What has ended goes on with padding, at no cost.
        step = step.masked_fill(ended[..., None], -torch.inf)
        step[..., PAD] = torch.where(ended, 0.0, -torch.inf)
        grown = (length + ~ended)[..., None].expand_as(step)
        sums = total[..., None] + step
        best = (sums / grown**LENGTH_PENALTY).flatten(1).topk(beams).indices
        parent, chosen = best // vocab_size, best % vocab_size
        total, length = sums.flatten(1).gather(1, best), grown.flatten(1).gather(1, best)
        ended = ended.gather(1, parent) | (chosen == END)
        tokens = torch.cat((tokens[(rows + parent).flatten()], chosen.view(-1, 1)), dim=1)
        if ended.all():
            break
    first = (total / length**LENGTH_PENALTY).argmax(1)
    return tokens[rows[:, 0] + first][:, 1:]


def _apart(model: EncoderDecoder, source: Tensor) -> tuple[Tensor, Tensor]:
    """Memory and bias of ``encode`` with the row as the first axis of both."""
    memory, seen = model.encode(source)
    return memory, seen.view(len(source), model.n_heads, 1, -1)


def shown(model: nn.Module, prepared: "Prepared", device: torch.device) -> Sequence[Made]:
    """The first held-out pairs: source, what the model makes of it and the reference, a line each."""
    batch = next(iter(prepared.validation_batches(SHOWN, 1, SHOWN)), None)
    if batch is None:
        return ()
    source, targets = batch["inputs"], batch["targets"]
    made = translate(model, torch.from_numpy(source).to(device), targets.shape[1]).cpu().numpy()
    references = targets.clip(min=PAD)
    lines = zip(source, made, references, strict=True)
    return [Made("text", f"{prepared.decode(a)}\n⟶ {prepared.decode(b)}\n= {prepared.decode(c)}") for a, b, c in lines]
