"""Parities: right, as frequent as they should be, split by subtask and string, batches a function of seed and step."""

import numpy as np
import pytest

from engine.errors import StudyError
from engine.sources.sparse_parity import SparseParity, SparseParityItems, SparseParitySpec

SMALL = SparseParitySpec(subtasks=5, bits=10, relevant=3, alpha=0.5)


def test_answers_are_parities_of_the_subtasks_bits() -> None:
    data = SparseParityItems(SMALL)
    assert len({tuple(subset) for subset in data.subsets}) == 5
    for split in ("train", "validation", "ood"):
        for item in data.items(split, 100):
            assert item[-1] == item[1 + data.subsets[item[0]]].sum() % 2


def test_subtasks_come_by_the_power_of_their_rank() -> None:
    data = SparseParityItems(SMALL)
    assert data.frequency.sum() == pytest.approx(1.0)
    assert data.frequency[0] / data.frequency[3] == pytest.approx(4**1.5)
    drawn = np.bincount(data.draw("train", np.random.default_rng(0), 50_000)[:, 0], minlength=5) / 50_000
    assert np.abs(drawn - data.frequency).max() < 4 * 0.5 / 50_000**0.5


def test_the_vector_names_the_subtask_and_gives_the_bits() -> None:
    data = SparseParityItems(SMALL)
    items = data.items("train", 64)
    batch = data.batch(items, 1)
    assert batch["inputs"].shape == (64, *SparseParity().shape(SMALL).sample_shape)
    assert batch["inputs"].dtype == np.float32
    assert (batch["inputs"][:, :5].argmax(1) == items[:, 0]).all() and (batch["inputs"][:, :5].sum(1) == 1).all()
    assert ((batch["inputs"][:, 5:] > 0) == items[:, 1:-1]).all() and set(np.unique(batch["inputs"][:, 5:])) == {-1, 1}
    assert (batch["targets"] == items[:, -1]).all()
    with pytest.raises(TypeError):
        data.decode(batch["inputs"][0])


def test_no_question_is_in_two_splits() -> None:
    """All 5 x 1,024 questions: each is in one split, counts are as said, and what is trained on stays in training."""
    data = SparseParityItems(SMALL)
    strings = np.arange(1024)[:, None] >> np.arange(10) & 1
    every = data.answered(np.repeat(np.arange(5), 1024), np.tile(strings, (5, 1)).astype(np.int8))
    split = data.split_of(every)
    assert (split == 2).sum() == data.n_items("ood") == 5 * 112
    assert (split == 1).mean() == pytest.approx(0.05, abs=0.015)
    place = {tuple(item[:-1]): where for item, where in zip(every.tolist(), split.tolist(), strict=True)}
    for number, name in enumerate(("train", "validation", "ood")):
        items = data.draw(name, np.random.default_rng(1), 2_000)
        assert {place[tuple(item[:-1])] for item in items.tolist()} == {number}
        balanced = data.balanced(name, 50)
        assert {place[tuple(item[:-1])] for item in balanced.tolist()} == {number}
        assert (balanced[:, 0] == np.repeat(np.arange(5), 50)).all()


def test_a_batch_is_a_function_of_seed_and_step() -> None:
    one, two = SparseParityItems(SMALL), SparseParityItems(SMALL)
    for step, seed in ((0, 0), (7, 0), (7, 1)):
        a, b = one.train_batch(step, 32, 1, seed), two.train_batch(step, 32, 1, seed)
        assert all((a[name] == b[name]).all() for name in a)
    assert (one.train_batch(0, 32, 1, 0)["inputs"] != one.train_batch(0, 32, 1, 1)["inputs"]).any()
    assert (one.balanced("validation", 20) == two.balanced("validation", 20)).all()
    other = SparseParityItems(SparseParitySpec(subtasks=5, bits=10, draw=1))
    assert other.fingerprint != one.fingerprint and (other.subsets != one.subsets).any()


def test_too_many_subtasks_name_the_field() -> None:
    with pytest.raises(StudyError, match=r"data\.subtasks"):
        SparseParityItems(SparseParitySpec(subtasks=9, bits=8, relevant=1))
