"""Every form on points of a law that is known: parameters back, optima where they must be."""

import numpy as np
import pytest

from engine.analysis.laws import FitOptions, Points
from engine.analysis.laws.base import forms
from engine.analysis.laws.forms.chinchilla import allocation
from engine.analysis.laws.forms.data_constrained import worth_of
from engine.analysis.laws.result import LawFit
from engine.errors import InputError
from tests.engine.analysis.laws.points import ALPHA, BETA, OPTIMAL_A, TRUTH, A, B, E, cloud, loss, points

FEW = FitOptions(n_bootstrap=60, holdout=False)


def optimal(compute: np.ndarray) -> np.ndarray:
    """N* of the law at compute, from setting its derivative on 6 N D = C to zero."""
    return (ALPHA * A / (BETA * B)) ** (1 / (ALPHA + BETA)) * (compute / 6) ** OPTIMAL_A


def iso_points(half_width: float, sizes: int = 9, offset: float = 0.0) -> Points:
    compute = np.repeat(np.geomspace(6e18, 3e21, 9), sizes)
    away = np.tile(np.linspace(-half_width, half_width, sizes) + offset, 9)
    n_params = optimal(compute) * 10**away
    return points(n_params=n_params, tokens=compute / 6 / n_params, compute_flops=compute)


def test_chinchilla_recovers_the_law_without_noise() -> None:
    n_params, tokens = cloud(np.random.default_rng(0), 100)
    fit = forms["chinchilla"].fit(points(n_params=n_params, tokens=tokens), FEW)
    assert fit.params == pytest.approx(TRUTH, rel=1e-6) and fit.objective < 1e-20
    assert fit.to_document()["optimum"]["a"] == pytest.approx(OPTIMAL_A, abs=1e-7)


@pytest.mark.parametrize("name", ["power-law-n", "power-law-d", "power-law-c"])
def test_one_power_law_recovers(name: str) -> None:
    form = forms[name]
    x = np.geomspace(1e6, 1e10, 20)
    given = points(**{form.columns[0].name: x, "loss": 1.7 + 400 / x**0.34})
    assert form.fit(given, FEW).params == pytest.approx({"E": 1.7, "A": 400, "alpha": 0.34}, rel=1e-6)


def test_broken_power_law_recovers_both_exponents_and_the_break() -> None:
    x = np.geomspace(1e5, 1e10, 60)
    y = 0.8 + 30 * x**-0.1 * (1 + (x / 3e7) ** (1 / 0.5)) ** (-0.25 * 0.5)
    fit = forms["broken-power-law"].fit(points(n_params=x, loss=y), FEW)
    expected = {"E": 0.8, "A": 30, "alpha": 0.1, "alpha_2": 0.35, "N_break": 3e7, "f": 0.5}
    assert fit.params == pytest.approx(expected, rel=1e-4)


def test_a_plain_law_shows_no_break() -> None:
    rng = np.random.default_rng(0)
    x = np.geomspace(1e5, 1e10, 60)
    fit = forms["broken-power-law"].fit(points(rng.normal(0, 0.01, 60), n_params=x, loss=0.8 + 30 / x**0.2), FEW)
    assert any("no bend" in warning for warning in fit.warnings)


def repeated(rng: np.random.Generator, r_d: float, r_n: float, noise: float) -> Points:
    """Muennighoff's law written out again from the paper: excess parameters and repeated tokens decay."""
    n = 120
    n_params, unique = np.exp(rng.uniform(np.log([1e7, 1e8]), np.log([8e9, 2e10]), (n, 2)).T)
    epochs = rng.choice([1, 1, 2, 4, 8, 16, 40], n).astype(float)
    tokens = unique * epochs
    data = unique + unique * r_d * (1 - np.exp(-(epochs - 1) / r_d))
    needed = np.minimum((ALPHA * A / (BETA * B) * unique**BETA) ** (1 / ALPHA), n_params)
    size = needed + needed * r_n * (1 - np.exp(-(n_params / needed - 1) / r_n))
    given = points(rng.normal(0, noise, n), n_params=n_params, tokens=tokens, epochs=epochs, loss=loss(size, data))
    return forms["data-constrained"].prepare(given)


