"""Figures of laws over parameters and tokens: the surface, IsoFLOP parabolas, the optimum, and swept settings."""

from typing import TYPE_CHECKING, Any

import numpy as np

from engine.errors import InputError
from engine.figures.model import Axis, Band, Dash, Figure, Floats, Line, Marker, Series
from engine.figures.palette import OKABE_ITO
from engine.figures.provenance import provenance
from engine.figures.ticks import format_count, format_parameter
from engine.figures.words import loss_words
from engine.i18n import mark, tr

if TYPE_CHECKING:
    from engine.store import Reader, RunRow

_MARKERS: tuple[Marker, ...] = ("circle", "square", "triangle", "diamond", "star")
_DASHES: tuple[Dash, ...] = ("solid", "dashed", "dotted")
ESTIMATORS = {
    "envelope": mark("envelope of the runs (approach 1)"),
    "isoflop": mark("IsoFLOP parabolas (approach 2)"),
    "chinchilla": mark("fit of L(N, D) (approach 3)"),
}
_SIZES = mark("Parameters (without embeddings)")


def loss_surface(reader: "Reader", study_id: str) -> Figure:
    """Final loss against tokens, one colour for each size, with the fitted L(N, D) through them."""
    from engine.study_laws import points_of_runs

    law = _law(reader, study_id, "chinchilla")
    points = points_of_runs(reader, study_id)
    sizes = np.unique(points["n_params"])
    series = []
    for index, size in enumerate(sizes.tolist()):
        mine = points["n_params"] == size
        order = np.argsort(points["tokens"][mine])
        tokens, loss = points["tokens"][mine][order], points["loss"][mine][order]
        shade, marker = index / max(1, len(sizes) - 1), _MARKERS[index % len(_MARKERS)]
        series.append(Series(format_count(size), tokens, loss, shade=shade, marker=marker))
        at = np.geomspace(points["tokens"].min(), points["tokens"].max(), 60)
        name = tr("law at {size}", size=format_count(size))
        series.append(Series(name, at, _surface(law["params"], size, at), shade=shade, line=True, legend=False))
    equation = _equation(law["params"])
    return Figure(
        id="loss-surface",
        title=tr("Loss against data and size: {study}", study=reader.study(study_id).shown_title),
        x=Axis(tr("Training tokens"), "log", "count"),
        y=Axis(loss_words(_runs(reader, study_id)), "log"),
        series=tuple(series),
        provenance=provenance(reader, study_id, _runs(reader, study_id), equation=equation, extra={"law": _facts(law)}),
        caption=tr("Points: {n} runs. Lines: {equation}.", n=len(points), equation=equation) + _said(law),
        legend_at="right of plot",
        legend_title=tr(_SIZES),
    )


def surface_residuals(reader: "Reader", study_id: str) -> Figure:
    """How far each run lies from the fitted L(N, D), in percent of it, against tokens, one colour for each size."""
    from engine.study_laws import points_of_runs

    law, runs = _law(reader, study_id, "chinchilla"), _runs(reader, study_id)
    points = points_of_runs(reader, study_id)
    sizes = np.unique(points["n_params"])
    series = []
    for index, size in enumerate(sizes.tolist()):
        mine = points["n_params"] == size
        tokens, loss = points["tokens"][mine], points["loss"][mine]
        away = 100 * (loss / _surface(law["params"], size, tokens) - 1)
        shade, marker = index / max(1, len(sizes) - 1), _MARKERS[index % len(_MARKERS)]
        series.append(Series(format_count(size), tokens, away, shade=shade, marker=marker))
    equation = _equation(law["params"])
    return Figure(
        id="residuals",
        title=tr("What the law leaves over: {study}", study=reader.study(study_id).shown_title),
        x=Axis(tr("Training tokens"), "log", "count"),
        y=Axis(tr("Loss above the law (%)")),
        series=tuple(series),
        lines=(Line(equation, 0.0, dash="solid", legend=False),),
        provenance=provenance(reader, study_id, runs, equation=equation, extra={"law": _facts(law)}),
        caption=tr(
            "Distance of each of {n} runs from the fitted law {equation}.", n=len(points["loss"]), equation=equation
        ),
        legend_at="right of plot",
        legend_title=tr(_SIZES),
    )


