"""The distribution over seeds at each size: how many learned it, and whether they are of two kinds."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import logsumexp
from scipy.stats import norm

from engine.analysis.arrays import Floats
from engine.analysis.emergence.curve import Curve
from engine.analysis.emergence.mixed import BROADEST, PARTWAY, Mixture
from engine.analysis.emergence.noise import CORRELATIONS, Likelihood

BIMODAL = 3.0
"""Log-likelihood ratio of two kinds of seeds to one plateau, beyond which they are called mixed: odds of 20."""
_BROADER = (0.25, 1 / 3)
"""Spreads up to the even one: beyond it a beta distribution has two modes, which is what one kind must not have."""
_LEVELS = np.sin(np.linspace(0, np.pi / 2, 66)[1:-1]) ** 2


def wilson(successes: float, trials: float, level: float = 0.95) -> tuple[float, float]:
    """The score interval of a proportion (Wilson 1927); (0, 1) for no trials."""
    if trials <= 0:
        return 0.0, 1.0
    z = float(norm.ppf((1 + level) / 2))
    p = successes / trials
    middle = (p + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z * np.sqrt(p * (1 - p) / trials + z**2 / (4 * trials**2)) / (1 + z**2 / trials)
    low = 0.0 if successes == 0 else float(max(middle - half, 0.0))
    high = 1.0 if successes == trials else float(min(middle + half, 1.0))
    return low, high


@dataclass(frozen=True, eq=False)
class SeedTable:
    """Rows of ``{"size", "n_seeds", "mean", "sd", "learned", "fraction", "interval", "log_ratio"}`` by size.

    ``threshold`` is the score from which a run has learned it: half way between the plateaus. ``log_ratio`` is that
    of two kinds of seeds to one plateau, ``bimodality`` to one kind however spread with one mode, both summed over
    the sizes that hold both kinds.
    """

    rows: list[dict[str, Any]]
    threshold: float
    log_ratio: float
    bimodality: float
    mixed_sizes: int

    @property
    def mixed(self) -> bool:
        """Whether, near the threshold, some seeds learn it and some do not, with none between."""
        return self.mixed_sizes > 0 and self.log_ratio > BIMODAL


def seed_table(curve: Curve, mixture: Mixture | None, level: float = 0.95) -> SeedTable:
    """The seeds of a curve. Without two plateaus the threshold is half way between the extreme means."""
    if mixture is None:
        threshold = float(curve.mean.min() + curve.mean.max()) / 2
        ratios = modes = np.zeros(curve.n_sizes)
    else:
        threshold = (mixture.low + mixture.high) / 2
        ratios, modes = log_ratios(curve, mixture)
    learned = np.where(curve.runs, curve.y > threshold, False).sum(axis=1)
    both = (learned > 0) & (learned < curve.n_runs) & (mixture is not None)
    rows = []
    order = range(curve.n_sizes - 1, -1, -1) if curve.mirrored else range(curve.n_sizes)
    for i in order:
        scores = curve.shift + curve.scale * curve.y[i][curve.runs[i]]
        low, high = wilson(float(learned[i]), float(curve.n_runs[i]), level)
        rows.append(
            {
                "size": curve.size(float(curve.x[i])),
                "n_seeds": len(scores),
                "mean": float(scores.mean()),
                "sd": float(scores.std(ddof=1)) if len(scores) > 1 else None,
                "learned": int(learned[i]),
                "fraction": float(learned[i] / curve.n_runs[i]),
                "interval": [low, high],
                "log_ratio": float(ratios[i]) if both[i] else None,
            }
        )
    total, bimodality = float(ratios[both].sum()), float(modes[both].sum())
    return SeedTable(rows, curve.score(threshold), total, bimodality, int(both.sum()))


def log_ratios(curve: Curve, mixture: Mixture) -> tuple[Floats, Floats]:
    """(I,) log-likelihoods of two kinds of seeds over one kind, at each size: against a plateau, and against any mode.

    Two kinds: the plateaus of the mixture, common to all sizes, with the share of each free at this size. One kind
    has a level of its own here; as a plateau its spread is at most ``BROADEST``, else whatever leaves one mode.
    """
    likelihood = Likelihood(curve, np.append(CORRELATIONS, _BROADER))
    one_kind = likelihood.run_levels(_LEVELS).sum(axis=1)
    if curve.noise == "binomial":
        rho = likelihood.dispersions[:, None]
        total = (1 - rho) / np.maximum(rho, 1e-12)
        one_kind[:, (total * _LEVELS < 1) & (total * (1 - _LEVELS) < 1)] = -np.inf
    plateau = one_kind[:, likelihood.dispersions <= BROADEST[curve.noise]]
    counts = np.nansum(mixture.learned, axis=1, keepdims=True)
    share = (counts + 0.5) / (curve.n_runs[:, None] + 1)
    both = np.logaddexp(np.log(share) + mixture.log_above, np.log1p(-share) + mixture.log_below)
    kinds = [np.logaddexp(both + np.log1p(-off), mixture.log_partway + np.log(off)) for off in PARTWAY]
    two = logsumexp([np.where(curve.runs, k, 0.0).sum(axis=1) for k in kinds], axis=0) - np.log(len(kinds))
    return two - plateau.max(axis=(1, 2)), two - one_kind.max(axis=(1, 2))
