"""Figures against the number of parameters: the loss with its law, what the law leaves over, and capabilities."""

from collections.abc import Mapping, Sequence

import numpy as np

from engine.errors import InputError
from engine.events import RunState
from engine.figures.forecasts import locked_facts, locked_series
from engine.figures.law import Law, law_of
from engine.figures.laws import surface_residuals
from engine.figures.model import Axis, Band, Figure, Line, Marker, Series
from engine.figures.palette import OKABE_ITO
from engine.figures.provenance import provenance
from engine.figures.words import convention_words, metric_words, size_of, standard_error
from engine.i18n import tr
from engine.simulating.spec import CAPABILITY as SIMULATED
from engine.store import EvaluationRow, Reader, RunRow

BEYOND = 3.0
"""How many times the largest fitted size a law is drawn to: half a decade, which keeps the measured part readable."""
LAW_COLOR = OKABE_ITO[1]
_MARKERS: tuple[Marker, ...] = ("circle", "square", "triangle", "diamond", "star")
Points = dict[int, list[float]]
"""Size -> the values of its seeds."""


def loss_vs_params(
    reader: Reader, study_id: str, convention: str = "non-embedding", metric: str = "loss", capability: str = ""
) -> Figure:
    """Final validation loss (or ``bits_per_byte``) by size, with the fitted law and its interval.

    ``capability`` is accepted for symmetry and must be language-modelling where it is given.
    """
    if capability not in ("", "language-modelling") or metric not in ("loss", "bits_per_byte"):
        raise InputError(
            tr("loss-vs-params shows loss or bits_per_byte of language-modelling."),
            tr("Use capability-vs-params for everything else."),
        )
    runs = finished(reader, study_id)
    column = "val_loss" if metric == "loss" else "val_bits_per_byte"
    groups = by_size(runs, {run.id: getattr(run, column) for run in runs}, convention)
    law = law_of(reader, study_id, runs, convention) if metric == "loss" else None
    held = law.heldout_size if law else None
    series = [s for index, (name, points) in enumerate(groups.items()) for s in _points(name, points, index, held)]
    bands: list[Band] = []
    if law is not None:
        law_series, bands = _law_parts(law)
        series = law_series + series  # what came is drawn over what was predicted
    locked = locked_series(reader, study_id, convention, metric=metric)
    series = locked + series
    return Figure(
        id="loss-vs-params",
        title=tr("Loss against size: {study}", study=reader.study(study_id).shown_title),
        x=Axis(convention_words(convention), "log", "count"),
        y=Axis(metric_words("language-modelling", metric, runs), "log"),
        series=tuple(series),
        bands=tuple(bands),
        provenance=provenance(
            reader,
            study_id,
            runs,
            equation=law.equation if law else "",
            extra={"convention": convention, "law": _law_facts(law), "forecasts": locked_facts(reader, study_id)},
        ),
        caption=_law_caption(law, len(runs)),
        legend_at="lower left" if locked else "upper right",  # forecasts make it long
    )


def residuals(reader: Reader, study_id: str, convention: str = "non-embedding") -> Figure:
    """How far each run lies from the law, in percent of the law; against tokens where the law is L(N, D)."""
    runs = [run for run in finished(reader, study_id) if run.val_loss is not None and not run.variant]
    law = law_of(reader, study_id, runs, convention)
    if law is None and reader.law(study_id, "chinchilla") is not None:
        return surface_residuals(reader, study_id)
    if law is None:
        raise InputError(tr("no law has been fitted to this study yet."), tr("Finish all its runs first."))
    away = {
        run.id: 100 * (run.val_loss / float(law.at(np.array([size_of(run, convention)]))[0]) - 1)
        for run in runs
        if run.val_loss is not None
    }
    (points,) = by_size(runs, away, convention).values()
    return Figure(
        id="residuals",
        title=tr("What the law leaves over: {study}", study=reader.study(study_id).shown_title),
        x=Axis(convention_words(convention), "log", "count"),
        y=Axis(tr("Loss above the law (%)")),
        series=tuple(_points("", points, 0, law.heldout_size)),
        lines=(Line(law.equation, 0.0, dash="solid"),),
        provenance=provenance(
            reader, study_id, runs, equation=law.equation, extra={"convention": convention, "law": _law_facts(law)}
        ),
        caption=tr("Distance of each of {n} runs from the fitted law {equation}.", n=len(runs), equation=law.equation),
    )


