"""Facts measured before, and answers known in closed form."""

import json

import numpy as np
import pytest
from scipy.stats import betabinom, binom

from engine.analysis.emergence import expected_exact_match, judge, observations, wilson
from engine.analysis.emergence.curve import Curve
from engine.analysis.emergence.data import curves
from engine.analysis.emergence.metric_effect import exact_match_check
from engine.analysis.emergence.noise import CORRELATIONS, Likelihood
from engine.analysis.emergence.shape import shape_of

# Memorising random strings, 2 layers, widths 8 to 48 (measured for this project, one run each).
SIZES = [2.0e3, 4.1e3, 7.0e3, 10.7e3, 15.1e3, 20.3e3]
TOKENS = [0.29, 0.46, 0.72, 0.94, 0.99, 0.998]
EXACT = [0.0, 0.001, 0.089, 0.549, 0.920, 0.981]

# Three-digit addition: seeds that learned it and seeds that did not (0.60 or 0.01 at 4.2k, 0.02 or 0.81 at 7.1k, 0.99
# from 15k on were measured; the other runs are like them).
ADDITION = {
    1.1e3: [0.0, 0.0, 0.01, 0.0, 0.0],
    2.2e3: [0.0, 0.01, 0.0, 0.01, 0.0],
    4.2e3: [0.60, 0.01, 0.02, 0.0, 0.01],
    7.1e3: [0.02, 0.81, 0.92, 0.03, 0.97],
    15e3: [0.99, 0.99, 0.98, 0.99, 0.99],
    26e3: [0.99, 0.99, 0.99, 0.99, 0.99],
}


def addition() -> tuple[list[float], list[float], list[int]]:
    size = [s for s, runs in ADDITION.items() for _ in runs]
    score = [y for runs in ADDITION.values() for y in runs]
    return size, score, [0, 1, 2, 3, 4] * len(ADDITION)


@pytest.mark.parametrize("length", [8.0, None])
def test_memorised_strings_are_made_by_the_metric(length: float | None) -> None:
    metric = ["exact_match"] * 6 + ["token_accuracy"] * 6
    document = judge(SIZES * 2, EXACT + TOKENS, 1000, metric, length=length)
    assert document["verdict"] == "metric"
    assert document["critical_size"] is None and document["interval"] is None
    check = document["evidence"]["exact_match"]
    assert check["largest_deviation"] < 0.08
    assert check["length"] == pytest.approx(8, abs=0.5) and check["length_fitted"] == (length is None)
    assert document["evidence"]["head_start"] > 0.5
    assert "made by the metric" in document["words"]
    assert json.loads(json.dumps(document, allow_nan=False)) == document


def test_addition_is_a_break_with_mixed_seeds() -> None:
    size, score, seed = addition()
    digits = [y**0.25 if y > 0.1 else 0.45 + 0.01 * (i % 7) for i, y in enumerate(score)]
    both = judge(size * 2, score + digits, 1000, ["exact_match"] * 30 + ["digit_accuracy"] * 30, seed * 2)
    alone = judge(size, score, 1000, "exact_match", seed)
    for document in (both, alone):
        assert document["verdict"] == "break" and document["seeds_mixed"]
        low, high = document["interval"]
        assert 4.0e3 < low < document["critical_size"] < high < 15e3
        assert "depends on the seed" in document["words"]
    by_size = {round(row["size"]): (row["learned"], row["n_seeds"]) for row in alone["seeds"]}
    assert by_size[4200] == (1, 5) and by_size[7100] == (3, 5) and by_size[15000] == (5, 5)
    assert both["missing"] == [] and [lack["what"] for lack in alone["missing"]] == ["continuous"]


def step_table(metric: str, seeds: int = 3) -> dict[str, object]:
    x = np.repeat(np.geomspace(1e3, 1e6, 8), seeds)
    score = np.where(x > 3e4, 0.9, 0.05) + np.tile(np.linspace(-0.01, 0.01, seeds), 8)
    return {"size": x, "score": score, "n": 500, "metric": metric, "seed": np.tile(np.arange(seeds), 8)}


def test_a_jump_of_a_lone_threshold_metric_is_not_claimed() -> None:
    document = judge(**step_table("exact_match"))
    assert document["verdict"] == "insufficient"
    assert [lack["what"] for lack in document["missing"]] == ["continuous"]
    unknown = judge(**step_table("accuracy"))
    assert unknown["verdict"] == "break" and "was not tested" in unknown["words"]
    assert judge(**step_table("accuracy"), length=6)["verdict"] == "insufficient"


def test_an_ability_that_falls_breaks_at_the_same_size() -> None:
    table = step_table("accuracy")
    up = judge(**table)
    down = judge(**(table | {"score": 1 - np.asarray(table["score"])}))
    assert down["verdict"] == "break" and down["evidence"]["falls_with_size"]
    assert down["critical_size"] == pytest.approx(up["critical_size"], rel=0.05)
    assert [row["size"] for row in down["seeds"]] == sorted(row["size"] for row in down["seeds"])


def test_too_few_sizes_say_so() -> None:
    for n_sizes in (1, 3, 4):
        document = judge(np.geomspace(1e3, 1e4, n_sizes), np.linspace(0.1, 0.9, n_sizes), 100)
        assert document["verdict"] == "insufficient" and document["missing"][0]["what"] == "few-sizes"
        assert document["metrics"] == [] and document["sharpness"] is None