def isoflop(reader: "Reader", study_id: str) -> Figure:
    """Loss against size at equal compute, the parabola through each budget and its minimum."""
    law = _law(reader, study_id, "isoflop")
    budgets = law["isoflops"]
    series = []
    for index, budget in enumerate(budgets):
        shade, marker = index / max(1, len(budgets) - 1), _MARKERS[index % len(_MARKERS)]
        n_params, loss = (np.array(budget[key], dtype=np.float64) for key in ("n_params", "loss"))
        name = tr("C = {flops:.1e}", flops=budget["compute_flops"])
        series.append(Series(name, n_params, loss, shade=shade, marker=marker, hollow=not budget["used"]))
        coefficients = np.polyfit(np.log(n_params), loss, 2)
        at = np.geomspace(n_params.min(), n_params.max(), 60)
        curve: Floats = np.polyval(coefficients, np.log(at)).astype(np.float64)
        series.append(Series(name, at, curve, shade=shade, line=True, thin=True, legend=False))
        if budget["minimum"]:
            low = np.array([budget["minimum"]])
            value = np.polyval(coefficients, np.log(low))
            series.append(Series(tr("minimum"), low, value, marker="star", legend=False))
    return Figure(
        id="isoflop",
        title=tr("Loss at equal compute: {study}", study=reader.study(study_id).shown_title),
        x=Axis(tr(_SIZES), "log", "count"),
        y=Axis(loss_words(_runs(reader, study_id)), "log"),
        series=tuple(series),
        provenance=provenance(reader, study_id, _runs(reader, study_id), extra={"law": _facts(law)}),
        caption=tr("Parabolas in ln N at {n} budgets of compute; stars are minima inside the grid.", n=len(budgets))
        + " "
        + tr("Hollow: the minimum lies outside the grid, and the budget is left out of the law.")
        + _said(law),
        legend_at="right of plot",
        legend_title=tr("Training compute (FLOPs)"),
    )


def optimum_vs_compute(reader: "Reader", study_id: str) -> Figure:
    """The optimal number of parameters against compute by each of the three estimators, with intervals."""
    laws = [law for law in reader.laws(study_id) if law.get("optimum_curve")]
    laws.sort(key=lambda law: list(ESTIMATORS).index(law["form"]))
    if not laws:
        raise _nothing()
    series, bands = [], []
    for law in laws:
        index = list(ESTIMATORS).index(law["form"])
        x, y, low, high = _optimum(law["optimum_curve"])
        exponent = law["optimum"]["a"] if "optimum" in law else law["params"]["a"]
        name = tr("{estimator}: a = {a}", estimator=tr(ESTIMATORS[law["form"]]), a=format_parameter(exponent))
        series.append(Series(name, x, y, color=OKABE_ITO[index], line=True, dash=_DASHES[index]))
        bands.append(Band(tr("interval of {name}", name=law["form"]), x, low, high, OKABE_ITO[index], legend=False))
    series += _seen_minima(laws)
    return Figure(
        id="optimum-vs-compute",
        title=tr("Best size for a budget: {study}", study=reader.study(study_id).shown_title),
        x=Axis(tr("Training compute 6 N D (FLOPs)"), "log", "count"),
        y=Axis(tr("Optimal N (without embeddings)"), "log", "count"),
        series=tuple(series),
        bands=tuple(bands),
        provenance=provenance(reader, study_id, _runs(reader, study_id), extra={"laws": [_facts(law) for law in laws]}),
        caption=tr(
            "Optimal size by {n} estimators with {percent}% intervals, to ten times the largest budget.",
            n=len(laws),
            percent=f"{100 * laws[-1]['level']:g}",
        )
        + _said(laws[-1]),
        legend_at="upper left",
    )


