"""Robust fits of laws to log losses: many starts, or many resamples, as one batched numpy problem.

The objective is the sum of Huber losses of ``model(theta) - ln L`` (Hoffmann 2022, approach 3). With delta = 1e-3
it is nearly least absolute deviations, on which L-BFGS stops early when badly scaled; so every problem of the
batch takes damped Newton steps with the exact Hessian, in centred coordinates, through a few widening deltas.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from engine.analysis.arrays import Bools, Floats

HUBER_DELTA = 1e-3
_CHUNK = 250_000
"""Points times problems handled at a time: keeps the temporaries inside the cache of a small machine."""
_WIDENING = (30.0, 5.0)
"""Deltas tried before the real one, as multiples of it: a smooth problem first."""
_MAX_DAMPING = 1e12


class Model(Protocol):
    """A law in log space, ``theta`` (B, P) against n points."""

    def log_loss(self, theta: Floats) -> Floats:
        """(B, n) predicted ln L."""
        ...

    def linearise(self, theta: Floats) -> tuple[Floats, Floats, object]:
        """(B, n) ln L, (B, P, n) its gradient, and whatever ``curvature`` wants to reuse."""
        ...

    def curvature(self, cache: object, gradient: Floats, v: Floats) -> Floats:
        """(B, P, P): the sum over points of ``v`` (B, n) times the Hessian of ln L; zeros are allowed."""
        ...

    @property
    def bounds(self) -> tuple[Floats, Floats]:
        """(P,) lowest and highest value of each coordinate."""
        ...


@dataclass(frozen=True)
class Solution:
    """Optima of a batch: ``theta`` (B, P), ``objective`` (B,), ``converged`` (B,)."""

    theta: Floats
    objective: Floats
    converged: Bools


def huber(residual: Floats, delta: float) -> Floats:
    """r^2/2 inside delta, delta (|r| - delta/2) outside, elementwise."""
    clipped = np.clip(residual, -delta, delta)
    return clipped * (residual - 0.5 * clipped)


def solve(
    model: Model,
    log_loss: Floats,
    starts: Floats,
    *,
    weights: Floats | None = None,
    delta: float = HUBER_DELTA,
    max_iter: int = 200,
    widen: bool = True,
    keep: int | None = None,
) -> Solution:
    """Minimise the summed Huber loss from each start.

    ``log_loss`` is (n,) or one row per start (B, n); ``weights`` (B, n) count how often a point was drawn. With
    ``keep``, for starts of one and the same problem, only that many of the lowest go on after the widened deltas.
    """
    n_starts = len(starts)
    per_chunk = max(1, _CHUNK // max(1, log_loss.shape[-1]))
    parts = []
    for at in range(0, n_starts, per_chunk):
        rows = slice(at, at + per_chunk)
        y = log_loss if log_loss.ndim == 1 else log_loss[rows]
        w = None if weights is None else weights[rows]
        theta = starts[rows].copy()
        for factor in _WIDENING if widen else ():
            theta = _descend(model, y, theta, w, delta * factor, max_iter // 4, 1e-4).theta
        if keep is not None:
            assert y.ndim == 1 and w is None, "starts of one problem"
            theta = theta[np.argsort(_total(model, y, theta, w, delta))[:keep]]
        parts.append(_descend(model, y, theta, w, delta, max_iter, 1e-13))
    return Solution(
        theta=np.concatenate([p.theta for p in parts]),
        objective=np.concatenate([p.objective for p in parts]),
        converged=np.concatenate([p.converged for p in parts]),
    )


def _total(model: Model, y: Floats, theta: Floats, w: Floats | None, delta: float) -> Floats:
    loss = huber(model.log_loss(theta) - y, delta)
    if w is not None:
        loss *= w
    total: Floats = np.where(np.isfinite(loss).all(axis=1), loss.sum(axis=1), np.inf)
    return total


def _descend(
    model: Model, y: Floats, theta: Floats, w: Floats | None, delta: float, max_iter: int, tolerance: float
) -> Solution:
    """Damped Newton on every row at once; rows leave the batch as they converge."""
    low, high = model.bounds
    theta = np.clip(theta, low, high)
    objective = _total(model, y, theta, w, delta)
    damping = np.full(len(theta), 1e-2)
    calm = np.zeros(len(theta), dtype=np.int64)
    active = np.arange(len(theta))
    for _ in range(max_iter):
        if not len(active):
            break
        y_now = y if y.ndim == 1 else y[active]
        w_now = None if w is None else w[active]
        step, promised = _newton_step(model, y_now, theta[active], w_now, delta, damping[active])
        trial = np.clip(theta[active] + step, low, high)
        reached = _total(model, y_now, trial, w_now, delta)
        gain = objective[active] - reached
        better = gain > 0
        moved = active[better]
        theta[moved], objective[moved] = trial[better], reached[better]
        # A step that does as well as it promised frees the next; one that fails is shortened until it works.
        good = better & (gain > 0.5 * promised)
        damping[active] *= np.where(good, 0.1, np.where(better, 1.0, 8.0))
        np.clip(damping, 1e-9, _MAX_DAMPING, out=damping)
        small = gain <= tolerance * np.maximum(objective[active], 1e-12)
        settled = small & (better | (promised <= tolerance * np.maximum(objective[active], 1e-12)))
        calm[active] = np.where(settled, calm[active] + 1, np.where(better, 0, calm[active]))
        active = active[(calm[active] < 2) & (damping[active] < _MAX_DAMPING)]
    converged = np.ones(len(theta), dtype=np.bool_)
    converged[active] = False
    return Solution(theta, objective, converged)


def _newton_step(
    model: Model, y: Floats, theta: Floats, w: Floats | None, delta: float, damping: Floats
) -> tuple[Floats, Floats]:
    """(B, P) step and (B,) the fall of the objective the local model promises for it."""
    predicted, jac, cache = model.linearise(theta)
    residual = predicted - y
    size = np.abs(residual)
    pull = np.clip(residual, -delta, delta)
    inside = (size <= delta).astype(np.float64)
    # The majoriser's weights: with them as damping a step is never longer than iterated reweighting would take.
    soft = delta / np.maximum(size, delta)
    if w is not None:
        pull, inside, soft = pull * w, inside * w, soft * w
    jac_t = jac.transpose(0, 2, 1)
    gradient = np.matmul(jac, pull[:, :, None])[:, :, 0]
    newton = np.matmul(jac * inside[:, None, :], jac_t) + model.curvature(cache, jac, pull)
    majoriser = np.matmul(jac * soft[:, None, :], jac_t)
    diagonal = np.einsum("bpp->bp", majoriser)
    floor = 1e-12 * diagonal.max(axis=1, keepdims=True) + 1e-300
    scale = 1 / np.sqrt(diagonal + floor)
    newton *= scale[:, :, None] * scale[:, None, :]
    majoriser *= scale[:, :, None] * scale[:, None, :]
    hessian = newton + damping[:, None, None] * majoriser
    np.einsum("bpp->bp", hessian)[...] += 1e-10 * (1 + damping[:, None])
    hessian = np.where(np.isfinite(hessian), hessian, 0.0)
    values, vectors = np.linalg.eigh(hessian)
    # Directions of negative curvature are followed downhill at the length their curvature suggests.
    values = np.maximum(np.abs(values), 1e-14)
    along = np.einsum("bpq,bp->bq", vectors, np.where(np.isfinite(gradient), gradient, 0.0) * scale)
    step = -np.einsum("bpq,bq->bp", vectors, along / values) * scale
    promised = 0.5 * (along**2 / values).sum(axis=1)
    return np.clip(step, -4.0, 4.0), promised
