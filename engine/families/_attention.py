"""Causal attention, two ways that compute the same: which is faster depends on the device, type and shape.

``engine.training.kernels`` measures and chooses; a model only carries the name of the choice.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

IMPLEMENTATIONS = ("written", "sdpa")
WRITTEN_UP_TO = {("cpu", torch.float32): 64, ("cpu", torch.bfloat16): 1024}
"""Longest context at which written out was the faster on an AVX512 CPU with native bf16 (1 thread, forward and
backward): in float32 by 0-10 % up to 64 and the slower from 128; in bfloat16 by 4-7x at 128, 2x at 512, 1.3x at 1024.
On other devices the fused kernel is the rule."""


def causal_bias(context: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """(context, context): 0 where the column is not later than the row, -inf elsewhere."""
    return torch.full((context, context), float("-inf"), device=device, dtype=dtype).triu_(1)


def usual_implementation(device_type: str, dtype: torch.dtype, context: int) -> str:
    """What to compute with where nothing was measured: a fixed rule, the same on every machine."""
    return "written" if context <= WRITTEN_UP_TO.get((device_type, dtype), 0) else "sdpa"


def attend(q: Tensor, k: Tensor, v: Tensor, scale: float, bias: Tensor | None) -> Tensor:
    """Causal attention over (batch, n_heads, t, head_dim), returned in the same shape.

    With ``bias`` (from ``causal_bias``) it is written out as two matmuls around a softmax, which beats the fused
    kernel for bfloat16 on CPU at short contexts; without, torch's fused kernel runs and holds no t x t matrix.
    """
    if bias is None:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale)
    # The scale goes on q, which is t / head_dim times smaller than the scores.
    scores = (q * scale) @ k.transpose(-2, -1) + bias
    return scores.softmax(-1) @ v
