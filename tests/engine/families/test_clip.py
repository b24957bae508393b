"""Family ``clip``: counts, the dial, the learning-rate rule, sets of pairs, what it exports, a golden loss."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from engine.errors import InputError, StudyError
from engine.families import families
from engine.families._clip import Clip, contrastive
from engine.families._vit import Block
from engine.families.base import DataShape, TrainingHints
from engine.families.clip import Clip as ClipFamily
from engine.families.clip import ClipSpec, non_embedding
from engine.sources import sources
from engine.sources._captions import END, PAD

CLIP, SCENES = families["clip"], sources["scenes"]
DATA = SCENES.shape(SCENES.Spec())
MUP = TrainingHints("mup", 32)


def shape_of(size: int, **spec: object) -> dict:
    return CLIP.resolve(ClipSpec(**spec), size, DATA, 1)


def built(size: int, seed: int = 0, training: TrainingHints | None = MUP, **spec: object) -> tuple[Clip, dict]:
    shape = shape_of(size, **spec)
    model = CLIP.build(shape, seed, training=training)
    assert isinstance(model, Clip)
    return model, shape


def scenes(n: int, step: int = 0) -> dict[str, torch.Tensor]:
    prepared = SCENES.prepare(SCENES.Spec(), Path(), lambda step, fraction: None)
    return {name: torch.from_numpy(array) for name, array in prepared.train_batch(step, n, 1, 0).items()}


def test_dial_is_monotonic_and_close_at_any_size() -> None:
    previous = 0
    for size in np.geomspace(4_000, 1e9, 40).astype(int):
        n = non_embedding(shape_of(int(size)))
        assert n >= previous
        assert abs(math.log(n / size)) < 0.62  # the steps of the narrowest widths are coarse
        previous = n


def test_overrides_are_kept_and_the_rest_follows() -> None:
    shape = shape_of(300_000, d_model=32, d_embed=7, patch_size=16)
    assert (shape["d_model"], shape["d_embed"], shape["patch_size"], shape["d_ff"]) == (32, 7, 16, 128)
    assert abs(math.log(non_embedding(shape) / 300_000)) < 0.1


@pytest.mark.parametrize(
    ("field", "spec", "data"),
    [
        (r"ladder\.sizes", {}, DATA),
        (r"model\.patch_size: 7", {"patch_size": 7}, DATA),
        (r"model\.d_model", {"d_model": 12}, DATA),
        ("data", {}, DataShape("captions", vocab_size=9, sample_shape=(3, 32, 32))),
        ("data", {}, DataShape("captions", vocab_size=9, sample_shape=(1, 32, 32), caption_length=4)),
    ],
)
def test_what_cannot_be_met_names_the_field(field: str, spec: dict, data: DataShape) -> None:
    with pytest.raises(StudyError, match=field):
        CLIP.resolve(ClipSpec(**spec), 100, data, 1)


@pytest.mark.parametrize("size", [5_000, 35_000, 320_000])
def test_counts_agree_with_torch(size: int) -> None:
    shape = shape_of(size, compared=16)
    counts = CLIP.counts(shape, 1)
    model, batch = CLIP.build(shape, 0, training=MUP), CLIP.example(shape, 16, 1)
    assert counts.n_params == sum(p.numel() for p in model.parameters())
    assert isinstance(model, Clip)
    tables = (model.tokens, model.text_positions, model.image_positions)
    assert counts.n_params_non_embedding == counts.n_params - sum(p.numel() for p in tables)
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    with FlopCounterMode(display=False) as counter, torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        CLIP.loss(model, batch).loss.backward()
    assert counter.get_total_flops() / 16 == counts.flops_per_token
    measured = sum(t.untyped_storage().nbytes() for key, t in kept.items() if key not in weights) / 16
    assert counts.activation_bytes_per_token == pytest.approx(measured, rel=0.05)


def test_the_loss_is_known_where_it_can_be_worked_out() -> None:
    # Two pairs, each embedding equal to its own and opposite to the other: logits are +-s.
    ends = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    s = torch.tensor(1.5)
    assert contrastive(ends, ends, s, 2).item() == pytest.approx(math.log1p(math.exp(-3.0)))
    # Scaled by nothing all are alike, and alone every pair is right.
    assert contrastive(ends, ends, torch.tensor(0.0), 2).item() == pytest.approx(math.log(2))
    assert contrastive(ends, ends, s, 1).item() == pytest.approx(0.0)
    # Both directions count: one image fits both captions, its caption is found among images only half of the time.
    images, captions = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), ends
    rows = (math.log1p(math.exp(-3.0)) + math.log1p(math.exp(3.0))) / 2
    assert contrastive(images, captions, s, 2).item() == pytest.approx((rows + math.log(2)) / 2)


def test_the_loss_does_not_depend_on_how_many_sets_a_batch_holds() -> None:
    model, _ = built(5_000, compared=32)
    batch = scenes(96)
    whole = CLIP.loss(model, batch).loss
    parts = [CLIP.loss(model, {k: v[i : i + 32] for k, v in batch.items()}).loss for i in (0, 32, 64)]
    assert whole.item() == pytest.approx(torch.stack(parts).mean().item(), rel=1e-5)


def test_what_stands_after_the_end_of_a_caption_is_not_read() -> None:
    model, _ = built(5_000)
    captions = scenes(8)["captions"]
    noisy = torch.where(captions == PAD, torch.tensor(7), captions)
    assert (noisy == END).sum() == 8 and (noisy != captions).any()
    torch.testing.assert_close(model.embed_captions(captions), model.embed_captions(noisy))


def test_embeddings_have_length_one_and_features_are_the_image_towers() -> None:
    model, shape = built(5_000, d_embed=5)
    batch = scenes(4)
    for embedded in (model(batch["images"]), model.embed_captions(batch["captions"])):
        assert embedded.shape == (4, 5)
        torch.testing.assert_close(embedded.norm(dim=1), torch.ones(4))
    features = CLIP.features(model, batch["images"])
    assert features is not None and features.shape == (4, shape["d_model"])


def test_the_temperature_is_learned_and_bounded() -> None:
    model, _ = built(5_000)
    assert model.scale().item() == pytest.approx(1 / 0.07)
    assert model.logit_scale.requires_grad
    with torch.no_grad():
        model.logit_scale.fill_(9.0)
    assert model.scale().item() == pytest.approx(100.0)


def test_initialisation_is_a_function_of_the_seed() -> None:
    same, again, other = built(5_000, 1)[0], built(5_000, 1)[0], built(5_000, 2)[0]
    for a, b in zip(same.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(same.tokens, other.tokens)


@pytest.mark.parametrize("rule", ["mup", "width", "fixed"])
def test_param_groups_hold_every_parameter_once(rule: str) -> None:
    model, shape = built(300_000, d_model=64)
    groups = CLIP.param_groups(model, shape, rule, 32)
    listed = [id(p) for group in groups for p in group.params]
    assert sorted(listed) == sorted(id(p) for p in model.parameters())
    scales = {"mup": (0.5, 1.0, 1.0), "width": (0.5, 0.5, 0.5), "fixed": (1.0, 1.0, 1.0)}[rule]
    assert tuple(group.lr_scale for group in groups) == scales
    assert [group.decay for group in groups] == [True, True, False]
    hidden = {id(p) for p in groups[0].params}
    block = model.text_blocks[0]
    assert isinstance(block, Block)
    assert {id(block.qkv.weight), id(block.down.weight), id(model.image_projection.weight)} <= hidden
    assert not {id(model.tokens), id(model.patches.weight)} & hidden
    with pytest.raises(ValueError, match="rule"):
        CLIP.param_groups(model, shape, "magic", 32)


def test_mup_multipliers_fall_with_heads_and_depth() -> None:
    shape = {**shape_of(5_000), "d_model": 64, "n_heads": 4, "n_layers": 4, "d_ff": 64, "d_embed": 64}
    mup, plain = (CLIP.build(shape, 0, training=training) for training in (MUP, None))
    assert isinstance(mup, Clip) and isinstance(plain, Clip)
    assert (mup.multipliers.attention, mup.multipliers.residual) == (pytest.approx(8**0.5 / 16), 0.5)
    assert (plain.multipliers.attention, plain.multipliers.residual) == (0.25, 1.0)


@pytest.mark.parametrize("training", [MUP, None], ids=["mup", "plain"])
def test_transformers_loads_what_it_exports_with_equal_logits(training: TrainingHints | None, tmp_path: Path) -> None:
    from transformers import AutoModel, CLIPModel

    model, shape = built(100_000, training=training, n_layers=3, d_embed=12)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1)))
    CLIP.export_hf(model, shape, tmp_path, None)
    theirs, info = AutoModel.from_pretrained(tmp_path, output_loading_info=True)
    assert isinstance(theirs, CLIPModel) and not any(info.values())
    batch = scenes(6)
    with torch.no_grad():
        found = theirs.eval()(input_ids=batch["captions"], pixel_values=batch["images"])
        images, captions = model(batch["images"]), model.embed_captions(batch["captions"])
    torch.testing.assert_close(found.image_embeds, images, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found.text_embeds, captions, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found.logits_per_image, model.scale() * images @ captions.T, atol=2e-4, rtol=1e-4)


def test_images_that_are_not_square_are_not_exported(tmp_path: Path) -> None:
    shape = {**shape_of(5_000), "height": 16}
    with pytest.raises(InputError, match="square images only"):
        CLIP.export_hf(CLIP.build(shape, 0), shape, tmp_path, None)


def train(shape: dict, rate: float, steps: int, batch_size: int = 32) -> list[float]:
    """A short seeded run on scenes of one object; returns the loss of every step."""
    prepared = SCENES.prepare(SCENES.Spec(objects=1), Path(), lambda step, fraction: None)
    model = CLIP.build(shape, 0, training=MUP)
    groups = [{"params": g.params, "lr": rate * g.lr_scale} for g in CLIP.param_groups(model, shape, "mup", 32)]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95), fused=True)
    losses = []
    for step in range(steps):
        batch = {k: torch.from_numpy(v) for k, v in prepared.train_batch(step, batch_size, 1, 0).items()}
        loss = CLIP.loss(model, batch).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_golden_loss() -> None:
    """A change that moves this changes what every study measures: raise ``Clip.version`` with it."""
    assert ClipFamily.version == 1
    losses = train(shape_of(17_000, compared=32), 0.002, 60)
    assert losses[0] == pytest.approx(GOLDEN_FIRST, abs=1e-3)
    assert np.mean(losses[-5:]) == pytest.approx(GOLDEN_LAST, abs=0.05)


GOLDEN_FIRST, GOLDEN_LAST = 4.8983, 3.2326


def test_best_rate_carries_from_width_16_to_64() -> None:
    """muP: the best of rates a factor of two apart is the same, or a neighbour, at four times the width."""
    rates = [0.0005, 0.001, 0.002, 0.004, 0.008]
    best = {}
    for width in (16, 64):
        shape = {**shape_of(35_000, compared=32, patch_size=16), "d_model": width, "d_ff": width, "d_embed": width}
        shape["n_heads"] = width // 16
        best[width] = rates[int(np.argmin([np.mean(train(shape, rate, 60)[-20:]) for rate in rates]))]
    assert 0.5 <= best[64] / best[16] <= 2
