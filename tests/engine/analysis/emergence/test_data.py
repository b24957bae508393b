"""Tables become curves: kinds by name, runs by seed, orientation, and one sentence for what cannot be used."""

import numpy as np
import pytest

from engine.analysis.emergence import judge, observations
from engine.analysis.emergence.data import MOST_RUNS, MOST_SIZES, curves
from engine.analysis.emergence.names import counts_items, falls_with_ability, kind_of
from engine.errors import InputError


@pytest.mark.parametrize(
    ("name", "kind", "falls", "share"),
    [
        ("exact_match", "threshold", False, True),
        ("Exact Match", "threshold", False, True),
        ("em", "threshold", False, True),
        ("exactMatch", "threshold", False, True),
        ("accuracy", "unknown", False, True),
        ("token_accuracy", "continuous", False, True),
        ("per-token accuracy", "continuous", False, True),
        ("digit_accuracy", "continuous", False, True),
        ("log_likelihood", "continuous", False, False),
        ("brier_score", "continuous", True, False),
        ("token_edit_distance", "continuous", True, False),
        ("val_loss", "continuous", True, False),
        ("perplexity", "continuous", True, False),
        ("error", "unknown", True, True),
    ],
)
def test_kinds_by_name(name: str, kind: str, falls: bool, share: bool) -> None:
    assert (kind_of(name), falls_with_ability(name), counts_items(name)) == (kind, falls, share)


def test_runs_of_one_size_and_seed_are_joined_and_near_sizes_are_one() -> None:
    table = observations([1000, 1002, 1000, 5000], [0.2, 0.4, 0.6, 0.9], [10, 10, 30, 10], seed=[0, 1, 0, 0])
    curve = curves(table)["score"]
    assert curve.n_sizes == 2 and curve.noise == "binomial"
    assert curve.y[0].tolist() == pytest.approx([0.5, 0.4]) and curve.n[0].tolist() == [40, 10]
    assert curve.runs.tolist() == [[True, True], [True, False]]


def test_right_or_wrong_by_item_without_n_is_binomial() -> None:
    rng = np.random.default_rng(0)
    size = np.repeat([1e3, 1e4], 500)
    curve = curves(observations(size, (rng.random(1000) < 0.3).astype(float)))["score"]
    assert curve.noise == "binomial" and curve.n.tolist() == [[500.0], [500.0]]


def test_many_sizes_and_many_runs_are_bounded() -> None:
    rng = np.random.default_rng(0)
    curve = curves(observations(rng.uniform(1e3, 1e6, 30_000), rng.random(30_000)))["score"]
    assert curve.n_sizes <= MOST_SIZES and curve.y.shape[1] <= MOST_RUNS


def test_scores_that_fall_with_ability_are_turned_round_and_given_back_as_they_were() -> None:
    size = np.geomspace(1e3, 1e5, 6)
    loss = curves(observations(size, np.linspace(4, 1, 6), metric="loss"))["loss"]
    assert loss.noise == "gaussian" and loss.mean[0] == 0 and loss.mean[-1] == 1
    assert (loss.score(0.0), loss.score(1.0)) == pytest.approx((4, 1)) and not loss.mirrored
    error = curves(observations(size, np.linspace(0.9, 0.1, 6), 100, "error"))["error"]
    assert error.noise == "binomial" and error.mean[0] == pytest.approx(0.1) and error.score(0.1) == pytest.approx(0.9)


def test_chance_is_a_floor_unless_scores_lie_under_it() -> None:
    size = np.geomspace(1e3, 1e5, 6)
    at = curves(observations(size, [0.24, 0.26, 0.3, 0.5, 0.7, 0.9], 100), chance={"score": 0.25})
    under = curves(observations(size, [0.0, 0.0, 0.3, 0.5, 0.7, 0.9], 100), chance={"score": 0.25})
    assert (at["score"].low, under["score"].low) == (0.25, 0.0)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"size": [1e3, 0.0, 1e5]}, "Row 2, column size: 0"),
        ({"size": [1e3, -5.0, 1e5]}, "Row 2, column size: -5"),
        ({"score": [0.1, float("inf"), 0.3]}, "Row 2, column score"),
        ({"n": [100, 0, 100]}, "Row 2, column n"),
        ({"score": [10.0, 50.0, 90.0], "metric": "exact_match"}, "between 0 and 1"),
        ({"size": [], "score": [], "n": None}, "no rows"),
        ({"continuous": "brier"}, "no metric 'brier'"),
        ({"chance": 0.9, "ceiling": 0.5}, "must rise"),
        ({"length": 0.0}, "length"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(change: dict[str, object], sentence: str) -> None:
    good: dict[str, object] = {"size": [1e3, 1e4, 1e5], "score": [0.1, 0.2, 0.3], "n": [100, 100, 100]}
    with pytest.raises(InputError) as caught:
        judge(**(good | change))
    assert sentence in str(caught.value)