def test_data_constrained_recovers_what_repetition_is_worth() -> None:
    exact = forms["data-constrained"].fit(repeated(np.random.default_rng(0), 15.4, 5.3, 0.0), FEW)
    assert exact.params == pytest.approx({**TRUTH, "R_D": 15.4, "R_N": 5.3}, rel=1e-4)
    noisy = forms["data-constrained"].fit(repeated(np.random.default_rng(1), 15.4, 5.3, 0.003), FEW)
    low, high = noisy.interval["R_D"]
    assert low < 15.4 < high and high - low < 8
    assert float(worth_of(np.array(15.4), 4)) == pytest.approx(3.73, abs=0.01)  # four epochs: nearly as good as new


def test_data_constrained_needs_repeats_and_unique_tokens() -> None:
    n_params, tokens = cloud(np.random.default_rng(0), 30)
    once = points(n_params=n_params, tokens=tokens, epochs=np.ones(30))
    form = forms["data-constrained"]
    mild = points(n_params=n_params, tokens=tokens, epochs=np.resize([1.0, 1.0, 2.0], 30))
    assert any("no upper bound" in w for w in form.fit(form.prepare(mild), FEW).warnings)
    with pytest.raises(InputError, match="No run repeats"):
        form.fit(form.prepare(once), FEW)
    with pytest.raises(InputError, match="unique tokens or of epochs"):
        form.prepare(points(n_params=n_params, tokens=tokens))


def test_the_optimum_of_the_replication() -> None:
    _, _, n_star = allocation(np.array([[A, B, ALPHA, BETA, E]]), [1e21, 5.8e23])
    assert n_star[0] == pytest.approx([2.79e9, 7.345e10], rel=2e-3)
    tokens = np.array([1e21, 5.8e23]) / 6 / n_star[0]
    assert tokens / n_star[0] == pytest.approx([21.4, 17.9], abs=0.1)


def test_the_optimum_minimises_the_loss_at_its_compute() -> None:
    n_params, tokens = cloud(np.random.default_rng(3), 80)
    form = forms["chinchilla"]
    fit = form.fit(points(np.random.default_rng(4).normal(0, 0.01, 80), n_params=n_params, tokens=tokens), FEW)
    assert isinstance(fit, LawFit)
    found = form.optimum(fit, [1e21])
    assert found is not None
    row = found["at"][0]
    grid = row["n_params"] * np.geomspace(0.5, 2, 4001)
    losses = fit.predict_many(np.stack([grid, 1e21 / 6 / grid], axis=1))[0]
    assert grid[losses.argmin()] == pytest.approx(row["n_params"], rel=1e-3)
    assert row["loss"] == pytest.approx(losses.min(), rel=1e-9)
    for name in ("n_params", "tokens", "tokens_per_param", "loss"):
        low, high = row["interval"][name]
        assert low < row[name] < high


@pytest.mark.parametrize(("half_width", "off"), [(1.0, 0.013), (1.5, 0.029)])
def test_isoflop_gives_the_exponent_and_its_known_bias(half_width: float, off: float) -> None:
    form = forms["isoflop"]
    fit = form.fit(iso_points(half_width), FEW)
    assert fit.params["a"] == pytest.approx(OPTIMAL_A, abs=1e-9)
    found = form.optimum(fit, [1e21])
    assert found is not None
    assert 1 - found["at"][0]["n_params"] / float(optimal(np.array(1e21))) == pytest.approx(off, abs=1e-3)
    assert any("biased" in warning for warning in fit.warnings) == (half_width > 1.2)


def test_isoflop_intervals_cover_the_exponent() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for index in range(200):
        given = iso_points(1.0, 8)
        noisy = points(rng.normal(0, 0.003, len(given)), **given.values)
        low, high = forms["isoflop"].fit(noisy, FitOptions(n_bootstrap=300, seed=index, holdout=False)).interval["a"]
        hits += low <= OPTIMAL_A <= high
    assert 0.85 <= hits / 200 <= 0.95


