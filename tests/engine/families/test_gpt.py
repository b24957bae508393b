"""Family ``gpt``: counts, the dial, initialisation, export, generation, a golden loss."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from engine.errors import StudyError
from engine.families import families
from engine.families._decoder import Decoder, generate
from engine.families.base import DataShape, TrainingHints
from engine.families.gpt import Gpt, GptSpec, non_embedding

GPT = families["gpt"]
BYTES = DataShape("tokens", 256)
MUP = TrainingHints("mup", 32)


def shape_of(size: int, context: int = 32, **spec: object) -> dict:
    return GPT.resolve(GptSpec(**spec), size, BYTES, context)


def small(size: int = 7_000, seed: int = 0, training: TrainingHints | None = MUP, **spec: object) -> Decoder:
    model = GPT.build(shape_of(size, **spec), seed, training=training)
    assert isinstance(model, Decoder)
    return model


def tokens(batch: int = 3, t: int = 32, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, (batch, t), generator=torch.Generator().manual_seed(seed))


def test_ladder_of_the_quickstart() -> None:
    ladder = [shape_of(size) for size in (2_000, 7_000, 15_000, 27_000, 90_000, 150_000)]
    assert [(s["d_model"], s["n_layers"]) for s in ladder] == [(8, 2), (16, 2), (24, 2), (32, 2), (48, 3), (64, 3)]


def test_dial_is_monotonic_and_close() -> None:
    previous = 0
    for size in np.geomspace(2_000, 300e6, 40).astype(int):
        shape = shape_of(int(size))
        n = non_embedding(shape)
        assert n >= previous
        # The widest gap is between widths 8 and 16, a factor of 3.5.
        assert abs(math.log(n / size)) <= math.log(2)
        assert shape["d_model"] % 8 == 0 and shape["head_dim"] % 2 == 0
        assert shape["n_heads"] * shape["head_dim"] == shape["d_model"]
        previous = n


def test_overrides_are_kept_and_the_rest_follows() -> None:
    shape = shape_of(100_000, d_model=64)
    assert shape["d_model"] == 64 and shape["n_layers"] == 2
    assert shape_of(100_000, n_layers=6)["n_layers"] == 6
    assert shape_of(27_000, n_heads=2)["head_dim"] == 16
    assert shape_of(27_000, mlp_ratio=4.0)["d_ff"] == 4 * shape_of(27_000, mlp_ratio=4.0)["d_model"]


@pytest.mark.parametrize(
    ("size", "spec", "field"),
    [
        (27_000, {"d_model": 30}, "model.d_model"),
        (10, {}, "ladder.sizes"),
        (27_000, {"d_model": 8, "n_layers": 1}, "ladder.sizes"),
        (27_000, {"d_model": 32, "n_heads": 5}, "model.n_heads"),
    ],
)
def test_what_cannot_be_met_names_the_field(size: int, spec: dict, field: str) -> None:
    with pytest.raises(StudyError, match=field):
        shape_of(size, **spec)


def test_data_without_tokens_is_refused() -> None:
    with pytest.raises(StudyError, match="data"):
        GPT.resolve(GptSpec(), 7_000, DataShape("images", n_classes=10), 32)


@pytest.mark.parametrize("size", [2_000, 27_000, 150_000])
def test_counts_agree_with_torch(size: int) -> None:
    shape = shape_of(size)
    counts = GPT.counts(shape, 32)
    model = GPT.build(shape, 0, training=MUP)
    assert isinstance(model, Decoder)
    model.configure(attention="written")
    assert counts.n_params == sum(p.numel() for p in model.parameters())
    assert counts.n_params_non_embedding == counts.n_params - model.embedding.numel()
    batch = {"inputs": tokens(), "targets": tokens(seed=1)}
    with FlopCounterMode(display=False) as counter:
        GPT.loss(model, batch).loss.backward()
    assert counter.get_total_flops() / batch["inputs"].numel() == counts.flops_per_token


@pytest.mark.parametrize("size", [2_000, 27_000, 150_000])
def test_activation_bytes_agree_with_what_autograd_keeps(size: int) -> None:
    model, x = small(size).configure(attention="written"), tokens(8)
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        GPT.loss(model, {"inputs": x, "targets": x})
    measured = sum(t.untyped_storage().nbytes() for key, t in kept.items() if key not in weights) / x.numel()
    assert GPT.counts(model.shape, 32).activation_bytes_per_token == pytest.approx(measured, rel=0.15)


def test_initialisation_is_a_function_of_the_seed() -> None:
    same, again, other = small(seed=1), small(seed=1), small(seed=2)
    for a, b in zip(same.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(same.embedding, other.embedding)


def test_initial_logits_are_of_order_one_at_the_base_width() -> None:
    """Of variance gain^2 = 2, which costs a nat over a uniform guess."""
    model = small(27_000)
    assert model.shape["d_model"] == MUP.base_width
    assert model(tokens()).std().item() == pytest.approx(2**0.5, rel=0.15)


def test_attention_implementations_agree_and_are_causal() -> None:
    model, x = small(27_000), tokens()
    written = model.configure(attention="written")(x)
    torch.testing.assert_close(written, model.configure(attention="sdpa")(x), atol=1e-5, rtol=1e-4)
    changed = x.clone()
    changed[:, 20:] = 0
    torch.testing.assert_close(model(changed)[:, :20], written[:, :20], atol=1e-5, rtol=1e-4)
    with pytest.raises(ValueError, match="attention"):
        model.configure(attention="magic")


def test_bfloat16_stays_close_and_keeps_float32_weights() -> None:
    model, x = small(27_000), tokens()
    exact = GPT.loss(model, {"inputs": x, "targets": x}).loss
    model.configure(compute_dtype=torch.bfloat16, attention="written")
    rough = GPT.loss(model, {"inputs": x, "targets": x}).loss
    rough.backward()
    assert model(x).dtype == torch.float32
    assert all(p.dtype == torch.float32 and p.grad is not None and p.grad.dtype == p.dtype for p in model.parameters())
    assert rough.item() == pytest.approx(exact.item(), rel=0.01)


@pytest.mark.parametrize("rule", ["mup", "width", "fixed"])
def test_param_groups_hold_every_parameter_once(rule: str) -> None:
    model = small(150_000)
    groups = GPT.param_groups(model, model.shape, rule, 32)
    listed = [id(p) for group in groups for p in group.params]
    assert sorted(listed) == sorted(id(p) for p in model.parameters())
    scales = {"mup": (0.5, 1.0, 1.0), "width": (0.5, 0.5, 0.5), "fixed": (1.0, 1.0, 1.0)}[rule]
    assert tuple(group.lr_scale for group in groups) == scales
    assert [group.matrix for group in groups] == [True, False, False]
    assert [group.decay for group in groups] == [True, True, False]
    assert all(p.ndim == 2 for p in groups[0].params)


def test_unknown_rule_is_a_bug() -> None:
    model = small()
    with pytest.raises(ValueError, match="rule"):
        GPT.param_groups(model, model.shape, "magic", 32)


def train(model: Decoder, rate: float, steps: int, data: np.ndarray, batch: int = 8, rule: str = "mup") -> list[float]:
    """A short seeded run; returns the loss of every step."""
    t = model.context
    groups = [{"params": g.params, "lr": rate * g.lr_scale} for g in GPT.param_groups(model, model.shape, rule, 32)]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95), fused=True)
    order, losses = np.random.default_rng(0), []
    for _ in range(steps):
        starts = order.integers(0, len(data) - t - 1, batch)
        windows = torch.from_numpy(np.stack([data[s : s + t + 1] for s in starts]).astype(np.int64))
        loss = GPT.loss(model, {"inputs": windows[:, :-1], "targets": windows[:, 1:]}).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def real_text() -> np.ndarray:
    """Bytes of two modules of the standard library; enough for a few hundred steps."""
    import argparse
    import decimal  # noqa: F401  its Python half is what is read
    import inspect

    files = [Path(str(module.__file__)) for module in (argparse, inspect)]
    return np.frombuffer(b"".join(file.read_bytes() for file in files), dtype=np.uint8)


def synthetic_text(n: int = 20_000) -> np.ndarray:
    """A seeded order-1 Markov chain over 32 bytes, equal on every machine."""
    random = np.random.default_rng(0)
    following = random.integers(0, 32, (32, 4))
    draws, state, out = random.integers(0, 4, n), 0, np.empty(n, dtype=np.uint8)
    for i, draw in enumerate(draws):
        state = int(following[state, draw])
        out[i] = state
    return out


def test_golden_loss() -> None:
    """A change that moves this changes what every study measures: raise ``Gpt.version`` with it."""
    assert Gpt.version == 1
    losses = train(small().configure(attention="written"), 0.01, 20, synthetic_text())
    assert losses[0] == pytest.approx(GOLDEN_FIRST, abs=1e-4)
    assert losses[-1] == pytest.approx(GOLDEN_LAST, abs=2e-3)


GOLDEN_FIRST, GOLDEN_LAST = 7.503893, 3.152932


@pytest.mark.parametrize("hints", [MUP, TrainingHints("fixed", 32), None])
def test_export_is_equal_in_transformers(tmp_path: Path, hints: TrainingHints | None) -> None:
    from transformers import AutoModelForCausalLM

    model = small(150_000, training=hints)
    with torch.no_grad():  # norms away from 1 and text that is not flat
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)) * 0.1)
    GPT.export_hf(model, model.shape, tmp_path, None)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    assert type(theirs).__name__ == "LlamaForCausalLM"
    assert sum(p.numel() for p in theirs.parameters()) == GPT.counts(model.shape, 32).n_params
    x = tokens()
    with torch.no_grad():
        torch.testing.assert_close(theirs(x).logits, model(x), atol=1e-5, rtol=0)
    prompt = tokens(1, 4)
    ours = generate(model, prompt, 20, context=32)
    assert torch.equal(ours, theirs.generate(prompt, max_new_tokens=20, do_sample=False, pad_token_id=0))


def test_export_with_a_tokenizer(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import AutoTokenizer

    vocabulary = {symbol: i for i, symbol in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    model = small()
    GPT.export_hf(model, model.shape, tmp_path, tokenizer)
    assert AutoTokenizer.from_pretrained(tmp_path)("a b").input_ids == tokenizer.encode("a b").ids


def test_generate_draws_with_its_generator_and_beyond_the_context() -> None:
    model, prompt = small(), tokens(2, 30)
    drawn = [
        generate(model, prompt, 10, temperature=1.0, generator=torch.Generator().manual_seed(s), context=32)
        for s in (0, 0, 1)
    ]
    assert drawn[0].shape == (2, 40) and torch.equal(drawn[0][:, :30], prompt)
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])


@pytest.mark.slow
def test_best_rate_carries_from_width_64_to_256() -> None:
    """muP: the best of rates a factor of two apart is the same, or a neighbour, at four times the width."""
    rates = [0.0025, 0.005, 0.01, 0.02, 0.04, 0.08]
    best = {}
    data = real_text()
    for width in (64, 256):
        shape = shape_of({64: 100_000, 256: 1_500_000}[width], d_model=width, n_layers=2)
        finals = []
        for rate in rates:
            model = GPT.build(shape, 0, training=MUP)
            assert isinstance(model, Decoder)
            finals.append(np.mean(train(model, rate, 60, data)[-10:]))
        best[width] = rates[int(np.argmin(finals))]
    assert 0.5 <= best[256] / best[64] <= 2
