"""A score through the loss: a straight line in the loss on the score's own scale, with the scatter of sizes and seeds.

Scores between 0 and 1 are taken on the logit scale, positive ones on the logarithmic, others as they are. This is
prediction in two stages (Gadre 2024, Bhagia 2024): loss from size, score from loss. A line in ln N would run past the
floor that the loss bends towards. None of it says anything of a jump that has not been seen.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from engine.analysis.arrays import Floats, as_floats
from engine.analysis.laws.noise import estimate_noise, perturb
from engine.capabilities import metric_of
from engine.errors import InputError
from engine.i18n import tr

Scale = Literal["logit", "log", "linear"]
FEWEST_SIZES = 3
_NO_ITEMS = 10_000
"""Items assumed where their number is not known: only keeps a score of 0 or 1 off infinity."""


def scale_of(capability: str, metric: str, values: Floats) -> Scale:
    """The scale a metric is straight on: logit for shares of items, log where all values are positive."""
    known = metric_of(capability, metric)
    if known is not None and known.kind == "threshold":
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
    """A fitted line: ``line`` (2,) is value at the centre and slope in the loss; the rest are resamples (B, ...)."""

    scale: Scale
    center: float
    line: Floats
    lines: Floats
    between: Floats
    within: Floats

    def at(self, loss: Sequence[float] | Floats) -> Floats:
        """(m,) the line's score at losses."""
        return backward(self.line[0] + self.line[1] * (as_floats(loss) - self.center), self.scale)

    def draws(self, loss: Floats, new_runs: Sequence[int]) -> Floats:
        """(B, m) straight-scale values that the mean of ``new_runs`` (m,) runs may have where ``loss`` is (B, m)."""
        values = self.lines[:, :1] + self.lines[:, 1:] * (loss - self.center)
        rng = np.random.default_rng(len(self.lines))
        spread = np.sqrt(self.between[:, None] ** 2 + self.within[:, None] ** 2 / as_floats(new_runs))
        drawn: Floats = values + spread * rng.standard_normal(values.shape)
        return drawn

    def loss_for(self, score: float) -> tuple[float, Floats]:
        """The loss at which the line has ``score``, and (B,) that of its resamples; nan where one does not rise or fall
        as the line does."""
        wanted = float(forward(as_floats([score]), self.scale)[0])
        with np.errstate(all="ignore"):
            here = self.center + (wanted - self.line[0]) / self.line[1]
            drawn = self.center + (wanted - self.lines[:, 0]) / self.lines[:, 1]
        same = np.sign(self.lines[:, 1]) == np.sign(self.line[1])
        return float(here), np.where(same, drawn, np.nan)


def fit_trend(
    n_params: Sequence[float],
    loss: Sequence[float],
    values: Sequence[float],
    scale: Scale,
    n_items: Sequence[int | None],
    n_draws: int = 1000,
    rng_seed: int = 0,
) -> Trend:
    """The line through runs of one metric; one entry per run. Raises ``InputError`` under three sizes."""
    x = as_floats(loss)
    items = as_floats([count or _NO_ITEMS for count in n_items])
    sizes, group = np.unique(as_floats(n_params), return_inverse=True)
    group = group.astype(np.int64)
    if len(sizes) < FEWEST_SIZES:
        raise InputError(tr("a forecast needs {n} sizes or more; there are {found}.", n=FEWEST_SIZES, found=len(sizes)))
    y = forward(as_floats(values), scale, items)
    center = float(x.mean())
    design = np.stack([np.ones(len(x)), x - center], axis=1)
    solve = np.linalg.pinv(design)
    line = solve @ y
    fitted = design @ line
    noise = estimate_noise(y - fitted, group, 2)
    rng = np.random.default_rng(rng_seed)
    between, within = noise.draw(rng, n_draws)
    within = np.maximum(within, _item_noise(as_floats(values), scale, items))
    drawn = perturb(rng, fitted, group, between, within)
    return Trend(scale, center, line, drawn @ solve.T, between, within)


def _item_noise(values: Floats, scale: Scale, items: Floats) -> float:
    """The binomial standard error of a share, on the logit scale: no line is surer than its items."""
    if scale != "logit":
        return 0.0
    half = 0.5 / np.maximum(items, 1.0)
    share = np.clip(values, half, 1 - half)
    return float(np.sqrt(np.mean(1 / (items * share * (1 - share)))))
