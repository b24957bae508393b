"""The verb ``evaluate``: capabilities measured on what is finished already."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from engine.cli_shared import Home, Json, home_of, print_document
from engine.errors import InputError
from engine.i18n import tr


def evaluate(
    target: Annotated[
        str, typer.Argument(metavar="RUN_ID|STUDY_ID|FOLDER", help="A run, a study, or a folder of transformers.")
    ],
    capability: Annotated[
        list[str] | None, typer.Option("--capability", help="Its name; may be given again. Without: the study's own.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="[NAME.]FIELD=VALUE", help="An option of a capability.")
    ] = None,
    text: Annotated[
        Path | None, typer.Option("--text", help="For a folder with a language model: a file or folder of texts.")
    ] = None,
    data: Annotated[
        str,
        typer.Option(
            "--data",
            metavar="TABLE|FOLDER|SOURCE",
            help="For a folder with a classifier: a labelled table, images by class, or a source of images.",
        ),
    ] = "",
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Measure capabilities on finished runs, or on a folder; what was measured before is answered at once."""
    from engine.battery.uses import parse_options
    from engine.lab import Lab

    options = parse_options(set_ or ())
    folder = Path(target).expanduser()
    if not folder.is_dir() and not (home_of(home) / "lab.db").is_file():
        raise InputError(tr("there are no results in {home}.", home=str(home_of(home))))
    with Lab.open(home) as lab, Console(stderr=True).status(tr("Measuring…")) as status:
        if folder.is_dir():
            document = _folder(lab, folder, capability or [], options, text, data)
        else:
            for option, given in (("--text", text), ("--data", data)):
                if given:
                    words = tr("{option} is for folders; runs are measured on their own held-out data.", option=option)
                    raise InputError(words)

            def show(step: str, fraction: float) -> None:
                status.update(f"{tr(step)} {fraction:.0%}")

            document = _runs(lab, target, capability or [], options, show)
    print_document(document, as_json, lambda console: _show(document, console))


def _runs(lab: Any, target: str, names: list[str], options: dict[str, str], show: Any) -> list[dict[str, Any]]:
    from engine.battery.runs import evaluate_runs, runs_of
    from engine.results import known_study

    runs = [int(target)] if target.isdecimal() else runs_of(lab.store, known_study(lab.reader(), target))
    labels = {run: lab.reader().run(run).label for run in runs}
    found = evaluate_runs(lab.store, runs, names, options, show)
    return [
        {"run_id": one.run_id, "label": labels[one.run_id], **_told(one.capability, one.scores, one.known)}
        for one in found
    ]


def _folder(
    lab: Any, folder: Path, names: list[str], options: dict[str, str], text: Path | None, data: str
) -> list[dict[str, Any]]:
    from engine.battery.folders import evaluate_folder

    text = None if text is None else text.expanduser()
    given = str(Path(data).expanduser()) if data else ""
    found = evaluate_folder(lab.store, folder, text, options, data=given, names=names)
    return [{"folder": str(folder), "label": folder.name, **_told(found.capability, found.scores, found.known)}]


def _told(capability: str, scores: Any, known: bool) -> dict[str, Any]:
    from engine.results import finite

    fields = ("metric", "value", "stderr", "n", "chance")
    rows = [{name: finite(getattr(score, name)) for name in fields} for score in scores]
    return {"capability": capability, "known": known, "scores": rows}


def _show(document: list[dict[str, Any]], console: Console) -> None:
    heads = (tr("model"), tr("capability"), tr("metric"), tr("value"), tr("standard error"), tr("n"), tr("chance"))
    table = Table(*heads)
    for entry in document:
        for score in entry["scores"]:
            numbers = ("-" if score[f] is None else f"{score[f]:,.4g}" for f in ("value", "stderr", "n", "chance"))
            table.add_row(entry["label"], entry["capability"], score["metric"], *numbers)
        if not entry["scores"]:
            words = tr("{capability} could not be measured on this data.", capability=entry["capability"])
            console.print(f"{entry['label']}: {words}", markup=False)
    if table.row_count:
        console.print(table)
