"""Family ``wavenet``: counts, the dial, causality, conditions, generation with queues, the rule, a golden loss."""

import math

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from engine.errors import StudyError
from engine.families import families
from engine.families._wavenet import Wave
from engine.families._wavenet_samples import Player, generate
from engine.families.base import DataShape, TrainingHints
from engine.families.wavenet import Wavenet, WavenetSpec, non_embedding

WAVENET = families["wavenet"]
SOUND = DataShape("audio", vocab_size=256, n_classes=3)
MUP = TrainingHints("mup", 16)


def shape_of(size: int, data: DataShape = SOUND, **spec: object) -> dict:
    return WAVENET.resolve(WavenetSpec(**spec), size, data, 64)


def built(size: int = 3_300, seed: int = 0, **spec: object) -> tuple[Wave, dict]:
    shape = shape_of(size, **spec)
    model = WAVENET.build(shape, seed, training=MUP)
    assert isinstance(model, Wave)
    return model, shape


def shaken(model: Wave) -> Wave:
    """Every parameter away from what it began with, so that biases and conditions matter."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn(p.shape, generator=generator) * 0.1)
    return model


def levels(batch: int = 3, t: int = 64, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, (batch, t), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("spec", [{}, {"dilations": 10, "cycles": 3}, {"dilations": 1}])
def test_dial_is_monotonic_and_close_at_any_size(spec: dict) -> None:
    previous, n_layers = 0, WavenetSpec(**spec).dilations * WavenetSpec(**spec).cycles
    for size in np.geomspace(1_000, 1e9, 60).astype(int):
        channels = int(shape_of(int(size), **spec)["channels"])
        n = non_embedding(channels, n_layers)
        assert n >= previous
        beside = [non_embedding(c, n_layers) for c in (channels - 1, channels + 1) if c]
        assert abs(math.log(n / size)) <= min(abs(math.log(other / size)) for other in beside)
        previous = n


def test_what_cannot_be_met_names_the_field() -> None:
    with pytest.raises(StudyError, match=r"ladder\.sizes"):
        shape_of(20)
    with pytest.raises(StudyError, match="data"):
        shape_of(3_000, DataShape("audio"))


@pytest.mark.parametrize("data", [SOUND, DataShape("audio", vocab_size=256)], ids=["conditions", "none"])
@pytest.mark.parametrize(("size", "spec"), [(800, {}), (13_000, {"cycles": 2}), (200_000, {"dilations": 4})])
def test_counts_agree_with_torch(size: int, spec: dict, data: DataShape) -> None:
    shape = shape_of(size, data, **spec)
    counts = WAVENET.counts(shape, 64)
    model, batch = WAVENET.build(shape, 0, training=MUP), WAVENET.example(shape, 4, 64)
    assert ("condition" in batch) == (data.n_classes > 0)
    assert counts.n_params == sum(p.numel() for p in model.parameters())
    tables = [p for name, p in model.named_parameters() if name.rpartition(".")[2] in _TABLES]
    assert counts.n_params_non_embedding == counts.n_params - sum(p.numel() for p in tables)
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    with FlopCounterMode(display=False) as counter, torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        WAVENET.loss(model, batch).loss.backward()
    assert counter.get_total_flops() / (4 * 64) == pytest.approx(counts.flops_per_token, rel=1e-12)
    measured = sum(t.untyped_storage().nbytes() for key, t in kept.items() if key not in weights) / (4 * 64)
    assert counts.activation_bytes_per_token == pytest.approx(measured, rel=0.02)


_TABLES = ("embedding", "output", "output_bias", "condition")


def test_it_hears_nothing_later_and_as_far_back_as_its_dilations() -> None:
    model, _ = built(dilations=5)
    shaken(model)
    x = levels(1)
    changed = x.clone()
    changed[0, 20] = (changed[0, 20] + 100) % 256
    moved = (model(x) - model(changed)).abs().amax(dim=-1)[0] > 0
    assert not moved[:20].any() and moved[20] and moved[20 + 31] and not moved[20 + 32 :].any()


def test_conditions_change_what_is_said_and_none_is_none() -> None:
    model, _ = built()
    x = levels()
    zero = torch.zeros(3, dtype=torch.int64)
    assert torch.equal(model(x, zero), model(x)), "conditions begin at 0"
    shaken(model)
    one, other = model(x, zero), model(x, zero + 1)
    assert not torch.allclose(one, other) and not torch.allclose(one, model(x))
    mixed = model(x, torch.tensor([0, 1, 0]))
    torch.testing.assert_close(mixed[0], one[0])
    torch.testing.assert_close(mixed[1], other[1])


def test_loss_leaves_out_what_is_not_scored() -> None:
    model, shape = built()
    batch = WAVENET.example(shape, 3, 64)
    targets = batch["targets"].clone()
    targets[:, 40:] = -100
    logits = model(batch["inputs"], batch["condition"])[:, :40]
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets[:, :40].flatten())
    torch.testing.assert_close(WAVENET.loss(model, batch | {"targets": targets}).loss, expected)
    assert WAVENET.loss_unit(shape) == "nats per sample"


@pytest.mark.parametrize("condition", [None, [2, 0]])
def test_generation_with_queues_says_what_the_network_says(condition: list[int] | None) -> None:
    model, _ = built(cycles=2, dilations=4)
    shaken(model)
    x = levels(2, 80)
    given = None if condition is None else torch.tensor(condition)
    with torch.no_grad():
        expected = model(x, given).numpy()
    player = Player(model, None if condition is None else np.array(condition), 2)
    made = np.stack([player.scores(x[:, t].numpy()).T for t in range(80)], axis=1)
    np.testing.assert_allclose(made, expected, atol=2e-5)


def test_what_is_generated_is_a_function_of_the_seed_and_drawn_as_the_model_says() -> None:
    model, _ = built()
    one, again, other = (generate(model, None, 2, 300, seed) for seed in (1, 1, 2))
    assert one.shape == (2, 300) and one.dtype == np.uint8
    assert (one == again).all() and (one != other).any()
    with torch.no_grad():  # two levels, three to one, whatever came before
        model.output.zero_()
        model.output_bias.fill_(-100)
        model.output_bias[:2] = torch.log(torch.tensor([3.0, 1.0]))
    drawn = generate(model, None, 10, 400, 0)
    assert set(np.unique(drawn)) == {0, 1} and (drawn == 0).mean() == pytest.approx(0.75, abs=0.03)


def test_features_are_one_vector_per_sample_and_gradients_reach_the_embedding() -> None:
    model, _ = built()
    features = WAVENET.features(model, levels())
    assert features is not None and features.shape == (3, model.channels)
    torch.testing.assert_close(features[1:2], WAVENET.features(model, levels()[1:2]))
    features.sum().backward()
    assert model.embedding.grad is not None and model.embedding.grad.abs().sum() > 0


def test_initialisation_is_a_function_of_the_seed_and_neighbouring_levels_are_alike() -> None:
    (same, _), (again, _), (other, _) = built(seed=1), built(seed=1), built(seed=2)
    for a, b in zip(same.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(same.embedding, other.embedding)
    assert not torch.equal(same.output, other.output)
    wide, _ = built(200_000)
    steps = wide.embedding[1:] - wide.embedding[:-1]
    assert steps.square().mean() < 0.01 * wide.embedding.square().mean()


@pytest.mark.parametrize("rule", ["mup", "width", "fixed"])
def test_param_groups_hold_every_parameter_once(rule: str) -> None:
    model, shape = built()
    shape = {**shape, "channels": 32}
    groups = WAVENET.param_groups(model, shape, rule, 16)
    listed = [id(p) for group in groups for p in group.params]
    assert sorted(listed) == sorted(id(p) for p in model.parameters())
    scales = {"mup": (0.5, 1.0, 1.0), "width": (0.5, 0.5, 0.5), "fixed": (1.0, 1.0, 1.0)}[rule]
    assert tuple(group.lr_scale for group in groups) == scales
    assert [group.matrix for group in groups] == [True, False, False]
    assert [group.decay for group in groups] == [True, True, False]
    assert all(p.shape[-1] == model.channels and p.ndim == 2 for p in groups[0].params)
    with pytest.raises(ValueError, match="rule"):
        WAVENET.param_groups(model, shape, "magic", 16)


def train(shape: dict, rate: float, steps: int) -> list[float]:
    """A short seeded run on two tones, told apart by their condition; returns the loss of every step."""
    model = WAVENET.build(shape, 0, training=MUP)
    groups = [{"params": g.params, "lr": rate * g.lr_scale} for g in WAVENET.param_groups(model, shape, "mup", 16)]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
    order, losses = np.random.default_rng(0), []
    for _ in range(steps):
        condition = order.integers(0, 2, 4)
        phase = order.uniform(0, 6, (4, 1)) + np.arange(129) * (0.2 + 0.3 * condition[:, None])
        wave = torch.from_numpy(np.rint(128 + 100 * np.sin(phase)).astype(np.int64))
        batch = {"inputs": wave[:, :-1], "targets": wave[:, 1:], "condition": torch.from_numpy(condition)}
        loss = WAVENET.loss(model, batch).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_golden_loss() -> None:
    """A change that moves this changes what every study measures: raise ``Wavenet.version`` with it."""
    assert Wavenet.version == 1
    losses = train(shape_of(3_300), 0.02, 30)
    assert losses[0] == pytest.approx(GOLDEN_FIRST, abs=1e-4)
    assert losses[-1] == pytest.approx(GOLDEN_LAST, abs=5e-3)


GOLDEN_FIRST, GOLDEN_LAST = 5.552981, 3.624326


def test_best_rate_carries_from_8_to_64_channels() -> None:
    """muP: the best of rates a factor of two apart is the same, or a neighbour, at eight times the width."""
    rates = [0.005, 0.01, 0.02, 0.04, 0.08, 0.16]
    best = {}
    for channels in (8, 64):
        shape = {**shape_of(3_300, dilations=5), "channels": channels}
        best[channels] = rates[int(np.argmin([np.mean(train(shape, rate, 40)[-10:]) for rate in rates]))]
    assert 0.5 <= best[64] / best[8] <= 2
