"""The planner's closed forms against the law itself, and its refusals where the law is not known."""

import json

import numpy as np
import pytest

from engine.analysis.forecasts.planner import (
    Surface,
    double_data,
    for_compute,
    for_loss,
    for_score,
    surface_of_document,
    surface_of_fit,
)
from engine.analysis.forecasts.stability import stability
from engine.analysis.forecasts.trend import fit_trend
from engine.analysis.laws.base import FitOptions, Points, forms
from engine.errors import InputError

A, B, ALPHA, BETA, E = 482.0, 2085.0, 0.348, 0.366, 1.817
POINT = np.array([A, B, ALPHA, BETA, E])
LARGEST = (1e10, 2e11)


def sure(spread: float = 0.002, point: np.ndarray = POINT) -> Surface:
    rng = np.random.default_rng(0)
    return Surface(point, point * np.exp(spread * rng.standard_normal((500, len(point)))), 0.9, LARGEST)


def loss(n: float, d: float) -> float:
    return float(E + A / n**ALPHA + B / d**BETA)


def grid(noise: float, seed: int = 0) -> Points:
    n, d = (a.ravel() for a in np.meshgrid(np.geomspace(1e8, 1e10, 6), np.geomspace(2e9, 2e11, 5)))
    values = (E + A / n**ALPHA + B / d**BETA) * np.exp(noise * np.random.default_rng(seed).standard_normal(len(n)))
    table = {"n_params": n, "tokens": d, "loss": values}
    return Points(table, np.arange(1, len(n) + 1), headers={name: name for name in table})


def test_no_other_split_of_the_budget_does_better() -> None:
    compute = 1e21
    answer = for_compute(sure(), compute)["answer"]
    assert 6 * answer["n_params"] * answer["tokens"] == pytest.approx(compute)
    assert answer["loss"] == pytest.approx(loss(answer["n_params"], answer["tokens"]))
    for factor in (0.8, 1.25):
        n = factor * answer["n_params"]
        assert loss(n, compute / (6 * n)) > answer["loss"]
    assert answer["n_params"] == pytest.approx(2.8e9, rel=0.1)  # science.md: C 1e21 -> N* 2.8e9, D/N 21
    assert answer["tokens_per_param"] == pytest.approx(21, rel=0.1)


def test_the_size_for_a_loss_has_that_loss() -> None:
    cheapest = for_loss(sure(), 2.3)
    value = cheapest["answer"]
    assert loss(value["n_params"], value["tokens"]) == pytest.approx(2.3)
    assert for_compute(sure(), value["compute_flops"])["answer"]["loss"] == pytest.approx(2.3)
    on = for_loss(sure(), 2.3, tokens=1e11)["answer"]
    assert loss(on["n_params"], 1e11) == pytest.approx(2.3)
    assert on["compute_flops"] > value["compute_flops"]


def test_twice_the_data() -> None:
    answer = double_data(sure(), 1e9, 2e10)
    value = answer["answer"]
    assert value["gain"] == pytest.approx(loss(1e9, 2e10) - loss(1e9, 4e10))
    low, high = answer["interval"]["gain"]
    assert low < value["gain"] < high


def test_a_law_that_is_not_identified_is_refused() -> None:
    vague = sure(0.5)
    for answer in (for_compute(vague, 1e21), for_loss(vague, 2.0)):
        assert answer["refused"]
        assert answer["answer"] is None
        assert "do not identify" in answer["words"]
    below = for_loss(sure(), 1.5)
    assert below["refused"]
    assert "floor" in below["words"]


def test_far_beyond_what_was_trained_is_said() -> None:
    assert "times what was trained" not in for_compute(sure(), 1e21)["words"]
    assert "times what was trained" in for_compute(sure(0.0005), 1e25)["words"]


def test_a_law_of_size_alone_splits_no_budget() -> None:
    plain = sure(0.002, np.array([A, ALPHA, E]))
    assert for_compute(plain, 1e21)["refused"]
    assert double_data(plain, 1e9, 1e10)["refused"]
    value = for_loss(plain, 2.0)["answer"]
    assert E + A / value["n_params"] ** ALPHA == pytest.approx(2.0)


def test_a_fit_and_its_document_give_the_same_advice() -> None:
    fit = forms["chinchilla"].fit(grid(0.003), FitOptions(400, holdout=False))
    straight = for_compute(surface_of_fit(fit, LARGEST), 1e22)  # type: ignore[arg-type]
    document = json.loads(json.dumps(fit.to_document()))
    read = for_compute(surface_of_document(document), 1e22)
    assert read["answer"] == pytest.approx(straight["answer"])
    low, high = straight["interval"]["n_params"]
    assert read["interval"]["n_params"] == pytest.approx([low, high], rel=0.25)
    assert low < for_compute(sure(), 1e22)["answer"]["n_params"] < high
    for broken in ({}, {"params": {"a": 1.0}}, {"params": document["params"]}):
        with pytest.raises(InputError):
            surface_of_document(broken)


def test_a_size_for_a_score_has_the_loss_that_has_the_score() -> None:
    plain = sure(0.0005, np.array([A, ALPHA, E]))
    sizes = [1e7, 3e7, 1e8, 3e8, 1e9]
    losses = [E + A / n**ALPHA for n in sizes]
    line = [1 / (1 + np.exp(-(3.0 - loss) * 4)) for loss in losses]
    trend = fit_trend(sizes, losses, line, "logit", [10_000_000] * 5)
    answer = for_score(plain, trend, "x:y", 0.95)
    wanted = 3.0 - np.log(19) / 4
    assert answer["answer"]["loss"] == pytest.approx(wanted, rel=1e-3)
    assert E + A / answer["answer"]["n_params"] ** ALPHA == pytest.approx(wanted, rel=1e-3)
    never = for_score(plain, trend, "x:y", 0.9999)
    assert never["refused"]
    assert "floor" in never["words"]
    flat = fit_trend(sizes, losses, [0.5, 0.52, 0.48, 0.51, 0.49], "logit", [100] * 5)
    assert for_score(plain, flat, "x:y", 0.99)["refused"]
    surface = for_score(sure(0.0005), trend, "x:y", 0.9, tokens=1e12)["answer"]
    assert loss(surface["n_params"], 1e12) == pytest.approx(surface["loss"])


def test_a_steady_law_and_one_that_is_not() -> None:
    steady = stability(grid(0.0))
    assert steady is not None
    assert steady["steady"]
    assert steady["E"] == pytest.approx([E, E], abs=1e-3)
    assert len(steady["refits"]) == 6 + 5
    wobbly = stability(grid(0.05))
    assert wobbly is not None
    assert not wobbly["steady"]
    assert "do not identify" in wobbly["words"]
