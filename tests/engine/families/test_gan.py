"""Family ``gan``: counts, the dial, the learning-rate rule, the game of the two players, the average, a golden loss."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from engine.errors import StudyError
from engine.events import RunState, Sample
from engine.expand import expand
from engine.families import families
from engine.families._gan import Players, stage_widths
from engine.families.base import DataShape, TrainingHints
from engine.families.gan import Gan, GanSpec, parameters
from engine.study import RunSpec, parse_study
from engine.training.run import run_one
from tests.engine.training import toy

GAN = families["gan"]
DIGITS = DataShape("images", n_classes=10, sample_shape=(1, 8, 8), fixed_context=1)
COLOUR = DataShape("images", n_classes=4, sample_shape=(3, 16, 24), fixed_context=1)
ODD = DataShape("images", n_classes=4, sample_shape=(2, 5, 7), fixed_context=1)
MUP = TrainingHints("mup", 16)


def shape_of(size: int, data: DataShape = DIGITS, **spec: object) -> dict:
    return GAN.resolve(GanSpec(**spec), size, data, 1)


def built(size: int, data: DataShape = DIGITS, seed: int = 0) -> tuple[Players, dict]:
    shape = shape_of(size, data)
    model = GAN.build(shape, seed, training=MUP)
    assert isinstance(model, Players)
    return model, shape


@pytest.mark.parametrize("data", [DIGITS, COLOUR, ODD], ids=["digits", "colour", "odd"])
def test_dial_is_monotonic_and_close_at_any_size(data: DataShape) -> None:
    previous = 0
    for size in np.geomspace(3_000, 1e9, 60).astype(int):
        shape = shape_of(int(size), data)
        n = parameters(shape)
        assert n >= previous
        beside = [parameters({**shape, "width": w}) for w in (shape["width"] - 1, shape["width"] + 1) if w]
        assert abs(math.log(n / size)) <= min(abs(math.log(other / size)) for other in beside)
        previous = n


def test_what_cannot_be_met_names_the_field() -> None:
    with pytest.raises(StudyError, match=r"ladder\.sizes"):
        shape_of(100)
    with pytest.raises(StudyError, match="data"):
        shape_of(1_000, DataShape("images", sample_shape=(64,)))


def test_sides_are_halved_as_often_as_they_can_be() -> None:
    assert [shape_of(9_000, data)["stages"] for data in (DIGITS, COLOUR, ODD)] == [1, 2, 0]
    model, shape = built(9_000, COLOUR)
    assert stage_widths(shape) == [4 * shape["width"], 2 * shape["width"], shape["width"]]
    assert model.draw(5, 0).shape == (5, 3, 16, 24) and model.draw(5, 0).abs().max() <= 1


@pytest.mark.parametrize(("size", "data"), [(2_000, DIGITS), (30_000, COLOUR), (9_000, ODD)])
def test_counts_agree_with_torch(size: int, data: DataShape) -> None:
    model, shape = built(size, data)
    counts, batch = GAN.counts(shape, 1), GAN.example(shape, 16, 1)
    assert counts.n_params == counts.n_params_non_embedding == sum(p.numel() for p in model.parameters())
    known = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers())}
    kept: dict[int, torch.Tensor] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    model.train()
    with FlopCounterMode(display=False) as counter, torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        GAN.loss(model, batch).loss.backward()
    assert counter.get_total_flops() / 16 == counts.flops_per_token
    measured = sum(t.untyped_storage().nbytes() for key, t in kept.items() if key not in known) / 16
    assert counts.activation_bytes_per_token == pytest.approx(measured, rel=0.01)


def test_each_player_gets_the_gradient_of_its_own_loss() -> None:
    """Against both losses written out apart, each differentiated with respect to one player's weights alone."""
    model, shape = built(9_000, COLOUR)
    model.train()
    real = GAN.example(shape, 8, 1)["inputs"]
    torch.manual_seed(1)
    GAN.loss(model, {"inputs": real}).loss.backward()
    torch.manual_seed(1)
    made = model.generator(torch.randn(8, model.latent))
    generators = list(model.generator.parameters())
    loss = F.binary_cross_entropy_with_logits(model.discriminator(made), torch.ones(8))
    expected = list(torch.autograd.grad(loss, generators))
    images = real.clone().requires_grad_()
    scores = model.discriminator(images)
    loss = F.binary_cross_entropy_with_logits(scores, torch.ones(8))
    loss = loss + F.binary_cross_entropy_with_logits(model.discriminator(made.detach()), torch.zeros(8))
    (slope,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
    loss = loss + 0.5 * (slope**2).flatten(1).sum(1).mean()
    expected += torch.autograd.grad(loss, list(model.discriminator.parameters()))
    for parameter, gradient in zip([*generators, *model.discriminator.parameters()], expected, strict=True):
        assert parameter.grad is not None and gradient.abs().max() > 0
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-6)


