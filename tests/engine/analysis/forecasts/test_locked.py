"""Forecasts on laws that are known: intervals hold what comes as often as they say, and the record shows it."""

import copy

import numpy as np
import pytest

from engine.analysis.forecasts import Observation, Target, calibration, intact, make_forecast, score_forecast
from engine.analysis.forecasts.scoring import wilson
from engine.analysis.forecasts.trend import fit_trend
from engine.errors import InputError

E, A, ALPHA = 1.1, 30.0, 0.35
SMALL = np.array([1_700, 6_000, 14_000, 25_000, 57_000])
LARGE = np.array([115_000, 233_000])
BETWEEN, WITHIN = 0.004, 0.006
"""Scatter of ln L between sizes and between seeds, as ladders of this program have it."""


def law(sizes: np.ndarray) -> np.ndarray:
    return E + A / sizes**ALPHA


def ladder(rng: np.random.Generator, sizes: np.ndarray, seeds: int) -> list[Observation]:
    by_size = np.exp(BETWEEN * rng.standard_normal(len(sizes)))
    return [
        Observation(float(size), 1e6, seed, float(law(size) * bump * np.exp(WITHIN * rng.standard_normal())))
        for size, bump in zip(sizes, by_size, strict=True)
        for seed in range(seeds)
    ]


def targets(sizes: np.ndarray, seeds: int) -> list[Target]:
    return [Target(int(size), int(size) + 9_000, int(size), 1_000_000, seeds) for size in sizes]


def one(seed: int, small: np.ndarray = SMALL, large: np.ndarray = LARGE, seeds: int = 2) -> dict:
    """A forecast locked on a simulated ladder and scored on its large sizes."""
    rng = np.random.default_rng(seed)
    document = make_forecast(ladder(rng, small, seeds), targets(large, seeds), "hash", rng_seed=seed, n_draws=200)
    came = ladder(rng, large, seeds)
    seen = [
        {("language-modelling", "loss"): [run.loss for run in came if run.n_params == size]} for size in large.tolist()
    ]
    return score_forecast(document, seen)


def test_forecasts_hold_at_the_rate_they_state() -> None:
    """Twenty ladders of different seeds and sizes; only the largest size of each counts: they are independent."""
    sizes = [SMALL, SMALL[1:], SMALL * 3, np.array([3_000, 9_000, 20_000, 44_000, 90_000, 160_000])]
    scores = [one(seed, sizes[seed % 4], sizes[seed % 4][-1] * np.array([2, 4])) for seed in range(20)]
    inside = [next(row for row in reversed(s["outcomes"]))["inside"] for s in scores]
    # A binomial of 20 at 0.9 is under 14 once in 500; intervals half as wide as they ought to be hold about 12.
    assert sum(inside) >= 14
    half = [next(row for row in reversed(s["outcomes"]))["inside_at"]["0.5"] for s in scores]
    assert 4 <= sum(half) <= 17, "intervals at one half neither hold everything nor nothing"


@pytest.mark.slow
def test_the_calibration_of_many_forecasts_agrees_with_their_levels() -> None:
    record = calibration([one(seed) for seed in range(40)])
    assert record["n_forecasts"] == 40
    assert record["n"] == 80
    for level in record["levels"]:
        # Two targets share a fit, so the spread of the count is up to sqrt(2) wider than a binomial's.
        sd = (level["level"] * (1 - level["level"]) / 40) ** 0.5
        assert level["level"] - 3 * sd <= level["coverage"] <= level["level"] + 3 * sd
    assert abs(record["mean_z"]) < 0.5
    assert 0.6 < record["rms_z"] < 1.4


def test_a_record_of_too_narrow_intervals_is_called_that() -> None:
    scores = [copy.deepcopy(score) for score in [one(0)] * 12]
    for score in scores:
        for row in score["outcomes"]:
            row["inside_at"] = dict.fromkeys(row["inside_at"], False)
    assert "too narrow" in calibration(scores)["words"]
    assert calibration([])["words"] == "no forecast has been scored yet."


def test_outside_is_measured_from_the_nearer_end() -> None:
    rng = np.random.default_rng(0)
    document = make_forecast(ladder(rng, SMALL, 2), targets(LARGE[:1], 2), "hash")
    low, high = document["targets"][0]["predictions"][0]["intervals"]["0.9"]
    score = score_forecast(document, [{("language-modelling", "loss"): [2 * high]}])
    (row,) = score["outcomes"]
    assert not row["inside"]
    assert row["outside_by"] == pytest.approx(0.5)
    assert row["z"] > 2
    assert score_forecast(document, [{}])["n"] == 0
    assert low < document["targets"][0]["predictions"][0]["predicted"] < high


def test_more_runs_to_come_give_a_narrower_interval() -> None:
    rng = np.random.default_rng(1)
    runs = ladder(rng, np.geomspace(1_000, 60_000, 12), 4)
    widths = []
    for n in (1, 16):
        prediction = make_forecast(runs, targets(LARGE[:1], n), "hash")["targets"][0]["predictions"][0]
        widths.append(np.ptp(prediction["intervals"]["0.9"]))
    assert widths[1] < widths[0]


