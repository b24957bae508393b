"""The verb ``emergence``: the emergence and the metric test on anyone's table of results."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from engine.errors import InputError
from engine.i18n import mark, tr

if TYPE_CHECKING:
    from engine.analysis.columns import Columns
    from engine.analysis.emergence import Observations

MOST_ROWS = 20_000_000
"""About 2 GB while they are grouped; results of runs are far fewer, results of single items may be many."""
_SIZES = (
    *("n_params", "parameters", "params", "n_parameters", "n_params_non_embedding", "model_size", "N"),
    *("tokens", "tokens_seen", "compute_flops", "compute", "flops"),
)
_SHAPES = {
    "flat": mark("does not change"),
    "smooth": mark("smooth"),
    "sharp": mark("breaks"),
    "undecided": mark("undecided"),
    "neither": mark("neither fits"),
}
_VERDICTS = {
    "smooth": mark("SMOOTH"),
    "break": mark("BREAK"),
    "metric": mark("MADE BY THE METRIC"),
    "insufficient": mark("NOT ENOUGH EVIDENCE"),
}


def emergence(
    file: Annotated[Path, typer.Argument(metavar="FILE.csv", help="Columns size, score, optional seed, n, metric.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")] = False,
    columns: Annotated[
        str | None,
        typer.Option("--columns", metavar="NAME=HEADER,...", help="Which column is which: size=N,score=acc."),
    ] = None,
    capability: Annotated[
        str | None, typer.Option("--capability", help="Only these rows, where there is a column capability.")
    ] = None,
    chance: Annotated[float | None, typer.Option("--chance", help="What guessing scores.")] = None,
    ceiling: Annotated[float | None, typer.Option("--ceiling", help="The best score there can be.")] = None,
    length: Annotated[
        float | None, typer.Option("--length", metavar="K", help="Tokens an exact match needs to have right.")
    ] = None,
    continuous: Annotated[
        str | None, typer.Option("--continuous", metavar="METRIC", help="The continuous metric; else guessed by name.")
    ] = None,
) -> None:
    """Whether an ability's appearance with size is smooth, a break, or made by the metric."""
    from engine.analysis.emergence import judge_table

    table, excluded = _observations(file, columns, capability)
    document = judge_table(table, continuous=continuous, length=length, chance=chance, ceiling=ceiling)
    document["excluded"] = excluded
    if as_json:
        sys.stdout.write(json.dumps(document, ensure_ascii=False, indent=1, allow_nan=False) + "\n")
    else:
        _show(document, Console())


def _observations(file: Path, columns: str | None, capability: str | None) -> "tuple[Observations, list[Any]]":
    """The rows of a file. Rows with an empty size or score are left out and named; others at fault are refused."""
    from engine.analysis.columns import Column, parse_names, read_columns
    from engine.analysis.emergence import observations

    wanted = [
        Column("size", _SIZES),
        Column("score", ("value", "accuracy", "acc")),
        Column("seed", ("run",), required=False),
        Column("n", ("n_items", "items", "n_samples"), required=False),
        Column("metric", (), kind="text", required=False),
        Column("capability", ("task",), kind="text", required=False),
    ]
    read = read_columns(file, wanted, parse_names(columns), max_rows=MOST_ROWS)
    there, excluded = np.ones(read.n_rows, dtype=np.bool_), []
    for name in ("size", "score"):
        empty = np.isnan(read[name])
        why = tr("{column} is empty.", column=read.headers[name])
        excluded += [{"row": int(row) + 1, "why": why} for row in np.flatnonzero(empty & there)[:1000]]
        there &= ~empty
    there &= _of_capability(read, there, capability)
    if not there.any():
        raise InputError(tr("{path} has no row with a size and a score.", path=file.name))
    label: Any = read.texts["metric"][there] if "metric" in read else None
    if label is not None:
        label = np.array([text or "score" for text in label], dtype=object)
    return observations(
        read["size"][there],
        read["score"][there],
        read["n"][there] if "n" in read else None,
        label if label is not None else read.headers["score"],
        read["seed"][there] if "seed" in read else None,
        variable=read.headers["size"],
        rows=np.flatnonzero(there) + 1,
    ), excluded


def _of_capability(read: "Columns", there: Any, capability: str | None) -> Any:
    if "capability" not in read:
        if capability is not None:
            raise InputError(tr("There is no column capability to choose {name!r} from.", name=capability))
        return there
    names = list(dict.fromkeys(read.texts["capability"][there].tolist()))
    if capability is None and len(names) > 1:
        raise InputError(
            tr("There are {n} capabilities in one table: {names}.", n=len(names), names=", ".join(names[:20])),
            tr("Choose one with --capability."),
        )
    if capability is not None and capability not in names:
        raise InputError(
            tr("There is no capability {name!r} (there are: {known}).", name=capability, known=", ".join(names[:20]))
        )
    return there if capability is None else read.texts["capability"] == capability


def _show(document: dict[str, Any], console: Console) -> None:
    console.print(f"[bold]{tr(_VERDICTS[document['verdict']])}[/bold]")
    console.print(document["words"], markup=False)
    metrics = document["metrics"]
    if metrics:
        console.print(_metrics_table(metrics))
    if document["seeds"]:
        console.print(_seeds_table(document))
    for lack in document["missing"]:
        console.print(f"- {lack['words']}", markup=False)
    if document["excluded"]:
        console.print(tr("{n} rows were left out: a size or a score is empty.", n=len(document["excluded"])))


def _metrics_table(metrics: list[dict[str, Any]]) -> Table:
    heads = (tr("metric"), tr("sizes"), tr("runs"), tr("shape"), tr("break over smooth, nats"), tr("10-90% width"))
    table = Table(*heads, title=tr("Forms compared on left-out sizes"))
    for m in metrics:
        width = m["sharpness"]
        low, high = width["interval"]
        shown = f"{width['width_decades']:.2g} ({low:.2g} - {'∞' if high is None else f'{high:.2g}'})"
        gain = f"{m['break_gain']:+.1f}"
        table.add_row(m["metric"], str(m["n_sizes"]), str(m["n_runs"]), tr(_SHAPES[m["shape"]]), gain, shown)
    return table


def _seeds_table(document: dict[str, Any]) -> Table:
    heads = (document["variable"], tr("runs"), tr("mean"), tr("sd"), tr("learned"), tr("95% interval"))
    table = Table(*heads, title=tr("Seeds"))
    for row in document["seeds"]:
        low, high = row["interval"]
        spread = "-" if row["sd"] is None else f"{row['sd']:.3g}"
        learned = f"{row['learned']}/{row['n_seeds']}"
        size = f"{row['size']:,.4g}"
        table.add_row(size, str(row["n_seeds"]), f"{row['mean']:.3g}", spread, learned, f"{low:.2f} - {high:.2f}")
    return table
