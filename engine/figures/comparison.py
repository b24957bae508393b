"""Several studies on the same axes: one metric by size, each study (and what it varies) a line of its own."""

import contextlib

from engine.errors import InputError
from engine.figures.ladder import by_size, finished, means_of, scores_of
from engine.figures.model import Axis, Figure, Line, Series
from engine.figures.provenance import provenance
from engine.figures.words import convention_words, loss_unit, loss_words, metric_words, size_of
from engine.i18n import tr
from engine.store import VALIDATION_LOSSES, EvaluationRow, Reader, RunRow

BITS = ("language-modelling", "bits_per_byte")


def comparison(
    reader: Reader,
    study_id: str,
    others: str = "",
    capability: str = "",
    metric: str = "",
    convention: str = "non-embedding",
) -> Figure:
    """A metric by size for this study and ``others`` (ids with commas between); without a metric, its headline.

    Raises:
        InputError: a study has not measured it, or their losses are not in one unit.
    """
    studies = list(dict.fromkeys([study_id, *(other.strip() for other in others.split(",") if other.strip())]))
    rows = _scores(reader, study_id, capability, metric)
    capability, metric = rows[0].capability, rows[0].metric
    series: list[Series] = []
    shown: list[RunRow] = []
    chance: set[float] = set()
    data: set[str] = set()
    for study in studies:
        runs = finished(reader, study)
        found = {row.run_id: row for row in _scores(reader, study, capability, metric)}
        chance |= {row.chance for row in found.values() if row.chance is not None}
        single = {size_of(run, convention): found[run.id].stderr for run in runs if run.id in found}
        groups = by_size(runs, {run: row.value for run, row in found.items()}, convention)
        title = reader.study(study).name
        for name, points in groups.items():
            label = f"{title}, {name}" if name else title
            series += means_of(label, points, len({s.color for s in series}), single)
        measured = [run for run in runs if run.id in found]
        shown += measured
        data |= {f"{run.facts.get('data_fingerprint')}" for run in measured}
    is_loss = (capability, metric) in VALIDATION_LOSSES
    if is_loss and not loss_unit(shown):
        raise InputError(
            tr("the losses of these studies are not in one unit and cannot be compared."),
            tr("Choose an ability that all of them were measured on."),
        )
    label = loss_words(shown) if is_loss else metric_words(capability, metric, shown)
    falls = is_loss or (capability, metric) == BITS
    same = len(data) == 1
    return Figure(
        id="comparison",
        title=tr("Side by side: {studies}", studies=", ".join(reader.study(study).name for study in studies)),
        x=Axis(convention_words(convention), "log", "count"),
        y=Axis(label, "log" if falls else "linear"),
        series=tuple(series),
        lines=(Line(tr("chance"), chance.pop(), dash="dashed"),) if len(chance) == 1 and not falls else (),
        provenance=provenance(
            reader,
            study_id,
            shown,
            extra={"studies": studies, "convention": convention, "capability": capability, "metric": metric},
        ),
        caption=tr(
            "{label} of {n} runs of {m} studies; small points are seeds, large ones means with one standard error.",
            label=label,
            n=len(shown),
            m=len(studies),
        )
        + " "
        + (tr("All were measured on the same data.") if same else tr("Their data differ: compare with care.")),
        legend_at="lower left" if falls else "best",
    )


def comparable(reader: Reader, study_id: str, capability: str, metric: str) -> list[str]:
    """Other studies on which the same was measured, and whose losses are in the same unit."""
    names = VALIDATION_LOSSES if (capability, metric) in VALIDATION_LOSSES else ((capability, metric),)
    measured = {study for name in names for study in reader.studies_measured(*name)} - {study_id}
    shown = [study.id for study in reader.studies() if study.id in measured]
    if names is not VALIDATION_LOSSES:
        return shown
    units: dict[str, set[str]] = {}
    for run in reader.a_run_of_each_family():
        units.setdefault(run.study_id, set()).add(loss_unit([run]))
    mine = units.get(study_id, set())
    return [study for study in shown if units.get(study) == mine and len(mine) == 1 and mine != {""}]


def _scores(reader: Reader, study_id: str, capability: str, metric: str) -> list[EvaluationRow]:
    """As ``scores_of``; a validation loss goes by either of its names."""
    if (capability, metric) in VALIDATION_LOSSES:
        for one in VALIDATION_LOSSES:
            with contextlib.suppress(InputError):
                return scores_of(reader, study_id, *one)
    return scores_of(reader, study_id, capability, metric)
