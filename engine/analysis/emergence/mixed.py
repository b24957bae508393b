"""A break that depends on the seed: every run has learned it or not, and the share that has grows with size.

Runs are a mixture of two plateaus, each with its own level and spread; the share pi(x) is a logistic of log size.
Zhao 2025 (random scaling of emergent capabilities) sees this near the threshold; a smooth form with a spread between
seeds has its runs in the middle instead.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logsumexp

from engine.analysis.arrays import Floats, Ints
from engine.analysis.emergence.curve import Curve
from engine.analysis.emergence.noise import Likelihood

_ROUNDS = 12
_LEVELS = np.sin(np.linspace(0, np.pi / 2, 98)[1:-1]) ** 2
BROADEST = {"binomial": 0.06, "gaussian": 0.16}
"""Most spread of one plateau (intra-class correlation, or share of the range): more is no plateau."""
_APART = 2.0
"""Plateaus lie further apart than this many times the sum of their standard deviations, else they are one."""
_WITHIN = 2.0
"""Standard deviations within which a run counts as on a plateau."""
_WIDTHS = (0.5, 1.0, 2.0, 4.0)
_N_MIDDLES = 25
_RARE = 0.01
PARTWAY = np.array([0.02, 0.1, 0.3])
"""Shares of a size's runs that may be caught off the plateaus: many near the threshold of three-digit addition, none
far above it. Each size takes any of these."""


@dataclass(frozen=True, eq=False)
class Mixture:
    """The mixture under F folds (row 0: all sizes) and K shares pi(x)."""

    log_weight: Floats
    """(F, K) robust log-likelihood of the fold's sizes with the prior of each share."""
    heldout: Floats
    """(F - 1, K) log predictive density of the left-out size."""
    inflation: Floats
    """(F, 1) log of the plateaus' spread relative to the least."""
    low: float
    high: float
    spread: tuple[float, float]
    """Standard deviations of runs around each plateau, items' noise aside, in units of y."""
    on_plateau: Floats
    """(I,) share of a size's runs that lie on one of the plateaus."""
    learned: Floats
    """(I, S) probability that a run is on the upper plateau, under all sizes; NaN where there is no run."""
    log_below: Floats
    """(I, S) log-likelihood of each run on the lower plateau, on the upper one, and at any level."""
    log_above: Floats
    log_partway: Floats
    middle: Floats
    """(K,) x where half of the seeds have learned it, and (K,) the 10-90% width of the share, in decades."""
    width: Floats