def test_isoflop_says_where_the_minimum_is_not_on_the_grid() -> None:
    given = iso_points(1.0, offset=0.8)
    fit = forms["isoflop"].fit(given, FEW)
    assert any("at the edge" in warning for warning in fit.warnings)
    with pytest.raises(InputError, match="budgets have their minimum inside"):
        forms["isoflop"].fit(iso_points(1.0, offset=1.3), FEW)
    n_params, tokens = cloud(np.random.default_rng(0), 30)
    scattered = points(n_params=n_params, tokens=tokens * np.geomspace(1, 1e3, 30))
    with pytest.raises(InputError, match="isoflop needs two budgets"):
        forms["isoflop"].fit(forms["isoflop"].prepare(scattered), FEW)


def test_envelope_follows_the_optimum() -> None:
    n_params, tokens = (v.ravel() for v in np.meshgrid(np.geomspace(5e7, 2e10, 40), np.geomspace(1e9, 1e12, 30)))
    form = forms["envelope"]
    fit = form.fit(form.prepare(points(n_params=n_params, tokens=tokens)), FitOptions(n_bootstrap=200))
    assert fit.params["a"] == pytest.approx(OPTIMAL_A, abs=0.01)
    low, high = fit.interval["a"]
    assert low < OPTIMAL_A < high
    for row in fit.to_document()["envelope"]:
        assert row["n_params"] == pytest.approx(float(optimal(np.array(row["compute_flops"]))), rel=0.25)
    with pytest.raises(InputError, match="The envelope needs"):
        form.fit(form.prepare(points(n_params=n_params[:3], tokens=tokens[:3])), FEW)


def test_task_through_loss_recovers_both_stages() -> None:
    n_params, tokens = (v.ravel() for v in np.meshgrid(np.geomspace(5e7, 2e10, 10), np.geomspace(1e9, 1e12, 8)))
    exact = loss(n_params, tokens)
    score = 0.25 + 0.65 / (1 + np.exp(6 * (exact - 2.4)))
    form = forms["task-through-loss"]
    fit = form.fit(points(n_params=n_params, tokens=tokens, score=score), FEW)
    expected = {**TRUTH, "chance": 0.25, "ceiling": 0.9, "k": 6, "L_0": 2.4}
    assert fit.params == pytest.approx(expected, rel=1e-4)
    # Ten times beyond the largest size, from the two stages alone.
    at = np.array([[2e11, 1e13]])
    beyond = 0.25 + 0.65 / (1 + np.exp(6 * (loss(at[:, 0], at[:, 1]) - 2.4)))
    assert fit.predict_many(at)[0] == pytest.approx(beyond, abs=1e-4)  # type: ignore[attr-defined]


def test_task_through_loss_predicts_the_largest_size_under_binomial_noise() -> None:
    rng = np.random.default_rng(0)
    n_params, tokens = (v.ravel() for v in np.meshgrid(np.geomspace(5e7, 2e10, 8), np.geomspace(1e9, 1e12, 6)))
    exact = loss(n_params, tokens)
    score = rng.binomial(1000, 0.25 + 0.65 / (1 + np.exp(6 * (exact - 2.4)))) / 1000
    given = points(n_params=n_params, tokens=tokens, score=score, n=np.full(48, 1000.0))
    fit = forms["task-through-loss"].fit(given, FitOptions(n_bootstrap=200, chance=0.25))
    assert fit.params["chance"] == 0.25
    assert fit.heldout is not None and abs(fit.heldout["error"]) < 0.03 and fit.heldout["inside"]
    assert fit.extra["score_residual_sd"] == pytest.approx(fit.extra["binomial_sd"], rel=0.4)
    with pytest.raises(InputError, match="0 to 1"):
        forms["task-through-loss"].fit(given.with_column("score", 100 * score), FEW)
