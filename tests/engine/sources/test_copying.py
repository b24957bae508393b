"""Copying: what its items are, that splits share none, and items of a chosen distance, of induction too."""

import numpy as np
import pytest

from engine.sources import sources
from engine.sources.copying import CopyingItems, CopyingSpec, HeldOutCopies
from engine.sources.induction import InductionItems, InductionSpec

DATA = CopyingItems(CopyingSpec())


def test_items_are_a_string_twice() -> None:
    items = DATA.items("train", 2_000)
    distances = DATA.distances(items)
    counts = np.bincount(distances)[4:]
    assert len(counts) == 13 and counts.min() > 50
    assert counts[:4].sum() / counts[4:12].sum() == pytest.approx(np.log(8 / 4) / np.log(16 / 8), abs=0.15)
    for item, distance in zip(items[:200], distances[:200], strict=True):
        text = DATA.decode(item)
        first, second, rest = text[:distance], text[distance : 2 * distance], text[2 * distance :]
        assert first == second and first[0] == ":" and set(first[1:]) <= set("abcdefgh") and set(rest) <= {"."}
    assert set(DATA.distances(DATA.items("ood", 500)).tolist()) == {17, 18, 19, 20}


def test_letters_are_even_and_do_not_depend_on_their_place() -> None:
    items = DATA.items("train", 20_000)
    long = items[DATA.distances(items) >= 12][:, 1:12]
    shares = np.stack([(long == letter).mean(axis=0) for letter in range(8)])
    assert np.abs(shares - 1 / 8).max() < 0.02


def test_splits_share_no_string() -> None:
    strings = {split: {item.tobytes() for item in DATA.items(split, 5_000)} for split in ("train", "validation", "ood")}
    assert not strings["train"] & strings["validation"] and not strings["train"] & strings["ood"]
    trained = DATA.train_batch(3, 64, DATA.item_length - 1, 0)
    assert (trained["targets"] >= 0).any(axis=1).all()
    assert not {item.tobytes() for item in DATA.items("validation", 5_000)[:, :-1]} & {
        row.tobytes() for row in trained["inputs"]
    }


def test_only_what_follows_the_second_marker_is_scored() -> None:
    batch = DATA.train_batch(0, 8, DATA.item_length - 1, 0)
    for inputs, targets in zip(batch["inputs"], batch["targets"], strict=True):
        scored = np.flatnonzero(targets >= 0)
        string = DATA.decode(targets[scored])
        assert DATA.decode(inputs[: scored[0] + 1]) == f":{string}:"
        assert (np.diff(scored) == 1).all()


@pytest.mark.parametrize("data", [DATA, InductionItems(InductionSpec())], ids=["copying", "induction"])
def test_copies_at_a_distance_are_held_out_different_and_end_the_item(data: CopyingItems | InductionItems) -> None:
    assert isinstance(data, HeldOutCopies)
    found = data.copies(16, 300)
    assert found is not None
    items, n_copied, n_kinds = found
    assert len(items) == 300 == len(np.unique(items, axis=0))
    assert (items[:, -n_copied:] == items[:, -n_copied - 16 : -16]).all() and n_kinds > 1
    whole = np.pad(
        items, ((0, 0), (0, data.item_length - items.shape[1])), constant_values=data.vocabulary.__len__() - 1
    )
    assert (data.split_of(whole) == 1).all()
    again = data.copies(16, 300)
    assert again is not None and np.array_equal(again[0], items)
    assert data.copies(3, 10) is None and data.copies(64, 10) is None


def test_short_strings_are_few_and_each_is_asked_once() -> None:
    found = DATA.copies(4, 512)
    assert found is not None
    assert 10 <= len(found[0]) == len(np.unique(found[0], axis=0)) <= 50, "5 % of 8 ** 3"


def test_it_says_that_it_is_made_and_shows_examples() -> None:
    source = sources["copying"]
    assert source.procedural and len(source.preview(source.Spec(), 3)) == 9
    assert source.shape(source.Spec()).min_context == DATA.item_length - 1
