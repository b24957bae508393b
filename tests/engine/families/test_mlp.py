"""Family ``mlp``: counts, the dial, the learning-rate rule, both heads, a golden loss."""

import math

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from engine.errors import StudyError
from engine.families import families
from engine.families._mlp import Network
from engine.families.base import DataShape, TrainingHints
from engine.families.mlp import Mlp, MlpSpec, parameters

MLP = families["mlp"]
BITS = DataShape("vectors", n_classes=2, sample_shape=(20,), fixed_context=1)
NUMBERS = DataShape("vectors", n_outputs=3, sample_shape=(6,), fixed_context=1)
MUP = TrainingHints("mup", 32)


def shape_of(size: int, data: DataShape = BITS, **spec: object) -> dict:
    return MLP.resolve(MlpSpec(**spec), size, data, 1)


def built(size: int, seed: int = 0, training: TrainingHints | None = MUP, **spec: object) -> tuple[Network, dict]:
    shape = shape_of(size, **spec)
    model = MLP.build(shape, seed, training=training)
    assert isinstance(model, Network)
    return model, shape


@pytest.mark.parametrize("n_layers", [1, 2, 5])
def test_dial_is_monotonic_and_close_at_any_size(n_layers: int) -> None:
    previous = 0
    for size in np.geomspace(300, 1e9, 60).astype(int):
        shape = shape_of(int(size), n_layers=n_layers)
        width = int(shape["d_hidden"])
        n = parameters(20, 2, width, n_layers)
        assert n >= previous
        beside = [parameters(20, 2, w, n_layers) for w in (width - 1, width + 1) if w]
        assert abs(math.log(n / size)) <= min(abs(math.log(other / size)) for other in beside)
        previous = n


def test_what_cannot_be_met_names_the_field() -> None:
    with pytest.raises(StudyError, match=r"ladder\.sizes"):
        shape_of(10)
    for data in (DataShape("vectors", n_outputs=1, sample_shape=(5, 3)), DataShape("vectors", sample_shape=(5,))):
        with pytest.raises(StudyError, match="data"):
            shape_of(1_000, data)


@pytest.mark.parametrize("data", [BITS, NUMBERS], ids=["classes", "numbers"])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize(("size", "n_layers"), [(500, 1), (20_000, 2), (300_000, 4)])
def test_counts_agree_with_torch(size: int, n_layers: int, activation: str, data: DataShape) -> None:
    shape = shape_of(size, data, n_layers=n_layers, activation=activation)
    counts = MLP.counts(shape, 1)
    model, batch = MLP.build(shape, 0, training=MUP), MLP.example(shape, 16, 1)
    assert counts.n_params == counts.n_params_non_embedding == sum(p.numel() for p in model.parameters())
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with FlopCounterMode(display=False) as counter, torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        MLP.loss(model, batch).loss.backward()
    assert counter.get_total_flops() / 16 == counts.flops_per_token
    measured = sum(size for key, size in kept.items() if key not in weights) / 16
    assert counts.activation_bytes_per_token == pytest.approx(measured, rel=0.35)


def test_losses_of_both_heads() -> None:
    model, shape = built(2_000)
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
    loss = MLP.loss(model, MLP.example(shape, 8, 1)).loss
    assert loss.item() == pytest.approx(math.log(2))
    shape = shape_of(2_000, NUMBERS)
    batch = MLP.example(shape, 8, 1)
    network = MLP.build(shape, 0)
    expected = ((network(batch["inputs"]) - batch["targets"]) ** 2).mean()
    assert torch.equal(MLP.loss(network, batch).loss, expected)


def test_initialisation_is_a_function_of_the_seed() -> None:
    (same, _), (again, _), (other, _) = built(5_000, 1), built(5_000, 1), built(5_000, 2)
    for a, b in zip(same.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(same.layers[0].weight, other.layers[0].weight)


def test_activations_keep_their_size_and_outputs_shrink_as_the_rule_says() -> None:
    """A ReLU layer keeps the second moment; under muP the initial output falls as 1 / sqrt(width)."""
    x = torch.randn(500, 20, generator=torch.Generator().manual_seed(0))
    spread = {}
    for width in (64, 1024):
        shape = {**shape_of(3_000), "d_hidden": width, "n_layers": 3}
        model = MLP.build(shape, 0, training=MUP)
        assert isinstance(model, Network)
        for stream in model.hidden(x):
            assert stream.square().mean().item() == pytest.approx(1.0, rel=0.5)
        spread[width] = model(x).std().item()
    assert spread[64] / spread[1024] == pytest.approx(4.0, rel=0.5)


@pytest.mark.parametrize("rule", ["mup", "width", "fixed"])
def test_param_groups_hold_every_parameter_once(rule: str) -> None:
    model, _ = built(9_000, n_layers=2)
    shape = {"n_inputs": 20, "n_outputs": 2, "d_hidden": 64, "n_layers": 2}
    groups = MLP.param_groups(model, shape, rule, 32)
    listed = [id(p) for group in groups for p in group.params]
    assert sorted(listed) == sorted(id(p) for p in model.parameters())
    scales = {"mup": (0.5, 1.0, 1.0), "width": (0.5, 0.5, 0.5), "fixed": (1.0, 1.0, 1.0)}[rule]
    assert tuple(group.lr_scale for group in groups) == scales
    assert [group.matrix for group in groups] == [True, False, False]
    assert [group.decay for group in groups] == [True, True, False]
    with pytest.raises(ValueError, match="rule"):
        MLP.param_groups(model, shape, "magic", 32)


def test_one_hidden_layer_has_no_hidden_matrix() -> None:
    model, shape = built(2_000)
    assert [len(group.params) for group in MLP.param_groups(model, shape, "mup", 32)] == [2, 2]


def train(shape: dict, rate: float, steps: int, rule: str = "mup") -> list[float]:
    """A short seeded run on the parity of two bits out of twenty; returns the loss of every step."""
    model = MLP.build(shape, 0, training=TrainingHints(rule, 32))
    groups = [{"params": g.params, "lr": rate * g.lr_scale} for g in MLP.param_groups(model, shape, rule, 32)]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95), fused=True)
    order, losses = np.random.default_rng(0), []
    for _ in range(steps):
        bits = order.integers(0, 2, (64, 20))
        batch = {
            "inputs": torch.from_numpy(2 * bits - 1).float(),
            "targets": torch.from_numpy(bits[:, 3] ^ bits[:, 11]),
        }
        loss = MLP.loss(model, batch).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_golden_loss() -> None:
    """A change that moves this changes what every study measures: raise ``Mlp.version`` with it."""
    assert Mlp.version == 1
    losses = train(shape_of(2_000, n_layers=2), 0.02, 30)
    assert losses[0] == pytest.approx(GOLDEN_FIRST, abs=1e-4)
    assert losses[-1] == pytest.approx(GOLDEN_LAST, abs=2e-3)


GOLDEN_FIRST, GOLDEN_LAST = 0.956111, 0.240155


def test_best_rate_carries_from_width_64_to_512() -> None:
    """muP: the best of rates a factor of two apart is the same, or a neighbour, at eight times the width."""
    rates = [0.0025, 0.005, 0.01, 0.02, 0.04, 0.08]
    best = {}
    for width in (64, 512):
        shape = {**shape_of(9_000, n_layers=2), "d_hidden": width}
        best[width] = rates[int(np.argmin([np.mean(train(shape, rate, 60)[-10:]) for rate in rates]))]
    assert 0.5 <= best[512] / best[64] <= 2
