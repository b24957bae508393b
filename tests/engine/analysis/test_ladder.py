"""The law of a ladder: known answers, intervals that cover, and words where little is known."""

import json

import numpy as np
import pytest

from engine.analysis.laws import fit_ladder
from engine.errors import InputError

SIZES = np.geomspace(2e3, 2e5, 7)


def losses(sizes: np.ndarray, rng: np.random.Generator, noise: float) -> np.ndarray:
    return (1.2 + 30 / sizes**0.35) * np.exp(rng.normal(0, noise, len(sizes)))


def test_recovers_a_noise_free_law() -> None:
    fit = fit_ladder(SIZES, 1.2 + 30 / SIZES**0.35, n_bootstrap=50)
    assert fit.params == pytest.approx({"E": 1.2, "A": 30, "alpha": 0.35}, rel=1e-5)
    assert fit.heldout is not None and fit.heldout["relative_error"] == pytest.approx(0, abs=1e-6)


def test_document_is_plain_json_with_the_agreed_keys() -> None:
    rng = np.random.default_rng(0)
    x = np.repeat(SIZES, 2)
    document = fit_ladder(x, losses(x, rng, 0.01), seeds=[0, 1] * 7, n_bootstrap=200).to_document()
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert {"form", "params", "stderr", "interval", "n_points", "excluded", "heldout", "warnings"} <= set(document)
    curve = document["curve"]
    assert curve[0]["n_params"] == pytest.approx(SIZES[0]) and curve[-1]["n_params"] == pytest.approx(10 * SIZES[-1])
    assert all(row["lo"] <= row["hi"] for row in curve)


def test_intervals_and_predictions_cover_at_few_sizes() -> None:
    rng = np.random.default_rng(1)
    alpha = floor = held = 0
    n_sets = 100
    for index in range(n_sets):
        x = np.repeat(SIZES, 2)
        fit = fit_ladder(x, losses(x, rng, 0.01), n_bootstrap=200, rng_seed=index)
        low, high = fit.interval["alpha"]
        alpha += low <= 0.35 <= high
        low, high = fit.interval["E"]
        floor += low <= 1.2 <= high
        assert fit.heldout is not None
        held += fit.heldout["inside"]
    assert alpha >= 0.83 * n_sets and floor >= 0.83 * n_sets and held >= 0.83 * n_sets


def test_says_how_little_three_points_know() -> None:
    fit = fit_ladder([1e3, 1e4, 1e5], [3.0, 2.5, 2.2])
    assert fit.interval["E"][0] < 0.2 < 2.0 < fit.interval["E"][1]
    assert any("do not identify" in w or "not clearly" in w for w in fit.warnings)
    json.dumps(fit.to_document(), allow_nan=False)


def test_warnings_in_words() -> None:
    fit = fit_ladder([1e3, 2e3, 4e3, 8e3], [3.0, 2.9, 2.8, 2.7], lr_scaled=False, n_bootstrap=50)
    text = " ".join(fit.warnings)
    assert "factor of 8" in text and "learning rate" in text and "4 sizes" in text


@pytest.mark.parametrize(
    ("sizes", "loss", "words"),
    [([1e3, 1e3], [3, 2], "one value only"), ([1e3, 0], [3, 2], "Row 2"), ([1e3, 1e4], [3, -2], "loss")],
)
def test_bad_input_is_one_sentence(sizes: list[float], loss: list[float], words: str) -> None:
    with pytest.raises(InputError, match=words):
        fit_ladder(sizes, loss)
