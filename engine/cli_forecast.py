"""The verbs ``forecast`` and ``advise``: what will come, said before; and what a law says of a budget or a goal."""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from engine.cli_shared import Home, Json, print_document, reading
from engine.errors import InputError
from engine.i18n import tr

forecast_app = typer.Typer(help="Forecasts: locked before, scored after.", no_args_is_help=True)

Level = Annotated[float, typer.Option("--level", help="What share of such intervals ought to hold what comes.")]


@forecast_app.command("lock")
def lock(
    study_id: Annotated[str, typer.Argument(metavar="STUDY_ID", help="The study whose small sizes are trained.")],
    sizes: Annotated[list[str], typer.Option("--sizes", metavar="N,N", help="Sizes to come, without embeddings.")],
    level: Level = 0.9,
    seeds: Annotated[int, typer.Option("--seeds", min=0, help="Runs at each; 0 as in the study.")] = 0,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Lock a forecast of sizes that are not trained yet; nothing can change it afterwards."""
    from engine.forecasting import forecast_documents
    from engine.forecasting import lock as make
    from engine.lab import Lab
    from engine.results import known_study

    if not 0.0 < level < 1.0:
        raise InputError(tr("--level must lie between 0 and 1, such as 0.9."))
    wanted = _sizes(sizes)
    with Lab.open(home) as lab:
        row = make(lab.store, known_study(lab.reader(), study_id), wanted, level, seeds)
        document = next(d for d in forecast_documents(lab.reader(), row.study_id) if d["forecast_id"] == row.id)
    print_document(document, as_json, lambda console: _show_forecast(document, console))


@forecast_app.command("list")
def list_(
    study: Annotated[str | None, typer.Option("--study", help="Only the forecasts of this study.")] = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Locked forecasts with what they say, whether their seal holds, and how they came out."""
    from engine.forecasting import forecast_documents
    from engine.results import known_study

    with reading(home) as reader:
        document = forecast_documents(reader, known_study(reader, study) if study else None)

    def human(console: Console) -> None:
        for forecast in document:
            _show_forecast(forecast, console)
        if not document:
            console.print(tr("no forecast has been locked yet."))

    print_document(document, as_json, human)


@forecast_app.command("score")
def score(
    forecast_id: Annotated[int | None, typer.Argument(metavar="[ID]", help="One forecast; all that are due.")] = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Hold forecasts against what has been trained since; each is scored once."""
    from engine import forecasting
    from engine.lab import Lab

    scores = []
    with Lab.open(home) as lab:
        reader = lab.reader()
        rows = [row for row in reader.forecasts() if forecast_id in (None, row.id)]
        if not rows and forecast_id is not None:
            raise InputError(tr("there is no forecast {id} here.", id=forecast_id))
        for row in rows:
            due = row.score is None and forecasting.is_due(reader, row)
            if forecast_id is None and not due:
                continue
            scores.append({"forecast_id": row.id, "study_id": row.study_id, **forecasting.score(lab.store, row)})

    def human(console: Console) -> None:
        for found in scores:
            console.print(_outcomes(found))
            console.print(found["words"], markup=False)
        if not scores:
            console.print(tr("no forecast is due: their sizes are not trained yet, or they have been scored."))

    print_document(scores, as_json, human)


@forecast_app.command("calibration")
def calibration(
    capability: Annotated[str, typer.Option("--capability", help="Only forecasts of this capability.")] = "",
    metric: Annotated[str, typer.Option("--metric", help="Only forecasts of this metric.")] = "",
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Over all scored forecasts: how often intervals of each level held what came."""
    from engine.analysis.forecasts import calibration as calibrate

    with reading(home) as reader:
        scores = [row.score for row in reader.forecasts() if row.score is not None]
    document = calibrate(scores, capability, metric)

    def human(console: Console) -> None:
        table = Table(tr("level"), tr("inside"), tr("of"), tr("coverage"), tr("95% Wilson interval"))
        for row in document["levels"]:
            low, high = row["interval"]
            table.add_row(
                f"{row['level']:g}",
                str(row["inside"]),
                str(row["n"]),
                f"{row['coverage']:.2f}",
                f"{low:.2f}-{high:.2f}",
            )
        if document["levels"]:
            console.print(table)
        console.print(document["words"], markup=False)

    print_document(document, as_json, human)


def advise(
    source: Annotated[str, typer.Argument(metavar="STUDY_ID|LAW.json", help="A study, or what fit --json printed.")],
    compute: Annotated[float | None, typer.Option("--compute", metavar="FLOPS", help="Budget of compute.")] = None,
    seconds: Annotated[float | None, typer.Option("--seconds", help="Budget of time on this machine.")] = None,
    kwh: Annotated[float | None, typer.Option("--kwh", help="Budget of energy.")] = None,
    flops_per_second: Annotated[
        float | None, typer.Option("--flops-per-second", help="Speed; else as the study's largest runs had.")
    ] = None,
    watts: Annotated[float | None, typer.Option("--watts", help="Power; else the limit of the NVIDIA card.")] = None,
    loss: Annotated[float | None, typer.Option("--loss", help="How large must a model be for this loss?")] = None,
    score: Annotated[
        list[str] | None,
        typer.Option("--score", metavar="CAPABILITY:METRIC=VALUE", help="How large must it be for this score?"),
    ] = None,
    double_data: Annotated[bool, typer.Option("--double-data", help="What would twice the tokens buy?")] = False,
    n_params: Annotated[float | None, typer.Option("--n-params", help="Size that --double-data speaks of.")] = None,
    tokens: Annotated[float | None, typer.Option("--tokens", help="Tokens of --loss or --double-data.")] = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Which size and data for a budget, which size for a goal, what more data would buy; each with its interval."""
    from engine.advising import Ask, advise_document, advise_study
    from engine.results import known_study

    positive = {"compute": compute, "seconds": seconds, "kwh": kwh, "loss": loss, "n-params": n_params}
    positive |= {"tokens": tokens, "watts": watts, "flops-per-second": flops_per_second}
    for name, value in positive.items():
        if value is not None and not 0 < value < float("inf"):
            raise InputError(tr("--{name} must be above zero.", name=name))
    scores = [_score(text) for text in score or ()]
    if not scores and not double_data and all(value is None for value in (compute, seconds, kwh, loss)):
        raise InputError(
            tr("nothing is asked."), tr("Give --compute, --seconds, --kwh, --loss, --score or --double-data.")
        )
    ask = Ask(compute, seconds, kwh, flops_per_second, watts, loss, tokens, n_params, double_data, scores)
    if source.endswith(".json"):
        document = advise_document(Path(source).expanduser(), ask)
    else:
        with reading(home) as reader:
            document = advise_study(reader, known_study(reader, source), ask)

    def human(console: Console) -> None:
        for answer in document["answers"]:
            console.print(answer["words"], markup=False)
        for warning in document["law"]["warnings"] or ():
            console.print(f"- {warning}", markup=False)

    print_document(document, as_json, human)


def _sizes(texts: list[str]) -> list[int]:
    try:
        sizes = [int(part.replace("_", "")) for text in texts for part in text.split(",") if part.strip()]
    except ValueError:
        raise InputError(tr("--sizes takes whole numbers, such as 100_000,300_000.")) from None
    if not sizes or min(sizes) < 1:
        raise InputError(tr("--sizes takes whole numbers, such as 100_000,300_000."))
    return sizes


def _score(text: str) -> tuple[str, str, float]:
    name, separator, value = text.partition("=")
    capability, colon, metric = name.partition(":")
    try:
        wanted = float(value)
    except ValueError:
        wanted = float("nan")
    if not separator or not colon or wanted != wanted:
        raise InputError(
            tr("--score {text!r} is not of the form capability:metric=value.", text=text),
            tr("Such as word-completion:token_accuracy=0.9."),
        )
    return capability.strip(), metric.strip(), wanted


def _show_forecast(document: dict[str, Any], console: Console) -> None:
    when = datetime.fromisoformat(document["locked"]).astimezone().strftime("%Y-%m-%d %H:%M")
    seal = tr("seal intact") if document["intact"] else tr("SEAL BROKEN")
    values = {"id": document["forecast_id"], "study": document["study_id"], "when": when, "seal": seal}
    title = tr("forecast {id} of {study}, locked {when}, {seal}", **values)
    table = Table(tr("parameters"), tr("capability"), tr("metric"), tr("predicted"), tr("interval"), title=title)
    for target in document["targets"]:
        for prediction in target["predictions"]:
            low, high = prediction["intervals"][f"{document['level']:g}"]
            table.add_row(
                f"{target['n_params_non_embedding']:,}",
                prediction["capability"],
                prediction["metric"],
                f"{prediction['predicted']:.4g}",
                f"{low:.4g} - {high:.4g}",
            )
    console.print(table)
    if document["score"]:
        console.print(document["score"]["words"], markup=False)


def _outcomes(score: dict[str, Any]) -> Table:
    title = tr("forecast {id} of {study}", id=score["forecast_id"], study=score["study_id"])
    columns = [tr("parameters"), tr("metric"), tr("predicted"), tr("observed"), tr("inside"), tr("standard units")]
    table = Table(*columns, title=title)
    for row in score["outcomes"]:
        table.add_row(
            f"{row['n_params_non_embedding']:,}",
            f"{row['capability']}: {row['metric']}",
            f"{row['predicted']:.4g}",
            f"{row['observed']:.4g}",
            tr("inside") if row["inside"] else tr("outside by {percent:.1%}", percent=row["outside_by"]),
            f"{row['z']:+.2f}",
        )
    return table
