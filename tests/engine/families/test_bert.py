"""Family ``bert``: counts, the dial, masks, both directions, export, a golden loss."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from engine.errors import StudyError
from engine.families import families
from engine.families._encoder import Encoder
from engine.families._masking import FillsIn, choose, corrupt, fixed_generator, n_masked
from engine.families.base import DataShape, TrainingHints
from engine.families.bert import Bert, BertSpec
from tests.engine.families.test_gpt import real_text, synthetic_text

BERT = families["bert"]
assert isinstance(BERT, Bert) and isinstance(BERT, FillsIn)
BYTES = DataShape("tokens", 256)
MUP = TrainingHints("mup", 32)


def shape_of(size: int, context: int = 32, **spec: object) -> dict:
    return BERT.resolve(BertSpec(**spec), size, BYTES, context)


def small(size: int = 6_000, seed: int = 0, training: TrainingHints | None = MUP, **spec: object) -> Encoder:
    model = BERT.build(shape_of(size, **spec), seed, training=training)
    assert isinstance(model, Encoder)
    return model


def tokens(batch: int = 3, t: int = 32, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, (batch, t), generator=torch.Generator().manual_seed(seed))


def test_dial_is_monotonic_and_close() -> None:
    previous = 0
    for size in np.geomspace(2_000, 300e6, 40).astype(int):
        n = BERT.non_embedding(shape_of(int(size)))
        assert n >= previous and abs(math.log(n / size)) <= math.log(2)
        previous = n


def test_what_cannot_be_met_names_the_field() -> None:
    with pytest.raises(StudyError, match=r"ladder\.sizes: no bert"):
        shape_of(10)
    with pytest.raises(StudyError, match="data: the family bert"):
        BERT.resolve(BertSpec(), 7_000, DataShape("images", n_classes=10), 32)


@pytest.mark.parametrize("size", [2_000, 27_000, 150_000])
def test_counts_agree_with_torch(size: int) -> None:
    model, x = small(size).configure(attention="written"), tokens(8)
    counts = BERT.counts(model.shape, 32)
    assert counts.n_params == sum(p.numel() for p in model.parameters())
    assert counts.n_params_non_embedding == counts.n_params - model.embedding.numel()
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    with FlopCounterMode(display=False) as counter, torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        BERT.loss(model, {"inputs": x}).loss.backward()
    assert counter.get_total_flops() / x.numel() == counts.flops_per_token
    measured = sum(t.untyped_storage().nbytes() for key, t in kept.items() if key not in weights) / x.numel()
    # At width 8 with one head q k and v are views of one buffer, which all of it is kept for.
    assert counts.activation_bytes_per_token == pytest.approx(measured, rel=0.02 if size > 2_000 else 0.12)


def test_as_many_are_hidden_in_every_window_and_in_the_shares_of_the_paper() -> None:
    x, generator = tokens(500), torch.Generator().manual_seed(1)
    places = choose(x, n_masked(32, 0.15), generator)
    assert places.shape == (500, 5)
    assert all(len(set(row)) == 5 for row in places.tolist())
    seen = corrupt(x, places, 256, 256, generator)
    untouched = torch.ones_like(x, dtype=torch.bool).scatter_(1, places, False)
    assert torch.equal(seen[untouched], x[untouched])
    shown = seen.gather(1, places)
    assert (shown == 256).float().mean().item() == pytest.approx(0.8, abs=0.03)
    assert (shown == x.gather(1, places)).float().mean().item() == pytest.approx(0.1, abs=0.03)
    assert n_masked(3, 0.15) == 1


def test_masks_differ_while_training_and_never_in_evaluation() -> None:
    model, batch = small(), {"inputs": tokens()}
    torch.manual_seed(0)
    training = [BERT.loss(model, batch).loss.item() for _ in range(2)]
    torch.manual_seed(0)
    assert BERT.loss(model, batch).loss.item() == training[0] != training[1]
    model.eval()
    state = torch.get_rng_state()
    assert BERT.loss(model, batch).loss.item() == BERT.loss(model, batch).loss.item()
    assert torch.equal(torch.get_rng_state(), state), "validation leaves training's numbers alone"


def test_the_loss_is_of_the_hidden_places_alone() -> None:
    model, x = small().eval(), tokens()
    generator = fixed_generator()
    places = choose(x, 5, generator)
    seen = corrupt(x, places, 256, 256, generator)
    logits = model(seen).take_along_dim(places[..., None], 1)
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), x.gather(1, places).flatten())
    assert BERT.loss(model, {"inputs": x}).loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_attention_looks_both_ways_and_its_implementations_agree() -> None:
    model, x = small(27_000), tokens()
    written = model.configure(attention="written")(x)
    torch.testing.assert_close(written, model.configure(attention="sdpa")(x), atol=1e-5, rtol=1e-4)
    changed = x.clone()
    changed[:, -1] = 0
    assert (model(changed)[:, 0] - written[:, 0]).abs().max() > 1e-4
    for pattern in model.attention_probabilities(x):
        assert pattern.shape == (3, 4, 32, 32)
        torch.testing.assert_close(pattern.sum(-1), torch.ones(3, 4, 32))
        assert pattern.triu(1).max() > 0


def test_states_and_features() -> None:
    model, x = small(), tokens()
    states, features = BERT.states(model, x), BERT.features(model, x)
    assert states.shape == (3, 32, 16) and features is not None
    torch.testing.assert_close(features, states.mean(1))


def test_bfloat16_stays_close_and_keeps_float32_weights() -> None:
    model, x = small(27_000).eval(), tokens()
    exact = BERT.loss(model, {"inputs": x}).loss
    model.configure(compute_dtype=torch.bfloat16, attention="written")
    rough = BERT.loss(model, {"inputs": x}).loss
    rough.backward()
    assert model(x).dtype == torch.float32
    assert all(p.dtype == torch.float32 and p.grad is not None for p in model.parameters())
    assert rough.item() == pytest.approx(exact.item(), rel=0.01)


@pytest.mark.parametrize("rule", ["mup", "width", "fixed"])
def test_param_groups_hold_every_parameter_once(rule: str) -> None:
    model = small(150_000)
    groups = BERT.param_groups(model, model.shape, rule, 32)
    listed = [id(p) for group in groups for p in group.params]
    assert sorted(listed) == sorted(id(p) for p in model.parameters())
    scales = {"mup": (0.5, 1.0, 1.0), "width": (0.5, 0.5, 0.5), "fixed": (1.0, 1.0, 1.0)}[rule]
    assert tuple(group.lr_scale for group in groups) == scales
    assert any(p is model.head for p in groups[0].params) and groups[1].params == [model.embedding]
    assert [group.decay for group in groups] == [True, True, False]


def test_samples_show_what_is_filled_in() -> None:
    from types import SimpleNamespace

    text = b"the cat sat on the mat and so on, " * 3
    held_out = SimpleNamespace(
        validation_batches=lambda *sizes: iter([{"inputs": np.frombuffer(text[:32], np.uint8).astype(np.int64)[None]}]),
        decode=lambda ids: bytes(ids.astype(np.uint8)).decode(),
    )
    spec = SimpleNamespace(training=SimpleNamespace(context=32))
    with torch.no_grad():
        (made,) = BERT.samples(small().eval(), spec, held_out, torch.device("cpu"))
    assert made.kind == "text" and len(re.findall(r"\[(?:.≠)?(.)\]", made.text)) == n_masked(32, 0.15)
    assert re.sub(r"\[(?:.≠)?(.)\]", r"\1", made.text) == text[:32].decode()


@pytest.mark.parametrize("hints", [MUP, TrainingHints("fixed", 32), None])
def test_export_is_equal_in_transformers(tmp_path: Path, hints: TrainingHints | None) -> None:
    from transformers import AutoModelForMaskedLM

    model = small(150_000, training=hints)
    with torch.no_grad():  # norms away from 1 and text that is not flat
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)) * 0.1)
    BERT.export_hf(model, model.shape, tmp_path, None)
    theirs = AutoModelForMaskedLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    assert type(theirs).__name__ == "ModernBertForMaskedLM"
    assert sum(p.numel() for p in theirs.parameters()) == BERT.counts(model.shape, 32).n_params
    x = tokens()
    x[:, 3] = model.mask_token
    with torch.no_grad():
        torch.testing.assert_close(theirs(x).logits, model(x), atol=2e-5, rtol=0)


def train(shape: dict, rate: float, steps: int, data: np.ndarray) -> list[float]:
    """A short seeded run under muP; returns the loss of every step."""
    model = BERT.build(shape, 0, training=MUP)
    assert isinstance(model, Encoder)
    model.configure(attention="written")
    groups = [{"params": g.params, "lr": rate * g.lr_scale} for g in BERT.param_groups(model, shape, "mup", 32)]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95), fused=True)
    order, losses = np.random.default_rng(0), []
    torch.manual_seed(0)
    for _ in range(steps):
        starts = order.integers(0, len(data) - 32, 8)
        x = torch.from_numpy(np.stack([data[s : s + 32] for s in starts]).astype(np.int64))
        loss = BERT.loss(model, {"inputs": x}).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_golden_loss() -> None:
    """A change that moves this changes what every study measures: raise ``Bert.version`` with it."""
    assert Bert.version == 1
    losses = train(shape_of(6_000), 0.01, 20, synthetic_text())
    assert losses[0] == pytest.approx(GOLDEN_FIRST, abs=1e-4)
    assert losses[-1] == pytest.approx(GOLDEN_LAST, abs=2e-3)


GOLDEN_FIRST, GOLDEN_LAST = 7.517987, 3.761457


@pytest.mark.slow
def test_best_rate_carries_from_width_32_to_128() -> None:
    """muP: the best of rates a factor of two apart is the same, or a neighbour, at four times the width."""
    rates = [0.0025, 0.005, 0.01, 0.02, 0.04, 0.08]
    best, data = {}, real_text()
    for width in (32, 128):
        shape = shape_of({32: 27_000, 128: 420_000}[width], d_model=width, n_layers=2)
        best[width] = rates[int(np.argmin([np.mean(train(shape, rate, 60, data)[-20:]) for rate in rates]))]
    assert 0.5 <= best[128] / best[32] <= 2