def test_a_floor_that_hides_progress_is_told() -> None:
    p = np.linspace(0.2, 0.6, 7)
    size = np.geomspace(1e3, 1e5, 7).tolist() * 2
    document = judge(size, [0.0] * 7 + p.tolist(), 200, ["exact_match"] * 7 + ["token_accuracy"] * 7)
    assert document["verdict"] == "insufficient"
    assert {"rise", "hidden", "items"} == {lack["what"] for lack in document["missing"]}


def test_a_jump_at_the_last_size_is_not_claimed() -> None:
    size, score = np.repeat(np.geomspace(1e3, 1e6, 7), 3), np.repeat([0.1] * 6 + [0.9], 3)
    document = judge(size, score, 1000, "accuracy")
    assert document["verdict"] == "insufficient"


def test_loss_as_the_axis_and_losses_as_the_continuous_metric() -> None:
    rng = np.random.default_rng(3)
    x = np.repeat(np.linspace(3, 6, 9), 3)
    smooth, broken = 4 - 0.5 * (x - 3), np.where(x > 4.6, 1.0, 3.0) - 0.05 * (x - 3)
    for loss, verdict in ((smooth, "metric"), (broken, "break")):
        exact = rng.binomial(1000, np.exp(-1.5 * loss)) / 1000
        scores = np.concatenate([exact, loss + rng.normal(0, 0.03, 27)])
        document = judge(np.tile(10**x, 2), scores, 1000, ["exact_match"] * 27 + ["loss"] * 27)
        assert document["verdict"] == verdict, document["words"]
    on_loss = judge(np.repeat(np.geomspace(1, 8, 9), 3), np.repeat([0.9] * 4 + [0.1] * 5, 3), 500, variable="loss")
    assert on_loss["verdict"] == "break" and 2 < on_loss["critical_size"] < 3.5


def test_expected_exact_match() -> None:
    assert expected_exact_match(0.9, 5) == pytest.approx(0.9**5)
    assert expected_exact_match([0.5, 0.9], [1, 3], [1, 3]) == pytest.approx([0.21875, 0.77175])


def test_exact_match_is_the_mean_of_powers_over_seeds() -> None:
    table = observations(
        [1e3, 1e3, 2e3, 2e3] * 2, [0.0, 1.0, 1.0, 1.0, 0.1, 1.0, 1.0, 1.0], 100, ["exact"] * 4 + ["token_acc"] * 4
    )
    found = curves(table)
    check = exact_match_check(found["exact"], found["token_acc"], 4)
    assert check is not None
    assert check.expected[0] == pytest.approx((0.1**4 + 1) / 2) and check.largest < 1e-3
    assert check.interval[0] < 0 < check.interval[1]


def test_wilson_is_the_published_interval() -> None:
    assert wilson(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert wilson(5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert wilson(0, 0) == (0.0, 1.0)


def curve(y: list[list[float]], n: int) -> Curve:
    scores = np.array(y)
    return Curve("m", "unknown", "binomial", np.arange(len(y)) + 3.0, scores, np.full(scores.shape, n), scores >= 0)


def test_the_likelihood_is_the_beta_binomial() -> None:
    runs = curve([[0.1, 0.3], [0.6, 0.9]], 20)
    found = Likelihood(runs).sizes(np.array([[0.2, 0.7]]))[0]
    for index, rho in enumerate(CORRELATIONS):
        for size, (mu, hits) in enumerate(((0.2, [2, 6]), (0.7, [12, 18]))):
            choose = sum(binom.logpmf(h, 20, 0.5) + 20 * np.log(2) for h in hits)
            if rho == 0:
                expected = binom.logpmf(hits, 20, mu).sum()
            else:
                kappa = (1 - rho) / rho
                expected = betabinom.logpmf(hits, 20, mu * kappa, (1 - mu) * kappa).sum()
            assert found[index, size] + choose == pytest.approx(expected, abs=1e-6)


def test_a_noise_free_logistic_is_recovered() -> None:
    x = np.linspace(3, 6, 10)
    y = 0.1 + 0.8 / (1 + np.exp(-2 * np.log(9) * (x - 4.6) / 1.4))
    exact = Curve("m", "unknown", "binomial", x, y[:, None], np.full((10, 1), 1e5), np.ones((10, 1), bool))
    shape = shape_of(exact)
    assert shape is not None and shape.name == "smooth"
    fit = shape.to_document()["smooth_fit"]
    assert fit["form"] == "logistic"
    assert np.log10(fit["middle_size"]) == pytest.approx(4.6, abs=0.02)
    assert fit["width_decades"] == pytest.approx(1.4, rel=0.03)
    assert (fit["floor"], fit["ceiling"]) == pytest.approx((0.1, 0.9), abs=0.01)


def test_sharpness_intervals_hold_the_width() -> None:
    rng = np.random.default_rng(8)
    held = 0
    for _ in range(30):
        x, width = np.linspace(3, 6, 10), float(rng.uniform(0.8, 2.0))
        y = 0.1 + 0.8 / (1 + np.exp(-2 * np.log(9) * (x - rng.uniform(4, 5)) / width))
        score = rng.binomial(500, y[:, None], (10, 3)) / 500
        shape = shape_of(Curve("m", "unknown", "binomial", x, score, np.full((10, 3), 500.0), np.ones((10, 3), bool)))
        assert shape is not None
        low, high = shape.sharpness.low, shape.sharpness.high
        held += low <= width and (high is None or width <= high)
    assert held >= 25
    step = shape_of(curve([[0.1] * 3] * 5 + [[0.9] * 3] * 5, 500))
    assert step is not None and step.sharpness.low == 0 and (step.sharpness.high or 9) < 1.0
