"""The headless verbs: the same engine on a remote machine, in scripts and in continuous integration.

With ``--json`` one JSON document goes to standard output; progress and errors go to standard error. Exit codes:
0 success, 1 a run failed, 2 bad input (one sentence, no traceback), 130 interrupted.
"""

import importlib.metadata
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from engine.cli_emergence import emergence
from engine.cli_evaluate import evaluate
from engine.cli_export import export_app
from engine.cli_fit import fit
from engine.cli_forecast import advise, forecast_app
from engine.cli_import import import_results
from engine.cli_shared import Home, Json, Set, StudyId, home_of, print_document, reading
from engine.errors import InputError, KnownError
from engine.events import RunState
from engine.i18n import language, set_language, system_language, tr
from engine.study import StudySpec, builtin_studies, load_study

if TYPE_CHECKING:
    from engine.lab import Lab

app = typer.Typer(
    name="emergence-lab",
    help="What happens to a model's abilities as it grows.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(export_app, name="export")
app.command()(emergence)
app.command()(evaluate)
app.command()(fit)
app.command()(advise)
app.add_typer(forecast_app, name="forecast")
app.command("import")(import_results)

StudyArgument = Annotated[str, typer.Argument(metavar="STUDY|FILE.toml", help="A built-in study or a study file.")]
Profile = Annotated[str, typer.Option("--profile", help="A profile of the study, such as gpu.")]


class _Leave(Exception):
    def __init__(self, code: int) -> None:
        self.code = code


def main(argv: list[str] | None = None) -> int:
    """Run one verb. Returns the exit code; never raises for what a user did."""
    set_language(system_language())
    try:
        code = app(args=sys.argv[1:] if argv is None else argv, prog_name="main.py", standalone_mode=False)
    except _Leave as leave:
        return leave.code
    except KnownError as error:
        return _say(str(error), 2)
    except (typer.Abort, KeyboardInterrupt):
        return 130
    except typer.Exit as leave:
        return leave.exit_code
    except Exception as error:
        # What the command line itself refuses: an unknown verb or option, a value of the wrong type.
        sentence = getattr(error, "format_message", None)
        if sentence is None:
            raise
        return _say(sentence(), 2)
    return code if isinstance(code, int) else 0


def _say(sentence: str, code: int) -> int:
    sys.stderr.write(" ".join(sentence.split()) + "\n")
    return code


def _table(title: str, columns: list[str], rows: list[list[object]]) -> Callable[[Console], None]:
    def draw(console: Console) -> None:
        table = Table(*columns, title=title)
        for row in rows:
            table.add_row(*(_cell(value) for value in row))
        console.print(table)

    return draw


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _tell_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"{importlib.metadata.version('emergence-lab')}\n")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="The version.")
    ] = False,
) -> None:
    pass


@app.command()
def studies(as_json: Json = False) -> None:
    """List the studies that can be run."""
    document = [_study_summary(load_study(path.stem)) for path in builtin_studies()]
    rows = [[s["name"], s["question"], s["family"], len(s["sizes"]), s["seconds_estimate"]] for s in document]
    columns = [tr("study"), tr("question"), tr("family"), tr("sizes"), tr("seconds on 2 cores")]
    print_document(document, as_json, _table(tr("studies"), columns, rows))


def _study_summary(study: StudySpec) -> dict[str, Any]:
    return {
        "name": study.name,
        "title": study.text("title", language()),
        "question": study.text("question", language()),
        "family": study.model.get("family"),
        "sizes": list(study.ladder.sizes),
        "seconds_estimate": study.budget.cpu_seconds,
    }


