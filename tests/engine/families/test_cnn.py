"""Family ``cnn``: counts, the dial, the learning-rate rule, export, what it shows, a golden loss."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from engine.errors import StudyError
from engine.families import families
from engine.families._cnn import Conv, Network
from engine.families.base import DataShape, TrainingHints
from engine.families.cnn import Cnn, CnnSpec, parameters

CNN = families["cnn"]
MUP = TrainingHints("mup", 8)
RESNET = {"residual": True, "stem": "quarter", "activation": "relu"}
KINDS = ({}, {"downsample": "pool"}, {"residual": True}, {"residual": True, "downsample": "pool"}, RESNET)


def images(*sample_shape: int, n_classes: int = 10) -> DataShape:
    return DataShape("images", n_classes=n_classes, sample_shape=sample_shape, fixed_context=1)


SMALL, LARGE = images(1, 8, 8), images(3, 33, 47)


def shape_of(size: int, data: DataShape = SMALL, **spec: object) -> dict:
    return CNN.resolve(CnnSpec(**spec), size, data, 1)


def built(shape: dict, seed: int = 0, training: TrainingHints | None = MUP) -> Network:
    model = CNN.build(shape, seed, training=training)
    assert isinstance(model, Network)
    return model


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_dial_is_monotonic_and_close_at_any_size(kind: dict) -> None:
    previous = 0
    for size in np.geomspace(3_000, 3e7, 40).astype(int):
        n = parameters(shape_of(int(size), LARGE, **kind))
        assert n >= previous and abs(math.log(n / size)) < math.log(1.9)
        previous = n


def test_stages_follow_the_image() -> None:
    sides = {8: 2, 16: 3, 28: 3, 32: 4, 64: 5}
    assert {side: shape_of(200_000, images(3, side, side))["stages"] for side in sides} == sides
    assert shape_of(200_000, images(3, 64, 64), stem="quarter")["stages"] == 3
    assert shape_of(200_000, stages=4)["stages"] == 4


@pytest.mark.parametrize(
    ("size", "data", "spec", "field"),
    [
        (10, SMALL, {}, "ladder.sizes"),
        (10_000, SMALL, {"stages": 5}, "model.stages"),
        (10_000, DataShape("vectors", n_classes=2, sample_shape=(5,)), {}, "data"),
        (10_000, images(1, 8, 8, n_classes=0), {}, "data"),
    ],
)
def test_what_cannot_be_met_names_the_field(size: int, data: DataShape, spec: dict, field: str) -> None:
    with pytest.raises(StudyError, match=field):
        shape_of(size, data, **spec)


@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize(("size", "data"), [(2_000, SMALL), (30_000, LARGE), (300_000, LARGE)])
def test_counts_agree_with_torch(size: int, data: DataShape, kind: dict, activation: str) -> None:
    shape = shape_of(size, data, **{**kind, "activation": activation})
    counts, model, batch = CNN.counts(shape, 1), built(shape), CNN.example(shape, 4, 1)
    assert counts.n_params == counts.n_params_non_embedding == sum(p.numel() for p in model.parameters())
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    with FlopCounterMode(display=False) as counter, torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        CNN.loss(model, batch).loss.backward()
    assert counter.get_total_flops() / 4 == counts.flops_per_token
    measured = sum(t.untyped_storage().nbytes() for key, t in kept.items() if key not in weights) / 4
    assert counts.activation_bytes_per_token == pytest.approx(measured, rel=0.08)


def test_a_plain_stack_is_the_formula() -> None:
    """h^l = sigma(W^l * h^(l-1) + b^l), the mean over places, a linear head."""
    shape = shape_of(4_000, activation="relu")
    model, x = built(shape, training=None), torch.randn(2, 1, 8, 8)
    h = x
    for layer in (m for m in model.modules() if isinstance(m, Conv)):
        h = torch.nn.functional.conv2d(h, layer.kernels(), layer.bias, layer.plan.stride, 1).relu()
    torch.testing.assert_close(model(x), h.mean(dim=(2, 3)) @ model.head.weight.T + model.head.bias)
    torch.testing.assert_close(CNN.features(model, x), h.mean(dim=(2, 3)))


def test_initialisation_is_a_function_of_the_seed() -> None:
    shape = shape_of(5_000, residual=True)
    same, again, other = built(shape, 1), built(shape, 1), built(shape, 2)
    for a, b in zip(same.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(same.stem.weight, other.stem.weight)


@pytest.mark.parametrize("residual", [False, True])
def test_activations_keep_their_size_and_outputs_shrink_as_the_rule_says(residual: bool) -> None:
    """Under muP the initial output falls as 1 / sqrt(channels)."""
    x = torch.randn(16, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    spread = {}
    for channels in (16, 64):
        shape = {**shape_of(60_000, residual=residual, activation="relu"), "channels": channels}
        models = [built(shape, seed) for seed in range(8)]
        for stream in models[0].hidden(x):
            assert 0.15 < stream.square().mean().item() < 5
        spread[channels] = torch.stack([model(x).square().mean() for model in models]).mean().sqrt().item()
    assert spread[16] / spread[64] == pytest.approx(2.0, rel=0.3)


@pytest.mark.parametrize("rule", ["mup", "width", "fixed"])
def test_param_groups_hold_every_parameter_once(rule: str) -> None:
    shape = {**shape_of(30_000, residual=True), "channels": 16}
    model = built(shape)
    groups = CNN.param_groups(model, shape, rule, 8)
    listed = [id(p) for group in groups for p in group.params]
    assert sorted(listed) == sorted(id(p) for p in model.parameters())
    scales = {"mup": (0.5, 1.0, 1.0), "width": (0.5, 0.5, 0.5), "fixed": (1.0, 1.0, 1.0)}[rule]
    assert tuple(group.lr_scale for group in groups) == scales
    assert [group.decay for group in groups] == [True, True, False]
    assert [id(p) for p in groups[1].params] == [id(model.stem.weight), id(model.head.weight)]
    assert all(p.ndim == 2 for p in groups[0].params)
    with pytest.raises(ValueError, match="rule"):
        CNN.param_groups(model, shape, "magic", 8)


@pytest.mark.parametrize("hints", [MUP, None])
def test_export_is_equal_in_transformers(tmp_path: Path, hints: TrainingHints | None) -> None:
    from transformers import AutoModelForImageClassification

    shape = shape_of(60_000, images(3, 50, 64, n_classes=7), blocks=1, **RESNET)
    model = built(shape, training=hints)
    with torch.no_grad():  # biases away from 0
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)) * 0.1)
    CNN.export_hf(model, shape, tmp_path, None)
    theirs = AutoModelForImageClassification.from_pretrained(tmp_path, dtype=torch.float32).eval()
    assert type(theirs).__name__ == "ResNetForImageClassification"
    x = torch.randn(4, 3, 50, 64)
    with torch.no_grad():
        torch.testing.assert_close(theirs(x).logits, model(x), atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("spec", [{}, {**RESNET, "activation": "gelu"}, {**RESNET, "stem": "full"}])
def test_what_is_no_resnet_is_equal_with_its_code(tmp_path: Path, spec: dict) -> None:
    from engine.families._hub_cnn import ConvolutionsForImageClassification

    shape = shape_of(60_000, images(3, 32, 32), **spec)
    model = built(shape, training=MUP)
    CNN.export_hf(model, shape, tmp_path, None)
    theirs = ConvolutionsForImageClassification.from_pretrained(tmp_path).eval()
    x = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(theirs(pixel_values=x).logits, model(x), atol=0, rtol=0)


def blobs(n: int, seed: int) -> dict[str, torch.Tensor]:
    """Images with one bright quarter under noise, whose place is the class."""
    random = np.random.default_rng(seed)
    place = random.integers(0, 4, n)
    x = random.standard_normal((n, 1, 8, 8)).astype(np.float32)
    for i, p in enumerate(place):
        x[i, 0, 4 * (p // 2) : 4 * (p // 2) + 4, 4 * (p % 2) : 4 * (p % 2) + 4] += 1
    # One stripe in each, so that a mean over places knows which.
    rows = np.arange(8)[None, :, None]
    x += np.where(rows % 4 == (place[:, None, None] % 4), 1.0, 0.0).astype(np.float32)[:, None] * 0.5
    return {"inputs": torch.from_numpy(x), "targets": torch.from_numpy(place)}


def train(shape: dict, rate: float, steps: int) -> list[float]:
    """A short seeded run; returns the loss of every step."""
    model = built(shape)
    groups = [{"params": g.params, "lr": rate * g.lr_scale} for g in CNN.param_groups(model, shape, "mup", 8)]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95), fused=True)
    losses = []
    for step in range(steps):
        loss = CNN.loss(model, blobs(16, step)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_golden_loss() -> None:
    """A change that moves this changes what every study measures: raise ``Cnn.version`` with it."""
    assert Cnn.version == 1
    for spec, (first, last) in GOLDEN.items():
        losses = train(shape_of(4_000, images(1, 8, 8, n_classes=4), residual=spec == "residual"), 0.01, 30)
        assert losses[0] == pytest.approx(first, abs=1e-4)
        assert losses[-1] == pytest.approx(last, abs=2e-3)


GOLDEN = {"plain": (1.543806, 0.815933), "residual": (1.378491, 0.514300)}


def test_best_rate_carries_from_8_channels_to_48() -> None:
    """muP: the best of rates a factor of two apart is the same, or a neighbour, at six times the channels."""
    rates = [0.0025, 0.005, 0.01, 0.02, 0.04]
    best = {}
    for channels in (8, 48):
        shape = {**shape_of(4_000, images(1, 8, 8, n_classes=4)), "channels": channels}
        best[channels] = rates[int(np.argmin([np.mean(train(shape, rate, 25)[-10:]) for rate in rates]))]
    assert 0.5 <= best[48] / best[8] <= 2
