"""A score that rises from chance to a ceiling as the loss falls: a logistic curve (Gadre 2024; Bhagia 2024)."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from engine.analysis.arrays import Floats

SCORE_DELTA = 1e-2
"""Huber's delta on scores of 0 to 1: one point of accuracy, about the binomial noise of 2,500 items."""
MAX_SLOPE = 200.0


@dataclass(frozen=True)
class Sigmoid:
    """score = chance + (ceiling - chance) / (1 + exp(k (L - L_0))).

    Coordinates: chance, ceiling, ln k, L_0. ``x`` is (n, 1) losses. A chance level that is known stays fixed.
    """

    x: Floats
    span: tuple[float, float]
    """Lowest and highest loss of the points fitted."""
    chance: float | None = None

    @property
    def bounds(self) -> tuple[Floats, Floats]:
        low, high = self.span
        width = max(high - low, 1e-6)
        fixed = (0.0, 0.95) if self.chance is None else (self.chance, self.chance)
        lows = [fixed[0], 0.0, np.log(0.05), low - 2 * width]
        return np.array(lows), np.array([fixed[1], 1.0, np.log(MAX_SLOPE), high + 2 * width])

    def at(self, x: Floats) -> Self:
        """The same curve at other losses (m, 1)."""
        return replace(self, x=x)

    def _rise(self, theta: Floats) -> tuple[Floats, Floats]:
        slope = np.exp(theta[:, 2, None])
        away = theta[:, 3, None] - self.x[None, :, 0]
        rise: Floats = 1 / (1 + np.exp(-np.clip(slope * away, -500, 500)))
        return rise, slope * away

    def log_loss(self, theta: Floats) -> Floats:
        """(B, n) scores; the name is that of the models the solver takes."""
        rise, _ = self._rise(theta)
        score: Floats = theta[:, 0, None] + (theta[:, 1, None] - theta[:, 0, None]) * rise
        return score

    def linearise(self, theta: Floats) -> tuple[Floats, Floats, object]:
        rise, scaled = self._rise(theta)
        height = theta[:, 1, None] - theta[:, 0, None]
        steep = height * rise * (1 - rise)
        jac = np.empty((len(theta), 4, len(self.x)))
        jac[:, 0] = (1 - rise) if self.chance is None else 0.0
        jac[:, 1] = rise
        jac[:, 2] = steep * scaled
        jac[:, 3] = steep * np.exp(theta[:, 2, None])
        return theta[:, 0, None] + height * rise, jac, None

    def curvature(self, cache: object, gradient: Floats, v: Floats) -> Floats:
        """Left out: the steps are Gauss-Newton's, damped by iterated reweighting."""
        return np.zeros((len(gradient), 4, 4))

    def public(self, theta: Floats) -> Floats:
        """(B, 4): chance, ceiling, k, L_0."""
        values = theta.copy()
        values[:, 2] = np.exp(values[:, 2])
        return values

    def starts(self, score: Floats) -> Floats:
        """Midpoints across the range, gentle to steep, from the lowest score to the highest and to one."""
        low, high = self.span
        width = max(high - low, 1e-6)
        floor = float(score.min()) if self.chance is None else self.chance
        rows = [
            [floor, ceiling, np.log(steep / width), low + share * width]
            for ceiling in (min(1.0, float(score.max()) + 0.02), 1.0)
            for steep in (2.0, 6.0, 20.0)
            for share in (-0.2, 0.1, 0.3, 0.5, 0.7, 0.9)
        ]
        lows, highs = self.bounds
        clipped: Floats = np.clip(np.array(rows), lows, highs)
        return clipped

    def others(self, theta: Floats) -> Floats:
        """``theta``, and a ceiling of one reached further on."""
        high = theta.copy()
        high[1], high[3] = 1.0, self.span[0]
        return np.stack([theta, high])
