"""At which size it breaks, and how sharp the rise is: intervals from the likelihood of every place and width."""

from dataclasses import dataclass

import numpy as np

from engine.analysis.arrays import Floats, Ints
from engine.analysis.emergence import smooth
from engine.analysis.emergence.compare import Comparison
from engine.analysis.emergence.curve import Curve
from engine.analysis.emergence.noise import Likelihood

_N_GRID = 1201
_WIDTHS = np.geomspace(0.1, smooth.WIDEST, 16)
"""Widths tried, in local spacings of the grid."""
_FORMS = tuple(f for f in smooth.FORMS if f.power in (1.0, smooth.GUMBEL))
_HALF_CHI_SQUARED = {0.68: 0.4945, 0.9: 1.3528, 0.95: 1.9207, 0.99: 3.3174}
"""Half the quantiles of chi-squared with one degree of freedom: how far a profile may fall."""


@dataclass(frozen=True)
class Critical:
    """x of the break: its median and interval, and sizes wholly below and above the interval's middle."""

    middle: float
    low: float
    high: float
    n_below: int
    n_above: int


def critical_size(comparison: Comparison, level: float) -> Critical:
    """The places of the break by their weight. Within a gap every place is as good, so intervals span it."""
    curve = comparison.curve
    start, end, weight = _stretches(comparison)
    grid = np.linspace(curve.x[0], curve.x[-1], _N_GRID)
    reached = np.clip((grid[:, None] - start) / (end - start), 0.0, 1.0) @ weight
    reached /= reached[-1]
    low, middle, high = np.interp([(1 - level) / 2, 0.5, (1 + level) / 2], reached, grid)
    below, above = int((curve.x < middle).sum()), int((curve.x > middle).sum())
    return Critical(float(middle), float(low), float(high), below, above)


def _stretches(comparison: Comparison) -> tuple[Floats, Floats, Floats]:
    """Stretches of x with the weight of the break lying in each: steps, jumps on a trend, mixtures of seeds."""
    curve, steps, mixture = comparison.curve, comparison.steps, comparison.mixture
    starts, ends = [steps.start, curve.x[:-1]], [steps.end, curve.x[1:]]
    if mixture is not None:
        half = (curve.x[-1] - curve.x[0]) / len(np.unique(mixture.middle)) / 2
        starts.append(mixture.middle - half)
        ends.append(mixture.middle + half)
    return np.concatenate(starts), np.concatenate(ends), comparison.broken.weights


@dataclass(frozen=True)
class Sharpness:
    """10-90% width of the rise in decades of size. ``high`` None: no upper limit; ``low`` 0: as sharp as the grid."""

    width: float
    low: float
    high: float | None
    spacing: float
    """The local spacing of the grid, which a true break is narrower than."""


def sharpness(comparison: Comparison, level: float) -> Sharpness:
    """Profile likelihood of the width over the sigmoid forms, their middles and asymptotes."""
    curve = comparison.curve
    profile, decades, spacing = _profile(curve)
    best = int(profile.argmax())
    inside = np.flatnonzero(profile >= profile[best] - _HALF_CHI_SQUARED[level])
    # The first and the last width stand for all beyond them.
    low = 0.0 if inside[0] == 0 else float(decades[inside[0] - 1])
    high = None if inside[-1] == len(decades) - 1 else float(decades[inside[-1] + 1])
    return Sharpness(float(decades[best]), low, high, float(spacing[best]))


def _profile(curve: Curve) -> tuple[Floats, Floats, Floats]:
    """For each width tried: the best log-likelihood, the width in decades and the spacing where it is."""
    width, middle = _places(curve)
    n_forms, n_places = len(_FORMS), len(width)
    form = np.repeat(np.arange(n_forms), n_places)
    width, middle = np.tile(width, n_forms), np.tile(middle, n_forms)
    theta = np.stack([np.zeros_like(middle), np.ones_like(middle), middle, np.log(_WIDTHS)[width]], axis=1)
    low, high = smooth.bounds(curve, _FORMS, form)
    low[:, 3] = high[:, 3] = theta[:, 3]
    weight = np.repeat(curve.weight[None], len(form), axis=0)
    solved, value = smooth.solve(smooth.Problems(curve, _FORMS, form, weight, low, high), theta)
    chosen = np.array([np.where(width == w, value, np.inf).argmin() for w in range(len(_WIDTHS))])
    best = solved[chosen]
    fitted = smooth.Problems(curve, _FORMS, form[chosen], weight[chosen], low[chosen], high[chosen])
    likelihood = Likelihood(curve)
    fit = likelihood.robust(likelihood.sizes(fitted.level(best))).sum(axis=2) + 4 * likelihood.inflation
    spacing = curve.spacing_at(best[:, 2])
    return fit.max(axis=1), _WIDTHS * spacing, spacing


def _places(curve: Curve) -> tuple[Ints, Floats]:
    """Widths (indices into ``_WIDTHS``) and middles to start from: narrow rises in every gap and on every size."""
    gaps = (curve.x[1:] + curve.x[:-1]) / 2
    narrow = np.concatenate([gaps, curve.x[1:-1]])
    wide = np.quantile(curve.x, [0.15, 0.4, 0.6, 0.85])
    places = [narrow if width < smooth.NARROWEST else wide for width in _WIDTHS]
    return np.repeat(np.arange(len(_WIDTHS)), [len(p) for p in places]), np.concatenate(places)
