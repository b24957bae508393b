"""Smooth forms of ability against log size, fitted as one batch: every form, start and held-out size together.

    y(x) = L + (U - L) h((x - m) / w)

with h the logistic, its power k (exact match of k tokens of logistic accuracy), its limits (exact match of a power
law in the error, exp(-k A N^-a), and the mirror image of that), or the exponential of x (the power law in N itself,
for the error or for the score). ``m`` is where half the rise is made and ``w`` its 10-90% width, which for a smooth
form is at least ``SMOOTHEST_BREAK`` times the local spacing of the sizes.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from engine.analysis.arrays import Bools, Floats, Ints
from engine.analysis.emergence.curve import Curve

NARROWEST: Final = 1.5
"""Least 10-90% width of a smooth form, in local spacings of the grid: two sizes or more lie inside the rise."""
WIDEST: Final = 60.0
GUMBEL: Final = 1e3
"""The power at which exact match of a logistic is as good as its limit, the power law's."""
EXPONENTIAL: Final = 0.0
"""Stands for the power law in N itself, which has a rate in place of a middle and a width."""
_STEPS = 30
_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Form:
    """``power`` of the logistic; ``mirrored`` turns the late, slow end of the rise into the early one."""

    name: str
    power: float
    mirrored: bool = False


LOGISTIC = Form("logistic", 1.0)
FORMS: Final = (
    LOGISTIC,
    Form("logistic-exact-match", 5.0),
    Form("power-law-exact-match", GUMBEL),
    Form("complementary-log-log", GUMBEL, mirrored=True),
    Form("power-law", EXPONENTIAL),
)


@dataclass(frozen=True, eq=False)
class Problems:
    """A batch of B fits to one curve: ``form`` (B,) indexes ``forms``, ``weight`` (B, I) are the sizes' weights."""

    curve: Curve
    forms: tuple[Form, ...]
    form: Ints
    weight: Floats
    low: Floats
    """(B, 4) bounds of L, U, m (or the rate) and ln of the width in spacings."""
    high: Floats

    def shape(self, middle: Floats, log_width: Floats) -> Floats:
        """(B, I) h at every size."""
        power = np.array([f.power for f in self.forms])[self.form]
        mirrored = np.array([f.mirrored for f in self.forms])[self.form]
        x = self.curve.x
        h = sigmoid(x - middle[:, None], self.curve.spacing_at(middle) * np.exp(log_width), power, mirrored)
        flat = power == EXPONENTIAL
        if flat.any():
            h[flat] = exponential((x - x[0]) / (x[-1] - x[0]), middle[flat])
        return h

    def level(self, theta: Floats) -> Floats:
        """(B, I) fitted y."""
        h = self.shape(theta[:, 2], theta[:, 3])
        return theta[:, :1] + (theta[:, 1:2] - theta[:, :1]) * h

    def deviance(self, mu: Floats) -> Floats:
        """(B,) half the deviance, without the saturated constant."""
        y = self.curve.mean
        if self.curve.noise == "gaussian":
            gaussian: Floats = 0.5 * (self.weight * (y - mu) ** 2).sum(axis=1)
            return gaussian
        mu = np.clip(mu, 1e-9, 1 - 1e-9)
        binomial: Floats = -(self.weight * (y * np.log(mu) + (1 - y) * np.log1p(-mu))).sum(axis=1)
        return binomial

    def information(self, mu: Floats) -> Floats:
        """(B, I) Fisher information of each size's mean about its level."""
        if self.curve.noise == "gaussian":
            return self.weight
        return self.weight / np.maximum(mu * (1 - mu), 1e-6)


def sigmoid(distance: Floats, width: Floats, power: Floats, mirrored: Bools) -> Floats:
    """(B, I) the logistic to a power at ``distance`` (B, I) from its half, ``width`` (B,) from 10% to 90%."""
    power = np.where(power == EXPONENTIAL, 1.0, power)
    z10, z50, z90 = (-np.log(np.expm1(-np.log(q) / power)) for q in (0.1, 0.5, 0.9))
    sign = np.where(mirrored, -1.0, 1.0)[:, None]
    z = sign * distance * ((z90 - z10) / width)[:, None] + z50[:, None]
    g = np.exp(-power[:, None] * np.logaddexp(0.0, -z))
    h: Floats = np.where(mirrored[:, None], 1 - g, g)
    return h


def exponential(t: Floats, rate: Floats) -> Floats:
    """(B, I) (1 - exp(-rate t)) / (1 - exp(-rate)) for t in 0..1: power laws in N, a straight line at rate 0."""
    rate = np.where(np.abs(rate) < 1e-4, 1e-4, rate)[:, None]
    h: Floats = np.expm1(-rate * t) / np.expm1(-rate)
    return h


