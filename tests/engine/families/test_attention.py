"""Attention written out against torch's own."""

import pytest
import torch

from engine.families._attention import HALVED_FROM, attend, causal_bias


@pytest.mark.parametrize("context", [1, 2, 64, HALVED_FROM, HALVED_FROM + 3, 2 * HALVED_FROM])
def test_written_out_it_is_torchs_attention_and_so_are_its_gradients(context: int) -> None:
    generator = torch.Generator().manual_seed(context)
    shape, bias = (2, 3, context, 8), causal_bias(context, torch.device("cpu"), torch.float32)
    q, k, v = (torch.randn(shape, generator=generator, requires_grad=True) for _ in range(3))
    weight = torch.randn(shape, generator=generator)
    written, fused = (attend(q, k, v, 0.3, mask) for mask in (bias, None))
    torch.testing.assert_close(written, fused)
    for ours, theirs in zip(*(torch.autograd.grad(out, (q, k, v), weight) for out in (written, fused)), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
