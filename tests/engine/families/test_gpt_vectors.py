"""Family ``gpt-vectors``: counts, the loss with places left out, causality, a golden loss."""

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from engine.errors import StudyError
from engine.families import families
from engine.families._vector_decoder import VectorDecoder, masked_square_error
from engine.families.base import DataShape, TrainingHints
from engine.families.gpt import GptSpec
from engine.families.gpt_vectors import GptVectors
from engine.sources.linear_regression import LinearPrompts, LinearRegression, LinearRegressionSpec

FAMILY = families["gpt-vectors"]
DATA = LinearRegression().shape(LinearRegressionSpec())
MUP = TrainingHints("mup", 32)


def shape_of(size: int, **spec: object) -> dict:
    return FAMILY.resolve(GptSpec(**spec), size, DATA, DATA.fixed_context)


def built(size: int = 7_000, seed: int = 0, **spec: object) -> VectorDecoder:
    model = FAMILY.build(shape_of(size, **spec), seed, training=MUP)
    assert isinstance(model, VectorDecoder)
    return model


def test_sizes_at_one_width_are_depths() -> None:
    assert [shape_of(size, d_model=64)["n_layers"] for size in (49_000, 98_000, 147_000)] == [1, 2, 3]


@pytest.mark.parametrize("size", [2_000, 27_000, 150_000])
def test_counts_agree_with_torch(size: int) -> None:
    shape = shape_of(size)
    counts = FAMILY.counts(shape, 25)
    model = built(size).configure(attention="written")
    ends = model.input_embedding.numel() + model.output_embedding.numel()
    assert counts.n_params == sum(p.numel() for p in model.parameters()) == counts.n_params_non_embedding + ends
    with FlopCounterMode(display=False) as counter:
        FAMILY.loss(model, FAMILY.example(shape, 3, 25)).loss.backward()
    assert counter.get_total_flops() / 75 == counts.flops_per_token


def test_places_without_a_target_are_left_out() -> None:
    predicted = torch.tensor([[[1.0], [5.0], [3.0]]], requires_grad=True)
    loss = masked_square_error(predicted, torch.tensor([[[0.0], [float("nan")], [5.0]]]))
    loss.backward()
    assert loss.item() == pytest.approx(2.5)
    assert predicted.grad is not None and predicted.grad.flatten().tolist() == [1.0, 0.0, -2.0]


def test_predictions_do_not_see_what_follows() -> None:
    model, x = built(), FAMILY.example(shape_of(7_000), 2, 25)["inputs"]
    changed = x.clone()
    changed[:, 10:] = 0
    torch.testing.assert_close(model(changed)[:, :10], model(x)[:, :10], atol=1e-5, rtol=1e-4)
    assert model(x).shape == (2, 25, 1)


def test_every_parameter_is_in_one_group_and_the_ends_are_no_matrices() -> None:
    model = built()
    groups = FAMILY.param_groups(model, model.shape, "mup", 32)
    assert sorted(id(p) for g in groups for p in g.params) == sorted(id(p) for p in model.parameters())
    assert {id(model.input_embedding), id(model.output_embedding)} == {id(p) for p in groups[1].params}


def test_what_it_cannot_do_is_one_sentence() -> None:
    with pytest.raises(StudyError, match="data"):
        FAMILY.resolve(GptSpec(), 7_000, DataShape("vectors", n_classes=2, sample_shape=(9,)), 1)


def test_golden_loss() -> None:
    """A change that moves this changes what every study measures: raise ``GptVectors.version`` with it."""
    assert GptVectors.version == 1
    data, model = LinearPrompts(LinearRegressionSpec()), built().configure(attention="written")
    groups = [{"params": g.params, "lr": 0.01 * g.lr_scale} for g in FAMILY.param_groups(model, model.shape, "mup", 32)]
    optimizer, losses = torch.optim.AdamW(groups, betas=(0.9, 0.95), fused=True), []
    for step in range(20):
        batch = {name: torch.from_numpy(array) for name, array in data.train_batch(step, 16, 25, 0).items()}
        loss = FAMILY.loss(model, batch).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(GOLDEN_FIRST, abs=1e-4)
    assert np.mean(losses[-5:]) == pytest.approx(GOLDEN_LAST, abs=2e-3)


GOLDEN_FIRST, GOLDEN_LAST = 1.178108, 0.989135
