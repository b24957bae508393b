"""Hiding tokens for a model to find: which, and what stands in their place (Devlin 2019)."""

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

MASKED, RANDOM = 0.8, 0.1
"""Shares of the chosen places that show the mask, and another token; the rest show what they hide (Devlin 2019)."""
FIXED_SEED = 0x3A5C
"""Of the masks of validation, which are to be the same every time."""


@runtime_checkable
class FillsIn(Protocol):
    """A family whose models find tokens that are hidden from them."""

    def mask_token(self, model: nn.Module) -> int:
        """The id that stands for a hidden token."""
        ...

    def masked_fraction(self, model: nn.Module) -> float:
        """Share of the tokens that is hidden in training."""
        ...


def n_masked(context: int, fraction: float) -> int:
    """Places chosen of ``context``: as many in every window, at least one."""
    return max(1, round(fraction * context))


def fixed_generator() -> torch.Generator:
    """Always begins alike, on every device: numbers are drawn on the CPU."""
    return torch.Generator().manual_seed(FIXED_SEED)


def choose(inputs: Tensor, n: int, generator: torch.Generator | None = None) -> Tensor:
    """``n`` different places of each row of (batch, t), int64 (batch, n); from torch's own generator by default."""
    return _uniform(inputs.shape, inputs.device, generator).topk(n, dim=1).indices


def corrupt(
    inputs: Tensor, places: Tensor, mask_token: int, vocab_size: int, generator: torch.Generator | None = None
) -> Tensor:
    """``inputs`` with its ``places`` hidden: most behind the mask, some behind a random token, some not at all."""
    fate = _uniform(places.shape, inputs.device, generator)
    random = (_uniform(places.shape, inputs.device, generator) * vocab_size).long().clamp_(max=vocab_size - 1)
    seen = torch.where(fate < MASKED + RANDOM, random, inputs.gather(1, places))
    return inputs.scatter(1, places, torch.where(fate < MASKED, mask_token, seen))


def _uniform(shape: torch.Size, device: torch.device, generator: torch.Generator | None) -> Tensor:
    drawn_on = device if generator is None else generator.device
    return torch.rand(shape, generator=generator, device=drawn_on).to(device)
