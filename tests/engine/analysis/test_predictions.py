"""Confusion, reliability, classes and examples of predictions whose answers are known."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from engine.analysis.predictions import (
    Predictions,
    by_class,
    confusion,
    examples,
    read_predictions,
    reliability,
    wilson,
)
from engine.errors import InputError


def six() -> Predictions:
    """Three of a and three of b; one of b is called a, surely."""
    p = [0.9, 0.8, 0.6, 0.2, 0.1, 0.95]
    return Predictions(
        ("a", "b"),
        np.asarray([0, 0, 0, 1, 1, 1]),
        np.stack([p, 1 - np.asarray(p)], axis=1),
        tuple(f"text {i}" for i in range(6)),
        tuple(f"row {i}" for i in range(6)),
    )


def test_confusion_counts_truth_by_prediction() -> None:
    assert confusion(six()).tolist() == [[3, 0], [1, 2]]


def test_classes_agree_with_scikit_learn() -> None:
    from sklearn.metrics import precision_recall_fscore_support

    found = six()
    rows = by_class(found)
    theirs = precision_recall_fscore_support(found.labels, found.predicted)
    ours = np.asarray([[row.precision, row.recall, row.f1, row.n] for row in rows]).T
    assert np.allclose(ours, np.asarray(theirs))
    for row in rows:
        assert row.f1_interval[0] <= row.f1 <= row.f1_interval[1]
        assert row.recall_interval[0] <= row.recall <= row.recall_interval[1]


def test_reliability_holds_every_item_once() -> None:
    bins = reliability(six(), bins=5)
    assert sum(b.n for b in bins) == 6
    top = bins[-1]
    assert (top.low, top.high, top.n) == (0.8, 1.0, 5)
    assert top.accuracy == pytest.approx(4 / 5) and top.confidence == pytest.approx(np.mean([0.9, 0.8, 0.8, 0.9, 0.95]))


def test_examples_begin_with_the_surest_right_and_the_surest_wrong() -> None:
    best, worst = examples(six(), 2)
    assert [e.text for e in best] == ["text 0", "text 4"]
    assert worst[0].text == "text 5" and (worst[0].label, worst[0].predicted) == ("b", "a")
    assert worst[0].p_label == pytest.approx(0.05) and worst[0].p_predicted == pytest.approx(0.95)


def test_wilsons_interval_is_the_published_one() -> None:
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)  # Newcombe 1998, table I
    assert wilson(0, 0) == (0.0, 1.0)


def content(**over: object) -> bytes:
    given = {"classes": ["a", "b"], "labels": [0], "probabilities": [[1, 0]], "texts": ["t"], "origins": ["o"]}
    return msgspec.json.encode(given | over)


@pytest.mark.parametrize(
    "damaged", [b"{", content(labels=[3]), content(probabilities=[[1]]), content(texts=[]), content(classes=None)]
)
def test_a_damaged_file_is_one_sentence(tmp_path: Path, damaged: bytes) -> None:
    file = tmp_path / "predictions.json"
    file.write_bytes(content())
    assert read_predictions(file).texts == ("t",)
    file.write_bytes(damaged)
    with pytest.raises(InputError, match="holds no predictions"):
        read_predictions(file)
