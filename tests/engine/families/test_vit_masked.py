"""Family ``vit-masked``: counts, what is hidden and what is scored, features, export, a golden loss."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from engine.errors import InputError, StudyError
from engine.families import families
from engine.families._vit_masked import MaskedNetwork, together
from engine.families.base import DataShape, TrainingHints
from engine.families.vit_masked import VitMasked, VitMaskedSpec

FAMILY = families["vit-masked"]
MUP = TrainingHints("mup", 32)


def images(*sample_shape: int) -> DataShape:
    """Without classes: no label is needed."""
    return DataShape("images", sample_shape=sample_shape, fixed_context=1)


SMALL, LARGE = images(1, 8, 8), images(3, 28, 28)


def shape_of(size: int, data: DataShape = SMALL, **spec: object) -> dict:
    return FAMILY.resolve(VitMaskedSpec(**spec), size, data, 1)


def built(shape: dict, seed: int = 0, hints: TrainingHints | None = MUP) -> MaskedNetwork:
    model = FAMILY.build(shape, seed, training=hints)
    assert isinstance(model, MaskedNetwork)
    return model


@pytest.mark.parametrize(("size", "data"), [(2_000, SMALL), (30_000, LARGE), (340_000, SMALL)])
def test_counts_agree_with_torch(size: int, data: DataShape) -> None:
    shape = shape_of(size, data)
    counts, model, batch = FAMILY.counts(shape, 1), built(shape), FAMILY.example(shape, 8, 1)
    assert counts.n_params == sum(p.numel() for p in model.parameters())
    inside = [p for part in (model.blocks, model.norm, model.head) for p in part.parameters()]
    assert counts.n_params_non_embedding == sum(p.numel() for p in inside)
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    with FlopCounterMode(display=False) as counter, torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        FAMILY.loss(model, batch).loss.backward()
    assert counter.get_total_flops() / 8 == counts.flops_per_token
    measured = sum(t.untyped_storage().nbytes() for key, t in kept.items() if key not in weights) / 8
    assert counts.activation_bytes_per_token == pytest.approx(measured, rel=0.05)


def test_a_patch_of_one_number_is_refused() -> None:
    with pytest.raises(StudyError, match=r"model\.patch"):
        shape_of(30_000, patch=1)


def test_masks_are_new_in_training_and_always_the_same_otherwise() -> None:
    model, x = built(shape_of(2_000, masked_fraction=0.25)), torch.zeros(50, 1, 8, 8)
    first, second = model.hide(x), model.hide(x)
    assert (first.sum(1) == 4).all() and not torch.equal(first, second)
    model.eval()
    fixed = model.hide(x)
    torch.rand(3)
    assert torch.equal(fixed, model.hide(x)) and len(fixed.unique(dim=0)) > 40


def test_only_hidden_patches_are_scored_and_they_are_not_seen() -> None:
    model = built(shape_of(7_000)).eval()
    x = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    hidden = model.hide(x)
    behind = together(torch.where(hidden[..., None], 9.0, model.patches(x)), shape_of(7_000))
    torch.testing.assert_close(model(behind, hidden), model(x, hidden))
    loss = FAMILY.loss(model, {"inputs": x, "targets": torch.zeros(6, dtype=torch.int64)}).loss
    missed = (model(x, hidden) - model.patches(x))[hidden]
    assert loss.item() == pytest.approx(missed.square().mean().item(), rel=1e-5)


def test_patches_are_put_together_again() -> None:
    shape = shape_of(30_000, images(3, 16, 24), patch=4)
    x = torch.randn(2, 3, 16, 24)
    assert torch.equal(together(built(shape).patches(x), shape), x)


def test_features_are_of_the_patches_and_gradients_flow() -> None:
    shape = shape_of(7_000)
    model, x = built(shape), torch.randn(3, 1, 8, 8)
    features = FAMILY.features(model, x)
    assert features is not None and features.shape == (3, shape["d_model"])
    features.square().sum().backward()
    assert model.embed.weight.grad is not None and model.mask_token.grad is None


@pytest.mark.parametrize("rule", ["mup", "width", "fixed"])
def test_param_groups_hold_every_parameter_once(rule: str) -> None:
    shape = shape_of(100_000, d_model=64)
    model = built(shape)
    groups = FAMILY.param_groups(model, shape, rule, 32)
    listed = [id(p) for group in groups for p in group.params]
    assert sorted(listed) == sorted(id(p) for p in model.parameters())
    scales = {"mup": (0.5, 1.0, 1.0), "width": (0.5, 0.5, 0.5), "fixed": (1.0, 1.0, 1.0)}[rule]
    assert tuple(group.lr_scale for group in groups) == scales


@pytest.mark.parametrize("hints", [MUP, None])
def test_export_is_equal_in_transformers(tmp_path: Path, hints: TrainingHints | None) -> None:
    from transformers import AutoModelForMaskedImageModeling

    shape = shape_of(30_000, images(3, 16, 16), n_layers=3, patch=4)
    model = built(shape, hints=hints).eval()
    with torch.no_grad():  # norms away from 1, biases and mask from 0
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)) * 0.1)
    FAMILY.export_hf(model, shape, tmp_path, None)
    theirs = AutoModelForMaskedImageModeling.from_pretrained(tmp_path, dtype=torch.float32).eval()
    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    hidden = model.hide(x)
    with torch.no_grad():
        ours = together(model(x, hidden), shape)
        torch.testing.assert_close(theirs(x, bool_masked_pos=hidden).reconstruction, ours, atol=1e-5, rtol=0)


def test_export_of_what_is_not_square_is_refused(tmp_path: Path) -> None:
    shape = shape_of(30_000, images(3, 16, 24), patch=4)
    with pytest.raises(InputError, match="square"):
        FAMILY.export_hf(built(shape), shape, tmp_path, None)


def test_golden_loss() -> None:
    """A change that moves this changes what every study measures: raise ``VitMasked.version`` with it."""
    assert VitMasked.version == 1
    shape = shape_of(2_000)
    model, order, losses = built(shape), np.random.default_rng(0), []
    groups = [{"params": g.params, "lr": 0.01 * g.lr_scale} for g in FAMILY.param_groups(model, shape, "mup", 32)]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95), fused=True)
    torch.manual_seed(0)
    for _ in range(30):
        waves = np.sin(order.uniform(0, 6, (16, 1, 1)) + np.arange(8) * order.uniform(0.2, 1, (16, 1, 1)))
        batch = {"inputs": torch.from_numpy(np.repeat(waves[:, None], 8, axis=2)).float()}
        loss = FAMILY.loss(model, batch).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(GOLDEN_FIRST, abs=1e-4)
    assert losses[-1] == pytest.approx(GOLDEN_LAST, abs=2e-3)


GOLDEN_FIRST, GOLDEN_LAST = 3.626148, 0.515561