@app.command()
def plan(
    study: StudyArgument, home: Home = None, as_json: Json = False, set_: Set = None, profile: Profile = ""
) -> None:
    """Sizes, tokens, FLOPs, memory, disk and time of a study; nothing is trained."""
    from engine.bases import settle
    from engine.planning import plan as make_plan

    home = home_of(home)
    document = make_plan(settle(load_study(study, set_ or (), profile), home), home)
    rows = [[r["n_params"], r["tokens"], r["compute_flops"], r["memory_bytes"], r["seconds"]] for r in document["runs"]]
    columns = [tr("parameters"), tr("tokens"), tr("FLOPs"), tr("bytes of memory"), tr("seconds")]

    def human(console: Console) -> None:
        _table(study, columns, rows)(console)
        if document["seconds"] is not None:
            console.print(tr("All of it: about {seconds:,.0f} s.", seconds=document["seconds"]))
        for reason in document["reasons"]:
            console.print(reason)

    print_document(document, as_json, human)
    if not document["fits"]:
        raise _Leave(_say(document["reasons"][0], 2))


@app.command()
def run(
    study: StudyArgument,
    home: Home = None,
    as_json: Json = False,
    set_: Set = None,
    profile: Profile = "",
    jobs: Annotated[int, typer.Option("--jobs", min=0, help="Runs at a time; 0 lets the machine decide.")] = 0,
) -> None:
    """Run a study to the end; what was interrupted is resumed and what is finished is skipped."""
    from engine.bases import settle

    _run(settle(load_study(study, set_ or (), profile), home_of(home)), home, as_json, jobs)


