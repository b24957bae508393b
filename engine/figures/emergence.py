"""One ability under one of its metrics by size, with what the test of emergence makes of it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from engine.analysis.abilities import judge_study
from engine.errors import InputError
from engine.figures.ladder import capability_vs_params
from engine.figures.model import Band, Figure, Line, Series
from engine.figures.palette import OKABE_ITO
from engine.figures.words import metric_title
from engine.i18n import tr
from engine.store import Reader

SMOOTH_COLOR, EXPECTED_COLOR, BREAK_COLOR = OKABE_ITO[1], OKABE_ITO[2], OKABE_ITO[3]
Document = Mapping[str, Any]


def emergence(
    reader: Reader,
    study_id: str,
    capability: str = "",
    metric: str = "",
    convention: str = "non-embedding",
    variant: str = "",
) -> Figure:
    """The scores by size with the best smooth curve, the break and, for exact match, what the tokens' accuracy gives.

    Without ``capability`` it is the study's headline; ``variant`` is JSON, as ``run.variant_json``.
    """
    capability = capability or reader.study_spec(study_id).headline.capability
    document = judge_study(reader, study_id, capability, variant or None, convention)
    judged = [str(found["metric"]) for found in document["metrics"]]
    if not judged:
        raise InputError(str(document["words"]), " ".join(gap["words"] for gap in document["missing"]))
    return with_verdict(reader, study_id, document, metric or judged[0], convention, variant)


def with_verdict(
    reader: Reader, study_id: str, document: Document, metric: str, convention: str, variant: str = ""
) -> Figure:
    """The same from a verdict at hand: one judgement serves the figures of all its metrics."""
    capability = str(document["capability"])
    figure = capability_vs_params(reader, study_id, capability, metric, convention, variant)
    found = next((m for m in document["metrics"] if m["metric"] == metric), None)
    lines, bands, series = list(figure.lines), list(figure.bands), list(figure.series)
    if found is not None:
        series.insert(0, _smooth(found))
        if document["verdict"] == "break" and document["critical_size"]:
            lines.append(Line(tr("break"), float(document["critical_size"]), horizontal=False, dash="dashdot"))
            bands += _critical(document, figure)
    expected = document["evidence"].get("exact_match")
    if expected and metric == document["evidence"].get("threshold_metric"):
        series.append(_expected(expected))
    return replace(
        figure,
        id="emergence",
        title=metric_title(capability, metric),
        series=tuple(series),
        bands=tuple(bands),
        lines=tuple(lines),
        caption=f"{document['words']} {figure.caption}",
        provenance=dict(figure.provenance) | {"verdict": _facts(document)},
        legend_at="best",
    )


def _smooth(found: Document) -> Series:
    points = found["smooth_curve"]
    x, y = (np.array([point[key] for point in points], dtype=np.float64) for key in ("size", "value"))
    order = np.argsort(x)
    return Series(tr("best smooth curve"), x[order], y[order], color=SMOOTH_COLOR, line=True)


def _expected(check: Document) -> Series:
    rows = check["by_size"]
    x, y = (np.array([row[key] for row in rows], dtype=np.float64) for key in ("size", "expected"))
    name = tr("expected from the tokens (length {length:.3g})", length=check["length"])
    return Series(name, x, y, color=EXPECTED_COLOR, marker="triangle", hollow=True, line=True, dash="dashed")


def _critical(document: Document, figure: Figure) -> list[Band]:
    """The interval of the break as a strip over the height of the figure."""
    if not document["interval"]:
        return []
    ends = np.array(document["interval"], dtype=np.float64)
    _, (low, high) = figure.extent()
    percent = f"{100 * document['level']:g}"
    name = tr("{percent}% interval of the break", percent=percent)
    return [Band(name, ends, np.full(2, low), np.full(2, high), BREAK_COLOR)]


def _facts(document: Document) -> dict[str, Any]:
    keys = (
        "verdict",
        "words",
        "critical_size",
        "interval",
        "level",
        "sharpness",
        "seeds_mixed",
        "capability",
        "variant",
    )
    return {key: document[key] for key in keys if key in document}
