"""Family ``vit``: counts, the dial, the learning-rate rule, patches, export, a golden loss."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from engine.errors import StudyError
from engine.families import families
from engine.families._vit import Network
from engine.families.base import DataShape, TrainingHints
from engine.families.vit import Vit, VitSpec, non_embedding

VIT = families["vit"]
MUP = TrainingHints("mup", 32)


def images(*sample_shape: int, n_classes: int = 10) -> DataShape:
    return DataShape("images", n_classes=n_classes, sample_shape=sample_shape, fixed_context=1)


SMALL, LARGE = images(1, 8, 8), images(3, 28, 28)


def shape_of(size: int, data: DataShape = SMALL, **spec: object) -> dict:
    return VIT.resolve(VitSpec(**spec), size, data, 1)


def built(shape: dict, seed: int = 0, training: TrainingHints | None = MUP) -> Network:
    model = VIT.build(shape, seed, training=training)
    assert isinstance(model, Network)
    return model


def test_dial_is_monotonic_and_close() -> None:
    previous = 0
    for size in np.geomspace(1_800, 300e6, 40).astype(int):
        shape = shape_of(int(size))
        n = non_embedding(shape)
        assert n >= previous and abs(math.log(n / size)) <= math.log(2)
        assert int(shape["d_model"]) % int(shape["n_heads"]) == 0
        previous = n


def test_patches_follow_the_image_and_overrides_are_kept() -> None:
    sides = {8: 2, 16: 4, 28: 4, 32: 4, 64: 8, 224: 28}
    assert {side: shape_of(30_000, images(3, side, side))["patch"] for side in sides} == sides
    assert shape_of(30_000, LARGE, patch=7)["patch"] == 7
    shape = shape_of(100_000, d_model=64, n_heads=2, mlp_ratio=2.0)
    assert (shape["d_model"], shape["n_heads"], shape["d_ff"]) == (64, 2, 128)


@pytest.mark.parametrize(
    ("size", "data", "spec", "field"),
    [
        (10, SMALL, {}, "ladder.sizes"),
        (30_000, SMALL, {"patch": 3}, "model.patch"),
        (30_000, SMALL, {"d_model": 30}, "model.d_model"),
        (30_000, SMALL, {"d_model": 32, "n_heads": 5}, "model.n_heads"),
        (30_000, DataShape("tokens", 256), {}, "data"),
        (30_000, images(1, 8, 8, n_classes=0), {}, "data"),
    ],
)
def test_what_cannot_be_met_names_the_field(size: int, data: DataShape, spec: dict, field: str) -> None:
    with pytest.raises(StudyError, match=field):
        shape_of(size, data, **spec)


@pytest.mark.parametrize(("size", "data"), [(2_000, SMALL), (30_000, LARGE), (340_000, SMALL)])
def test_counts_agree_with_torch(size: int, data: DataShape) -> None:
    shape = shape_of(size, data)
    counts, model, batch = VIT.counts(shape, 1), built(shape), VIT.example(shape, 8, 1)
    assert counts.n_params == sum(p.numel() for p in model.parameters())
    inside = [p for part in (model.blocks, model.norm, model.head) for p in part.parameters()]
    assert counts.n_params_non_embedding == sum(p.numel() for p in inside)
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    with FlopCounterMode(display=False) as counter, torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        VIT.loss(model, batch).loss.backward()
    assert counter.get_total_flops() / 8 == counts.flops_per_token
    measured = sum(t.untyped_storage().nbytes() for key, t in kept.items() if key not in weights) / 8
    assert counts.activation_bytes_per_token == pytest.approx(measured, rel=0.05)


def test_patches_are_what_a_convolution_reads() -> None:
    shape = shape_of(30_000, LARGE, patch=7)
    model, x = built(shape), torch.randn(2, 3, 28, 28)
    kernels = model.embed.weight.view(-1, 3, 7, 7)
    expected = torch.nn.functional.conv2d(x, kernels, model.embed.bias, stride=7).flatten(2).transpose(1, 2)
    torch.testing.assert_close(model.embed(model.patches(x)), expected, atol=1e-5, rtol=1e-5)


def test_attention_implementations_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond 64 positions torch's fused kernel is used; it gives what is written out up to there."""
    shape = shape_of(30_000, images(1, 36, 36), patch=4)
    model, x = built(shape), torch.randn(2, 1, 36, 36)
    fused = model(x)
    monkeypatch.setattr("engine.families._vit.usual_implementation", lambda *_: "written")
    torch.testing.assert_close(model(x), fused, atol=1e-5, rtol=1e-4)


