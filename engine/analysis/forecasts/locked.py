"""A forecast as a sealed document: what was known, the fit, and value and intervals for each size to come.

Its intervals are of the mean of the runs that will be trained, so that what comes can be held against them.
"""

import hashlib
import json
import time as clock
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from engine.analysis.arrays import Floats, as_floats, percentile_interval
from engine.analysis.forecasts.trend import Scale, backward, fit_trend, forward, scale_of
from engine.analysis.laws.base import FitOptions, Points, forms
from engine.analysis.laws.ladder import fit_ladder
from engine.analysis.laws.result import LawFit
from engine.errors import InputError
from engine.i18n import tr
from engine.study import Scalar

LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
"""Levels at which every forecast has an interval, so that the record can be checked at each."""
FEWEST_SIZES = 3
N_DRAWS = 1000
MODEL_LOSS = ("language-modelling", "loss")
BITS = ("language-modelling", "bits_per_byte")


@dataclass(frozen=True, slots=True)
class Observation:
    """One finished run. ``n_params`` are without embeddings; ``scores`` (capability, metric) -> (value, items)."""

    n_params: float
    tokens: float
    seed: int
    loss: float
    scores: Mapping[tuple[str, str], tuple[float, int | None]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Target:
    """A size to come: what was asked, what it resolves to, and how many runs will be trained there."""

    size: int
    n_params: int
    n_params_non_embedding: int
    tokens: int
    runs: int
    variant: Mapping[str, Scalar] = field(default_factory=dict)


def make_forecast(
    observed: Sequence[Observation],
    targets: Sequence[Target],
    spec_hash: str,
    level: float = 0.9,
    *,
    act: int = 0,
    lr_scaled: bool | None = None,
    converged: bool | None = None,
    rng_seed: int = 0,
    n_draws: int = N_DRAWS,
    now: float | None = None,
) -> dict[str, Any]:
    """The sealed document. ``act`` is 1 where a study's second act waits for it, 0 where a person asked.

    Raises:
        InputError: fewer than three sizes are trained, or a target is one of them.
    """
    _check(observed, targets)
    law = fit_law(observed, level, lr_scaled=lr_scaled, converged=converged, rng_seed=rng_seed, n_draws=n_draws)
    levels = sorted({*LEVELS, level})
    predictions = [[found] for found in _of_loss(law, targets, levels, MODEL_LOSS)]
    for key in sorted({key for run in observed for key in run.scores} - {MODEL_LOSS}):
        if key == BITS and all(key in run.scores for run in observed):
            # Bits per byte fall like the loss, to a floor: a straight line would run through it.
            of_bits = [replace(run, loss=run.scores[key][0]) for run in observed]
            more = _of_loss(fit_law(of_bits, level, rng_seed=rng_seed, n_draws=n_draws), targets, levels, key)
        else:
            more = _of_score(law, observed, targets, key, levels)
        for index, found in enumerate(more):
            predictions[index].append(found)
    time = clock.time() if now is None else now
    document = {
        "act": act,
        "time": time,
        "locked": datetime.fromtimestamp(time, UTC).isoformat(timespec="seconds"),
        "spec_hash": spec_hash,
        "convention": "non-embedding",
        "level": level,
        "form": law.form,
        "points": [[run.n_params, run.tokens, run.seed, run.loss] for run in observed],
        "fit": law.to_document(),
        "targets": [asdict(target) | {"predictions": of} for target, of in zip(targets, predictions, strict=True)],
        "covers": tr("Intervals are of the mean of the runs to be trained; they do not cover a law of another form."),
    }
    return document | {"sha256": digest(document)}


def digest(document: Mapping[str, Any]) -> str:
    """SHA-256 of a forecast without its own hash: spec, points, fit, targets and time, as sorted JSON."""
    kept = {key: value for key, value in document.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(kept, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def intact(document: Mapping[str, Any]) -> bool:
    """Whether the document is what was sealed."""
    return document.get("sha256") == digest(document)


def fit_law(
    observed: Sequence[Observation],
    level: float,
    *,
    lr_scaled: bool | None = None,
    converged: bool | None = None,
    rng_seed: int = 0,
    n_draws: int = N_DRAWS,
) -> LawFit:
    """The law of the runs: of parameters and tokens where both vary, of parameters alone where only they do."""
    n_params = as_floats([run.n_params for run in observed])
    tokens = as_floats([run.tokens for run in observed])
    loss = as_floats([run.loss for run in observed])
    if tokens_vary(observed):
        points = Points(
            values={"n_params": n_params, "tokens": tokens, "loss": loss},
            rows=np.arange(1, len(loss) + 1),
            texts={"seed": np.array([str(run.seed) for run in observed])},
            headers={"n_params": "n_params_non_embedding", "tokens": "tokens", "loss": "loss"},
        )
        fit = forms["chinchilla"].fit(points, FitOptions(n_draws, level, rng_seed, "noise"))
        assert isinstance(fit, LawFit)
        return fit
    return fit_ladder(
        n_params,
        loss,
        [run.seed for run in observed],
        n_bootstrap=n_draws,
        level=level,
        rng_seed=rng_seed,
        lr_scaled=lr_scaled,
        converged=converged,
    )


def tokens_vary(observed: Sequence[Observation]) -> bool:
    """Whether runs of one size were trained on different amounts of data."""
    by_size: dict[float, set[float]] = {}
    for run in observed:
        by_size.setdefault(run.n_params, set()).add(run.tokens)
    return max(len(tokens) for tokens in by_size.values()) > 1


def _check(observed: Sequence[Observation], targets: Sequence[Target]) -> None:
    sizes = {run.n_params for run in observed}
    if len(sizes) < FEWEST_SIZES:
        raise InputError(
            tr("a forecast needs {n} sizes or more; there are {found}.", n=FEWEST_SIZES, found=len(sizes)),
            tr("Train more small sizes first."),
        )
    if not targets:
        raise InputError(tr("a forecast needs a size to speak of."))
    trained = {(run.n_params, run.tokens) for run in observed}
    for target in targets:
        if (target.n_params_non_embedding, target.tokens) in trained:
            raise InputError(
                tr("size {size:,} is trained already; a forecast is made before.", size=target.size),
                tr("Name sizes that have not been trained."),
            )


def _of_loss(
    law: LawFit, targets: Sequence[Target], levels: Sequence[float], key: tuple[str, str]
) -> list[dict[str, Any]]:
    """One forecast of the law's loss per target."""
    predictions = []
    for target in targets:
        at = [_at(law, target)]
        draws = np.log(law.draws(at, new_runs=target.runs)[:, 0])
        value = float(law.predict_many(at)[0][0])
        predictions.append(_prediction(*key, law.form, "log", value, draws, levels))
    return predictions


def _of_score(
    law: LawFit,
    observed: Sequence[Observation],
    targets: Sequence[Target],
    key: tuple[str, str],
    levels: Sequence[float],
) -> list[dict[str, Any]]:
    """One forecast of a metric per target, through the law's loss there; empty where too few sizes have it."""
    runs = [run for run in observed if key in run.scores and np.isfinite(run.scores[key][0])]
    if len({run.n_params for run in runs}) < FEWEST_SIZES:
        return []
    values = as_floats([run.scores[key][0] for run in runs])
    scale = scale_of(*key, values)
    items = [run.scores[key][1] for run in runs]
    losses = [run.loss for run in runs]
    at = [_at(law, target) for target in targets]
    drawn = law.draws(at)
    trend = fit_trend([run.n_params for run in runs], losses, values.tolist(), scale, items, len(drawn))
    draws = trend.draws(drawn, [target.runs for target in targets])
    form = f"{scale} in the loss"
    return [
        _prediction(*key, form, scale, float(value), draws[:, index], levels)
        for index, value in enumerate(trend.at(law.predict_many(at)[0]))
    ]


def _at(law: LawFit, target: Target) -> list[float]:
    """The target as the law's columns."""
    return [float(target.n_params_non_embedding), float(target.tokens)][: max(1, len(law.variables))]


def _prediction(
    capability: str, metric: str, form: str, scale: Scale, value: float, draws: Floats, levels: Sequence[float]
) -> dict[str, Any]:
    """``draws`` (B,) are on the straight scale; intervals come back on the metric's own."""
    low, high = percentile_interval(draws, 0.6827)
    intervals = {}
    for level in levels:
        ends = np.stack(percentile_interval(draws, level))
        intervals[f"{level:g}"] = backward(ends, scale).tolist()
    return {
        "capability": capability,
        "metric": metric,
        "form": form,
        "scale": scale,
        "predicted": value,
        "center": float(np.median(draws)),
        "sd": float(high - low) / 2,
        "intervals": intervals,
    }


def standard_units(prediction: Mapping[str, Any], observed: float, n_items: int | None = None) -> float:
    """How many standard deviations of the forecast what came lies above its centre, on the straight scale."""
    scale: Scale = prediction["scale"]
    at = float(forward(as_floats([observed]), scale, float(n_items or 10_000))[0])
    return (at - float(prediction["center"])) / max(float(prediction["sd"]), 1e-12)
