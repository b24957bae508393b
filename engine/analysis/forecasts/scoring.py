"""What became of forecasts: inside or outside, by how much, and over many of them whether the levels are kept."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from engine.analysis.forecasts.locked import LEVELS, intact, standard_units
from engine.i18n import tr

Z95 = 1.959964
"""Two-sided normal quantile of the Wilson intervals."""
Seen = Mapping[tuple[str, str], Sequence[float]]
"""(capability, metric) -> the values of the runs that were trained at one target."""


def score_forecast(document: Mapping[str, Any], seen: Sequence[Seen]) -> dict[str, Any]:
    """Hold a forecast against what came; ``seen`` has one entry per target, empty where nothing was trained.

    A prediction is ``inside`` where the mean of the runs lies in the interval at the forecast's level;
    ``outside_by`` is the distance to the nearer end in percent of the value, ``z`` in standard units.
    """
    rows = []
    for index, (target, values) in enumerate(zip(document["targets"], seen, strict=True)):
        for prediction in target["predictions"]:
            of = [v for v in values.get((prediction["capability"], prediction["metric"]), ()) if math.isfinite(v)]
            if of:
                rows.append({"target": index, **_outcome(document, target, prediction, of)})
    inside = [row["inside"] for row in rows]
    losses = [row["inside"] for row in rows if (row["capability"], row["metric"]) == ("language-modelling", "loss")]
    return {
        "sha256": document["sha256"],
        "intact": intact(document),
        "level": document["level"],
        "n": len(rows),
        "inside": sum(inside),
        "loss_n": len(losses),
        "loss_inside": sum(losses),
        "outcomes": rows,
        "words": _words(sum(losses), len(losses), document["level"]),
    }


def _outcome(
    document: Mapping[str, Any], target: Mapping[str, Any], prediction: Mapping[str, Any], of: Sequence[float]
) -> dict[str, Any]:
    observed = math.fsum(of) / len(of)
    low, high = prediction["intervals"][f"{document['level']:g}"]
    nearest = min(max(observed, low), high)
    return {
        "n_params": target["n_params"],
        "n_params_non_embedding": target["n_params_non_embedding"],
        "tokens": target["tokens"],
        "capability": prediction["capability"],
        "metric": prediction["metric"],
        "predicted": prediction["predicted"],
        "interval": [low, high],
        "observed": observed,
        "runs": len(of),
        "runs_foreseen": target["runs"],
        "inside": low <= observed <= high,
        "outside_by": abs(observed - nearest) / abs(observed) if observed else abs(observed - nearest),
        "relative_error": prediction["predicted"] / observed - 1 if observed else None,
        "z": standard_units(prediction, observed),
        "inside_at": {level: lo <= observed <= hi for level, (lo, hi) in prediction["intervals"].items()},
    }


def _words(inside: int, n: int, level: float) -> str:
    return tr(
        "{inside} of {n} losses fell inside their {percent}% interval.",
        inside=inside,
        n=n,
        percent=f"{100 * level:g}",
    )


def wilson(k: int, n: int, z: float = Z95) -> tuple[float, float]:
    """Wilson's 95% interval of a proportion of ``k`` in ``n`` (Wilson 1927); (0, 1) where ``n`` is 0."""
    if n == 0:
        return 0.0, 1.0
    share, z2 = k / n, z * z
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = z * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return max(0.0, middle - half), min(1.0, middle + half)


def calibration(scores: Iterable[Mapping[str, Any]], capability: str = "", metric: str = "") -> dict[str, Any]:
    """Nominal level against observed coverage over scored forecasts, of one metric where it is named.

    Predictions of one forecast share its fit, so the Wilson intervals, which count each by itself, are too narrow
    where a forecast speaks of several sizes; ``n_forecasts`` says how many there really are.
    """
    rows: list[Mapping[str, Any]] = []
    n_forecasts = 0
    for score in scores:
        found = [
            row
            for row in score["outcomes"]
            if (not capability or row["capability"] == capability) and (not metric or row["metric"] == metric)
        ]
        rows += found
        n_forecasts += bool(found)
    levels = sorted(
        {*(f"{level:g}" for level in LEVELS), *(key for row in rows for key in row["inside_at"])}, key=float
    )
    return {
        "capability": capability,
        "metric": metric,
        "n_forecasts": n_forecasts,
        "n": len(rows),
        "levels": [_at_level(level, rows) for level in levels] if rows else [],
        "mean_z": math.fsum(row["z"] for row in rows) / len(rows) if rows else None,
        "rms_z": math.sqrt(math.fsum(row["z"] ** 2 for row in rows) / len(rows)) if rows else None,
        "words": _verdict(rows, n_forecasts),
    }


def _at_level(level: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    known = [row["inside_at"][level] for row in rows if level in row["inside_at"]]
    low, high = wilson(sum(known), len(known))
    share = sum(known) / len(known) if known else None
    return {"level": float(level), "n": len(known), "inside": sum(known), "coverage": share, "interval": [low, high]}


def _verdict(rows: Sequence[Mapping[str, Any]], n_forecasts: int) -> str:
    if not rows:
        return tr("no forecast has been scored yet.")
    at = _at_level("0.9", rows)
    low, high = at["interval"]
    values = {"n": at["n"], "forecasts": n_forecasts, "share": f"{at['coverage']:.2f}", "lo": low, "hi": high}
    if high < 0.9:
        return tr(
            "The 90% intervals held {share} of {n} predictions ({lo:.2f} to {hi:.2f}) in {forecasts} forecasts: "
            "they are too narrow.",
            **values,
        )
    if low > 0.9:
        return tr(
            "The 90% intervals held {share} of {n} predictions ({lo:.2f} to {hi:.2f}) in {forecasts} forecasts: "
            "they are wider than they need be.",
            **values,
        )
    return tr(
        "The 90% intervals held {share} of {n} predictions ({lo:.2f} to {hi:.2f}) in {forecasts} forecasts, "
        "which agrees with what they say.",
        **values,
    )
