"""What a fit knows: parameters, how far to trust them, and what the law says about other sizes."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from engine.analysis.arrays import Floats, Ints, as_floats, percentile_interval
from engine.analysis.laws.models import LawModel
from engine.i18n import tr

_SHOWN = 5
"""Points of the largest residuals named in a document."""


@dataclass(frozen=True, kw_only=True)
class Estimate(ABC):
    """Named parameters with resamples of them; the base of every fit.

    Subclasses give ``values`` (P,) and ``draws_of_values`` (n_bootstrap, P), in the order of ``names``.
    """

    form: str
    names: tuple[str, ...]
    objective: float
    """The sum, not the mean, of the loss that was minimised."""
    level: float
    n_points: int
    residuals: Floats
    """(n_points,) observed less fitted, in the order given: of ln L unless the form says otherwise."""
    covers: str
    rows: Ints | None = None
    """(n_points,) the rows of the file, from 1."""
    resampling: str = "noise"
    heldout: dict[str, Any] | None = None
    excluded: tuple[dict[str, Any], ...] = ()
    warnings: tuple[str, ...] = ()
    extra: dict[str, Any] = field(default_factory=dict)
    """More keys for the document: the optimum, the comparison of forms."""

    @property
    @abstractmethod
    def values(self) -> Floats:
        """(P,) parameters."""

    @property
    @abstractmethod
    def draws_of_values(self) -> Floats:
        """(n_bootstrap, P) resampled parameters."""

    @property
    def params(self) -> dict[str, float]:
        """Public parameters, E first."""
        return self._named(self.values)

    @property
    def stderr(self) -> dict[str, float]:
        """Of a pairs bootstrap, the standard deviation over resamples. Of the noise bootstrap of few points, half the
        width of the central 68%: the same where the spread is normal, and not inflated by one far resample."""
        if self.resampling == "pairs":
            return self.bootstrap_sd
        low, high = percentile_interval(self.draws_of_values, 0.6827)
        return self._named((high - low) / 2)

    @property
    def bootstrap_sd(self) -> dict[str, float]:
        """The plain standard deviation over resamples."""
        return self._named(self.draws_of_values.std(axis=0, ddof=1))

    @property
    def interval(self) -> dict[str, list[float]]:
        """Percentile intervals at ``level``."""
        low, high = percentile_interval(self.draws_of_values, self.level)
        lows, highs = self._named(low), self._named(high)
        return {name: [lows[name], highs[name]] for name in lows}

    @property
    def covariance(self) -> Floats:
        """(P, P) of the public parameters over resamples, in the order of ``names``."""
        covariance: Floats = np.cov(self.draws_of_values, rowvar=False).reshape(len(self.names), -1)
        return covariance

    def to_document(self) -> dict[str, Any]:
        """The JSON of ``fit``: plain numbers, strings, lists and dicts."""
        covariance = np.nan_to_num(self.covariance, nan=0.0, posinf=1e300, neginf=-1e300)
        return {
            "form": self.form,
            "params": self.params,
            "stderr": self.stderr,
            "bootstrap_sd": self.bootstrap_sd,
            "interval": self.interval,
            "level": self.level,
            "covers": self.covers,
            "n_points": self.n_points,
            "n_bootstrap": len(self.draws_of_values),
            "resampling": self.resampling,
            "excluded": list(self.excluded),
            "heldout": self.heldout,
            "objective": self.objective,
            "covariance": {"names": list(self.names), "matrix": covariance.tolist()},
            "residual_sd": float(np.sqrt(np.mean(self.residuals**2))),
            "residuals": self.residual_summary(),
            "warnings": list(self.warnings),
            **self.extra,
        }

    def residual_summary(self) -> dict[str, Any]:
        """How the residuals lie, and which points are the furthest from the law."""
        size = np.abs(self.residuals)
        worst = np.argsort(-size)[:_SHOWN]
        rows = self.rows if self.rows is not None else np.arange(1, len(size) + 1)
        return {
            "sd": float(np.sqrt(np.mean(size**2))),
            "median_abs": float(np.median(size)),
            "max_abs": float(size.max()),
            "bias": float(self.residuals.mean()),
            "largest": [{"row": int(rows[i]), "residual": float(self.residuals[i])} for i in worst],
        }

    def _named(self, values: Floats) -> dict[str, float]:
        # One far resample may overflow exp; JSON has no infinity.
        limited = np.nan_to_num(values, nan=0.0, posinf=1e300, neginf=-1e300)
        found = dict(zip(self.names, limited.tolist(), strict=True))
        return {"E": found.pop("E"), **found} if "E" in found else found


@dataclass(frozen=True, kw_only=True)
class DirectFit(Estimate):
    """An estimate that is its parameters: no law in log space stands behind it."""

    point: Floats
    samples: Floats

    @property
    def values(self) -> Floats:
        return self.point

    @property
    def draws_of_values(self) -> Floats:
        return self.samples


@dataclass(frozen=True, kw_only=True)
class LawFit(Estimate):
    """A fitted law of the loss.

    ``theta`` (P,) and ``samples`` (n_bootstrap, P) are coordinates of ``model``; ``noise_between`` and
    ``noise_within`` (n_bootstrap,) the spread of ln L between settings and between seeds that went with each sample.
    """

    variable: str
    """The column that is extrapolated: sizes, tokens or compute."""
    variables: tuple[str, ...] = ()
    """Every column of the model, in order; ``variable`` alone where empty."""
    model: LawModel
    theta: Floats
    samples: Floats
    noise_between: Floats
    noise_within: Floats
    x_range: tuple[float, float]
    """Smallest and largest value of ``variable`` that was fitted."""

    @property
    def values(self) -> Floats:
        values: Floats = self.model.public(self.theta[None])[0]
        return values

    @property
    def draws_of_values(self) -> Floats:
        return self.model.public(self.samples)

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
        if len(self.variables) > 1:
            return []
        x = np.geomspace(self.x_range[0], 10 * self.x_range[1], n)
        values, lows, highs = self.predict_many(x)
        rows = zip(x.tolist(), values.tolist(), lows.tolist(), highs.tolist(), strict=True)
        return [{self.variable: a, "value": v, "lo": lo, "hi": hi} for a, v, lo, hi in rows]

    def to_document(self) -> dict[str, Any]:
        """The JSON of ``fit``, with the law's range and its curve."""
        document = super().to_document()
        return {
            "form": document.pop("form"),
            "variable": self.variable,
            **document,
            "range": list(self.x_range),
            "curve": self.curve(),
        }

    def _at(self, x: Any) -> LawModel:
        points = as_floats(x)
        if points.ndim == 1:
            points = points[:, None]
        return self.model.at(np.log(points))


def covers_text(level: float, resampling: str = "noise") -> str:
    """What an interval at ``level`` covers, in words."""
    percent = f"{100 * level:g}"
    if resampling == "pairs":
        return tr(
            "{percent}% percentile intervals over resamples of the points with replacement; "
            "they do not cover the law being of another form.",
            percent=percent,
        )
    return tr(
        "{percent}% intervals over resamples of the noise around the fitted law; "
        "they do not cover the law being of another form.",
        percent=percent,
    )
