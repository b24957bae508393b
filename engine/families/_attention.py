"""Attention, two ways that compute the same: which is faster depends on the device, type and shape.

``engine.training.kernels`` measures and chooses; a model only carries the name of the choice.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

IMPLEMENTATIONS = ("written", "sdpa")
WRITTEN_UP_TO = {("cpu", torch.float32): 64, ("cpu", torch.bfloat16): 1024}
"""Longest context at which written out was the faster on an AVX512 CPU with native bf16 (1 thread, forward and
backward): in float32 by 0-10 % up to 64 and the slower from 128; in bfloat16 by 4-7x at 128, 2x at 512, 1.3x at 1024.
On other devices the fused kernel is the rule."""

HALVED_FROM = 128
"""Context from which the early rows are spared the late keys, a quarter of the work. Four parts gain no more than two:
at 6 layers of width 384 and 256 positions, compiled, 4 % of a step either way."""


def causal_bias(context: int, device: torch.device, dtype: torch.dtype, kept: Tensor | None = None) -> Tensor:
    """(context, context): 0 where the column is not later than the row, -inf elsewhere; of ``kept`` where it serves."""
    if kept is not None and kept.dtype == dtype and kept.device == device:
        return kept[:context, :context]
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
    if q.shape[2] < HALVED_FROM:
        scores = (q * scale) @ k.transpose(-2, -1) + bias
        return scores.softmax(-1) @ v
    mixed: Tensor = _Written.apply(*(x.flatten(0, 1) for x in (q * scale, k, v)), bias)  # type: ignore[no-untyped-call]
    return mixed.view(q.shape)


def attend_both_ways(q: Tensor, k: Tensor, v: Tensor, scale: float, written: bool) -> Tensor:
    """Attention without a mask over (batch, n_heads, t, head_dim), returned in the same shape."""
    if not written:
        return F.scaled_dot_product_attention(q, k, v, scale=scale)
    return ((q * scale) @ k.transpose(-2, -1)).softmax(-1) @ v


def _halves(t: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """(first, last) of the rows that are taken at once: none before ``last`` needs a key beyond it."""
    return (0, t // 2), (t // 2, t)


class _Written(torch.autograd.Function):
    """Causal attention of scaled queries over (n, t, head_dim), without most of what the mask would throw away.

    The backward pass is given since autograd's own leaves the keys' gradient transposed, which costs a pass over it.
    Batched matmuls copy what is not contiguous; said here, the compiler joins the copies with what comes before them.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
        probabilities, mixed = [], []
        for first, last in _halves(q.shape[1]):
            of_rows, keys, values = q[:, first:last].contiguous(), k[:, :last].contiguous(), v[:, :last].contiguous()
            scores = torch.bmm(of_rows, keys.transpose(1, 2)) + bias[first:last, :last]
            probabilities.append(scores.softmax(-1))
            mixed.append(torch.bmm(probabilities[-1], values))
        ctx.save_for_backward(q, k, v, *probabilities)
        return torch.cat(mixed, dim=1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        q, k, v, *probabilities = ctx.saved_tensors
        of_q, of_k, of_v = [], [], []
        for (first, last), p in zip(_halves(q.shape[1]), probabilities, strict=True):
            of_rows, keys, values = q[:, first:last].contiguous(), k[:, :last].contiguous(), v[:, :last].contiguous()
            g = grad[:, first:last].contiguous()
            of_p = torch.bmm(g, values.transpose(1, 2))
            of_scores = torch._softmax_backward_data(of_p, p, -1, p.dtype)  # noqa: SLF001 - what autograd itself calls
            of_q.append(torch.bmm(of_scores, keys))
            of_k.append(torch.bmm(of_scores.transpose(1, 2), of_rows))
            of_v.append(torch.bmm(p.transpose(1, 2), g))
        for early, whole in (of_k, of_v):
            whole[:, : early.shape[1]] += early
        return torch.cat(of_q, dim=1), of_k[1], of_v[1], None
