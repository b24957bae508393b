"""Forecasts in figures: what was said before, under what came, and whether the levels are kept."""

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from engine import __version__
from engine.analysis.forecasts import calibration as calibrate
from engine.errors import InputError
from engine.figures.model import Axis, Figure, Series
from engine.figures.palette import OKABE_ITO
from engine.figures.words import metric_words
from engine.i18n import tr

if TYPE_CHECKING:
    from engine.store import Reader
    from engine.store.rows import ForecastRow

FORECAST_COLOR = OKABE_ITO[3]
CONVENTION_KEYS = {"all": "n_params", "non-embedding": "n_params_non_embedding"}


def locked_series(
    reader: "Reader", study_id: str, convention: str, capability: str = "language-modelling", metric: str = "loss"
) -> list[Series]:
    """The locked forecasts of a metric of a study, one series each, named by the day they were locked."""
    series = []
    for row in reader.forecasts(study_id):
        found = _predictions(row, convention, capability, metric)
        if not found:
            continue
        x, y, lo, hi = (np.array(column, dtype=np.float64) for column in zip(*sorted(found), strict=True))
        percent = f"{100 * row.document['level']:g}"
        title = tr("forecast ({percent}%) locked {date}", percent=percent, date=row.document["locked"][:10])
        series.append(Series(title, x, y, lo, hi, color=FORECAST_COLOR, marker="square", hollow=True))
    return series


def _predictions(
    row: "ForecastRow", convention: str, capability: str, metric: str
) -> list[tuple[float, float, float, float]]:
    """Size, value and interval of each target that is not of a variant."""
    found = []
    for target in row.document["targets"]:
        if target["variant"]:
            continue
        for prediction in target["predictions"]:
            if (prediction["capability"], prediction["metric"]) == (capability, metric):
                low, high = prediction["intervals"][f"{row.document['level']:g}"]
                found.append((target[CONVENTION_KEYS[convention]], prediction["predicted"], low, high))
    return found


def locked_facts(reader: "Reader", study_id: str) -> list[dict[str, Any]]:
    """What a figure's provenance says of the forecasts it shows."""
    keys = ("locked", "level", "form", "sha256")
    return [
        {"forecast_id": row.id, **{key: row.document[key] for key in keys}, "scored": row.scored is not None}
        for row in reader.forecasts(study_id)
    ]


def calibration(reader: "Reader", study_id: str, capability: str = "", metric: str = "", scope: str = "home") -> Figure:
    """Nominal level against the share of intervals that held, over all forecasts of the home (or ``scope`` study)."""
    if scope not in ("home", "study"):
        raise InputError(tr("calibration has the scopes home and study, not {name!r}.", name=scope))
    rows = [row for row in reader.forecasts(study_id if scope == "study" else None) if row.score_json is not None]
    document = calibrate((json.loads(row.score_json or "{}") for row in rows), capability, metric)
    if not document["n"]:
        raise InputError(
            tr("no forecast has been scored yet."), tr("Run a study in two acts, such as forecast, to its end.")
        )
    x = np.array([level["level"] for level in document["levels"]])
    y = np.array([level["coverage"] for level in document["levels"]])
    low, high = np.array([level["interval"] for level in document["levels"]]).T
    what = metric_words(capability, metric) if capability and metric else tr("all losses and scores")
    return Figure(
        id="calibration",
        title=tr("Do forecasts keep their word?"),
        x=Axis(tr("Level of the interval")),
        y=Axis(tr("Share of predictions inside")),
        series=(
            Series(tr("honest"), np.array([0.0, 1.0]), np.array([0.0, 1.0]), line=True, dash="dashed", thin=True),
            Series(tr("observed, 95% Wilson"), x, y, low, high, OKABE_ITO[0], marker="circle", line=True),
        ),
        provenance={
            "program": f"Emergence Lab {__version__}",
            "forecasts": [row.id for row in rows],
            "sha256": [row.document["sha256"] for row in rows],
            "calibration": document,
        },
        caption=tr(
            "{n} predictions of {forecasts} scored forecasts, {what}. Predictions of one forecast share its fit, so "
            "the intervals are too narrow where a forecast speaks of several.",
            n=document["n"],
            forecasts=document["n_forecasts"],
            what=what,
        )
        + " "
        + document["words"],
        legend_at="upper left",
    )
