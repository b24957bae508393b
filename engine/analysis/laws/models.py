"""Laws that are sums of power terms, in log-sum-exp form: ln L = logsumexp_k(c_k + slopes . x)."""

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import Protocol, Self

import numpy as np

from engine.analysis.arrays import Floats

MAX_EXPONENT = 5.0
GRID_SCALES = (0.0, 5.0, 10.0, 15.0, 20.0, 25.0)
GRID_FLOORS = (-1.0, -0.5, 0.0, 0.5, 1.0)
GRID_EXPONENTS = (0.0, 0.5, 1.0, 1.5, 2.0)
"""The starts of Hoffmann 2022, approach 3: ln A, ln E and the exponents; 4,500 of them for two terms."""
FLOOR_SPAN = 12.0
"""The floor may fall to exp(-12) of the lowest loss: as good as none, and still a finite coordinate."""


class LawModel(Protocol):
    """A law in log space that can be fitted, read and asked about other points."""

    def log_loss(self, theta: Floats) -> Floats:
        """(B, n) predicted ln L of coordinates (B, P)."""
        ...

    def linearise(self, theta: Floats) -> tuple[Floats, Floats, object]:
        """See ``solver.Model``."""
        ...

    def curvature(self, cache: object, gradient: Floats, v: Floats) -> Floats:
        """See ``solver.Model``."""
        ...

    def public(self, theta: Floats) -> Floats:
        """(B, P) parameters in the units of the data."""
        ...

    def at(self, x: Floats) -> Self:
        """The same law at other points, (m, K) of uncentred ln x."""
        ...

    def starts(self, log_loss: Floats) -> Floats:
        """(S, P) coordinates to start from."""
        ...

    def others(self, theta: Floats) -> Floats:
        """(S, P): ``theta`` (P,) and what lies far from it, for resamples to start from."""
        ...

    @property
    def bounds(self) -> tuple[Floats, Floats]:
        """(P,) lowest and highest value of each coordinate."""
        ...


