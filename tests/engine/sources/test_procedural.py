"""What holds for every procedural source: pure batches, splits that share nothing, only answers scored, speed."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.errors import StudyError
from engine.expand import expand
from engine.sources import sources
from engine.sources._procedural import IGNORED, Listed, Procedural, Stream, hash_rows
from engine.study import parse_study

NAMES = ("addition", "random-facts", "induction", "modular-arithmetic", "sorting", "formal-language")
RECALLED = ("random-facts",)
"""Sources of which what was trained on is what is asked."""
MIN_ITEMS_PER_SECOND = 20_000
"""Ten times what the smallest model of a study takes on one core."""


def prepared(name: str, **spec: Any) -> Any:
    source = sources[name]
    return source.prepare(source.Spec(**spec), Path(), lambda step, fraction: None)


@pytest.fixture(params=NAMES)
def data(request: pytest.FixtureRequest) -> Procedural:
    return prepared(request.param)


def questions(data: Procedural, items: Any) -> set[bytes]:
    """Questions of items as the source tells them apart."""
    if isinstance(data, Stream):
        return {key.tobytes() for key in data.key(items)}
    return {item[: data.item_length - data.answer_length].tobytes() for item in items}


def test_it_says_that_it_is_made(data: Procedural) -> None:
    assert sources[data.task].procedural
    assert data.fingerprint != prepared(data.task, **other_setting(data.task)).fingerprint
    assert any("program" in note for note in data.report.notes)


def other_setting(name: str) -> dict[str, Any]:
    settings: dict[str, dict[str, Any]] = {
        "addition": {"digits": 2},
        "random-facts": {"facts": 500},
        "induction": {"segment": 8},
        "modular-arithmetic": {"fraction": 0.4},
        "sorting": {"task": "reverse"},
        "formal-language": {"kinds": 3},
    }
    return settings[name]


def test_a_batch_is_a_pure_function_of_seed_and_step(data: Procedural) -> None:
    context = data.item_length - 1
    one, again = data.train_batch(5, 32, context, 3), prepared(data.task).train_batch(5, 32, context, 3)
    assert one["inputs"].dtype == one["targets"].dtype == np.int64
    assert one["inputs"].shape == one["targets"].shape == (32, context)
    for name in one:
        assert (one[name] == again[name]).all()
    assert (one["inputs"] != data.train_batch(6, 32, context, 3)["inputs"]).any()
    assert (one["inputs"] != data.train_batch(5, 32, context, 4)["inputs"]).any()


def test_splits_share_no_question(data: Procedural) -> None:
    parts = {split: questions(data, data.items(split, 3_000)) for split in ("train", "validation", "ood")}
    assert all(len(part) > 50 for split, part in parts.items() if split != "ood" or data.n_items("train") == 0)
    for step in range(50):
        batch = data.draw("train", np.random.default_rng(step), 200)
        parts["train"] |= questions(data, batch)
    if data.task in RECALLED:
        parts["validation"] = set()
    assert not parts["train"] & parts["validation"]
    assert not parts["train"] & parts["ood"]
    assert not parts["validation"] & parts["ood"]


def test_held_out_items_are_the_same_every_time(data: Procedural) -> None:
    assert (data.items("validation", 100) == prepared(data.task).items("validation", 100)).all()
    first, second = (list(data.validation_batches(7, data.item_length + 3, 2_000)) for _ in range(2))
    assert all((a["inputs"] == b["inputs"]).all() for a, b in zip(first, second, strict=True))
    assert sum(len(batch["inputs"]) for batch in first) <= 2_000 // (data.item_length + 3)


def test_only_answers_are_scored_and_a_longer_context_is_padded(data: Procedural) -> None:
    items = data.items("train", 20)
    batch = data.batch(items, data.item_length + 4)
    scored = batch["targets"] != IGNORED
    assert (scored.sum(axis=1) == data.scored(items)[:, 1:].sum(axis=1)).all() and scored.any()
    shifted = np.zeros_like(batch["targets"])
    shifted[:, : data.item_length - 1] = items[:, 1:]
    assert (batch["targets"][scored] == shifted[scored]).all()
    assert (batch["targets"][:, data.item_length - 1 :] == IGNORED).all()


def test_its_shape_is_known_in_advance(data: Procedural) -> None:
    source = sources[data.task]
    shape = source.shape(source.Spec())
    items = np.concatenate([data.items(split, 500) for split in ("train", "validation", "ood")])
    assert shape.vocab_size == len(data.vocabulary) > items.max() and items.min() >= 0
    assert shape.min_context == data.item_length - 1 == items.shape[1] - 1
    assert shape.n_train_items == (data.n_items("train") if isinstance(data, Listed) else 0)


def test_items_can_be_read(data: Procedural) -> None:
    for example in sources[data.task].preview(sources[data.task].Spec(), 2):
        assert example["origin"] in ("train", "validation", "ood") and example["text"]


def test_it_never_starves_training(data: Procedural) -> None:
    context, n, start = data.item_length - 1, 0, time.process_time()
    while time.process_time() - start < 0.2:
        data.train_batch(n, 128, context, 0)
        n += 1
    assert n * 128 / (time.process_time() - start) > MIN_ITEMS_PER_SECOND


def study(name: str, **training: Any) -> Any:
    return parse_study(
        {
            "name": "x",
            "title": "x",
            "model": {"family": "gpt", "d_model": 16},
            "data": {"source": name},
            "ladder": {"sizes": [7_000]},
            "training": {"steps": 10, "context": 64} | training,
        }
    )


def test_a_context_that_is_too_short_is_refused_before_anything_runs(data: Procedural) -> None:
    with pytest.raises(StudyError, match=r"training\.context: one item"):
        expand(study(data.task, context=data.item_length - 2))
    assert expand(study(data.task, context=data.item_length - 1))


def test_a_batch_of_all_needs_a_source_that_lists_its_items() -> None:
    with pytest.raises(StudyError, match=r"training\.batch_size: 0"):
        expand(study("addition", batch_size=0))


def test_hashes_are_spread_and_the_same_on_every_machine() -> None:
    rows = np.random.default_rng(0).integers(0, 5, (100_000, 9))
    unique = np.unique(rows, axis=0)
    hashes = hash_rows(unique)
    assert len(np.unique(hashes)) == len(unique)
    shares = np.bincount((hashes >> np.uint64(60)).astype(int), minlength=16) / len(hashes)
    assert np.abs(shares - 1 / 16).max() < 5 * (1 / 16 / len(hashes)) ** 0.5
    assert int(hash_rows(np.array([[1, 2, 3]]))[0]) == KNOWN_HASH


KNOWN_HASH = 15965851864915986419
