"""A decoder without MLP, and where its heads look."""

from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from engine.families import families
from engine.families._decoder import Decoder
from engine.families.base import DataShape, TrainingHints
from engine.families.gpt import GptSpec, non_embedding

GPT = families["gpt"]
MUP = TrainingHints("mup", 32)


def built(n_layers: int = 2, mlp_ratio: float = 0.0) -> Decoder:
    size = 8_000 if mlp_ratio == 0 else 25_000
    shape = GPT.resolve(GptSpec(mlp_ratio=mlp_ratio, n_layers=n_layers, d_model=32), size, DataShape("tokens", 64), 16)
    model = GPT.build(shape, 0, training=MUP)
    assert isinstance(model, Decoder)
    return model


def tokens(batch: int = 3) -> torch.Tensor:
    return torch.randint(0, 64, (batch, 16), generator=torch.Generator().manual_seed(1))


def test_counts_agree_with_torch() -> None:
    model = built().configure(attention="written")
    counts = GPT.counts(model.shape, 16)
    assert model.shape["d_ff"] == 0
    assert counts.n_params == sum(p.numel() for p in model.parameters())
    assert counts.n_params_non_embedding == non_embedding(model.shape) == 2 * (4 * 32 * 32 + 32) + 32
    batch = {"inputs": tokens(), "targets": tokens()}
    with FlopCounterMode(display=False) as counter:
        GPT.loss(model, batch).loss.backward()
    assert counter.get_total_flops() / batch["inputs"].numel() == counts.flops_per_token


def test_activation_bytes_agree_with_what_autograd_keeps() -> None:
    model, x = built().configure(attention="written"), tokens(8)
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        GPT.loss(model, {"inputs": x, "targets": x})
    measured = sum(t.untyped_storage().nbytes() for key, t in kept.items() if key not in weights) / x.numel()
    assert GPT.counts(model.shape, 16).activation_bytes_per_token == pytest.approx(measured, rel=0.15)


def test_every_parameter_learns_and_is_grouped() -> None:
    model = built(3)
    GPT.loss(model, {"inputs": tokens(), "targets": tokens()}).loss.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    groups = GPT.param_groups(model, model.shape, "mup", 32)
    assert sum(len(group.params) for group in groups) == len(list(model.parameters())) == 3 * 3 + 2


def test_export_is_equal_in_transformers(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = built()
    GPT.export_hf(model, model.shape, tmp_path, None)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    with torch.no_grad():
        torch.testing.assert_close(theirs(tokens()).logits, model(tokens()), atol=1e-5, rtol=0)


@pytest.mark.parametrize("mlp_ratio", [0.0, 8 / 3])
def test_attention_probabilities_are_those_of_the_forward_pass(mlp_ratio: float) -> None:
    model, x = built(2, mlp_ratio), tokens()
    patterns = model.attention_probabilities(x)
    n_heads = int(model.shape["n_heads"])
    assert [p.shape for p in patterns] == [(3, n_heads, 16, 16)] * 2
    for pattern in patterns:
        torch.testing.assert_close(pattern.sum(-1), torch.ones(3, n_heads, 16))
        assert pattern.triu(1).abs().max() == 0
    # Mixing the values by hand with these probabilities gives what the layer adds to the stream.
    stream, block = model.hidden(x), model.blocks[0]
    cos, sin = model.rope_cos[:16], model.rope_sin[:16]
    _, _, v = block._heads(block.norm_attention(stream[0]), cos, sin)
    mixed = (patterns[0] @ v).transpose(1, 2).reshape(3, 16, -1) @ block.out.T
    bias = torch.full((16, 16), float("-inf")).triu(1)
    torch.testing.assert_close(mixed, block._attention(block.norm_attention(stream[0]), cos, sin, bias))
