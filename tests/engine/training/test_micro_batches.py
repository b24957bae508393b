"""The gradient of micro-batches is that of the whole batch, however many targets each row has."""

import json
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from engine.expand import expand
from engine.families import families
from engine.study import RunSpec
from engine.training.batches import micro_batches
from tests.engine.adapting.compression.models import model_of, spec_of
from tests.engine.small_bases import bert_folder, rows, study, table

ROWS, PART = 6, 2
EXACT = 1e-6
LEFT_OUT = -100
TOKENS = ("gpt", "rnn", "seq2seq", "wavenet")
PLAIN = ("cnn", "vit", "mlp")
Batch = Mapping[str, NDArray[Any]]


def example(spec: RunSpec) -> dict[str, NDArray[Any]]:
    torch.manual_seed(1)
    batch = families[spec.family].example(spec.shape, ROWS, spec.training.context)
    return {name: tensor.numpy() for name, tensor in batch.items()}


def unequal(targets: NDArray[Any], left_out: float) -> NDArray[Any]:
    """Of the first part all targets, of the second those of a few places, of the last none."""
    found = targets.copy()
    found[PART : 2 * PART, 3:] = left_out
    found[2 * PART :] = left_out
    return found


def gradients(spec: RunSpec, model: torch.nn.Module, parts: list[tuple[float, Batch]]) -> tuple[float, torch.Tensor]:
    total = 0.0
    for share, part in parts:
        given = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in part.items()}
        loss = families[spec.family].loss(model, given).loss * share
        torch.autograd.backward(loss)
        total += float(loss.detach())
    found = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    model.zero_grad(set_to_none=True)
    return total, found


def agree(spec: RunSpec, model: torch.nn.Module, batch: Batch) -> list[float]:
    """Compare; returns the shares of the parts."""
    family = families[spec.family]
    parts = list(micro_batches(family, spec.shape, batch, PART))
    whole, gradient = gradients(spec, model, [(1.0, batch)])
    added, of_parts = gradients(spec, model, parts)
    assert added == pytest.approx(whole, rel=EXACT)
    assert float((of_parts - gradient).abs().max()) < EXACT * max(1.0, float(gradient.abs().max()))
    assert sum(share for share, _ in parts) == pytest.approx(1)
    return [share for share, _ in parts]


@pytest.mark.parametrize("kind", [*TOKENS, "gpt-vectors"])
def test_targets_that_are_left_out_count_nothing(kind: str) -> None:
    spec = spec_of(kind)
    batch = example(spec)
    batch["targets"] = unequal(batch["targets"], np.nan if kind == "gpt-vectors" else LEFT_OUT)
    first, second = agree(spec, model_of(spec), batch)
    assert first > 3 * second > 0


@pytest.mark.parametrize("kind", [*PLAIN, "clip"])
def test_rows_count_alike_where_each_has_one_answer(kind: str) -> None:
    spec = spec_of(kind)
    if kind == "clip":
        spec = msgspec.structs.replace(spec, shape={**spec.shape, "compared": PART})
    assert agree(spec, model_of(spec), example(spec)) == pytest.approx([1 / 3] * 3)


@pytest.mark.parametrize("kind", ["bert", "vit-masked"])
def test_rows_count_alike_where_as_many_places_of_each_are_hidden(kind: str) -> None:
    spec = spec_of(kind)
    batch = example(spec)
    if "targets" in batch and batch["targets"].ndim > 1 and batch["targets"].dtype.kind == "i":
        batch["targets"] = unequal(batch["targets"], LEFT_OUT)  # what comes next is not what is asked
    shares = [share for share, _ in micro_batches(families[spec.family], spec.shape, batch, PART)]
    assert shares == pytest.approx([1 / 3] * 3)


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> RunSpec:
    """A fine-tuning in which rare classes weigh more."""
    folder = tmp_path_factory.mktemp("base")
    given = [row for place, row in enumerate(rows(90)) if place % 3 == 0 or place % 7 == 0]
    return expand(study(bert_folder(folder / "bert"), table(folder / "rows.csv", given), class_weights="balanced"))[0]


def test_the_weights_of_classes_count(spec: RunSpec) -> None:
    weights = json.loads(str(spec.shape["class_weights"]))
    assert len(set(weights)) > 1
    batch = example(spec)
    batch["targets"] = np.array([0, 0, 1, 1, 2, 2])
    shares = agree(spec, families["fine-tuned"].build(spec.shape, 0).eval(), batch)
    assert shares == pytest.approx([weight / sum(weights) for weight in weights])


def test_a_batch_of_one_part_is_left_as_it_is() -> None:
    spec = spec_of("gpt")
    batch = example(spec)
    ((share, part),) = micro_batches(families["gpt"], spec.shape, batch, ROWS)
    assert share == 1.0 and part is batch


def test_a_batch_that_counts_nothing_is_given_whole_with_no_share() -> None:
    spec = spec_of("gpt")
    batch = example(spec)
    batch["targets"] = np.full_like(batch["targets"], LEFT_OUT)
    parts = list(micro_batches(families["gpt"], spec.shape, batch, PART))
    assert [share for share, _ in parts] == [0.0] * 3