@dataclass(frozen=True)
class PowerSum:
    """L = E + sum_k A_k x_k^(-alpha_k) with ln x_k centred.

    Coordinates of theta: (ln of term k at the centre, alpha_k) for each k, then ln E. ``x`` is (n, K) of ln x,
    ``center`` (K,) what was subtracted.
    """

    x: Floats
    center: Floats
    highest: float
    """ln of the highest floor that can be: a little under the lowest loss of the whole set."""

    @property
    def n_terms(self) -> int:
        return int(self.x.shape[1])

    @property
    def n_coordinates(self) -> int:
        return 2 * self.n_terms + 1

    @cached_property
    def bounds(self) -> tuple[Floats, Floats]:
        low = [self.highest - 4 * FLOOR_SPAN, -MAX_EXPONENT] * self.n_terms + [self.highest - FLOOR_SPAN]
        high = [self.highest + FLOOR_SPAN, MAX_EXPONENT] * self.n_terms + [self.highest + 1.0]
        return np.array(low), np.array(high)

    def at(self, x: Floats) -> Self:
        """The same law at other points, (m, K) of uncentred ln x."""
        return replace(self, x=x - self.center)

    def _terms(self, theta: Floats) -> list[Floats]:
        terms = [theta[:, 2 * k, None] - theta[:, 2 * k + 1, None] * self.x[None, :, k] for k in range(self.n_terms)]
        return [*terms, np.broadcast_to(theta[:, -1, None], terms[0].shape)]

    def log_loss(self, theta: Floats) -> Floats:
        terms = self._terms(theta)
        top = np.maximum.reduce(terms)
        log_loss: Floats = top + np.log(np.add.reduce([np.exp(t - top) for t in terms]))
        return log_loss

    def linearise(self, theta: Floats) -> tuple[Floats, Floats, object]:
        terms = self._terms(theta)
        top = np.maximum.reduce(terms)
        shares = [np.exp(t - top) for t in terms]
        total = np.add.reduce(shares)
        shares = [s / total for s in shares]
        jac = np.empty((len(theta), self.n_coordinates, len(self.x)))
        for k in range(self.n_terms):
            jac[:, 2 * k] = shares[k]
            jac[:, 2 * k + 1] = -shares[k] * self.x[:, k]
        jac[:, -1] = shares[-1]
        return top + np.log(total), jac, shares

    def curvature(self, cache: object, gradient: Floats, v: Floats) -> Floats:
        """Hessian of logsumexp: sum_k w_k X_k X_k' - J J', weighted by ``v`` and summed over points."""
        assert isinstance(cache, list)
        total: Floats = -np.matmul(gradient * v[:, None, :], gradient.transpose(0, 2, 1))
        for k in range(self.n_terms):
            weighted = cache[k] * v
            x = self.x[:, k]
            cross = -(weighted @ x)
            total[:, 2 * k, 2 * k] += weighted.sum(axis=1)
            total[:, 2 * k, 2 * k + 1] += cross
            total[:, 2 * k + 1, 2 * k] += cross
            total[:, 2 * k + 1, 2 * k + 1] += weighted @ (x * x)
        total[:, -1, -1] += (cache[-1] * v).sum(axis=1)
        return total

    def public(self, theta: Floats) -> Floats:
        """(B, 2K+1): A_1..A_K, alpha_1..alpha_K, E in the units of the data."""
        k = self.n_terms
        alpha = theta[:, 1 : 2 * k : 2]
        scale = np.exp(theta[:, 0 : 2 * k : 2] + alpha * self.center)
        parameters: Floats = np.concatenate([scale, alpha, np.exp(theta[:, -1:])], axis=1)
        return parameters

    def starts(self, log_loss: Floats) -> Floats:
        """A grid of starts: how much of the lowest loss is floor, and each exponent."""
        exponents = np.array([0.1, 0.3, 0.7, 1.5])
        floors = np.array([0.02, 0.4, 0.75, 0.95])
        grids = np.meshgrid(floors, *([exponents] * self.n_terms), indexing="ij")
        share, *alphas = (g.ravel() for g in grids)
        lowest, middle = float(np.exp(log_loss.min())), float(np.exp(np.median(log_loss)))
        floor = share * lowest
        theta = np.empty((len(share), self.n_coordinates))
        for k, alpha in enumerate(alphas):
            theta[:, 2 * k] = np.log((middle - floor) / self.n_terms)
            theta[:, 2 * k + 1] = alpha
        theta[:, -1] = np.log(floor)
        return theta

    def grid(self) -> Floats:
        """The published grid of starts in these coordinates, (S, P): 150 for one term, 4,500 for two."""
        terms = [GRID_SCALES, GRID_EXPONENTS] * self.n_terms
        theta = np.array(list(product(*terms, GRID_FLOORS)))
        theta[:, 0:-1:2] -= theta[:, 1::2] * self.center
        low, high = self.bounds
        clipped: Floats = np.clip(theta, low, high)
        return clipped

    def others(self, theta: Floats) -> Floats:
        """``theta``, and its opposites: a high floor with steep slopes, and next to no floor with flat ones."""
        steep, flat = theta.copy(), theta.copy()
        steep[-1], steep[1::2] = self.highest - 0.05, 2 * np.maximum(theta[1::2], 0.2)
        steep[0:-1:2] = self.highest - 2.0
        flat[-1], flat[1::2] = self.highest - 4.0, 0.5 * np.maximum(theta[1::2], 0.02)
        flat[0:-1:2] = self.highest - np.log(self.n_terms)
        return np.stack([theta, steep, flat])


def power_sum(columns: Floats, loss: Floats) -> PowerSum:
    """The law over positive ``columns`` (n, K), centred on their mean logarithm."""
    x = np.log(columns)
    center = x.mean(axis=0)
    return PowerSum(x - center, center, float(np.log(loss.min())))
