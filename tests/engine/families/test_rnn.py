"""Family ``rnn``: counts against matmuls written out, the dial, the learning-rate rule, causality, a golden loss."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from engine.errors import StudyError
from engine.families import families
from engine.families._recurrent import FORGET_BIAS, INPUT_GAIN, Recurrent
from engine.families.base import DataShape, TrainingHints
from engine.families.rnn import Rnn, RnnSpec, non_embedding
from tests.engine.families.test_gpt import synthetic_text, tokens

RNN = families["rnn"]
BYTES = DataShape("tokens", 256)
MUP = TrainingHints("mup", 32)
CELLS = ("lstm", "gru")


def shape_of(size: int, **spec: object) -> dict:
    return RNN.resolve(RnnSpec(**spec), size, BYTES, 32)


def built(size: int = 7_000, seed: int = 0, hints: TrainingHints | None = MUP, **spec: object) -> Recurrent:
    model = RNN.build(shape_of(size, **spec), seed, training=hints)
    assert isinstance(model, Recurrent)
    return model


def counted(shape: dict) -> int:
    keys = ("n_layers", "d_model", "d_embedding")
    return non_embedding(str(shape["cell"]), *(int(shape[key]) for key in keys))


@pytest.mark.parametrize("spec", [{}, {"cell": "gru"}, {"n_layers": 3}, {"d_embedding": 24}])
def test_dial_is_monotonic_and_close(spec: dict) -> None:
    previous = 0
    for size in np.geomspace(2_000, 300e6, 40).astype(int):
        n = counted(shape_of(int(size), **spec))
        assert n >= previous
        # The widest gap is where the depth goes from one layer to two, a factor of two.
        assert abs(math.log(n / size)) <= math.log(2) / 2 + 0.1
        previous = n


def test_depth_follows_the_width() -> None:
    assert [shape_of(size)["n_layers"] for size in (20_000, 1_000_000, 100_000_000)] == [1, 2, 3]
    assert shape_of(20_000, n_layers=4)["n_layers"] == 4


def test_what_cannot_be_met_names_the_field() -> None:
    with pytest.raises(StudyError, match=r"ladder\.sizes"):
        shape_of(3)
    with pytest.raises(StudyError, match="data"):
        RNN.resolve(RnnSpec(), 7_000, DataShape("images", n_classes=10), 32)


def unrolled(model: Recurrent, x: torch.Tensor) -> torch.Tensor:
    """Logits by matmuls written out, step by step and layer by layer: the reference for values and for FLOPs."""
    lstm = isinstance(model.rnn, torch.nn.LSTM)
    stream = list((F.embedding(x, model.embedding) * INPUT_GAIN).unbind(1))
    for layer in range(model.rnn.num_layers):
        w_x, w_h, b_x, b_h = model.rnn.all_weights[layer]
        h = torch.zeros(len(x), w_h.shape[1], requires_grad=True)
        c = torch.zeros_like(h)
        for t, below in enumerate(stream):
            from_below, from_before = below @ w_x.T + b_x, h @ w_h.T + b_h
            if lstm:
                i, f, g, o = (from_below + from_before).chunk(4, dim=-1)
                c = f.sigmoid() * c + i.sigmoid() * g.tanh()
                h = o.sigmoid() * c.tanh()
            else:
                (rx, zx, nx), (rh, zh, nh) = from_below.chunk(3, dim=-1), from_before.chunk(3, dim=-1)
                z = (zx + zh).sigmoid()
                h = (1 - z) * (nx + (rx + rh).sigmoid() * nh).tanh() + z * h
            stream[t] = h
    head = model.embedding if model.head is None else model.head
    return torch.stack(stream, dim=1) * model.output_multiplier @ head.T


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("size", "spec"), [(2_000, {}), (27_000, {"n_layers": 2}), (150_000, {"d_embedding": 24})])
def test_counts_and_values_agree_with_matmuls_written_out(size: int, spec: dict, cell: str) -> None:
    """torch's FLOP counter does not see the fused kernels of oneDNN and cuDNN."""
    model, shape = built(size, cell=cell, **spec), shape_of(size, cell=cell, **spec)
    counts, x = RNN.counts(shape, 32), tokens()
    assert counts.n_params == sum(p.numel() for p in model.parameters())
    assert counts.n_params_non_embedding == sum(p.numel() for p in model.rnn.parameters())
    torch.testing.assert_close(model(x), unrolled(model, x), atol=1e-4, rtol=1e-4)
    with FlopCounterMode(display=False) as counter:
        F.cross_entropy(unrolled(model, x).flatten(0, 1), x.flatten()).backward()
    assert counter.get_total_flops() / x.numel() == counts.flops_per_token


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("size", "n_layers"), [(8_000, 1), (27_000, 1), (150_000, 2)])
def test_activation_bytes_agree_with_what_autograd_keeps(size: int, n_layers: int, cell: str) -> None:
    model, x = built(size, cell=cell, n_layers=n_layers), tokens(8)
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        RNN.loss(model, {"inputs": x, "targets": x})
    measured = sum(t.untyped_storage().nbytes() for key, t in kept.items() if key not in weights) / x.numel()
    counts = RNN.counts(shape_of(size, cell=cell, n_layers=n_layers), 32)
    assert counts.activation_bytes_per_token == pytest.approx(measured, rel=0.08)