def test_the_loss_is_the_sum_of_its_parts_and_validation_has_no_penalty() -> None:
    model, shape = built(2_000)
    batch = GAN.example(shape, 8, 1)
    out = GAN.loss(model.train(), batch)
    assert set(out.extras) == {"generator", "discriminator", "penalty"}
    assert sum(part.item() for part in out.extras.values()) == pytest.approx(out.loss.item())
    with torch.no_grad():
        once, again = GAN.loss(model.eval(), batch), GAN.loss(model, batch)
    assert set(once.extras) == {"generator", "discriminator"} and torch.equal(once.loss, again.loss)
    with torch.no_grad():
        for weight in (*model.parameters(), *model.buffers()):
            weight.zero_()
    assert GAN.loss(model, batch).loss.item() == pytest.approx(3 * math.log(2))


def test_images_are_made_with_the_average_which_follows_the_weights() -> None:
    model, shape = built(2_000)
    first, last = model.generator.paint.weight.detach().clone(), torch.ones_like(model.generator.paint.weight)
    with torch.no_grad():
        model.generator.paint.weight.copy_(last)
    model.train()
    GAN.loss(model, GAN.example(shape, 4, 1))
    kept = 2 / 11  # after the first update: (1 + 1) / (WARM_UP + 1)
    torch.testing.assert_close(model.get_buffer("average_paint_weight"), kept * first + (1 - kept) * last)
    before = model.get_buffer("average_paint_weight").clone()
    with torch.no_grad():
        drawn = model.eval().draw(4, 0)
        GAN.loss(model, GAN.example(shape, 4, 1))
        for weight in model.generator.parameters():
            weight.zero_()
    assert torch.equal(model.get_buffer("average_paint_weight"), before)
    assert torch.equal(model.draw(4, 0), drawn) and not torch.equal(model.draw(4, 1), drawn)


def test_initialisation_is_a_function_of_the_seed() -> None:
    (same, _), (again, _), (other, _) = built(5_000, seed=1), built(5_000, seed=1), built(5_000, seed=2)
    for name, tensor in same.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])
    assert not torch.equal(same.generator.project.weight, other.generator.project.weight)


