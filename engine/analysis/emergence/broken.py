"""Forms with a break: two plateaus with the whole rise between two neighbouring sizes, or on one size.

A true break is a rise whose 10-90% width is less than the spacing of the grid. Seen on that grid it is a step in a
gap, or a step that one size stands in the middle of; where in the gap is not to be known, so the critical size is
uniform over it. Levels of the plateaus are weighted means, in closed form for every place of the step and every
held-out size at once.
"""

from dataclasses import dataclass

import numpy as np

from engine.analysis.arrays import Bools, Floats
from engine.analysis.emergence.curve import Curve
from engine.analysis.emergence.noise import Likelihood

TOUCHING = 0.3
"""Prior share of steps that have one size in the middle of them: a width of half a spacing would touch one so often."""
JUMP_SHARE = 0.6
"""Least share of the whole rise that a jump on a trend makes in its gap."""
_LEAST_ROOM = 0.05


@dataclass(frozen=True, eq=False)
class Steps:
    """The K places a step can have. ``below`` and ``above`` (K, I) say which sizes are on each plateau."""

    below: Bools
    above: Bools
    log_prior: Floats
    start: Floats
    """(K,) ends of the stretch of x that the critical size may be in."""
    end: Floats


def places(curve: Curve) -> Steps:
    """Steps in every gap (prior in proportion to its length) and on every inner size."""
    index = np.arange(curve.n_sizes)
    gaps = np.arange(curve.n_sizes - 1)
    inner = np.arange(1, curve.n_sizes - 1)
    below = np.concatenate([index <= gaps[:, None], index < inner[:, None]])
    above = np.concatenate([index > gaps[:, None], index > inner[:, None]])
    share = curve.spacing / curve.spacing.sum()
    touching = (share[1:] + share[:-1]) / (share[1:] + share[:-1]).sum()
    prior = np.concatenate([(1 - TOUCHING) * share, TOUCHING * touching])
    start = np.concatenate([curve.x[:-1], (curve.x[inner - 1] + curve.x[inner]) / 2])
    end = np.concatenate([curve.x[1:], (curve.x[inner + 1] + curve.x[inner]) / 2])
    return Steps(below, above, np.log(prior), start, end)


def plateaus(curve: Curve, steps: Steps, weight: Floats) -> tuple[Floats, Floats, Bools]:
    """(F, K) levels below and above for weights (F, I), and (F, K, I) whether a size is on a plateau of no weight."""
    weighted = weight * curve.mean
    low_total, high_total = weight @ steps.below.T, weight @ steps.above.T
    low = (weighted @ steps.below.T) / np.where(low_total > 0, low_total, 1.0)
    high = (weighted @ steps.above.T) / np.where(high_total > 0, high_total, 1.0)
    blind = (steps.below & (low_total == 0)[..., None]) | (steps.above & (high_total == 0)[..., None])
    return limited(curve, low, low_total), limited(curve, high, high_total), blind


def limited(curve: Curve, level: Floats, total: Floats) -> Floats:
    """A level as it is, save that none of ``total`` items is not never: at least a quarter of an item off 0 and 1."""
    if curve.noise == "gaussian":
        return level
    edge = 0.25 / (total + 0.5)
    return np.clip(level, np.maximum(edge, curve.low), np.maximum(1 - edge, curve.low))


def log_likelihood(likelihood: Likelihood, steps: Steps, weight: Floats) -> Floats:
    """(F, K, D, I) robust log-likelihood of each size, with the plateaus fitted under weights (F, I).

    A size alone on a plateau that was fitted without it scores as one whose level can be anything.
    """
    curve = likelihood.curve
    low, high, blind = plateaus(curve, steps, weight)
    n_folds, n_places = low.shape
    mu = np.where(steps.below, low[..., None], high[..., None])
    flat = likelihood.sizes(mu.reshape(n_folds * n_places, -1))
    found = flat.reshape(n_folds, n_places, likelihood.n_dispersions, curve.n_sizes)
    touched = ~(steps.below | steps.above)
    for place in np.flatnonzero(touched.any(axis=1)):
        size = int(touched[place].argmax())
        room = _room(curve, low[:, place], high[:, place], size)
        found[:, place, :, size] = likelihood.anywhere[:, size] - np.log(room)[:, None]
    return np.where(blind[:, :, None], likelihood.anywhere, likelihood.robust(found))


def _room(curve: Curve, low: Floats, high: Floats, size: int) -> Floats:
    """(F,) share of all levels that lies between the plateaus: where the size in the middle of a step can be."""
    if curve.noise == "binomial":
        low, high, at = (2 / np.pi * np.arcsin(np.sqrt(level)) for level in (low, high, curve.mean[size]))
    else:
        at = curve.mean[size]
    between = (low <= at) & (at <= high)
    return np.where(between, np.maximum(high - low, _LEAST_ROOM), 1.0)


def trended(likelihood: Likelihood, steps: Steps, weight: Floats) -> tuple[Floats, Floats]:
    """Jumps in the I - 1 gaps on top of one straight trend: (F, I - 1, D, I) log-likelihood, (F, I - 1, 3) fits.

    The fit is the level at the middle of the range before the jump, the jump, and the rise of the trend over the
    range.
    """
    curve = likelihood.curve
    n_gaps = curve.n_sizes - 1
    above = steps.above[:n_gaps].astype(np.float64)
    t = (curve.x - (curve.x[0] + curve.x[-1]) / 2) / (curve.x[-1] - curve.x[0])
    design = np.stack([np.ones_like(above), above, np.broadcast_to(t, above.shape)], axis=1)
    total = weight.sum(axis=1)[:, None, None, None]
    normal = np.einsum("kpi,fi,kqi->fkpq", design, weight, design) / total
    # So little a ridge decides only what no size can: the jump where one side is empty.
    normal += 1e-6 * np.eye(3)
    target = np.einsum("kpi,fi->fkp", design, weight * curve.mean) / total[..., 0]
    fitted = np.linalg.solve(normal, target[..., None])[..., 0]
    mu = np.einsum("fkp,kpi->fki", fitted, design)
    if curve.noise == "binomial":
        edge = 0.25 / (weight.sum(axis=1) + 0.5)
        mu = np.clip(mu, np.maximum(edge, curve.low)[:, None, None], (1 - edge)[:, None, None])
    found = likelihood.sizes(mu.reshape(-1, curve.n_sizes)).reshape(len(weight), n_gaps, -1, curve.n_sizes)
    *_, blind = plateaus(curve, steps, weight)
    terms = np.where(blind[:, :n_gaps, None], likelihood.anywhere, likelihood.robust(found))
    # A small jump on a long trend is a smooth form in disguise.
    jump, trend = fitted[..., 1], fitted[..., 2]
    is_break = (trend >= 0) & (jump >= JUMP_SHARE * (jump + trend))
    return np.where(is_break[..., None, None], terms, -1e6), fitted
