"""What one curve looks like: flat, smooth, sharp or undecided, and everything measured on the way."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from engine.analysis.emergence import smooth
from engine.analysis.emergence.compare import Comparison, compare
from engine.analysis.emergence.critical import Critical, Sharpness, critical_size, sharpness
from engine.analysis.emergence.curve import Curve
from engine.analysis.emergence.metric_effect import smooth_level
from engine.analysis.emergence.seeds import SeedTable, seed_table

if TYPE_CHECKING:
    from engine.analysis.arrays import Floats

ShapeName = Literal["flat", "smooth", "sharp", "undecided", "neither"]

FEWEST_SIZES: Final = 5
"""A smooth form has four parameters: with fewer sizes no left-out one could tell it from a break."""
RISE: Final = 5.0
"""Nats on left-out sizes that a rise must be worth over no change (odds of 150)."""
BREAK: Final = 3.0
"""Nats on left-out sizes that a break must be worth over a smooth form (odds of 20)."""
SMOOTH: Final = 1.0
"""A break worth less than this does not count against a smooth form."""
UNEXPLAINED: Final = 2
"""Sizes that may lie off the two plateaus (those next to the break may)."""
_N_CURVE = 61


@dataclass(frozen=True, eq=False)
class Shape:
    """A curve, its comparison of forms and what follows. ``level`` is that of intervals."""

    curve: Curve
    comparison: Comparison
    level: float

    @cached_property
    def name(self) -> ShapeName:
        """``sharp`` needs a break that predicts left-out sizes better and whose plateaus hold."""
        if self.comparison.rise_gain < RISE:
            return "flat"
        if self.comparison.break_gain >= BREAK:
            return "sharp" if self.comparison.unexplained <= UNEXPLAINED else "neither"
        return "smooth" if self.comparison.break_gain <= SMOOTH else "undecided"

    @cached_property
    def critical(self) -> Critical:
        """Where it breaks, if it does."""
        return critical_size(self.comparison, self.level)

    @cached_property
    def sharpness(self) -> Sharpness:
        """How wide the rise is."""
        return sharpness(self.comparison, self.level)

    @cached_property
    def seeds(self) -> SeedTable:
        """The seeds of each size."""
        return seed_table(self.curve, self.comparison.mixture)

    @property
    def at_edge(self) -> bool:
        """Whether fewer than two sizes lie on a side of the break."""
        return min(self.critical.n_below, self.critical.n_above) < 2

    @property
    def seeds_near(self) -> int:
        """Runs of the size nearest to the break on either side, the fewer."""
        below = int(np.searchsorted(self.curve.x, self.critical.middle))
        beside = np.clip([below - 1, below], 0, self.curve.n_sizes - 1)
        return int(self.curve.n_runs[beside].min())

    def critical_interval(self) -> list[float]:
        """The interval in sizes, ascending."""
        return sorted([self.curve.size(self.critical.low), self.curve.size(self.critical.high)])

    def to_document(self) -> dict[str, Any]:
        """Plain numbers: scores of the forms compared, fits, points and curves to draw."""
        comparison = self.comparison
        kinds = {"flat": comparison.flat, "smooth": comparison.smooth, "break": comparison.broken}
        return {
            "metric": self.curve.metric,
            "kind": self.curve.kind,
            "noise": self.curve.noise,
            "shape": self.name,
            "n_sizes": self.curve.n_sizes,
            "n_runs": int(self.curve.n_runs.sum()),
            "heldout_scores": {name: kind.score for name, kind in kinds.items()},
            "break_gain": comparison.break_gain,
            "rise_gain": comparison.rise_gain,
            "unexplained_sizes": comparison.unexplained,
            "overdispersion": self.curve.overdispersion,
            "smooth_fit": self._smooth_fit(),
            "break_fit": self._break_fit(),
            "sharpness": self.sharpness_document(),
            "seeds": self.seeds.rows,
            "seeds_mixed": self.seeds.mixed,
            "points": self._points(),
            "smooth_curve": self._smooth_curve(),
        }

    def sharpness_document(self) -> dict[str, Any]:
        """10-90% width with its interval, beside the spacing that a break is narrower than; decades."""
        found = self.sharpness
        return {
            "width_decades": found.width,
            "interval": [found.low, found.high],
            "grid_spacing": found.spacing,
            "level": self.level,
        }

    def _smooth_fit(self) -> dict[str, Any]:
        index = int(self.comparison.smooth.weights.argmax())
        low, high, middle, log_width = self.comparison.theta[index].tolist()
        form = self.comparison.forms[index]
        fit: dict[str, Any] = {"form": form.name, "weight": float(self.comparison.smooth.weights[index])}
        if form.power == smooth.EXPONENTIAL:
            span = float(self.curve.x[-1] - self.curve.x[0])
            ends = sorted([self.curve.score(low), self.curve.score(high)])
            return fit | {"score_at_ends": ends, "exponent": middle / span / np.log(10)}
        width = float(self.curve.spacing_at(np.array([middle]))[0] * np.exp(log_width))
        return fit | {
            "floor": self.curve.score(low),
            "ceiling": self.curve.score(high),
            "middle_size": self.curve.size(middle),
            "width_decades": width,
        }

    def _break_fit(self) -> dict[str, Any]:
        mixture = self.comparison.mixture
        above = self.curve.x > self.critical.middle
        weight, mean = self.curve.weight, self.curve.mean
        sides = [float(np.average(mean[s], weights=weight[s])) if s.any() else None for s in (~above, above)]
        return {
            "critical_size": self.curve.size(self.critical.middle),
            "interval": self.critical_interval(),
            "score_below": None if sides[0] is None else self.curve.score(sides[0]),
            "score_above": None if sides[1] is None else self.curve.score(sides[1]),
            "plateaus_of_seeds": None
            if mixture is None
            else [self.curve.score(y) for y in (mixture.low, mixture.high)],
            "seeds_log_ratio": self.seeds.log_ratio,
            "seeds_bimodality": self.seeds.bimodality,
            "learned_from": self.seeds.threshold,
        }

    def _points(self) -> list[dict[str, float]]:
        error = 1.96 * self.curve.standard_error()
        rows = []
        for x, y, e in zip(self.curve.x, self.curve.mean, error, strict=True):
            low, high = sorted([self.curve.score(float(y - e)), self.curve.score(float(y + e))])
            rows.append({"size": self.curve.size(float(x)), "mean": self.curve.score(float(y)), "lo": low, "hi": high})
        return sorted(rows, key=lambda row: row["size"])

    def _smooth_curve(self) -> list[dict[str, float]]:
        x = np.linspace(self.curve.x[0], self.curve.x[-1], _N_CURVE)
        level: Floats = smooth_level(self.comparison, x)
        rows = [
            {"size": self.curve.size(a), "value": self.curve.score(b)}
            for a, b in zip(x.tolist(), level.tolist(), strict=True)
        ]
        return sorted(rows, key=lambda row: row["size"])


def shape_of(curve: Curve, length: float | None = None, level: float = 0.9) -> Shape | None:
    """The shape of a curve, None for fewer than ``FEWEST_SIZES`` sizes. ``length`` adds exact match of that many."""
    if curve.n_sizes < FEWEST_SIZES:
        return None
    forms: tuple[smooth.Form, ...] = smooth.FORMS
    if length is not None and length > 1 and curve.kind != "continuous":
        known = smooth.Form("logistic-exact-match", float(length))
        forms = tuple(known if form.name == known.name else form for form in forms)
    return Shape(curve, compare(curve, forms), level)
