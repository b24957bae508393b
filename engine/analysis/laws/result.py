"""What a fit knows: parameters, how far to trust them, and what the law says about other sizes."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from engine.analysis.arrays import Floats, as_floats, percentile_interval
from engine.analysis.laws.models import PowerSum
from engine.i18n import tr


@dataclass(frozen=True)
class LawFit:
    """A fitted sum of power terms.

    ``theta`` (P,) and ``samples`` (n_bootstrap, P) are coordinates of ``model``; ``noise_between`` and
    ``noise_within`` (n_bootstrap,) the spread of ln L between sizes and between seeds that went with each sample.
    """

    form: str
    variable: str
    model: PowerSum
    theta: Floats
    samples: Floats
    noise_between: Floats
    noise_within: Floats
    names: tuple[str, ...]
    """Public names in the order of ``model.public``."""
    objective: float
    level: float
    n_points: int
    x_range: tuple[float, float]
    """Smallest and largest value of ``variable`` that was fitted."""
    residuals: Floats
    """(n_points,) ln(observed) - ln(fitted), in the order given."""
    covers: str
    heldout: dict[str, Any] | None = None
    excluded: tuple[dict[str, Any], ...] = ()
    warnings: tuple[str, ...] = ()
    extra: dict[str, Any] = field(default_factory=dict)
    """More keys for the document: the optimum, the comparison of forms."""

    @property
    def params(self) -> dict[str, float]:
        """Public parameters, E first."""
        return self._named(self.model.public(self.theta[None])[0])

    @property
    def stderr(self) -> dict[str, float]:
        """Half the width of the central 68% of the resamples: equal to their spread where that is normal."""
        low, high = percentile_interval(self.model.public(self.samples), 0.6827)
        return self._named((high - low) / 2)

    @property
    def bootstrap_sd(self) -> dict[str, float]:
        """The plain standard deviation over resamples, which one far resample can inflate."""
        return self._named(self.model.public(self.samples).std(axis=0, ddof=1))

    @property
    def interval(self) -> dict[str, list[float]]:
        """Percentile intervals at ``level``."""
        low, high = percentile_interval(self.model.public(self.samples), self.level)
        lows, highs = self._named(low), self._named(high)
        return {name: [lows[name], highs[name]] for name in lows}

    @property
    def covariance(self) -> Floats:
        """(P, P) of the public parameters over resamples, in the order of ``names``."""
        covariance: Floats = np.cov(self.model.public(self.samples), rowvar=False)
        return covariance

    def predict(self, x: Any, new_runs: int = 0) -> tuple[float, float, float]:
        """The loss at one size and its interval: of the law itself, or of the mean of ``new_runs`` new runs."""
        values, lows, highs = self.predict_many([x], new_runs)
        return float(values[0]), float(lows[0]), float(highs[0])

    def predict_many(self, x: Any, new_runs: int = 0) -> tuple[Floats, Floats, Floats]:
        """Loss and interval at sizes ``x`` (m,), or (m, K) for laws of several variables."""
        draws = self.draws(x, new_runs)
        at = self._at(x)
        low, high = percentile_interval(draws, self.level)
        return np.exp(at.log_loss(self.theta[None])[0]), low, high

    def draws(self, x: Any, new_runs: int = 0) -> Floats:
        """(n_bootstrap, m) losses the law may have at ``x``, with the noise of new runs where asked for."""
        values = self._at(x).log_loss(self.samples)
        if new_runs:
            rng = np.random.default_rng(len(self.samples))
            spread = np.sqrt(self.noise_between**2 + self.noise_within**2 / new_runs)
            values = values + spread[:, None] * rng.standard_normal(values.shape)
        losses: Floats = np.exp(values)
        return losses

    def curve(self, n: int = 61) -> list[dict[str, float]]:
        """The law and its interval over the range and one decade beyond; empty for several variables."""
        if self.model.n_terms != 1:
            return []
        x = np.geomspace(self.x_range[0], 10 * self.x_range[1], n)
        values, lows, highs = self.predict_many(x)
        rows = zip(x.tolist(), values.tolist(), lows.tolist(), highs.tolist(), strict=True)
        return [{self.variable: a, "value": v, "lo": lo, "hi": hi} for a, v, lo, hi in rows]

    def to_document(self) -> dict[str, Any]:
        """The JSON of ``fit``: plain numbers, strings, lists and dicts."""
        return {
            "form": self.form,
            "variable": self.variable,
            "params": self.params,
            "stderr": self.stderr,
            "bootstrap_sd": self.bootstrap_sd,
            "interval": self.interval,
            "level": self.level,
            "covers": self.covers,
            "n_points": self.n_points,
            "n_bootstrap": len(self.samples),
            "excluded": list(self.excluded),
            "heldout": self.heldout,
            "objective": self.objective,
            "residual_sd": float(np.sqrt(np.mean(self.residuals**2))),
            "range": list(self.x_range),
            "curve": self.curve(),
            "warnings": list(self.warnings),
            **self.extra,
        }

    def _at(self, x: Any) -> PowerSum:
        points = as_floats(x)
        if points.ndim == 1:
            points = points[:, None]
        return self.model.at(np.log(points))

    def _named(self, values: Floats) -> dict[str, float]:
        # One far resample may overflow exp; JSON has no infinity.
        limited = np.nan_to_num(values, nan=0.0, posinf=1e300, neginf=-1e300)
        found = dict(zip(self.names, limited.tolist(), strict=True))
        return {"E": found.pop("E"), **found}


def covers_text(level: float) -> str:
    """What an interval at ``level`` covers, in words."""
    return tr(
        "{percent}% intervals over resamples of the noise around the fitted law; "
        "they do not cover the law being of another form.",
        percent=f"{100 * level:g}",
    )
