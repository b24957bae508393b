"""How likely runs are at a level of the curve: beta-binomial for proportions of n items, else Gaussian.

The dispersion is a grid, not a parameter to optimise: every likelihood comes for all its values at once, and the
models average over it.
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from scipy.special import gammaln, logsumexp

from engine.analysis.arrays import Floats
from engine.analysis.emergence.curve import Curve

CORRELATIONS = np.array([0.0, 1e-5, 1e-4, 0.001, 0.004, 0.015, 0.05, 0.15])
"""Intra-class correlations rho of the beta-binomial: 0 is plain binomial; at 0.05 the seeds' sd at p = 0.5 is 0.11.
The smallest matter with ten thousand items and more, whose binomial noise alone would be less than any two runs'."""
DEVIATIONS = np.geomspace(0.004, 0.5, 15)
"""Standard deviations of a run as a share of the range of the means, where the noise is Gaussian."""
OUTLIER = 0.02
"""Share of sizes allowed to lie off any curve (odd shapes of a model, a run gone wrong): bounds what one can say."""
FLOOR = 1e-7
_LEVELS = np.sin(np.linspace(0, np.pi / 2, 130)[1:-1]) ** 2
"""Levels of an arcsine prior: evenly spaced where a proportion's variance is stable."""


@dataclass(frozen=True, eq=False)
class Likelihood:
    """The likelihood of a curve's runs. D values of dispersion, I sizes, S runs."""

    curve: Curve
    correlations: Floats = field(default_factory=lambda: CORRELATIONS)

    @cached_property
    def dispersions(self) -> Floats:
        """(D,) intra-class correlations, or standard deviations."""
        return self.correlations if self.curve.noise == "binomial" else DEVIATIONS

    @property
    def n_dispersions(self) -> int:
        """D."""
        return len(self.dispersions)

    @cached_property
    def inflation(self) -> Floats:
        """(D,) log standard deviation of a run relative to its least: what one fitted parameter hides of it."""
        if self.curve.noise == "gaussian":
            return np.log(self.dispersions)
        n = float(np.median(self.curve.n[self.curve.runs]))
        return 0.5 * np.log1p(self.dispersions * max(n - 1, 0.0))

    @cached_property
    def _constant(self) -> Any:
        """Beta-binomial terms without mu: (D, I) summed over runs."""
        kappa = _kappa(self.correlations[1:])[:, None, None]
        n = self.curve.n[None]
        terms = np.where(self.curve.runs[None], gammaln(kappa) - gammaln(n + kappa), 0.0)
        return terms.sum(axis=2)

    def sizes(self, mu: Floats) -> Floats:
        """(B, D, I) log-likelihood of each size's runs at levels ``mu`` (B, I)."""
        curve = self.curve
        if curve.noise == "gaussian":
            squares = self._within + curve.n_runs * (curve.mean - mu) ** 2
            scaled = squares[:, None, :] / (2 * self.dispersions[:, None] ** 2)
            gaussian: Floats = -scaled - curve.n_runs * np.log(self.dispersions)[:, None]
            return gaussian
        mu = np.clip(mu, FLOOR, 1 - FLOOR)
        found = np.empty((len(mu), self.n_dispersions, curve.n_sizes))
        found[:, 0] = self._hits * np.log(mu) + self._misses * np.log1p(-mu)
        kappa = _kappa(self.correlations[1:])[:, None]
        a, b = mu[:, None] * kappa, (1 - mu)[:, None] * kappa
        total = self._constant - curve.n_runs * (gammaln(a) + gammaln(b))
        for run in range(curve.y.shape[1]):
            there = curve.runs[:, run]
            hits = np.where(there, curve.y[:, run] * curve.n[:, run], 0.0)
            misses = np.where(there, curve.n[:, run] - hits, 0.0)
            total += np.where(there, gammaln(hits + a) + gammaln(misses + b), 0.0)
        found[:, 1:] = total
        return found

    @cached_property
    def _within(self) -> Floats:
        curve = self.curve
        within: Floats = np.where(curve.runs, (curve.y - curve.mean[:, None]) ** 2, 0.0).sum(axis=1)
        return within

    @cached_property
    def _hits(self) -> Floats:
        hits: Floats = np.where(self.curve.runs, self.curve.y * self.curve.n, 0.0).sum(axis=1)
        return hits

    @cached_property
    def _misses(self) -> Floats:
        misses: Floats = np.where(self.curve.runs, (1 - self.curve.y) * self.curve.n, 0.0).sum(axis=1)
        return misses

    @cached_property
    def anywhere(self) -> Floats:
        """(D, I) log-likelihood of a size whose level could be anything: what an outlier scores."""
        if self.curve.noise == "gaussian":
            sd, runs = self.dispersions[:, None], self.curve.n_runs
            width = 0.5 * np.log(2 * np.pi * sd**2 / runs)
            closed: Floats = width - self._within / (2 * sd**2) - runs * np.log(sd)
            return closed
        levels = np.repeat(_LEVELS[:, None], self.curve.n_sizes, axis=1)
        average: Floats = logsumexp(self.sizes(levels), axis=0) - np.log(len(_LEVELS))
        return average

    def robust(self, log_likelihood: Floats) -> Floats:
        """(..., D, I) with the share of outliers mixed in."""
        mixed: Floats = np.logaddexp(np.log1p(-OUTLIER) + log_likelihood, np.log(OUTLIER) + self.anywhere)
        return mixed

    def run_levels(self, levels: Floats) -> Floats:
        """(I, S, D, len(levels)) log-likelihood of every run at every level; 0 where there is no run."""
        curve = self.curve
        y = np.where(curve.runs, curve.y, 0.0)[..., None, None]
        if curve.noise == "gaussian":
            sd = self.dispersions[:, None]
            found = -((y - levels) ** 2) / (2 * sd**2) - np.log(sd)
            return np.where(curve.runs[..., None, None], found, 0.0)
        hits = y * curve.n[..., None, None]
        misses = curve.n[..., None, None] - hits
        mu = np.clip(levels, FLOOR, 1 - FLOOR)
        plain = hits * np.log(mu) + misses * np.log1p(-mu)
        kappa = _kappa(self.correlations[1:])[:, None]
        a, b = mu * kappa, (1 - mu) * kappa
        beta = gammaln(hits + a) - gammaln(a) + gammaln(misses + b) - gammaln(b)
        beta += gammaln(kappa) - gammaln(hits + misses + kappa)
        return np.where(curve.runs[..., None, None], np.concatenate([plain, beta], axis=2), 0.0)


def _kappa(rho: Floats) -> Floats:
    """a + b of the beta distribution with intra-class correlation ``rho``."""
    return (1 - rho) / rho