def test_the_seal_covers_points_fit_and_targets() -> None:
    document = make_forecast(ladder(np.random.default_rng(2), SMALL, 1), targets(LARGE, 1), "hash", now=0.0)
    again = make_forecast(ladder(np.random.default_rng(2), SMALL, 1), targets(LARGE, 1), "hash", now=0.0)
    assert document["sha256"] == again["sha256"]
    assert document["locked"] == "1970-01-01T00:00:00+00:00"
    for change in ("points", "fit", "targets", "spec_hash"):
        assert not intact(document | {change: None})


def test_what_cannot_be_forecast_is_said() -> None:
    rng = np.random.default_rng(3)
    with pytest.raises(InputError, match="3 sizes"):
        make_forecast(ladder(rng, SMALL[:2], 2), targets(LARGE, 1), "hash")
    with pytest.raises(InputError, match="trained already"):
        make_forecast(ladder(rng, SMALL, 2), targets(SMALL[-1:], 1), "hash")
    with pytest.raises(InputError, match="needs a size"):
        make_forecast(ladder(rng, SMALL, 2), [], "hash")


def test_a_grid_of_sizes_and_tokens_is_forecast_by_its_surface() -> None:
    rng = np.random.default_rng(4)
    runs = [
        Observation(float(n), float(d), 0, float((0.8 + 30 / n**0.4 + 400 / d**0.4) * np.exp(0.003 * rng.normal())))
        for n in SMALL
        for d in (2e5, 4e5, 8e5, 1.6e6)
    ]
    document = make_forecast(runs, [Target(115_000, 124_000, 115_000, 800_000, 1)], "hash")
    assert document["form"] == "chinchilla"
    (prediction,) = document["targets"][0]["predictions"]
    truth = 0.8 + 30 / 115_000**0.4 + 400 / 8e5**0.4
    low, high = prediction["intervals"]["0.95"]
    assert low < truth < high
    assert prediction["predicted"] == pytest.approx(truth, rel=0.02)


@pytest.mark.parametrize("kind", ["threshold", "positive", "signed"])
def test_a_score_is_forecast_on_its_own_scale(kind: str) -> None:
    rng = np.random.default_rng(5)
    key = {"threshold": ("word-completion", "exact_match"), "positive": ("x", "bits"), "signed": ("x", "gain")}[kind]

    def value(n: float) -> float:
        x = 5 * (2.0 - float(law(np.array(n))))
        share = 1 / (1 + np.exp(-0.6 * x + 0.05 * rng.normal()))
        return float({"threshold": share, "positive": np.exp(-0.2 * x), "signed": 0.1 * x}[kind])

    runs = [
        Observation(run.n_params, run.tokens, run.seed, run.loss, {key: (value(run.n_params), 2000)})
        for run in ladder(rng, SMALL, 2)
    ]
    document = make_forecast(runs, targets(LARGE[:1], 2), "hash")
    prediction = document["targets"][0]["predictions"][1]
    assert prediction["scale"] == {"threshold": "logit", "positive": "log", "signed": "linear"}[kind]
    low, high = prediction["intervals"]["0.95"]
    rng = np.random.default_rng(6)
    assert low < value(float(LARGE[0])) < high
    if kind == "threshold":
        assert 0 < low < high < 1


def test_a_score_that_never_left_zero_is_forecast_with_the_doubt_of_its_items() -> None:
    runs = [
        Observation(run.n_params, run.tokens, run.seed, run.loss, {("word-completion", "exact_match"): (0.0, 100)})
        for run in ladder(np.random.default_rng(7), SMALL, 2)
    ]
    prediction = make_forecast(runs, targets(LARGE[:1], 1), "hash")["targets"][0]["predictions"][1]
    low, high = prediction["intervals"]["0.9"]
    assert low < 0.005 < high < 0.2


def test_the_loss_for_a_score_inverts_the_line() -> None:
    losses = [3.0, 2.5, 2.0, 1.5]
    trend = fit_trend([1e3, 1e4, 1e5, 1e6], losses, [2.0 - 0.5 * x for x in losses], "linear", [None] * 4)
    loss, drawn = trend.loss_for(2.0 - 0.5 * 1.1)
    assert loss == pytest.approx(1.1)
    assert drawn == pytest.approx(1.1, rel=1e-6)
    assert trend.at([1.1])[0] == pytest.approx(2.0 - 0.5 * 1.1)


def test_wilson_against_published_values() -> None:
    # Newcombe 1998, table I: 81 of 263, 15 of 148, 0 of 20 and 1 of 29, method 3.
    for k, n, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        assert wilson(k, n) == pytest.approx((low, high), abs=5e-5)
    assert wilson(0, 0) == (0.0, 1.0)