def capability_vs_params(
    reader: Reader,
    study_id: str,
    capability: str = "",
    metric: str = "",
    convention: str = "non-embedding",
    variant: str = "",
) -> Figure:
    """A metric of a capability by size: each seed, the mean with its standard error, and what guessing scores.

    Without ``capability`` it is the study's headline; without ``metric`` the first one that was measured. ``variant``
    (JSON, as ``run.variant_json``) shows only the runs of one combination of what the study varies.
    """
    runs = [run for run in finished(reader, study_id) if variant in ("", run.variant_json)]
    rows = scores_of(reader, study_id, capability, metric)
    capability, metric = rows[0].capability, rows[0].metric
    by_run = {row.run_id: row for row in rows}
    groups = by_size(runs, {row.run_id: row.value for row in rows}, convention)
    single = {size_of(run, convention): by_run[run.id].stderr for run in runs if run.id in by_run}
    series = [s for index, (name, points) in enumerate(groups.items()) for s in means_of(name, points, index, single)]
    series = locked_series(reader, study_id, convention, capability, metric) + series
    chance = {row.chance for row in rows if row.chance is not None}
    loss_like = capability == "language-modelling"
    return Figure(
        id="capability-vs-params",
        title=tr("Capability against size: {study}", study=reader.study(study_id).shown_title),
        x=Axis(convention_words(convention), "log", "count"),
        y=Axis(metric_words(capability, metric, runs), "log" if loss_like else "linear"),
        series=tuple(series),
        # A chance level that differs between runs is no one line.
        lines=(Line(_chance_words(capability), chance.pop(), dash="dashed"),) if len(chance) == 1 else (),
        provenance=provenance(
            reader,
            study_id,
            [run for run in runs if run.id in by_run],
            extra={
                "convention": convention,
                "capability": capability,
                "metric": metric,
                "forecasts": locked_facts(reader, study_id),
            },
        ),
        caption=tr(
            "{label} of {n} runs; small points are seeds, large ones their mean with one standard error.",
            label=metric_words(capability, metric, runs),
            n=len(by_run),
        ),
        legend_at="lower left" if loss_like else "best",
    )


def _chance_words(capability: str) -> str:
    """What the line of guessing is called; the coverage of intervals is held against the level they claim."""
    return tr("claimed level") if capability == SIMULATED else tr("chance")


def finished(reader: Reader, study_id: str) -> list[RunRow]:
    """The finished runs of a study; raises ``InputError`` where there is none."""
    reader.study(study_id)  # an unknown study is said to be unknown, not empty
    runs = [run for run in reader.ladder(study_id) if run.state == RunState.FINISHED]
    if not runs:
        raise InputError(tr("no run of this study has finished yet."), tr("Start it, or wait for its first run."))
    return runs


def scores_of(reader: Reader, study_id: str, capability: str, metric: str) -> list[EvaluationRow]:
    """Final scores of one metric; the study's headline where nothing is asked for."""
    rows = [row for row in reader.evaluations(study_id, final_only=True) if np.isfinite(row.value)]
    headline = reader.study_spec(study_id).headline
    wanted = capability or headline.capability
    found = [row for row in rows if row.capability == wanted]
    metrics = list(dict.fromkeys(row.metric for row in found))
    preferred = headline.metric if headline.capability == wanted and headline.metric in metrics else ""
    chosen = metric or preferred or (metrics[0] if metrics else "")
    found = [row for row in found if row.metric == chosen]
    if not found:
        known = sorted({f"{row.capability}/{row.metric}" for row in rows})
        raise InputError(
            tr(
                "there is nothing measured for {capability}/{metric} (there is: {known}).",
                capability=wanted,
                metric=chosen or "*",
                known=", ".join(known) or "-",
            )
        )
    return found


def by_size(runs: Sequence[RunRow], values: Mapping[int, float | None], convention: str) -> dict[str, Points]:
    """Variant -> size -> values of its seeds, sizes ascending; the plain ladder has the empty name."""
    groups: dict[str, Points] = {}
    for run in sorted(runs, key=lambda r: (r.variant_json, size_of(r, convention), r.seed)):
        value = values.get(run.id)
        if value is None or not np.isfinite(value):
            continue
        name = ", ".join(f"{k.rsplit('.', 1)[-1]}={v}" for k, v in run.variant.items())
        groups.setdefault(name, {}).setdefault(size_of(run, convention), []).append(value)
    if not groups:
        raise InputError(tr("the finished runs of this study have no such value."))
    return groups


