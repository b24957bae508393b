"""A score against size: a straight line in ln N on the score's own scale, with the scatter of sizes and seeds.

Scores between 0 and 1 are taken on the logit scale, positive ones on the logarithmic, others as they are. It is the
plainest thing that can be said of a score, and says nothing of a jump that has not been seen.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from engine.analysis.arrays import Floats, as_floats
from engine.analysis.laws.noise import estimate_noise, perturb
from engine.capabilities import capabilities
from engine.errors import InputError
from engine.i18n import tr

Scale = Literal["logit", "log", "linear"]
FEWEST_SIZES = 3
_NO_ITEMS = 10_000
"""Items assumed where their number is not known: only keeps a score of 0 or 1 off infinity."""


def scale_of(capability: str, metric: str, values: Floats) -> Scale:
    """The scale a metric is straight on: logit for shares of items, log where all values are positive."""
    if capability in capabilities:
        kinds = {known.name: known.kind for known in capabilities[capability].metrics}
        if kinds.get(metric) == "threshold":
            return "logit"
    return "log" if bool((values > 0).all()) else "linear"


def forward(values: Floats, scale: Scale, n_items: Floats | float = _NO_ITEMS) -> Floats:
    """Scores on the straight scale; shares of 0 and 1 are taken half an item inside."""
    if scale == "linear":
        return values
    if scale == "log":
        return np.log(values)
    half = 0.5 / np.maximum(n_items, 1.0)
    share = np.clip(values, half, 1 - half)
    found: Floats = np.log(share / (1 - share))
    return found


def backward(values: Floats, scale: Scale) -> Floats:
    """The inverse of ``forward``."""
    if scale == "linear":
        return values
    found: Floats = np.exp(values) if scale == "log" else 1 / (1 + np.exp(-values))
    return found


@dataclass(frozen=True)
class Trend:
    """A fitted line: ``line`` (2,) is value at the centre and slope in ln N; the rest are resamples (B, ...)."""

    scale: Scale
    center: float
    line: Floats
    lines: Floats
    between: Floats
    within: Floats

    def at(self, n_params: Sequence[float] | Floats) -> Floats:
        """(m,) the line's score at sizes."""
        return backward(self.line[0] + self.line[1] * self._x(n_params), self.scale)

    def draws(self, n_params: Sequence[float] | Floats, new_runs: Sequence[int]) -> Floats:
        """(B, m) straight-scale values that the mean of ``new_runs`` (m,) runs at each size may have."""
        values = self.lines[:, :1] + self.lines[:, 1:] * self._x(n_params)
        rng = np.random.default_rng(len(self.lines))
        runs = as_floats(new_runs)
        spread = np.sqrt(self.between[:, None] ** 2 + self.within[:, None] ** 2 / runs)
        drawn: Floats = values + spread * rng.standard_normal(values.shape)
        return drawn

    def size_for(self, score: float) -> tuple[float, Floats]:
        """The size at which the line reaches ``score`` and (B,) the sizes at which its resamples do.

        Infinite where the line does not go there.
        """
        wanted = float(forward(as_floats([score]), self.scale)[0])
        rising = np.sign(wanted - self.line[0]) * np.sign(self.line[1])
        with np.errstate(all="ignore"):
            here = (wanted - self.line[0]) / self.line[1]
            drawn = (wanted - self.lines[:, 0]) / self.lines[:, 1]
            # A resample that slopes the other way never reaches what lies ahead.
            drawn = np.where(np.sign(self.lines[:, 1]) == np.sign(self.line[1]), drawn, np.inf * rising)
            return float(np.exp(here + self.center)), np.exp(drawn + self.center)

    def _x(self, n_params: Sequence[float] | Floats) -> Floats:
        found: Floats = np.log(as_floats(n_params)) - self.center
        return found


def fit_trend(
    n_params: Sequence[float],
    values: Sequence[float],
    scale: Scale,
    n_items: Sequence[int | None],
    n_draws: int = 1000,
    rng_seed: int = 0,
) -> Trend:
    """The line through runs of one metric; one entry per run. Raises ``InputError`` under three sizes."""
    size = as_floats(n_params)
    items = as_floats([count or _NO_ITEMS for count in n_items])
    sizes, group = np.unique(size, return_inverse=True)
    if len(sizes) < FEWEST_SIZES:
        raise InputError(tr("a forecast needs {n} sizes or more; there are {found}.", n=FEWEST_SIZES, found=len(sizes)))
    y = forward(as_floats(values), scale, items)
    center = float(np.log(size).mean())
    design = np.stack([np.ones(len(size)), np.log(size) - center], axis=1)
    solve = np.linalg.pinv(design)
    line = solve @ y
    fitted = design @ line
    noise = estimate_noise(y - fitted, group.astype(np.int64), 2)
    rng = np.random.default_rng(rng_seed)
    between, within = noise.draw(rng, n_draws)
    within = np.maximum(within, _item_noise(as_floats(values), scale, items))
    drawn = perturb(rng, fitted, group.astype(np.int64), between, within)
    return Trend(scale, center, line, drawn @ solve.T, between, within)


def _item_noise(values: Floats, scale: Scale, items: Floats) -> float:
    """The binomial standard error of a share, on the logit scale: no line is surer than its items."""
    if scale != "logit":
        return 0.0
    half = 0.5 / np.maximum(items, 1.0)
    share = np.clip(values, half, 1 - half)
    return float(np.sqrt(np.mean(1 / (items * share * (1 - share)))))
