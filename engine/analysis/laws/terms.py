"""Laws whose terms are not plain powers: the same log-sum-exp, with each term bringing its own derivatives."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from engine.analysis.arrays import Floats
from engine.analysis.laws.models import FLOOR_SPAN, MAX_EXPONENT, PowerSum

MAX_SHARPNESS = 3.0
MIN_SHARPNESS = 0.05
"""Width of the bend in ln x: 0.05 is a kink between any two sizes, 3 spreads it over three decades."""


@dataclass(frozen=True)
class Term:
    """One term of a law in log space: ``value`` (B, n) and its derivatives by coordinate, each (B, n) or broadcast."""

    value: Floats
    first: dict[int, Floats]
    second: dict[tuple[int, int], Floats]


@dataclass(frozen=True)
class BrokenPower:
    """Caballero 2022 with one break: L = E + A x^-c0 (1 + (x/d)^(1/f))^(-c1 f).

    Coordinates: ln of the power term at the centre, c0, c1 (the change of exponent at the break), ln d relative to the
    centre, ln f, ln E. Before the break the exponent is c0, after it c0 + c1.
    """

    x: Floats
    center: Floats
    highest: float
    span: tuple[float, float]
    """Lowest and highest centred ln x of the points: the break lies inside."""

    @property
    def n_coordinates(self) -> int:
        return 6

    @property
    def bounds(self) -> tuple[Floats, Floats]:
        h, (left, right) = self.highest, self.span
        low = [h - 4 * FLOOR_SPAN, -MAX_EXPONENT, -MAX_EXPONENT, left, np.log(MIN_SHARPNESS), h - FLOOR_SPAN]
        high = [h + FLOOR_SPAN, MAX_EXPONENT, MAX_EXPONENT, right, np.log(MAX_SHARPNESS), h + 1.0]
        return np.array(low), np.array(high)

    def at(self, x: Floats) -> Self:
        """The same law at other points, (m, 1) of uncentred ln x."""
        return replace(self, x=x - self.center)

    def _terms(self, theta: Floats) -> tuple[Term, Term]:
        x = self.x[None, :, 0]
        scale, c0, c1, at, log_f, floor = (theta[:, i, None] for i in range(6))
        f = np.exp(log_f)
        z = (x - at) / f
        soft = np.logaddexp(0.0, z)
        up = np.exp(z - soft)
        bend = up * (1 - up)
        width = f * (soft - z * up)
        ones = np.ones_like(z)
        first = {0: ones, 1: -x * ones, 2: -f * soft, 3: c1 * up, 4: -c1 * width}
        second = {
            (2, 3): up,
            (2, 4): -width,
            (3, 3): -c1 * bend / f,
            (3, 4): -c1 * bend * z,
            (4, 4): -c1 * (width + f * z**2 * bend),
        }
        power = Term(scale - c0 * x - c1 * f * soft, first, second)
        return power, Term(floor * ones, {5: ones}, {})

    def log_loss(self, theta: Floats) -> Floats:
        power, floor = self._terms(theta)
        log_loss: Floats = np.logaddexp(power.value, floor.value)
        return log_loss

    def linearise(self, theta: Floats) -> tuple[Floats, Floats, object]:
        terms = self._terms(theta)
        log_loss = np.logaddexp(terms[0].value, terms[1].value)
        shares = [np.exp(t.value - log_loss) for t in terms]
        jac = np.zeros((len(theta), self.n_coordinates, len(self.x)))
        for term, share in zip(terms, shares, strict=True):
            for i, slope in term.first.items():
                jac[:, i] += share * slope
        return log_loss, jac, (terms, shares)

    def curvature(self, cache: object, gradient: Floats, v: Floats) -> Floats:
        """Hessian of logsumexp: sum_k w_k (H_k + g_k g_k') - J J', weighted by ``v`` and summed over points."""
        assert isinstance(cache, tuple)
        total: Floats = -np.matmul(gradient * v[:, None, :], gradient.transpose(0, 2, 1))
        for term, share in zip(*cache, strict=True):
            weighted = share * v
            for i, left in term.first.items():
                for j, right in term.first.items():
                    total[:, i, j] += (weighted * left * right).sum(axis=1)
            for (i, j), bent in term.second.items():
                entry = (weighted * bent).sum(axis=1)
                total[:, i, j] += entry
                if i != j:
                    total[:, j, i] += entry
        return total

    def public(self, theta: Floats) -> Floats:
        """(B, 6): A, c0, c0 + c1 (the exponents before and after), d (the size at the break), f, E."""
        scale, c0, c1, at, log_f, floor = theta.T
        # With x centred, A x^-c0 is what the power term tends to well before the break.
        parameters = [np.exp(scale + c0 * self.center[0]), c0, c0 + c1, np.exp(at + self.center[0])]
        return np.stack([*parameters, np.exp(log_f), np.exp(floor)], axis=1)

    def starts(self, log_loss: Floats) -> Floats:
        """Plain laws bent at three places, softly and sharply, up and down."""
        plain = PowerSum(self.x, self.center, self.highest).starts(log_loss)
        rows = []
        for at in np.quantile(self.x[:, 0], [0.2, 0.5, 0.8]):
            for log_f in (np.log(0.2), 0.0):
                for change in (-0.1, 0.1, 0.4):
                    rows += [[s, c0, change, at, log_f, e] for s, c0, e in plain[1::3]]
        return np.array(rows)

    def others(self, theta: Floats) -> Floats:
        """``theta``, a break at each end of the range, and one the other way."""
        left, right, reverse = theta.copy(), theta.copy(), theta.copy()
        left[3], right[3] = np.quantile(self.x[:, 0], [0.2, 0.8])
        reverse[2] = -theta[2]
        return np.stack([theta, left, right, reverse])