def best_setting(reader: "Reader", study_id: str) -> Figure:
    """Loss against a varied number at each size, with the best one marked; the dash is what else is varied."""
    from engine.study_laws import sweeps

    documents = sweeps(reader, study_id)
    if not documents:
        raise InputError(
            tr("this study varies no number over three values or more."), tr("Run learning-rate-transfer, for example.")
        )
    field = documents[0]["field"]
    shown = [document for document in documents if document["field"] == field]
    sizes = sorted({row["n_params_non_embedding"] for document in shown for row in document["by_size"]})
    series = []
    for number, document in enumerate(shown):
        kind = ", ".join(f"{value}" for value in document["variant"].values())
        for row in document["by_size"]:
            index = sizes.index(row["n_params_non_embedding"])
            shade, marker = index / max(1, len(sizes) - 1), _MARKERS[number % len(_MARKERS)]
            name = ", ".join(part for part in (format_count(row["n_params_non_embedding"]), kind) if part)
            x, y = (np.array(row[key], dtype=np.float64) for key in ("values", "losses"))
            dash = _DASHES[number % len(_DASHES)]
            series.append(Series(name, x, y, shade=shade, marker=marker, line=True, dash=dash, thin=True))
            best = Series(tr("best"), np.array([row["best"]]), np.array([row["loss"]]), marker="star", legend=False)
            series.append(best)
    return Figure(
        id="best-setting",
        title=tr("Best setting by size: {study}", study=reader.study(study_id).shown_title),
        x=Axis(field, "log"),
        y=Axis(loss_words(_runs(reader, study_id)), "log"),
        series=tuple(series),
        provenance=provenance(reader, study_id, _runs(reader, study_id), extra={"sweeps": shown}),
        caption=" ".join(_drift(document) for document in shown),
        legend_at="right of plot",
        legend_title=tr(_SIZES),
    )


def _drift(document: dict[str, Any]) -> str:
    kind = ", ".join(f"{value}" for value in document["variant"].values()) or document["field"]
    return tr(
        "{kind}: the best value moves by a factor of {factor:.2g} over the sizes; the best of the smallest costs "
        "{regret:.3f} nats at the largest.",
        kind=kind,
        factor=document["factor"],
        regret=document["by_size"][-1]["regret"],
    )


def _law(reader: "Reader", study_id: str, form: str) -> dict[str, Any]:
    reader.study(study_id)  # an unknown study is said to be unknown
    law = reader.law(study_id, form)
    if law is None:
        raise _nothing()
    return law


def _nothing() -> InputError:
    return InputError(
        tr("no such law has been fitted to this study."),
        tr("It takes runs of four sizes or more, each trained on several amounts of data."),
    )


def _runs(reader: "Reader", study_id: str) -> "list[RunRow]":
    return [run for run in reader.ladder(study_id) if run.state == "finished"]


def _surface(params: dict[str, float], n_params: float, tokens: Floats) -> Floats:
    loss: Floats = params["E"] + params["A"] / n_params ** params["alpha"] + params["B"] / tokens ** params["beta"]
    return loss


def _equation(params: dict[str, float]) -> str:
    p = {name: format_parameter(params[name]) for name in ("E", "A", "alpha", "B", "beta")}
    return f"L = {p['E']} + {p['A']} / N^{p['alpha']} + {p['B']} / D^{p['beta']}"


def _facts(law: dict[str, Any]) -> dict[str, Any]:
    keys = ("form", "params", "interval", "level", "n_points", "heldout", "stability", "warnings", "covers")
    return {key: law[key] for key in keys if key in law}


def _said(law: dict[str, Any]) -> str:
    steadiness = law.get("stability")
    return "" if steadiness is None else f" {steadiness['words']}"


def _optimum(rows: list[dict[str, Any]]) -> tuple[Floats, Floats, Floats, Floats]:
    table = [(row["compute_flops"], row["n_params"], *row["interval"]["n_params"]) for row in rows]
    x, y, low, high = np.array(table, dtype=np.float64).T
    return x, y, low, high


def _seen_minima(laws: list[dict[str, Any]]) -> list[Series]:
    """The minima and the envelope's steps that two of the estimators rest on."""
    series = []
    for law in laws:
        color = OKABE_ITO[list(ESTIMATORS).index(law["form"])]
        if law["form"] == "isoflop":
            seen = [(b["compute_flops"], b["minimum"]) for b in law["isoflops"] if b["used"]]
            x, y = np.array(seen, dtype=np.float64).T
            series.append(Series(tr("minima of parabolas"), x, y, color=color, marker="star"))
        if law["form"] == "envelope":
            x, y = np.array([(b["compute_flops"], b["n_params"]) for b in law["envelope"]], dtype=np.float64).T
            series.append(Series(tr("best size seen"), x, y, color=color, marker="circle", faint=True))
    return series