def bounds(curve: Curve, forms: tuple[Form, ...], form: Ints) -> tuple[Floats, Floats]:
    """(B, 4) each: the asymptotes within what scores can be, the middle within a range's length of the sizes."""
    span = curve.x[-1] - curve.x[0]
    low, high = np.empty((len(form), 4)), np.empty((len(form), 4))
    room = 0.0 if curve.noise == "binomial" else 2.0
    low[:, :2], high[:, :2] = curve.low - room, curve.high + room
    low[:, 2], high[:, 2] = curve.x[0] - span, curve.x[-1] + span
    low[:, 3], high[:, 3] = np.log(NARROWEST), np.log(WIDEST)
    flat = np.array([f.power == EXPONENTIAL for f in forms])[form]
    # A rate r makes 80% of its rise within ln(9) / r of the range: no less than a smooth form's least width.
    steepest = np.log(9) * (curve.n_sizes - 1) / NARROWEST
    low[flat, 2], high[flat, 2] = -steepest, steepest
    low[flat, 3] = high[flat, 3] = 0.0
    return low, high


def starts(curve: Curve, forms: tuple[Form, ...]) -> tuple[Ints, Floats]:
    """Form (B,) and theta (B, 4) of the starts: middles across the range, narrow and wide."""
    span = curve.x[-1] - curve.x[0]
    form, theta = [], []
    for index, kind in enumerate(forms):
        if kind.power == EXPONENTIAL:
            places = [(rate, 0.0) for rate in (-3.0, -0.5, 0.5, 3.0)]
        else:
            places = [(curve.x[0] + f * span, np.log(w)) for f in (0.15, 0.5, 0.85) for w in (2.0, 6.0)]
        form += [index] * len(places)
        theta += [(0.0, 1.0, middle, width) for middle, width in places]
    return np.array(form), np.array(theta)


def solve(problems: Problems, theta: Floats) -> tuple[Floats, Floats]:
    """Maximum likelihood of every problem from its start: (B, 4) theta and (B,) half deviance.

    Projected, damped Fisher scoring; L and U of the start are replaced by their best.
    """
    theta = np.clip(theta, problems.low, problems.high)
    theta = np.clip(_levels(problems, theta), problems.low, problems.high)
    mu = problems.level(theta)
    value = problems.deviance(mu)
    damping = np.full(len(theta), 1e-2)
    active = np.ones(len(theta), dtype=np.bool_)
    for _ in range(_STEPS):
        index = np.flatnonzero(active)
        if not len(index):
            break
        part = Problems(
            problems.curve,
            problems.forms,
            problems.form[index],
            problems.weight[index],
            problems.low[index],
            problems.high[index],
        )
        tried = _step(part, theta[index], mu[index], damping[index])
        new_mu = part.level(tried)
        new_value = part.deviance(new_mu)
        better = new_value < value[index]
        gain = value[index] - new_value
        taken = index[better]
        theta[taken], mu[taken], value[taken] = tried[better], new_mu[better], new_value[better]
        damping[index] = np.where(better, np.maximum(damping[index] / 5, 1e-6), damping[index] * 6)
        active[index] = np.where(better, gain > _TOLERANCE * (1 + np.abs(value[index])), damping[index] < 1e8)
    return theta, value


def _levels(problems: Problems, theta: Floats) -> Floats:
    """Theta with L and U from one weighted least squares at its shape."""
    h = problems.shape(theta[:, 2], theta[:, 3])
    y, w = problems.curve.mean, problems.weight
    total = w.sum(axis=1)
    h_mean, y_mean = (w * h).sum(axis=1) / total, (w * y).sum(axis=1) / total
    centred = h - h_mean[:, None]
    spread = (w * centred**2).sum(axis=1)
    slope = (w * centred * (y - y_mean[:, None])).sum(axis=1) / (spread + 1e-9 * total)
    found = theta.copy()
    found[:, 0] = y_mean - slope * h_mean
    found[:, 1] = found[:, 0] + slope
    return found


def _step(problems: Problems, theta: Floats, mu: Floats, damping: Floats) -> Floats:
    h = problems.shape(theta[:, 2], theta[:, 3])
    rise = theta[:, 1:2] - theta[:, :1]
    jac = np.empty((len(theta), 4, problems.curve.n_sizes))
    jac[:, 0], jac[:, 1] = 1 - h, h
    small = 1e-5
    jac[:, 2] = rise * (problems.shape(theta[:, 2] + small, theta[:, 3]) - h) / small
    jac[:, 3] = rise * (problems.shape(theta[:, 2], theta[:, 3] + small) - h) / small
    information = problems.information(mu)
    ascent = np.einsum("bpi,bi->bp", jac, information * (problems.curve.mean - mu))
    hessian = np.matmul(jac * information[:, None], jac.transpose(0, 2, 1))
    pinned = ((theta <= problems.low) & (ascent < 0)) | ((theta >= problems.high) & (ascent > 0))
    ascent[pinned] = 0.0
    free = ~pinned
    hessian *= free[:, :, None] & free[:, None, :]
    diagonal = np.einsum("bpp->bp", hessian)
    scale = diagonal.max(axis=1, keepdims=True)
    diagonal += damping[:, None] * diagonal + 1e-8 * scale + 1e-12 + pinned * (1 + scale)
    step = np.linalg.solve(hessian, ascent[..., None])[..., 0]
    # A middle does not leap across the range at once: such steps come from flat likelihoods.
    step[:, 2:] = np.clip(step[:, 2:], -1.0, 1.0)
    moved: Floats = np.clip(theta + step, problems.low, problems.high)
    return moved
