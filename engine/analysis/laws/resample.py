"""Resamples of a fit: what else the parameters could have been.

Two schemes. ``pairs`` draws the points themselves with replacement, as Besiroglu 2024 does: it assumes nothing about
the noise and suits the many points of a published set. ``noise`` draws new losses around the fitted law from the
estimated scatter of sizes and seeds, with Student-like doubt about its width: it suits the few points of a ladder,
where drawing points with replacement often leaves fewer sizes than parameters.

A bootstrap that starts at the optimum and stops early gives intervals far too narrow. Here every resample is solved
to convergence, from the fitted optimum and from the best of the whole grid of starts for that very resample.
"""

from dataclasses import dataclass

import numpy as np

from engine.analysis.arrays import Floats, Ints
from engine.analysis.laws.models import LawModel, PowerSum
from engine.analysis.laws.noise import Noise, estimate_noise, perturb
from engine.analysis.laws.solver import HUBER_DELTA, Solution, huber, solve

_CHUNK = 2_000_000
"""Points times resamples whose weights are held at a time."""
_GRID_STARTS = 32
_FINISHED_STARTS = 24
"""Of the starts, the best of the grid that are followed, and the lowest that are followed to the end."""


@dataclass(frozen=True)
class Optimum:
    """The best fit of one set of points, and ``pool`` (S, P), every start and optimum that was looked at."""

    theta: Floats
    objective: float
    pool: Floats
    converged: bool
    n_starts: int


@dataclass(frozen=True)
class Draws:
    """(n, P) coordinates and the (n,) spread of ln L between settings and between seeds that goes with each."""

    samples: Floats
    between: Floats
    within: Floats
    converged: float
    """Fraction of the resamples that reached their optimum."""


def optimum(model: LawModel, y: Floats, delta: float = HUBER_DELTA) -> Optimum:
    """The lowest objective over the model's starts, and over the best of the published grid where it has one."""
    starts = model.starts(y)
    pool = starts
    if isinstance(model, PowerSum) and len(y) * 4500 < 1e8:
        grid = model.grid()
        pool = np.concatenate([starts, grid])
        order = np.argsort(_objectives(model, y, grid, delta))
        starts = np.concatenate([starts, grid[order[:_GRID_STARTS]]])
    found = solve(model, y, starts, delta=delta, keep=_FINISHED_STARTS)
    best = int(found.objective.argmin())
    return Optimum(
        theta=found.theta[best],
        objective=float(found.objective[best]),
        pool=np.concatenate([pool, found.theta[found.converged]]),
        converged=bool(found.converged[best]),
        n_starts=len(pool),
    )


def _objectives(model: LawModel, y: Floats, theta: Floats, delta: float) -> Floats:
    total: Floats = huber(model.log_loss(theta) - y, delta).sum(axis=1)
    return total


def pairs(
    model: LawModel, y: Floats, best: Optimum, weights: Floats, delta: float = HUBER_DELTA
) -> tuple[Solution, Floats]:
    """Refit with each row of ``weights`` (B, n), how often each point was drawn. Returns optima and (B,) spreads."""
    losses = huber(model.log_loss(best.pool) - y, delta)
    found = []
    per_chunk = max(1, _CHUNK // len(y))
    for at in range(0, len(weights), per_chunk):
        w = weights[at : at + per_chunk]
        start = best.pool[(w @ losses.T).argmin(axis=1)]
        starts = np.concatenate([np.broadcast_to(best.theta, start.shape), start])
        both = solve(model, y, starts, weights=np.tile(w, (2, 1)), delta=delta, widen=False)
        found.append(_lower(both, 2))
    solution = Solution(
        np.concatenate([f.theta for f in found]),
        np.concatenate([f.objective for f in found]),
        np.concatenate([f.converged for f in found]),
    )
    spread = []
    for at in range(0, len(weights), per_chunk):
        residual = y - model.log_loss(solution.theta[at : at + per_chunk])
        w = weights[at : at + per_chunk]
        spread.append(np.sqrt((w * residual**2).sum(axis=1) / np.maximum(w.sum(axis=1) - model.bounds[0].size, 1)))
    return solution, np.concatenate(spread)


def pair_draws(
    model: LawModel, y: Floats, best: Optimum, rng: np.random.Generator, n: int, delta: float = HUBER_DELTA
) -> Draws:
    """The pairs bootstrap: ``n`` resamples of the points."""
    weights = draw_weights(rng, len(y), n)
    solution, spread = pairs(model, y, best, weights, delta)
    return Draws(solution.theta, spread, np.zeros(n), float(solution.converged.mean()))


def draw_weights(rng: np.random.Generator, n_points: int, n: int) -> Floats:
    """(n, n_points): how often each point is drawn, with replacement."""
    return rng.multinomial(n_points, np.full(n_points, 1 / n_points), n).astype(np.float64)


def noise_draws(
    model: LawModel, y: Floats, theta: Floats, group: Ints, rng: np.random.Generator, n: int
) -> tuple[Draws, Noise]:
    """Losses drawn anew around the law with the scatter between settings (``group``) and within them, refitted."""
    fitted = model.log_loss(theta[None])[0]
    noise = estimate_noise(y - fitted, group, len(theta))
    between, within = noise.draw(rng, n)
    drawn = perturb(rng, fitted, group, between, within)
    if isinstance(model, PowerSum) and model.n_terms == 1 and int(group.max()) + 1 <= len(theta):
        return Draws(_any_floor(rng, model, drawn, float(np.exp(y.min()))), between, within, 1.0), noise
    others = model.others(theta)
    found = solve(model, np.tile(drawn, (len(others), 1)), np.repeat(others, n, axis=0), widen=False)
    best = _lower(found, len(others))
    return Draws(best.theta, between, within, float(best.converged.mean())), noise


def _lower(found: Solution, n_starts: int) -> Solution:
    """The lowest of ``n_starts`` blocks of solutions of the same problems."""
    objective = found.objective.reshape(n_starts, -1)
    row, column = objective.argmin(axis=0), np.arange(objective.shape[1])
    return Solution(
        found.theta.reshape(n_starts, len(column), -1)[row, column],
        objective[row, column],
        found.converged.reshape(n_starts, -1)[row, column],
    )


def _any_floor(rng: np.random.Generator, model: PowerSum, drawn: Floats, lowest: float) -> Floats:
    """Two or three sizes fit exactly for a range of floors: every floor below the lowest loss is allowed."""
    floor = rng.uniform(0.0, 1.0, len(drawn))
    floor = np.maximum(floor, 1e-5) * np.minimum(lowest, np.exp(drawn).min(axis=1)) * 0.999
    above = np.log(np.exp(drawn) - floor[:, None])
    x = model.x[:, 0] - model.x[:, 0].mean()
    slope = above @ x / (x @ x)
    return np.stack([above.mean(axis=1) - slope * model.x[:, 0].mean(), -slope, np.log(floor)], axis=1)
