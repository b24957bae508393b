"""The verb ``import``: someone else's results into the home, as a study whose runs are finished."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from engine.errors import InputError
from engine.i18n import tr


def import_results(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Tables, lm-eval results, TensorBoard events, folders.")
    ],
    home: Annotated[Path | None, typer.Option("--home", help="Where results are kept.")] = None,
    name: Annotated[str, typer.Option("--name", help="Of the study: small letters, digits and hyphens.")] = "",
    title: Annotated[str, typer.Option("--title", help="Under which the study is shown.")] = "",
    columns: Annotated[
        str | None, typer.Option("--columns", metavar="n_params=N,hellaswag/acc=HS", help="The file's own headers.")
    ] = None,
    size: Annotated[
        list[str] | None, typer.Option("--size", metavar="[NAME=]124M", help="Parameters, where no file tells them.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")] = False,
) -> None:
    """Import someone else's results: CSV, TSV, JSON lines, Parquet, lm-eval JSON, TensorBoard events."""
    from engine.analysis.columns import parse_names
    from engine.importing import keep, read
    from engine.importing.storing import as_study
    from engine.lab import Lab

    found = read(files, parse_names(columns), parse_sizes(size or []))
    as_study(found, name, title)  # what is missing is said before a home is opened or made
    with Lab.open(home) as lab, Console(stderr=True).status(tr("Importing and fitting…")):
        kept = keep(lab.store, found, name, title)
        document = _document(lab, kept.study_id, kept.added, found)
    if as_json:
        sys.stdout.write(json.dumps(document, ensure_ascii=False, indent=1, allow_nan=False) + "\n")
    else:
        _show(document, Console())


def parse_sizes(given: list[str]) -> dict[str, int]:
    """``124M`` for every run without a size, ``NAME=124M`` for one; raises ``InputError`` for anything else."""
    from engine.importing import parse_size

    sizes: dict[str, int] = {}
    for text in given:
        name, _, number = text.rpartition("=")
        value = parse_size(number)
        if value is None or value < 1:
            raise InputError(
                tr("--size does not understand {text!r}.", text=text), tr("Write it as 124M or NAME=124M.")
            )
        sizes[name.strip()] = round(value)
    return sizes


def _document(lab: Any, study_id: str, added: bool, found: Any) -> dict[str, Any]:
    from engine.results import study_document

    told = {
        "added": added,
        "format": found.format,
        "files": [{"name": file.name, "sha256": file.sha256} for file in found.files],
        "excluded": [{"file": left.file, "row": left.row, "why": left.why} for left in found.excluded],
        "warnings": list(found.warnings),
    }
    return study_document(lab.reader(), study_id) | {"imported": told}


def _show(document: dict[str, Any], console: Console) -> None:
    told = document["imported"]
    sizes = len({run["n_params"] for run in document["runs"]})
    words = tr(
        "{study}: {n} runs of {sizes} sizes imported.", study=document["study_id"], n=len(document["runs"]), sizes=sizes
    )
    if not told["added"]:
        words = tr("{study}: these results are here already; nothing was added.", study=document["study_id"])
    console.print(words, markup=False, highlight=False)
    law = document["law"]
    if law:
        params = ", ".join(f"{key} {value:.4g}" for key, value in law["params"].items())
        console.print(tr("law {form}: {params}", form=law["form"], params=params), markup=False)
    for left in told["excluded"][:10]:
        console.print(tr("Row {row} left out: {why}", row=left["row"], why=left["why"]), markup=False)
    for warning in told["warnings"]:
        console.print(str(warning), markup=False)