def test_initialisation_is_a_function_of_the_seed() -> None:
    shape = shape_of(7_000)
    same, again, other = built(shape, 1), built(shape, 1), built(shape, 2)
    for a, b in zip(same.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(same.embed.weight, other.embed.weight)


def test_initial_logits_shrink_as_the_rule_says() -> None:
    x, spread = torch.randn(32, 1, 8, 8, generator=torch.Generator().manual_seed(0)), {}
    for d_model, size in ((32, 26_000), (128, 400_000)):
        models = [built(shape_of(size, d_model=d_model, n_layers=2), seed) for seed in range(4)]
        spread[d_model] = torch.stack([model(x).square().mean() for model in models]).mean().sqrt().item()
    assert spread[32] / spread[128] == pytest.approx(2.0, rel=0.3)


@pytest.mark.parametrize("rule", ["mup", "width", "fixed"])
def test_param_groups_hold_every_parameter_once(rule: str) -> None:
    shape = shape_of(100_000, d_model=64)
    model = built(shape)
    groups = VIT.param_groups(model, shape, rule, 32)
    listed = [id(p) for group in groups for p in group.params]
    assert sorted(listed) == sorted(id(p) for p in model.parameters())
    scales = {"mup": (0.5, 1.0, 1.0), "width": (0.5, 0.5, 0.5), "fixed": (1.0, 1.0, 1.0)}[rule]
    assert tuple(group.lr_scale for group in groups) == scales
    assert [group.decay for group in groups] == [True, True, False]
    assert len(groups[0].params) == 4 * len(model.blocks) and all(p.ndim == 2 for p in groups[0].params)
    with pytest.raises(ValueError, match="rule"):
        VIT.param_groups(model, shape, "magic", 32)


@pytest.mark.parametrize("hints", [MUP, None])
def test_export_is_equal_in_transformers(tmp_path: Path, hints: TrainingHints | None) -> None:
    from transformers import AutoModelForImageClassification

    shape = shape_of(30_000, images(3, 16, 24, n_classes=7), n_layers=3, patch=8)
    model = built(shape, training=hints)
    with torch.no_grad():  # norms away from 1 and biases from 0
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)) * 0.1)
    VIT.export_hf(model, shape, tmp_path, None)
    theirs = AutoModelForImageClassification.from_pretrained(tmp_path, dtype=torch.float32).eval()
    assert type(theirs).__name__ == "ViTForImageClassification"
    assert sum(p.numel() for p in theirs.parameters()) == VIT.counts(shape, 1).n_params
    x = torch.randn(4, 3, 16, 24)
    with torch.no_grad():
        torch.testing.assert_close(theirs(x).logits, model(x), atol=1e-5, rtol=0)


def quadrants(n: int, seed: int) -> dict[str, torch.Tensor]:
    """Noise, brighter in one quarter of the image, which is the class."""
    random = np.random.default_rng(seed)
    place, x = random.integers(0, 4, n), random.standard_normal((n, 1, 8, 8)).astype(np.float32)
    rows, columns = np.arange(8)[:, None] // 4, np.arange(8) // 4
    x[:, 0] += 2 * ((2 * rows + columns)[None] == place[:, None, None])
    return {"inputs": torch.from_numpy(x), "targets": torch.from_numpy(place)}


def train(shape: dict, rate: float, steps: int) -> list[float]:
    """A short seeded run; returns the loss of every step."""
    model = built(shape)
    groups = [{"params": g.params, "lr": rate * g.lr_scale} for g in VIT.param_groups(model, shape, "mup", 32)]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95), fused=True)
    losses = []
    for step in range(steps):
        loss = VIT.loss(model, quadrants(16, step)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_golden_loss() -> None:
    """A change that moves this changes what every study measures: raise ``Vit.version`` with it."""
    assert Vit.version == 1
    losses = train(shape_of(7_000, images(1, 8, 8, n_classes=4)), 0.01, 30)
    assert losses[0] == pytest.approx(GOLDEN_FIRST, abs=1e-4)
    assert losses[-1] == pytest.approx(GOLDEN_LAST, abs=2e-3)


GOLDEN_FIRST, GOLDEN_LAST = 2.616366, 1.333396


def test_best_rate_carries_from_width_32_to_128() -> None:
    """muP: the best of rates a factor of two apart is the same, or a neighbour, at four times the width."""
    rates = [0.0025, 0.005, 0.01, 0.02]
    best = {}
    for d_model, size in ((32, 13_000), (128, 200_000)):
        shape = shape_of(size, images(1, 8, 8, n_classes=4), d_model=d_model, n_layers=1)
        best[d_model] = rates[int(np.argmin([np.mean(train(shape, rate, 40)[-10:]) for rate in rates]))]
    assert 0.5 <= best[128] / best[32] <= 2
