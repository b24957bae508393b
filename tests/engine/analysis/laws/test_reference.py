"""Against an independent fit: scipy's L-BFGS on the same objective, written out apart from the engine."""

import numpy as np
import pytest
from scipy.optimize import minimize

from engine.analysis.laws import FitOptions
from engine.analysis.laws.base import forms
from engine.analysis.laws.models import power_sum
from engine.analysis.laws.resample import draw_weights, optimum, pairs
from engine.analysis.laws.solver import solve
from tests.engine.analysis.laws.points import cloud, points

DELTA = 1e-3
N_POINTS = 240
SCALE = 1e3
"""The objective is of order 1e-3; unscaled, L-BFGS takes it for converged (what went wrong in Hoffmann 2022)."""


class Reference:
    """The Chinchilla objective on centred logarithms, with its gradient, and L-BFGS over it."""

    def __init__(self, n_params: np.ndarray, tokens: np.ndarray, loss: np.ndarray) -> None:
        self.ln_n, self.ln_d, self.y = np.log(n_params), np.log(tokens), np.log(loss)
        self.center = self.ln_n.mean(), self.ln_d.mean()

    def objective(self, p: np.ndarray, w: np.ndarray) -> tuple[float, np.ndarray]:
        n, d = self.ln_n - self.center[0], self.ln_d - self.center[1]
        terms = np.stack([p[0] - p[2] * n, p[1] - p[3] * d, np.full_like(n, p[4])])
        log_loss = np.logaddexp.reduce(terms)
        share = np.exp(terms - log_loss)
        r = log_loss - self.y
        value = np.where(np.abs(r) <= DELTA, 0.5 * r**2, DELTA * (np.abs(r) - 0.5 * DELTA))
        pull = w * np.clip(r, -DELTA, DELTA)
        gradient = [pull @ share[0], pull @ share[1], -(pull * n) @ share[0], -(pull * d) @ share[1], pull @ share[2]]
        return SCALE * float(w @ value), SCALE * np.array(gradient)

    def best(self, starts: np.ndarray, w: np.ndarray) -> tuple[float, np.ndarray]:
        options = {"maxiter": 5000, "maxfun": 20000, "ftol": 1e-15, "gtol": 1e-10, "maxcor": 20}
        found = []
        for start in starts:
            at = start
            for _ in range(3):  # started again where it stopped: its memory of the curvature is stale there
                at = minimize(self.objective, at, args=(w,), jac=True, method="L-BFGS-B", options=options).x
            found.append((self.objective(at, w)[0] / SCALE, at))
        return min(found, key=lambda pair: pair[0])

    def grid(self) -> np.ndarray:
        """A part of Hoffmann's 4,500 starts, moved to centred coordinates."""
        rows = [
            [a - alpha * self.center[0], b - beta * self.center[1], alpha, beta, e]
            for a in (0.0, 5.0, 10.0)
            for b in (0.0, 5.0, 10.0)
            for alpha, beta in ((0.5, 0.5), (0.0, 0.5), (0.5, 0.0))
            for e in (0.5,)
        ]
        return np.array(rows)

    def public(self, p: np.ndarray) -> np.ndarray:
        a, b = np.exp(p[0] + p[2] * self.center[0]), np.exp(p[1] + p[3] * self.center[1])
        return np.array([a, b, p[2], p[3], np.exp(p[4])])


@pytest.fixture(scope="module")
def published() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """240 points like the published ones: its law, its budgets, noise with heavy tails."""
    rng = np.random.default_rng(2024)
    n_params, tokens = cloud(rng, N_POINTS)
    given = points(0.006 * rng.standard_t(4, N_POINTS), n_params=n_params, tokens=tokens)
    return n_params, tokens, given["loss"]


def test_the_optimum_is_at_least_as_low_as_the_reference(published: tuple[np.ndarray, ...]) -> None:
    n_params, tokens, loss = published
    reference = Reference(n_params, tokens, loss)
    objective, at = reference.best(reference.grid(), np.ones(N_POINTS))
    given = points(n_params=n_params, tokens=tokens, loss=loss)
    fit = forms["chinchilla"].fit(given, FitOptions(n_bootstrap=20, holdout=False))
    assert fit.objective <= objective + 1e-9
    assert fit.objective == pytest.approx(objective, abs=1e-9)
    expected = reference.public(at)
    assert fit.params["alpha"] == pytest.approx(expected[2], abs=1e-4)
    assert fit.params["beta"] == pytest.approx(expected[3], abs=1e-4)
    # The reported objective is the sum, and is what the reference says of the same parameters.
    assert float(np.abs(fit.residuals).sum()) * DELTA == pytest.approx(fit.objective, rel=0.2)


def test_the_gradient_vanishes_at_the_optimum(published: tuple[np.ndarray, ...]) -> None:
    n_params, tokens, loss = published
    reference = Reference(n_params, tokens, loss)
    model = power_sum(np.stack([n_params, tokens], axis=1), loss)
    best = optimum(model, np.log(loss))
    assert best.n_starts >= 4500
    p = best.theta[[0, 2, 1, 3, 4]]
    value, gradient = reference.objective(p, np.ones(N_POINTS))
    assert value / SCALE == pytest.approx(best.objective, rel=1e-12)
    assert np.abs(gradient).max() / SCALE < 1e-8


def test_bootstrap_errors_are_those_of_the_reference(published: tuple[np.ndarray, ...]) -> None:
    n_params, tokens, loss = published
    reference = Reference(n_params, tokens, loss)
    model = power_sum(np.stack([n_params, tokens], axis=1), loss)
    best = optimum(model, np.log(loss))
    weights = draw_weights(np.random.default_rng(0), N_POINTS, 60)
    ours, _ = pairs(model, np.log(loss), best, weights)
    assert ours.converged.all()
    theirs = []
    starts = np.stack([best.theta[[0, 2, 1, 3, 4]], reference.grid()[13]])
    for w, objective in zip(weights, ours.objective, strict=True):
        lowest, at = reference.best(starts, w)
        assert objective <= lowest + 1e-9
        theirs.append(reference.public(at))
    expected = np.array(theirs).std(axis=0, ddof=1)
    assert model.public(ours.theta).std(axis=0, ddof=1) == pytest.approx(expected, rel=0.05)


def test_every_resample_starts_from_the_best_of_the_grid_for_it(published: tuple[np.ndarray, ...]) -> None:
    """Resamples that favour another basin find it: with a pool of poor starts they end no higher than from anywhere."""
    n_params, tokens, loss = published
    few = slice(0, 12)
    model = power_sum(np.stack([n_params[few], tokens[few]], axis=1), loss[few])
    y = np.log(loss[few])
    best = optimum(model, y)
    weights = draw_weights(np.random.default_rng(0), 12, 10)
    ours, _ = pairs(model, y, best, weights)
    starts = model.starts(y)
    for w, objective in zip(weights, ours.objective, strict=True):
        everywhere = solve(model, y, starts, weights=np.tile(w, (len(starts), 1)))
        assert objective <= everywhere.objective.min() * 1.02 + 1e-7
