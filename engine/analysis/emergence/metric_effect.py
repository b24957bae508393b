"""Whether the metric made the jump (Schaeffer 2023): exact match expected from tokens, and who starts to rise first."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.analysis.arrays import Floats, as_floats
from engine.analysis.emergence import smooth
from engine.analysis.emergence.compare import Comparison
from engine.analysis.emergence.curve import Curve
from engine.analysis.emergence.seeds import wilson

LATE = 0.25
"""Share of the continuous metric's rise already made when the threshold metric has made a tenth of its own, from
which the threshold metric counts as late. The same curve under both gives 0.1; p^k from the floor gives 0.3 or more
for k of 4 and above."""
_TENTH = 0.1
_N_CURVE = 400
_LONGEST = 512.0


def expected_exact_match(token_accuracy: Any, length: Any, weights: Sequence[float] | Floats | None = None) -> Floats:
    """Chance that all tokens of an answer are right when each is with ``token_accuracy`` p, independently: p^k.

    ``length`` is k, or (m,) lengths of items with ``weights`` (equal by default), over which p^k is averaged.
    Schaeffer 2023, section 2.
    """
    p = as_floats(token_accuracy)
    k = np.atleast_1d(as_floats(length))
    share = np.full(len(k), 1 / len(k)) if weights is None else as_floats(weights) / np.sum(weights)
    expected: Floats = (p[..., None] ** k) @ share
    return expected


@dataclass(frozen=True, eq=False)
class ExactMatchCheck:
    """Exact match expected from tokens beside the measured. Arrays are (I,) over the sizes both metrics have."""

    size: Floats
    length: float
    fitted_length: bool
    expected: Floats
    measured: Floats
    largest: float
    """The largest absolute deviation of measured from expected."""
    at: float
    interval: tuple[float, float]
    """95% interval (Wilson) of that deviation, from the items and seeds of the measured exact match."""

    def to_document(self) -> dict[str, Any]:
        """Plain numbers."""
        rows = zip(self.size.tolist(), self.expected.tolist(), self.measured.tolist(), strict=True)
        return {
            "length": self.length,
            "length_fitted": self.fitted_length,
            "by_size": [{"size": s, "expected": e, "measured": m} for s, e, m in rows],
            "largest_deviation": self.largest,
            "at_size": self.at,
            "interval": list(self.interval),
        }


def exact_match_check(threshold: Curve, tokens: Curve, length: float | None) -> ExactMatchCheck | None:
    """Compare measured exact match with p^k. Without a length the one that fits best is used, and said to be.

    None where the continuous metric is not an accuracy per token, or no size is shared.
    """
    if tokens.noise != "binomial" or tokens.scale < 0 or threshold.noise != "binomial":
        return None
    _, i, j = np.intersect1d(np.round(threshold.x, 4), np.round(tokens.x, 4), return_indices=True)
    if len(i) < 2:
        return None
    p, there = tokens.y[j], tokens.runs[j]
    measured, weight = threshold.mean[i], threshold.weight[i]
    lengths = np.array([length]) if length is not None else np.geomspace(1.0, _LONGEST, 400)
    # The mean of p^k over seeds, not of p: near the threshold they differ.
    powers = np.where(there, p ** lengths[:, None, None], 0.0).sum(axis=2) / there.sum(axis=1)
    limited = np.clip(powers, 1e-6, 1 - 1e-6)
    fit = (weight * (measured * np.log(limited) + (1 - measured) * np.log1p(-limited))).sum(axis=1)
    best = int(fit.argmax())
    expected = powers[best]
    off = np.abs(measured - expected)
    worst = int(off.argmax())
    low, high = wilson(measured[worst] * weight[worst], weight[worst])
    size = np.array([threshold.size(x) for x in threshold.x[i]])
    return ExactMatchCheck(
        size=size,
        length=float(lengths[best]),
        fitted_length=length is None,
        expected=expected,
        measured=measured,
        largest=float(off[worst]),
        at=float(size[worst]),
        interval=(float(low - expected[worst]), float(high - expected[worst])),
    )


def head_start(threshold: Comparison, continuous: Comparison) -> float | None:
    """Share of its rise the continuous metric has made where the threshold metric has made a tenth of its own.

    Both rises are of the best smooth fits over the sizes both have. None where the ranges do not overlap.
    """
    low = max(threshold.curve.x[0], continuous.curve.x[0])
    high = min(threshold.curve.x[-1], continuous.curve.x[-1])
    if high <= low:
        return None
    x = np.linspace(low, high, _N_CURVE)
    slow, early = _rise(threshold, x), _rise(continuous, x)
    return float(early[int(np.argmax(slow >= _TENTH))])


def _rise(comparison: Comparison, x: Floats) -> Floats:
    """0 to 1: the smooth fit between its values at the ends of ``x``."""
    level = smooth_level(comparison, x)
    span = level[-1] - level[0]
    return (level - level[0]) / span if span != 0 else np.linspace(0, 1, len(x))


def smooth_level(comparison: Comparison, x: Floats) -> Floats:
    """The best smooth form of a curve at any x."""
    index = int(comparison.smooth.weights.argmax())
    theta, form = comparison.theta[index], comparison.forms[index]
    curve = comparison.curve
    if form.power == smooth.EXPONENTIAL:
        h = smooth.exponential((x - curve.x[0]) / (curve.x[-1] - curve.x[0]), theta[2:3])[0]
    else:
        width = curve.spacing_at(theta[2:3]) * np.exp(theta[3])
        h = smooth.sigmoid((x - theta[2])[None], width, np.array([form.power]), np.array([form.mirrored]))[0]
    level: Floats = theta[0] + (theta[1] - theta[0]) * h
    return level
