"""One capability under one metric against size: runs grouped by size, oriented so that the ability rises."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np

from engine.analysis.arrays import Bools, Floats

Kind = Literal["threshold", "continuous", "unknown"]
Noise = Literal["binomial", "gaussian"]

PLATEAU_MARGIN = 3.0
"""Standard errors by which scores may lie under a stated chance level before it is not believed as a floor."""


@dataclass(frozen=True, eq=False)
class Curve:
    """Runs of one metric. I sizes ascending in ``x``, up to S runs each, padded; ``runs`` (I, S) says which exist.

    ``y`` (I, S) is what is fitted: a proportion of ``n`` (I, S) items where ``noise`` is binomial, else the score
    shifted and scaled so that the means of the sizes span 0 to 1. Larger is better and y rises with x. ``score`` is
    ``shift + scale * y``. ``mirrored`` says that x is minus log10 of the size, because the ability falls with it.
    """

    metric: str
    kind: Kind
    noise: Noise
    x: Floats
    y: Floats
    n: Floats
    runs: Bools
    shift: float = 0.0
    scale: float = 1.0
    mirrored: bool = False
    low: float = 0.0
    """The lowest level y can have: the chance level where it is known."""
    high: float = 1.0

    @property
    def n_sizes(self) -> int:
        return len(self.x)

    @cached_property
    def n_runs(self) -> Floats:
        """(I,) runs of each size."""
        counts: Floats = self.runs.sum(axis=1).astype(np.float64)
        return counts

    @cached_property
    def effective(self) -> Floats:
        """(I, S) weight of each run: items discounted by the spread between seeds, or one where n is unknown."""
        if self.noise == "gaussian":
            return self.runs.astype(np.float64)
        rho = self.overdispersion
        weight: Floats = np.where(self.runs, self.n / (1 + rho * np.maximum(self.n - 1, 0)), 0.0)
        return weight

    @cached_property
    def weight(self) -> Floats:
        """(I,) weight of each size's mean."""
        weight: Floats = self.effective.sum(axis=1)
        return weight

    @cached_property
    def mean(self) -> Floats:
        """(I,) weighted mean of y at each size."""
        mean: Floats = (np.where(self.runs, self.y, 0.0) * self.effective).sum(axis=1) / self.weight
        return mean

    @cached_property
    def overdispersion(self) -> float:
        """Intra-class correlation of items within a run, by moments within sizes; 0 where each has one run."""
        several = self.runs.sum(axis=1) > 1
        if self.noise == "gaussian" or not several.any():
            return 0.0
        y, n, runs = self.y[several], self.n[several], self.runs[several]
        total = np.where(runs, n, 0.0).sum(axis=1)
        mean = (np.where(runs, y * n, 0.0).sum(axis=1) / total)[:, None]
        chi = (np.where(runs, n * (y - mean) ** 2, 0.0).sum(axis=1)).sum()
        counts = runs.sum(axis=1)
        variance = (mean * (1 - mean))[:, 0]
        spread = total - np.where(runs, n**2, 0.0).sum(axis=1) / total
        # E[chi] = sum of variance * ((S - 1)(1 - rho) + rho * spread): solved for rho.
        base, slope = float((variance * (counts - 1)).sum()), float((variance * (spread - counts + 1)).sum())
        return float(np.clip((chi - base) / slope, 0.0, 0.9)) if slope > 0 else 0.0

    @cached_property
    def spacing(self) -> Floats:
        """(I - 1,) gaps between sizes, in decades."""
        return np.diff(self.x)

    def spacing_at(self, x: Floats) -> Floats:
        """The local spacing of the grid at any ``x``: gaps, interpolated between their middles."""
        middles = (self.x[1:] + self.x[:-1]) / 2
        return np.interp(x, middles, self.spacing)

    def size(self, x: float) -> float:
        """The size at ``x``."""
        return float(f"{10 ** (-x if self.mirrored else x):.12g}")

    def score(self, y: float) -> float:
        """The score as it was given, at ``y``."""
        return float(self.shift + self.scale * y)

    def only(self, size: int) -> "Curve":
        """The runs of one size."""
        one = slice(size, size + 1)
        return replace(self, x=self.x[one], y=self.y[one], n=self.n[one], runs=self.runs[one])

    def mirror(self) -> "Curve":
        """The same runs against minus log size: an ability that falls with size rises with this."""
        flip = slice(None, None, -1)
        return replace(
            self, x=-self.x[flip], y=self.y[flip], n=self.n[flip], runs=self.runs[flip], mirrored=not self.mirrored
        )

    def standard_error(self) -> Floats:
        """(I,) standard errors of the means, from items and seeds."""
        if self.noise == "gaussian":
            within = np.where(self.runs, (self.y - self.mean[:, None]) ** 2, 0.0).sum()
            df = max(float(self.n_runs.sum() - self.n_sizes), 1.0)
            gaussian: Floats = np.sqrt(within / df / self.n_runs)
            return gaussian
        # Agresti-Coull's two successes and failures keep the error off zero at the floor.
        mean = (self.mean * self.weight + 2) / (self.weight + 4)
        binomial: Floats = np.sqrt(mean * (1 - mean) / (self.weight + 4))
        return binomial