def fit(likelihood: Likelihood, folds: Floats) -> Mixture | None:
    """Expectation-maximisation of the plateaus in every fold (F, I); None where no two plateaus come apart."""
    curve = likelihood.curve
    table, inflation, sd = _table(likelihood)
    anything = logsumexp(table, axis=(2, 3)) - np.log(table.shape[2] * len(_LEVELS))
    low, high = _plateaus(curve, table, folds, anything)
    flat = table.reshape(curve.n_sizes, -1, table.shape[2] * table.shape[3])
    below = np.moveaxis(flat[:, :, low], 2, 0)
    above = np.moveaxis(flat[:, :, high], 2, 0)
    n_levels = len(_LEVELS)
    seen = np.sqrt(sd**2 + _item_noise(curve)).ravel()
    apart = _LEVELS[high % n_levels] - _LEVELS[low % n_levels] > _APART * (seen[low] + seen[high])
    if not apart[0]:
        return None
    share, middle, width = _shares(curve)
    terms = np.zeros((len(PARTWAY), len(folds), len(share), curve.n_sizes))
    for run in range(curve.runs.shape[1]):
        one = np.logaddexp(np.log(share) + above[:, None, :, run], np.log1p(-share) + below[:, None, :, run])
        for index, partway in enumerate(PARTWAY):
            off = np.log(partway) + anything[:, run]
            terms[index] += np.where(curve.runs[:, run], np.logaddexp(one + np.log1p(-partway), off), 0.0)
    terms = logsumexp(terms, axis=0) - np.log(len(PARTWAY))
    anywhere = logsumexp(likelihood.anywhere, axis=0) - np.log(likelihood.n_dispersions)
    terms = np.logaddexp(np.log(0.98) + terms, np.log(0.02) + anywhere)
    log_weight = np.einsum("fki,fi->fk", terms, folds) - np.log(len(share))
    log_weight -= np.log(table.shape[2])
    log_weight[~apart] = -1e300
    heldout = np.stack([terms[1 + i, :, i] for i in range(curve.n_sizes)])
    odds = _learned(below[:1], above[:1], curve)[0]
    near = [np.abs(curve.y - _LEVELS[i % n_levels]) <= _WITHIN * seen[i] for i in (low[0], high[0])]
    return Mixture(
        on_plateau=((near[0] | near[1]) & curve.runs).sum(axis=1) / curve.n_runs,
        log_weight=log_weight,
        heldout=heldout,
        inflation=((inflation[low // n_levels] + inflation[high // n_levels]) / 2)[:, None],
        low=float(_LEVELS[low[0] % n_levels]),
        high=float(_LEVELS[high[0] % n_levels]),
        spread=(float(sd.ravel()[low[0]]), float(sd.ravel()[high[0]])),
        learned=np.where(curve.runs, odds, np.nan),
        log_below=below[0],
        log_above=above[0],
        log_partway=anything,
        middle=middle,
        width=width,
    )


def _table(likelihood: Likelihood) -> tuple[Floats, Floats, Floats]:
    """(I, S, D', Q) run likelihoods at levels, (D',) log inflation, (D', Q) sd of a plateau; broad ones left out."""
    kept = likelihood.dispersions <= BROADEST[likelihood.curve.noise]
    table = likelihood.run_levels(_LEVELS)[:, :, kept]
    spread = likelihood.dispersions[kept][:, None]
    if likelihood.curve.noise == "binomial":
        sd = np.sqrt(spread * _LEVELS * (1 - _LEVELS))
    else:
        sd = np.repeat(spread, len(_LEVELS), axis=1)
    return table, likelihood.inflation[kept], sd


def _item_noise(curve: Curve) -> Floats:
    """(Q,) variance of a run's score from its items alone."""
    if curve.noise == "gaussian":
        return np.zeros(len(_LEVELS))
    variance: Floats = _LEVELS * (1 - _LEVELS) / float(np.median(curve.n[curve.runs]))
    return variance


def _plateaus(curve: Curve, table: Floats, folds: Floats, anything: Floats) -> tuple[Ints, Ints]:
    """(F,) indices into (D', Q) of the lower and the upper plateau; runs on neither (``anything``) hardly count."""
    flat = table.reshape(-1, table.shape[2] * table.shape[3])
    y = np.where(curve.runs, curve.y, np.nan)
    middle = (np.nanmin(y) + np.nanmax(y)) / 2
    upper = np.where(curve.runs, y > middle, False).astype(np.float64)
    runs = (folds[:, :, None] * curve.runs).reshape(len(folds), -1)
    share = np.repeat(upper.reshape(1, -1), len(folds), axis=0)
    low = high = np.zeros(len(folds), dtype=np.int64)
    counted = runs
    off = anything.ravel() + np.log(PARTWAY[1])
    for _ in range(_ROUNDS):
        before = low, high
        low = ((counted * (1 - share)) @ flat).argmax(axis=1)
        high = ((counted * share) @ flat).argmax(axis=1)
        if (before[0] == low).all() and (before[1] == high).all():
            break
        below, above = flat[:, low].T, flat[:, high].T
        shape = (len(folds), *curve.runs.shape)
        share = _learned(below.reshape(shape), above.reshape(shape), curve).reshape(len(folds), -1)
        counted = runs * expit(np.maximum(below, above) - off)
    return low, high


def _learned(below: Floats, above: Floats, curve: Curve) -> Floats:
    """(F, I, S) probability of the upper plateau, with the share of each size estimated from its own runs."""
    share = np.full((*below.shape[:2], 1), 0.5)
    learned = np.full(below.shape, 0.5)
    for _ in range(4):
        learned = expit(above - below + np.log(share) - np.log1p(-share))
        learned = np.where(curve.runs, learned, 0.0)
        share = (learned.sum(axis=2, keepdims=True) + 0.5) / (curve.n_runs[:, None] + 1)
    return learned


def _shares(curve: Curve) -> tuple[Floats, Floats, Floats]:
    """(K, I) shares pi(x), their middles and widths."""
    span, gap = curve.x[-1] - curve.x[0], float(curve.spacing.mean())
    middles = curve.x[0] + span * (np.arange(_N_MIDDLES) + 0.5) / _N_MIDDLES
    middle, width = (g.ravel() for g in np.meshgrid(middles, np.array(_WIDTHS) * gap, indexing="ij"))
    z = (curve.x - middle[:, None]) * (2 * np.log(9) / width)[:, None]
    return np.clip(expit(z), _RARE, 1 - _RARE), middle, width
