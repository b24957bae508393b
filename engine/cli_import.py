"""The verb ``import``: someone else's results into the home, as a study whose runs are finished."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from engine.cli_shared import home_of, print_document, reading, writing
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
    run: Annotated[
        int | None, typer.Option("--run", metavar="RUN_ID", help="Results of the harness are of this run.")
    ] = None,
    base: Annotated[Path | None, typer.Option("--base", help="The model's folder that a PEFT adapter is for.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="The folder to write, for a PEFT adapter.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")] = False,
) -> None:
    """Import a study bundle, a PEFT adapter, or results: CSV, TSV, JSON lines, Parquet, lm-eval, TensorBoard."""
    from engine.bundling.opening import is_bundle
    from engine.importing.adapters import is_adapter

    if len(files) == 1 and is_bundle(files[0].expanduser()):
        _import_bundle(files[0].expanduser(), home, as_json)
        return
    if len(files) == 1 and is_adapter(files[0].expanduser()):
        _merge_adapter(files[0].expanduser(), base, out, as_json)
        return
    if not _attach(files, home, run, as_json):
        _import_files(files, home, name, title, columns, size, as_json)


def _merge_adapter(adapter: Path, base: Path | None, out: Path | None, as_json: bool) -> None:
    from engine.importing.adapters import merge_adapter

    if out is None:
        raise InputError(
            tr("{path} is an adapter, which is merged into its base.", path=str(adapter)),
            tr("Name the folder to write with --out."),
        )
    with writing(out), Console(stderr=True).status(tr("Merging…")):
        made = merge_adapter(adapter, out.expanduser(), base.expanduser() if base else None)
    words = tr(
        "{path}: {base} with the adapter merged into {n} tensors.",
        path=str(made.folder),
        base=made.base.name,
        n=made.n_changed,
    )
    document = {"folder": str(made.folder), "base": str(made.base), "kind": made.kind, "n_changed": made.n_changed}
    print_document(document, as_json, lambda console: console.print(words, markup=False, highlight=False))


def _attach(files: list[Path], home: Path | None, run: int | None, as_json: bool) -> bool:
    """Keep results of the harness with the run of this home that they are of; False where they are of none."""
    from engine.importing.attaching import attach, find
    from engine.lab import Lab
    from engine.results import study_document

    if not (home_of(home) / "lab.db").is_file():
        return False
    with reading(home) as reader:
        found = find(reader, files, run)
    if not found:
        return False
    with Lab.open(home) as lab:
        attach(lab.store, found)
        document = study_document(lab.reader(), found[0].study_id)
    document["imported"] = {
        "added": True,
        "format": "lm-eval",
        "run_ids": [one.run_id for one in found],
        "excluded": [],
        "warnings": [],
    }

    def human(console: Console) -> None:
        for one in found:
            words = tr(
                "{n} scores are kept with run {run} of {study}.", n=len(one.scores), run=one.run_id, study=one.study_id
            )
            console.print(words, markup=False, highlight=False)

    print_document(document, as_json, human)
    return True


def _import_bundle(file: Path, home: Path | None, as_json: bool) -> None:
    from engine.bundling.opening import open_bundle
    from engine.bundling.restoring import restore
    from engine.lab import Lab
    from engine.results import study_document

    with Console(stderr=True).status(tr("Importing…")) as status:

        def show(step: str, fraction: float) -> None:
            status.update(f"{tr(step)} {fraction:.0%}")

        bundle = open_bundle(file, show)  # before a home is opened or made
        with Lab.open(home) as lab:
            kept = restore(lab.store, bundle, show)
            document = study_document(lab.reader(), kept.study_id)
    document |= {"imported": {"added": kept.added, "format": "bundle", "excluded": [], "warnings": []}}
    print_document(document, as_json, lambda console: _show(document, console))


def _import_files(
    files: list[Path],
    home: Path | None,
    name: str,
    title: str,
    columns: str | None,
    size: list[str] | None,
    as_json: bool,
) -> None:
    from engine.analysis.columns import parse_names
    from engine.importing import keep, read
    from engine.importing.storing import as_study
    from engine.lab import Lab

    found = read(files, parse_names(columns), parse_sizes(size or []))
    as_study(found, name, title)  # what is missing is said before a home is opened or made
    with Lab.open(home) as lab, Console(stderr=True).status(tr("Importing and fitting…")):
        kept = keep(lab.store, found, name, title)
        document = _document(lab, kept.study_id, kept.added, found)
    print_document(document, as_json, lambda console: _show(document, console))


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
