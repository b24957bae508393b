"""The distribution over seeds at each size: how many learned it, and whether they are of two kinds."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import logsumexp
from scipy.stats import norm

from engine.analysis.arrays import Floats
from engine.analysis.emergence.curve import Curve
from engine.analysis.emergence.mixed import Mixture
from engine.analysis.emergence.noise import CORRELATIONS, Likelihood

BIMODAL = 3.0
"""Log-likelihood ratio of two kinds of seeds to one, beyond which they are called mixed: odds of 20."""
_U_SHAPED = (0.35, 0.6)
"""Spreads at which one kind of seed is itself spread to both ends: two kinds must beat that too."""
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
    of two kinds of seeds to one, summed over the sizes that hold both kinds.
    """

    rows: list[dict[str, Any]]
    threshold: float
    log_ratio: float
    mixed_sizes: int

    @property
    def mixed(self) -> bool:
        """Whether, near the threshold, some seeds learn it and some do not, with none between."""
        return self.mixed_sizes > 0 and self.log_ratio > BIMODAL


def seed_table(curve: Curve, mixture: Mixture | None, level: float = 0.95) -> SeedTable:
    """The seeds of a curve. Without two plateaus the threshold is half way between the extreme means."""
    if mixture is None:
        threshold = float(curve.mean.min() + curve.mean.max()) / 2
        ratios = np.zeros(curve.n_sizes)
    else:
        threshold = (mixture.low + mixture.high) / 2
        ratios = log_ratios(curve, mixture)
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
    total = float(ratios[both].sum()) if both.any() else 0.0
    return SeedTable(rows, curve.score(threshold), total, int(both.sum()))


def log_ratios(curve: Curve, mixture: Mixture) -> Floats:
    """(I,) log-likelihood of two kinds of seeds over one kind, at each size.

    One kind: a beta-binomial (or Gaussian) whose level and spread are free at this size. Two kinds: the plateaus of
    the mixture, common to all sizes, with the share of each free at this size.
    """
    likelihood = Likelihood(curve, np.append(CORRELATIONS, _U_SHAPED))
    one_kind = likelihood.run_levels(_LEVELS).sum(axis=1).max(axis=(1, 2))
    counts = np.nansum(mixture.learned, axis=1, keepdims=True)
    share = (counts + 0.5) / (curve.n_runs[:, None] + 1)
    both = logsumexp([np.log(share) + mixture.log_above, np.log1p(-share) + mixture.log_below], axis=0)
    ratios: Floats = np.where(curve.runs, both, 0.0).sum(axis=1) - one_kind
    return ratios