@pytest.mark.parametrize("cell", CELLS)
def test_initialisation_is_a_function_of_the_seed(cell: str) -> None:
    same, again, other = built(seed=1, cell=cell), built(seed=1, cell=cell), built(seed=2, cell=cell)
    for a, b in zip(same.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(same.embedding, other.embedding)
    biases = torch.cat([p for p in same.rnn.parameters() if p.ndim == 1])
    assert biases.sum() == (FORGET_BIAS * same.rnn.hidden_size if cell == "lstm" else 0)


@pytest.mark.parametrize("cell", CELLS)
def test_a_token_does_not_change_what_was_predicted_before_it(cell: str) -> None:
    model, x = built(cell=cell), tokens()
    changed = x.clone()
    changed[:, 20:] = 0
    torch.testing.assert_close(model(changed)[:, :20], model(x)[:, :20])
    assert not torch.equal(model(changed)[:, 20:], model(x)[:, 20:])


def test_features_are_the_mean_state_and_gradients_flow() -> None:
    model, x = built(), tokens()
    features = RNN.features(model, x)
    assert features is not None and features.shape == (3, model.rnn.hidden_size)
    torch.testing.assert_close(features, model.states(x).mean(1))
    features.sum().backward()
    assert model.rnn.weight_hh_l0.grad is not None


def test_output_shrinks_as_the_rule_says() -> None:
    """Under muP the initial logits fall as 1 / sqrt(width): the head's multiplier falls as 1 / width."""
    spread = {w: RNN.build(wide(w), 0, training=MUP)(tokens(8)).std().item() for w in (32, 512)}
    assert spread[32] / spread[512] == pytest.approx(4.0, rel=0.3)


def wide(d_model: int, **more: object) -> dict:
    return {**shape_of(7_000), "d_model": d_model, "d_embedding": d_model, **more}


@pytest.mark.parametrize("rule", ["mup", "width", "fixed"])
@pytest.mark.parametrize("d_embedding", [64, 16])
def test_param_groups_hold_every_parameter_once(rule: str, d_embedding: int) -> None:
    shape = wide(64, d_embedding=d_embedding, n_layers=2)
    model = RNN.build(shape, 0, training=MUP)
    groups = RNN.param_groups(model, shape, rule, 32)
    listed = [id(p) for group in groups for p in group.params]
    assert sorted(listed) == sorted(id(p) for p in model.parameters())
    scales = {"mup": (0.5, 1.0, 1.0), "width": (0.5, 0.5, 0.5), "fixed": (1.0, 1.0, 1.0)}[rule]
    assert tuple(group.lr_scale for group in groups) == scales
    assert [group.decay for group in groups] == [True, True, False]
    # An embedding of its own width feeds the first layer's matrix and needs a head of its own.
    assert [len(group.params) for group in groups] == ([4, 1, 4] if d_embedding == 64 else [3, 3, 4])
    with pytest.raises(ValueError, match="rule"):
        RNN.param_groups(model, shape, "magic", 32)


def train(shape: dict, rate: float, steps: int) -> list[float]:
    """A short seeded run under muP; returns the loss of every step."""
    model, data = RNN.build(shape, 0, training=MUP), synthetic_text()
    groups = [{"params": g.params, "lr": rate * g.lr_scale} for g in RNN.param_groups(model, shape, "mup", 32)]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95), fused=True)
    order, losses = np.random.default_rng(0), []
    for _ in range(steps):
        starts = order.integers(0, len(data) - 33, 8)
        windows = torch.from_numpy(np.stack([data[s : s + 33] for s in starts]).astype(np.int64))
        loss = RNN.loss(model, {"inputs": windows[:, :-1], "targets": windows[:, 1:]}).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize(("cell", "first", "last"), [("lstm", 9.258479, 1.894174), ("gru", 14.284766, 2.508424)])
def test_golden_loss(cell: str, first: float, last: float) -> None:
    """A change that moves this changes what every study measures: raise ``Rnn.version`` with it."""
    assert Rnn.version == 1
    losses = train(shape_of(7_000, cell=cell), 0.02, 20)
    assert losses[0] == pytest.approx(first, abs=1e-4)
    assert losses[-1] == pytest.approx(last, abs=2e-3)
    assert train(shape_of(7_000, cell=cell), 0.02, 20) == losses, "the fused kernels give the same bits every time"


def test_best_rate_carries_from_width_32_to_128() -> None:
    """muP: the best of rates a factor of two apart is the same, or a neighbour, at four times the width."""
    rates = [0.005, 0.01, 0.02, 0.04, 0.08]
    best = {}
    for width in (32, 128):
        best[width] = rates[int(np.argmin([np.mean(train(wide(width), rate, 50)[-10:]) for rate in rates]))]
    assert 0.5 <= best[128] / best[32] <= 2
