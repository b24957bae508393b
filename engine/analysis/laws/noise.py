"""How far runs scatter around a law: between sizes and between seeds of one size, with the doubt about both."""

from dataclasses import dataclass

import numpy as np

from engine.analysis.arrays import Floats, Ints


@dataclass(frozen=True)
class Noise:
    """Standard deviations of ln L. ``df_between`` 0 means that the sizes leave none to estimate it from."""

    between: float
    within: float
    df_between: int
    df_within: int
    seeds_per_size: float

    def draw(self, rng: np.random.Generator, n: int) -> tuple[Floats, Floats]:
        """(n,) standard deviations between and within that could have given these estimates.

        Scaled inverse chi-squared draws, so that intervals at few sizes are as wide as Student's.
        """
        within = self.within * _doubt(rng, self.df_within, n)
        mean_variance = self.between**2 + self.within**2 / self.seeds_per_size
        drawn = mean_variance * _doubt(rng, self.df_between, n) ** 2
        if self.df_within == 0:
            return np.sqrt(drawn), np.zeros(n)
        between = np.sqrt(np.maximum(drawn - within**2 / self.seeds_per_size, 0.0))
        return between, within


def _doubt(rng: np.random.Generator, df: int, n: int) -> Floats:
    if df <= 0:
        return np.ones(n)
    # Below three degrees of freedom the variance has no mean and single draws would swamp any plot.
    factor: Floats = np.sqrt(df / np.maximum(rng.chisquare(df, n), 1e-3 * df))
    return factor


def estimate_noise(residuals: Floats, group: Ints, n_coordinates: int) -> Noise:
    """Split (n,) residuals by ``group`` (n,), the index of the size, after fitting ``n_coordinates``."""
    counts = np.bincount(group)
    n_sizes = len(counts)
    means = np.bincount(group, residuals) / counts
    df_within = int(len(residuals) - n_sizes)
    rss_within = float(((residuals - means[group]) ** 2).sum())
    within = (rss_within / df_within) ** 0.5 if df_within else 0.0
    per_size = n_sizes / float((1 / counts).sum())
    df_between = max(n_sizes - n_coordinates, 0)
    of_means = float((means**2).sum()) / df_between if df_between else 0.0
    between = max(of_means - within**2 / per_size, 0.0) ** 0.5 if df_within else of_means**0.5
    return Noise(between, within, df_between, df_within, per_size)


def perturb(rng: np.random.Generator, fitted: Floats, group: Ints, between: Floats, within: Floats) -> Floats:
    """(B, n) ln L drawn around ``fitted`` (n,): one shock per size and one per run, by each sample's spread."""
    n_samples, n_sizes = len(between), int(group.max()) + 1
    by_size = rng.standard_normal((n_samples, n_sizes)) * between[:, None]
    by_run = rng.standard_normal((n_samples, len(fitted))) * within[:, None]
    drawn: Floats = fitted + by_size[:, group] + by_run
    return drawn