@app.command()
def compress(
    what: Annotated[str, typer.Argument(metavar="STUDY_ID|RUN_ID", help="What was trained: all of it, or one run.")],
    method: Annotated[
        list[str],
        typer.Option(
            "--method", help="prune-unstructured, prune-structured, int8-dynamic, int8-weights or int4-weights."
        ),
    ],
    home: Home = None,
    as_json: Json = False,
    amount: Annotated[float | None, typer.Option("--amount", help="Pruning: the share that is cut.")] = None,
    schedule: Annotated[str | None, typer.Option("--schedule", help="Pruning: one-shot or gradual.")] = None,
    fine_tune: Annotated[
        float | None, typer.Option("--fine-tune", help="Pruning: steps as a share of the parent's.")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option("--learning-rate", help="Pruning: rate as a share of the parent's.")
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", min=0, help="Runs at a time; 0 lets the machine decide.")] = 0,
) -> None:
    """Make smaller models of finished runs and measure both; a new study beside theirs."""
    from engine.compressing import PRUNING
    from engine.derived import study_of
    from engine.study import CompressionMethod, convert

    asked = {"amount": amount, "schedule": schedule, "fine_tune": fine_tune, "learning_rate": learning_rate}
    given: dict[str, object] = {field: value for field, value in asked.items() if value is not None}
    tables = [{"method": name, **(given if name in PRUNING else {})} for name in method]
    methods = [convert(table, CompressionMethod, "method" if len(table) == 1 else "") for table in tables]
    with reading(home) as reader:
        study = study_of(reader, what, methods)
    _run(study, home, as_json, jobs)


def _run(spec: StudySpec, home: Home, as_json: bool, jobs: int) -> None:
    from engine.expand import expand
    from engine.lab import Lab
    from engine.results import finish_study, study_document

    expand(spec)  # what is wrong with the study itself must not leave a new home behind
    asked = _Interrupt()
    with asked, Lab.open(home, jobs=jobs) as lab:
        _make_ready(lab, spec, asked)
        study_id = lab.runner.submit(spec)
        _watch(lab, study_id, asked)
        if asked.is_set():
            lab.runner.stop_all()
            raise _Leave(_say(tr("Interrupted: the same command goes on where it left off."), 130))
        if lab.reader().law(study_id) is None:
            with suppress(InputError):  # why a forecast could not be locked is kept with the runs that wait for it
                finish_study(lab.store, study_id)
        lab.store.writer.flush()
        document = study_document(lab.reader(), study_id)
    print_document(document, as_json, _results_table(document))
    failed = [r for r in document["runs"] if r["state"] != RunState.FINISHED]
    if failed:
        known = next((r for r in failed if r["state"] == RunState.INTERRUPTED and r["error"]), failed[0])
        sentence = tr(
            "{n} runs did not finish: {why} {remedy}",
            n=len(failed),
            why=known["error"] or "",
            remedy=known["remedy"] or "",
        )
        raise _Leave(_say(sentence, 2 if known["state"] == RunState.INTERRUPTED else 1))


def _make_ready(lab: "Lab", spec: StudySpec, asked: "_Interrupt") -> None:
    from engine.readiness import check_ready

    def show(step: str, fraction: float) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        status.update(f"{tr(step)} {fraction:.0%}")

    with Console(stderr=True).status(tr("preparing data")) as status:
        check_ready(spec, lab.reader(), lab.store.cache, show)


class _Interrupt:
    """SIGINT and SIGTERM as a flag, so that a study is left at a step boundary with its checkpoint."""

    def __init__(self) -> None:
        self.flag = threading.Event()
        self._before: dict[int, Any] = {}

    def is_set(self) -> bool:
        return self.flag.is_set()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.flag.is_set():
            raise KeyboardInterrupt  # asked twice: leave now, the last checkpoint stays
        self.flag.set()

    def __enter__(self) -> "_Interrupt":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *args: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


def _watch(lab: Any, study_id: str, asked: _Interrupt) -> None:
    from engine.progress import StudyProgress

    rows = lab.reader().runs(study_id)
    done = frozenset(row.id for row in rows if row.state == RunState.FINISHED)
    with StudyProgress({r.id: r.label for r in rows}, {r.id: r.compute_flops or 1.0 for r in rows}, done) as progress:
        lab.runner.wait(study_id, progress.show, unless=asked.flag)


def _results_table(document: dict[str, Any]) -> Callable[[Console], None]:
    columns = [
        tr("run"),
        tr("parameters"),
        tr("seed"),
        tr("state"),
        tr("tokens"),
        tr("loss"),
        tr("bits per byte"),
        tr("seconds"),
    ]
    fields = ("run_id", "n_params", "seed", "state", "tokens_seen", "val_loss", "val_bits_per_byte", "seconds")
    rows = [[r.get(f) for f in fields] for r in document["runs"]]

    def human(console: Console) -> None:
        _table(document["study_id"], columns, rows)(console)
        law = document["law"]
        if law:
            console.print(
                tr(
                    "law {form}: {params}",
                    form=law["form"],
                    params=", ".join(f"{k} {v:.4g}" for k, v in law["params"].items()),
                )
            )
            for warning in law["warnings"]:
                console.print(str(warning), markup=False)

    return human


@app.command()
def runs(
    study: Annotated[str | None, typer.Option("--study", help="Only the runs of this study.")] = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Runs with their state and last figures."""
    from engine.results import final_evaluations, known_study, run_document

    with reading(home) as reader:
        wanted = [known_study(reader, study)] if study else [row.id for row in reader.studies()]
        document = []
        for study_id in wanted:
            final = final_evaluations(reader, study_id)
            document += [run_document(row, final.get(row.id, ())) for row in reader.runs(study_id)]
    rows = [[r["run_id"], r["study_id"], r["label"], r["state"], r["val_loss"], r["seconds"]] for r in document]
    columns = [tr("run"), tr("study"), tr("model"), tr("state"), tr("loss"), tr("seconds")]
    print_document(document, as_json, _table(tr("runs"), columns, rows))


@app.command()
def results(study_id: StudyId, home: Home = None, as_json: Json = False) -> None:
    """Evaluations of a study by size and seed, with its law."""
    from engine.results import known_study, study_document

    with reading(home) as reader:
        document = study_document(reader, known_study(reader, study_id))
    print_document(document, as_json, _results_table(document))


if __name__ == "__main__":
    raise SystemExit(main())