def test_maps_keep_their_size_and_outputs_shrink_as_the_rule_says() -> None:
    """Under muP the initial outputs of both players fall as 1 / sqrt(width); what lies between keeps its size."""
    spread, inside = {}, {}
    images = torch.randn(64, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    for width in (8, 128):
        model = GAN.build({**shape_of(9_000), "width": width}, 0, training=MUP)
        assert isinstance(model, Players)
        with torch.no_grad():
            spread[width] = (model(images).std().item(), torch.atanh(model.draw(64, 0)).std().item())
            inside[width] = model.discriminator.features(images).square().mean().sqrt().item()
    assert inside[8] == pytest.approx(inside[128], rel=0.3)
    for small, large in zip(spread[8], spread[128], strict=True):
        assert small / large == pytest.approx(4.0, rel=0.5)


@pytest.mark.parametrize("rule", ["mup", "width", "fixed"])
def test_param_groups_hold_every_parameter_once(rule: str) -> None:
    shape = {**shape_of(9_000), "width": 32, "discriminator_rate": 3.0}
    model = GAN.build(shape, 0, training=MUP)
    groups = GAN.param_groups(model, shape, rule, 16)
    listed = [id(p) for group in groups for p in group.params]
    assert sorted(listed) == sorted(id(p) for p in model.parameters())
    scales = {"mup": (0.5, 1.0, 1.0), "width": (0.5, 0.5, 0.5), "fixed": (1.0, 1.0, 1.0)}[rule]
    assert [group.lr_scale for group in groups] == [*scales, *(3.0 * scale for scale in scales)]
    assert [group.decay for group in groups] == [True, True, False] * 2
    assert not any(group.matrix for group in groups)
    with pytest.raises(ValueError, match="rule"):
        GAN.param_groups(model, shape, "magic", 16)


def train(steps: int) -> list[float]:
    """A short seeded game over squares in one of four corners; returns the loss of every step."""
    model, shape = built(3_400)
    groups = [{"params": g.params, "lr": 0.002 * g.lr_scale} for g in GAN.param_groups(model, shape, "mup", 16)]
    optimizer = torch.optim.AdamW(groups, betas=(0.0, 0.99), weight_decay=0.0)
    rng, losses = np.random.default_rng(0), []
    torch.manual_seed(0)
    model.train()
    for _ in range(steps):
        images = -np.ones((64, 1, 8, 8), np.float32)
        for image, (top, left) in zip(images, rng.integers(0, 2, (64, 2)) * 4, strict=True):
            image[0, top : top + 4, left : left + 4] = 1.0
        loss = GAN.loss(model, {"inputs": torch.from_numpy(images)}).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_golden_loss() -> None:
    """A change that moves this changes what every study measures: raise ``Gan.version`` with it."""
    assert Gan.version == 1
    losses = train(30)
    assert losses[0] == pytest.approx(GOLDEN_FIRST, abs=1e-4)
    assert losses[-1] == pytest.approx(GOLDEN_LAST, abs=2e-3)


GOLDEN_FIRST, GOLDEN_LAST = 2.870501, 1.925913


def digits_run(**training: object) -> RunSpec:
    table = {
        "name": "digits",
        "title": "Digits",
        "model": {"family": "gan"},
        "data": {"source": "digits", "augment": "none"},
        "ladder": {"sizes": [1_400]},
        "training": {"steps": 12, "batch_size": 8, "eval_tokens": 64, "final_eval_tokens": 64, **training},
        "execution": {"precision": "float32", "device": "cpu"},
    }
    return expand(parse_study(table))[0]


def test_a_run_shows_what_it_makes_and_resumes_bit_for_bit(tmp_path: Path) -> None:
    spec, whole = digits_run(eval_every_fraction=0.25), toy.Recorder()
    assert run_one(toy.task(tmp_path / "a", spec), whole, toy.Commands()).state is RunState.FINISHED
    assert run_one(toy.task(tmp_path / "b", spec), toy.Recorder(), toy.StopAfter(7)).state is RunState.INTERRUPTED
    assert run_one(toy.task(tmp_path / "b", spec), toy.Recorder(), toy.Commands()).state is RunState.FINISHED
    assert toy.same_weights(tmp_path / "a", tmp_path / "b")
    names = [sample.content.split("\n")[0] for sample in whole.of(Sample)]
    assert [sample.kind for sample in whole.of(Sample)] == ["image"] * 4
    pictures = [(tmp_path / "a" / "run" / name, tmp_path / "b" / "run" / name) for name in names]
    assert all(one.read_bytes() == other.read_bytes() for one, other in pictures)
    parts = whole.curve("val/generator")[12] + whole.curve("val/discriminator")[12]
    assert parts == pytest.approx(whole.curve("val/loss")[12])