def _points(name: str, points: Points, index: int, held: float | None) -> list[Series]:
    """Every seed as a point and the mean as a marker; the size that was held out is hollow."""
    color, marker = _look(index)
    series = []
    sizes = [size for size in points if size != held]
    hidden = [size for size in points if size == held]
    for part, hollow in ((sizes, False), (hidden, True)):
        if not part:
            continue
        seeds = [(size, value) for size in part for value in points[size]]
        several = any(len(points[size]) > 1 for size in part)
        if several:
            title = _named(name, tr("seeds, held-out size") if hollow else tr("seeds"))
            x, y = np.array(seeds, dtype=np.float64).T
            series.append(Series(title, x, y, color=color, marker=marker, faint=True, hollow=hollow, legend=False))
        means = np.array([float(np.mean(points[size])) for size in part])
        if hollow:
            title = tr("mean of seeds, held out") if several else tr("run, held out")
        else:
            title = tr("mean of seeds") if several else tr("run")
        x = np.array(part, dtype=np.float64)
        series.append(Series(_named(name, title), x, means, color=color, marker=marker, hollow=hollow))
    return series


def means_of(name: str, points: Points, index: int, single: dict[int, float | None]) -> list[Series]:
    """Seeds, and their mean with one standard error: over seeds, or over items where there is one seed."""
    color, marker = _look(index)
    sizes = list(points)
    means = np.array([float(np.mean(points[size])) for size in sizes])
    errors = np.array([standard_error(points[size]) or single.get(size) or 0.0 for size in sizes])
    x = np.array(sizes, dtype=np.float64)
    several = any(len(values) > 1 for values in points.values())
    series = []
    if several:
        seeds = np.array([(size, value) for size in sizes for value in points[size]], dtype=np.float64).T
        series.append(Series(_named(name, tr("seeds")), seeds[0], seeds[1], color=color, marker=marker, faint=True))
    title = _named(name, tr("mean of seeds ± standard error") if several else tr("run ± standard error"))
    series.append(Series(title, x, means, means - errors, means + errors, color=color, marker=marker, line=True))
    return series


def _look(index: int) -> tuple[str, Marker]:
    categories = [color for color in OKABE_ITO if color != LAW_COLOR]
    return categories[index % len(categories)], _MARKERS[index % len(_MARKERS)]


def _named(group: str, title: str) -> str:
    return f"{group}: {title}" if group else title


def _law_parts(law: Law) -> tuple[list[Series], list[Band]]:
    """The law where it was fitted, dashed beyond, its band, and what was predicted for the size held out."""
    reach = law.x <= BEYOND * law.largest
    inside = law.x <= law.largest * (1 + 1e-9)
    edge = np.array([law.largest])
    value = np.exp(np.interp(np.log(edge), np.log(law.x), np.log(law.value)))
    x, y = np.append(law.x[inside], edge), np.append(law.value[inside], value)
    beyond = reach & ~inside
    series = [Series(law.equation, x, y, color=LAW_COLOR, line=True)]
    if beyond.any():
        x, y = np.append(edge, law.x[beyond]), np.append(value, law.value[beyond])
        series.append(Series(tr("extrapolated"), x, y, color=LAW_COLOR, line=True, dash="dashed"))
    bands = []
    if law.lo is not None and law.hi is not None:
        percent = f"{100 * law.document.get('level', 0.9):g}"
        title = tr("{percent}% interval of the law", percent=percent)
        bands.append(Band(title, law.x[reach], law.lo[reach], law.hi[reach], LAW_COLOR))
    held = law.heldout
    if held and law.heldout_size is not None and held.get("interval"):
        lo, hi = (np.array([float(end)]) for end in held["interval"])
        at, predicted = np.array([law.heldout_size]), np.array([float(held["predicted"])])
        series.append(
            Series(tr("predicted from smaller sizes"), at, predicted, lo, hi, LAW_COLOR, marker="diamond", hollow=True)
        )
    return series, bands


def _law_facts(law: Law | None) -> dict[str, object] | None:
    if law is None:
        return None
    keys = ("form", "params", "interval", "level", "n_points", "heldout", "warnings")
    return {key: law.document[key] for key in keys if key in law.document}


def _law_caption(law: Law | None, n_runs: int) -> str:
    caption = tr("Final validation of {n} runs; small points are seeds.", n=n_runs)
    if law is None:
        return caption
    caption += " " + tr(
        "Line: {equation}, fitted by Huber loss on log residuals; dashed where extrapolated.", equation=law.equation
    )
    if law.heldout:
        caption += " " + tr("Hollow: the largest size, held out of the check drawn as a diamond.")
    if covers := law.document.get("covers"):
        caption += f" {covers}"
    return caption
