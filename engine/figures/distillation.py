"""Small models taught by a large one beside their twins trained alone: score against parameters."""

import json

import msgspec

from engine.analysis.distillation import judge_distillation
from engine.distilling import FIELD
from engine.events import RunState
from engine.figures.ladder import by_size, means_of
from engine.figures.model import Axis, Figure, Line
from engine.figures.provenance import provenance
from engine.figures.words import convention_words, metric_words
from engine.i18n import tr
from engine.store import Reader, RunRow


def distillation(
    reader: Reader, study_id: str, capability: str = "", metric: str = "", convention: str = "non-embedding"
) -> Figure:
    """A metric (the headline by default) against parameters, alone and distilled; the teacher is a line.

    Raises:
        InputError: no student and its twin have both been measured yet.
    """
    verdict = judge_distillation(reader, study_id, capability, metric)
    ways = {"pretrain": tr("alone"), "distil": tr("distilled")}
    runs = [run for run in reader.runs(study_id) if run.state == RunState.FINISHED and run.kind in ways]
    values = reader.scores(study_id, verdict["capability"], verdict["metric"])
    series = []
    for index, (kind, name) in enumerate(ways.items()):
        of = by_size([_untaught(run) for run in runs if run.kind == kind], values, convention)
        for variant, points in of.items():
            title = ", ".join(part for part in (name, variant) if part)
            series += means_of(title, points, index, {})
    teacher = verdict["teacher"]
    return Figure(
        id="distillation",
        title=tr("Distilled and alone: {study}", study=reader.study(study_id).shown_title),
        x=Axis(convention_words(convention), "log", "count"),
        y=Axis(
            metric_words(verdict["capability"], verdict["metric"], runs),
            "linear" if verdict["higher_is_better"] else "log",
        ),
        series=tuple(series),
        lines=() if teacher is None else (Line(tr("teacher, mean of seeds"), teacher, dash="dashed"),),
        provenance=provenance(
            reader,
            study_id,
            runs,
            extra={"convention": convention, **{key: verdict[key] for key in ("capability", "metric", "sizes")}},
        ),
        caption=" ".join(
            [
                tr("Small points are seeds, large ones their mean with one standard error."),
                *verdict["words"],
            ]
        ),
    )


def _untaught(run: RunRow) -> RunRow:
    """The run under the variant of its twin."""
    variant = {name: value for name, value in run.variant.items() if name != FIELD}
    return msgspec.structs.replace(run, variant_json=json.dumps(variant))
