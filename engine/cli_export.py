"""The verbs ``export``: figures, tables, studies and models as files that other programs open."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from engine.cli_shared import Home, Out, RunId, StudyId, home_of, reading, writing
from engine.errors import InputError
from engine.i18n import tr
from engine.study import refuse_imported, to_toml_table

Of = Annotated[str, typer.Option("--of", help="results, curves or runs.")]
Dense = Annotated[
    bool,
    typer.Option("--dense", help="A compressed model in the shape before compression, in float32, with equal outputs."),
]
export_app = typer.Typer(help="Write figures, tables, models and studies to files.", no_args_is_help=True)


@export_app.command("figure")
def export_figure(
    study_id: StudyId,
    name: Annotated[str, typer.Option("--figure", help="Its name; an unknown one is answered with all there are.")],
    out: Out,
    home: Home = None,
    capability: Annotated[str | None, typer.Option("--capability")] = None,
    metric: Annotated[str | None, typer.Option("--metric")] = None,
    convention: Annotated[str | None, typer.Option("--convention", help="all or non-embedding.")] = None,
    others: Annotated[list[str] | None, typer.Option("--with", help="For comparison: another study's id.")] = None,
    against: Annotated[
        str | None, typer.Option("--against", help="For compression: bytes, memory, latency or latency_batch.")
    ] = None,
    run: Annotated[int | None, typer.Option("--run", help="For figures of one run: its number.")] = None,
    style: Annotated[str, typer.Option("--style")] = "paper",
) -> None:
    """A figure as .svg, .pdf, .png (300 dpi) or .csv, with where it comes from inside."""
    from engine.figures.builders import build
    from engine.figures.export import export
    from engine.results import known_study

    with reading(home) as reader, writing(out):
        known = ",".join(known_study(reader, other) for other in others or ())
        options: dict[str, object] = {
            "capability": capability,
            "metric": metric,
            "convention": convention,
            "others": known,
            "against": against,
            "run": run,
        }
        figure = build(reader, name, known_study(reader, study_id), **{k: v for k, v in options.items() if v})
        export(figure, out, style=style)
    sys.stdout.write(f"{out}\n")


@export_app.command("csv")
def export_csv(study_id: StudyId, out: Out, of: Of = "results", home: Home = None) -> None:
    """The results of a study as a CSV table, or its curves or runs."""
    _export_table(study_id, out, home, "csv", of)


@export_app.command("parquet")
def export_parquet(study_id: StudyId, out: Out, of: Of = "results", home: Home = None) -> None:
    """The same as a Parquet table."""
    _export_table(study_id, out, home, "parquet", of)


def _export_table(study_id: str, out: Path, home: Path | None, kind: str, of: str) -> None:
    from engine.results import known_study
    from engine.tables import CONTENTS, write_table

    if of not in CONTENTS:
        raise InputError(tr("--of {of!r} is none of {known}.", of=of, known=", ".join(CONTENTS)))
    with reading(home) as reader, writing(out):
        write_table(reader, known_study(reader, study_id), out, kind, of)
    sys.stdout.write(f"{out}\n")


@export_app.command("tensorboard")
def export_tensorboard(study_id: StudyId, out: Out, home: Home = None) -> None:
    """The curves and scores of a study as TensorBoard event files, a folder for each run."""
    from engine.exporting.tensorboard import export_tensorboard as write
    from engine.results import known_study

    with reading(home) as reader, writing(out):
        write(reader, known_study(reader, study_id), out)
    sys.stdout.write(f"{out}\n")


@export_app.command("study")
def export_study(study_id: StudyId, out: Out, home: Home = None) -> None:
    """The study as a TOML file that runs again."""
    from engine.results import known_study
    from engine.tables import to_toml

    with reading(home) as reader, writing(out):
        spec = reader.study_spec(known_study(reader, study_id))
        refuse_imported(spec)
        out.write_text(to_toml(to_toml_table(spec)), encoding="utf-8")
    sys.stdout.write(f"{out}\n")


@export_app.command("hf")
def export_hf(run_id: RunId, out: Out, dense: Dense = False, home: Home = None) -> None:
    """The model of a run as a folder that plain transformers loads."""
    from engine.exporting import export_hf as write

    with reading(home) as reader, writing(out):
        write(reader, home_of(home), run_id, out, dense=dense)
    sys.stdout.write(f"{out}\n")


@export_app.command("onnx")
def export_onnx(
    run: Annotated[str, typer.Argument(metavar="RUN_ID|FOLDER", help="A run, or a folder of transformers.")],
    out: Out,
    dense: Dense = False,
    home: Home = None,
) -> None:
    """An encoder or classifier as ONNX, compared with torch under onnxruntime."""
    from engine.exporting.onnx import export_folder
    from engine.exporting.onnx import export_onnx as write

    with writing(out):
        if run.isdecimal():
            with reading(home) as reader:
                written = write(reader, home_of(home), int(run), out, dense=dense)
        else:
            written = export_folder(Path(run).expanduser(), out)
    for file in written:
        words = tr(
            "{path}: at most {difference:.1e} from torch, of the largest output.",
            path=str(file.path),
            difference=file.difference,
        )
        sys.stdout.write(f"{words}\n")


@export_app.command("bundle")
def export_bundle(
    study_id: StudyId,
    out: Out,
    weights: Annotated[str, typer.Option("--weights", help="none, best or all.")] = "none",
    home: Home = None,
) -> None:
    """A study with its results, figures and chosen weights as one zip that import takes in."""
    from engine.bundling.writing import export_bundle as write
    from engine.results import known_study

    with reading(home) as reader, writing(out), Console(stderr=True).status(tr("Writing…")):
        write(reader, home_of(home), known_study(reader, study_id), out, weights)
    sys.stdout.write(f"{out}\n")


@export_app.command("lm-eval-task")
def export_lm_eval_task(
    study_id: StudyId,
    out: Out,
    documents: Annotated[int, typer.Option("--documents", min=2, help="Held-out documents at most.")] = 200,
    home: Home = None,
) -> None:
    """The held-out documents of a study as tasks of lm-evaluation-harness, with the command to type."""
    from engine.exporting.lm_eval import export_lm_eval_task as write
    from engine.results import known_study

    with reading(home) as reader, writing(out):
        tasks = write(reader, home_of(home), known_study(reader, study_id), out, documents)
    sys.stdout.write(f"{out}: {', '.join(tasks)}\n")
