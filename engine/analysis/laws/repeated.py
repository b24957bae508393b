"""The law of repeated data (Muennighoff 2023): tokens seen again, and parameters beyond what unique tokens need, decay.

L = E + A / N'^alpha + B / D'^beta
D' = U + U R_D (1 - exp(-(D/U - 1) / R_D))                      U unique tokens; repeats add at most R_D U
N' = V + V R_N (1 - exp(-(N/V - 1) / R_N)),  V = min(N, N*(U))  N*(U): the optimal N for U tokens
"""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from engine.analysis.arrays import Floats
from engine.analysis.laws.models import PowerSum

_STEP = 1e-5
"""Central differences on coordinates of order one: truncation and rounding both near 1e-10."""
REPEAT_STARTS = (1.0, 5.0, 15.0, 60.0)
MAX_REPEAT = 1e4


@dataclass(frozen=True)
class RepeatedData:
    """Coordinates: those of the plain law of N and D, then ln R_D and ln R_N. ``x`` (n, 3) is ln N, ln D, ln U."""

    x: Floats
    plain: PowerSum
    """The law that holds without repetition; its ``center`` and bounds are used here."""
    base: Floats
    """(P0,) coordinates of ``plain`` fitted where nothing was repeated: where the joint fit starts."""

    @property
    def n_coordinates(self) -> int:
        return 7

    @property
    def bounds(self) -> tuple[Floats, Floats]:
        low, high = self.plain.bounds
        low = low.copy()
        # Optimal N for U tokens exists only where both terms fall.
        low[1], low[3] = 1e-3, 1e-3
        return np.append(low, [np.log(0.05)] * 2), np.append(high, [np.log(MAX_REPEAT)] * 2)

    def at(self, x: Floats) -> Self:
        """The same law at other points, (m, 3) of ln N, ln D, ln U."""
        return replace(self, x=x)

    def effective(self, theta: Floats) -> tuple[Floats, Floats]:
        """(B, n) ln N' and ln D': the parameters and tokens that count."""
        log_n, log_d, log_u = (self.x[None, :, k] for k in range(3))
        alpha, beta = theta[:, 1, None], theta[:, 3, None]
        log_a = theta[:, 0, None] + alpha * self.plain.center[0]
        log_b = theta[:, 2, None] + beta * self.plain.center[1]
        needed = (np.log(alpha / beta) + log_a - log_b + beta * log_u) / alpha
        log_v = np.minimum(needed, log_n)
        log_u = np.minimum(log_u, log_d)
        return (
            log_v + _worth(log_n - log_v, np.exp(theta[:, 6, None])),
            log_u + _worth(log_d - log_u, np.exp(theta[:, 5, None])),
        )

    def log_loss(self, theta: Floats) -> Floats:
        log_n, log_d = self.effective(theta)
        scale, alpha, scale_d, beta, floor = (theta[:, i, None] for i in range(5))
        of_n = scale - alpha * (log_n - self.plain.center[0])
        of_d = scale_d - beta * (log_d - self.plain.center[1])
        log_loss: Floats = np.logaddexp(np.logaddexp(of_n, of_d), floor)
        return log_loss

    def linearise(self, theta: Floats) -> tuple[Floats, Floats, object]:
        jac = np.empty((len(theta), self.n_coordinates, len(self.x)))
        for i in range(self.n_coordinates):
            up, down = theta.copy(), theta.copy()
            up[:, i] += _STEP
            down[:, i] -= _STEP
            jac[:, i] = (self.log_loss(up) - self.log_loss(down)) / (2 * _STEP)
        return self.log_loss(theta), jac, None

    def curvature(self, cache: object, gradient: Floats, v: Floats) -> Floats:
        """Left out: the steps are Gauss-Newton's, damped by iterated reweighting."""
        return np.zeros((len(gradient), self.n_coordinates, self.n_coordinates))

    def public(self, theta: Floats) -> Floats:
        """(B, 7): A, B, alpha, beta, E, R_D, R_N."""
        parameters: Floats = np.concatenate([self.plain.public(theta[:, :5]), np.exp(theta[:, 5:])], axis=1)
        return parameters

    def starts(self, log_loss: Floats) -> Floats:
        """The plain law with every pair of worths."""
        rows = [
            np.append(base, [np.log(r_d), np.log(r_n)])
            for base in self.plain.others(self.base)
            for r_d in REPEAT_STARTS
            for r_n in REPEAT_STARTS
        ]
        low, high = self.bounds
        clipped: Floats = np.clip(np.array(rows), low, high)
        return clipped

    def others(self, theta: Floats) -> Floats:
        """``theta``, and worths that are short and long."""
        short, long = theta.copy(), theta.copy()
        short[5:], long[5:] = np.log(2.0), np.log(30.0)
        return np.stack([theta, short, long])


def _worth(log_ratio: Floats, constant: Floats) -> Floats:
    """ln(1 + R* (1 - exp(-R / R*))) with R = exp(log_ratio) - 1 repetitions beyond the first."""
    repeats = np.expm1(np.minimum(log_ratio, 50.0))
    worth: Floats = np.log1p(-constant * np.expm1(-repeats / constant))
    return worth
