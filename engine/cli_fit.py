"""The verb ``fit``: a law fitted to anyone's results."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from engine.errors import InputError
from engine.i18n import tr

_FORM_HELP = "chinchilla, power-law-n, isoflop and others; an unknown name lists them all."


def fit(
    file: Annotated[Path, typer.Argument(metavar="FILE.csv", help="CSV, TSV, JSON lines or Parquet.")],
    form: Annotated[str, typer.Option("--form", help=_FORM_HELP)],
    columns: Annotated[
        str | None, typer.Option("--columns", metavar="n_params=N,tokens=D,loss=L", help="The file's own headers.")
    ] = None,
    bootstrap: Annotated[int, typer.Option("--bootstrap", min=20, max=100_000, help="Resamples.")] = 4000,
    level: Annotated[float, typer.Option("--level", help="Of the intervals.")] = 0.9,
    resample: Annotated[
        str, typer.Option("--resample", help="pairs, noise, or auto: pairs from twenty points a parameter.")
    ] = "auto",
    exclude_highest: Annotated[
        int, typer.Option("--exclude-highest", min=0, metavar="K", help="Leave the K highest losses out.")
    ] = 0,
    exclude: Annotated[
        list[str] | None,
        typer.Option("--exclude", metavar="RULE", help="loss>3.5, tokens/n_params<1; can be repeated."),
    ] = None,
    compute: Annotated[
        list[float] | None, typer.Option("--compute", metavar="FLOPS", help="Optimal sizes for this much compute.")
    ] = None,
    predict: Annotated[
        list[str] | None, typer.Option("--predict", metavar="n_params=1e9,tokens=2e10", help="The law at a point.")
    ] = None,
    chance: Annotated[float | None, typer.Option("--chance", help="Score of guessing, of task-through-loss.")] = None,
    compare: Annotated[bool, typer.Option("--compare", help="Rank all forms by held-out error and AICc.")] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the resamples.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")] = False,
) -> None:
    """Fit a law to a table of results: parameters, errors, intervals, and what they do not tell."""
    from engine.analysis.columns import parse_names
    from engine.analysis.laws.base import FitOptions
    from engine.analysis.laws.tables import fit_table

    if not 0.0 < level < 1.0:
        raise InputError(tr("--level must lie between 0 and 1, such as 0.9."))
    if resample not in ("auto", "pairs", "noise"):
        raise InputError(tr("--resample is auto, pairs or noise."))
    if chance is not None and not 0.0 <= chance < 1.0:
        raise InputError(tr("--chance must lie between 0 and 1."))
    if compute and min(compute) <= 0:
        raise InputError(tr("--compute must be above zero."))
    _, document = fit_table(
        file,
        form,
        FitOptions(bootstrap, level, seed, resample, chance=chance),  # type: ignore[arg-type]
        names=parse_names(columns),
        exclude_highest=exclude_highest,
        exclude=exclude or (),
        compute=compute or (),
        at=[_point(text) for text in predict or ()],
        compare=compare,
    )
    if as_json:
        sys.stdout.write(json.dumps(document, ensure_ascii=False, indent=1, allow_nan=False) + "\n")
    else:
        show(document, Console())


def _point(text: str) -> dict[str, float]:
    try:
        pairs = [part.split("=") for part in text.split(",")]
        return {name.strip(): float(value) for name, value in pairs}
    except ValueError:
        raise InputError(
            tr("--predict does not understand {text!r}.", text=text), tr("Write it as n_params=1e9,tokens=2e10.")
        ) from None


def show(document: dict[str, Any], console: Console) -> None:
    """The document for a person."""
    console.print(f"{document['form']}   {document.get('equation', '')}", highlight=False, markup=False)
    console.print(_parameters(document))
    console.print(
        tr(
            "{n} points, {excluded} left out; objective {objective:.9g} ({minimised}); spread of residuals {sd:.3g}.",
            n=document["n_points"],
            excluded=len(document["excluded"]),
            objective=document["objective"],
            minimised=document.get("minimised", ""),
            sd=document["residual_sd"],
        ),
        markup=False,
    )
    console.print(document["covers"], markup=False)
    for entry in document["excluded"][:10]:
        console.print(tr("Row {row} left out: {why}", row=entry["row"], why=entry["why"]), markup=False)
    held = document["heldout"]
    if held and held["interval"]:
        console.print(
            tr(
                "Held out: {observed:.4g} seen, {predicted:.4g} predicted, {low:.4g} to {high:.4g}.",
                observed=held["observed"],
                predicted=held["predicted"],
                low=held["interval"][0],
                high=held["interval"][1],
            ),
            markup=False,
        )
    for table in (_optimum(document.get("optimum")), _predictions(document), _comparison(document)):
        if table is not None:
            console.print(table)
    for warning in document["warnings"]:
        console.print(f"[yellow]![/] {_plain(warning)}")


def _plain(text: str) -> str:
    return str(text).replace("[", "\\[")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.5g}"


def _range(interval: list[float] | None) -> str:
    return "-" if interval is None else f"{interval[0]:.4g} … {interval[1]:.4g}"


def _parameters(document: dict[str, Any]) -> Table:
    percent = f"{100 * document['level']:g}%"
    table = Table(tr("parameter"), tr("value"), tr("standard error"), tr("{percent} interval", percent=percent))
    for name, value in document["params"].items():
        table.add_row(name, f"{value:.6g}", _number(document["stderr"][name]), _range(document["interval"][name]))
    return table


def _optimum(optimum: dict[str, Any] | None) -> Table | None:
    if not optimum:
        return None
    title = f"{optimum['rule']}   a = {optimum['a']:.4g}"
    table = Table(
        tr("FLOPs"), tr("best parameters"), tr("interval"), tr("tokens"), tr("tokens per parameter"), title=title
    )
    for row in optimum["at"]:
        table.add_row(
            f"{row['compute_flops']:.3g}",
            f"{row['n_params']:.4g}",
            _range(row["interval"]["n_params"]),
            f"{row['tokens']:.4g}",
            f"{row['tokens_per_param']:.3g}",
        )
    return table


def _predictions(document: dict[str, Any]) -> Table | None:
    if not document.get("predictions"):
        return None
    table = Table(tr("at"), tr("predicted"), tr("interval of the law"), tr("interval of one run"))
    for row in document["predictions"]:
        at = ", ".join(f"{name} {value:.4g}" for name, value in row["at"].items())
        table.add_row(at, _number(row["value"]), _range(row["interval"]), _range(row["interval_of_one_run"]))
    return table


def _comparison(document: dict[str, Any]) -> Table | None:
    if not document.get("comparison"):
        return None
    table = Table(tr("form"), tr("parameters"), tr("held-out error of ln L"), "ΔAICc")
    for row in document["comparison"]:
        if "why" in row:
            table.add_row(row["form"], "-", row["why"], "-")
        else:
            table.add_row(
                row["form"], str(row["n_params_of_form"]), _number(row["heldout_rms"]), _number(row["delta_aicc"])
            )
    return table
