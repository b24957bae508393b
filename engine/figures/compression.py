"""Score against what a model costs: a whole ladder with its pruned, quantized and distilled versions on one plot."""

from typing import Any

import numpy as np

from engine.analysis.compression import PRICES, WHOLE, Group, Measured, groups, judge, measured, way_words
from engine.analysis.gains import LEVEL
from engine.errors import InputError
from engine.figures.model import Axis, Figure, Marker, Series
from engine.figures.palette import OKABE_ITO
from engine.figures.provenance import provenance
from engine.figures.words import metric_words
from engine.i18n import tr
from engine.store import Reader

_MARKERS: tuple[Marker, ...] = ("square", "triangle", "diamond", "star")
_COUNTED = ("bytes", "memory")


def compression(
    reader: Reader, study_id: str, capability: str = "", metric: str = "", against: str = "bytes"
) -> Figure:
    """A metric (the headline by default) against ``against``: bytes, memory, latency or latency_batch.

    Raises:
        InputError: nothing was compressed and measured yet, or there is no such price.
    """
    if against not in PRICES:
        raise InputError(
            tr("compression has no price {name!r} (there are: {known}).", name=against, known=", ".join(PRICES))
        )
    headline = reader.study_spec(study_id).headline
    capability, metric = capability or headline.capability, metric or headline.metric
    models = measured(reader, study_id, capability, metric)
    return with_verdict(reader, study_id, models, judge(models, capability, metric), against)


def with_verdict(
    reader: Reader, study_id: str, models: list[Measured], verdict: dict[str, Any], against: str
) -> Figure:
    """The same from what was read and judged already."""
    capability, metric = verdict["capability"], verdict["metric"]
    found = groups(models)
    runs = [reader.run(model.run_id) for model in models]
    ways = list(dict.fromkeys(group.way for group in found))
    series = _threads(found, ways, against)
    for way in ways:
        series += _of_way(way, [group for group in found if group.way == way], ways.index(way), against)
    return Figure(
        id="compression",
        title=tr("Ability against cost: {study}", study=reader.study(study_id).shown_title),
        x=Axis(tr(PRICES[against]), "log", "count" if against in _COUNTED else "number"),
        y=Axis(metric_words(capability, metric, runs), "linear" if verdict["higher_is_better"] else "log"),
        series=tuple(series),
        provenance=provenance(
            reader,
            study_id,
            runs,
            extra={"capability": capability, "metric": metric, "against": against, "verdict": verdict},
        ),
        caption=" ".join(
            [
                tr(
                    "{n} models; small points are seeds, large ones means with their {percent:g}% interval over seeds; "
                    "dotted lines lead from a whole model to what was made of it.",
                    n=len(models),
                    percent=100 * LEVEL,
                ),
                *verdict["words"],
            ]
        ),
        legend_at="best",
    )


def _look(index: int) -> tuple[str, Marker, bool]:
    """Colour, marker and whether it is hollow; whole models are in the colour of text."""
    if index == 0:
        return "", "circle", False
    at = index - 1
    return OKABE_ITO[at % len(OKABE_ITO)], _MARKERS[at % len(_MARKERS)], at >= len(_MARKERS)


def _of_way(way: str, of: list[Group], index: int, against: str) -> list[Series]:
    color, marker, hollow = _look(index)
    name = way_words(way)
    x = np.array([group.price(against) for group in of])
    y = np.array([group.score for group in of])
    ends = [group.interval or (group.score, group.score) for group in of]
    lo, hi = np.array(ends, dtype=np.float64).T
    made = []
    if any(len(group.models) > 1 for group in of):
        seeds = [(model.price[against], model.score) for group in of for model in group.models]
        sx, sy = np.array(seeds, dtype=np.float64).T
        title = tr("{way}: seeds", way=name)
        made.append(Series(title, sx, sy, color=color, marker=marker, hollow=hollow, faint=True, legend=False))
    made.append(Series(name, x, y, lo, hi, color=color, marker=marker, hollow=hollow, line=way == WHOLE))
    return made


def _threads(found: list[Group], ways: list[str], against: str) -> list[Series]:
    """From the mean of whole models to that of each way, size by size."""
    whole = {group.size: group for group in found if group.way == WHOLE}
    made = []
    for group in found:
        start = whole.get(group.size)
        if group.way == WHOLE or start is None:
            continue
        x = np.array([start.price(against), group.price(against)])
        y = np.array([start.score, group.score])
        color, *_ = _look(ways.index(group.way))
        name = tr("{way}: from {size:,} parameters", way=way_words(group.way), size=group.size)
        made.append(Series(name, x, y, color=color, line=True, dash="dotted", thin=True, legend=False))
    return made
