"""Forecasts of stored studies: which runs wait, locking when the small sizes are done, scoring when the rest are."""

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from engine.errors import InputError
from engine.events import RunState
from engine.expand import expand
from engine.i18n import tr
from engine.store import mutations
from engine.study import DERIVED, ForecastSpec, RunSpec, StudySpec, spec_hash

if TYPE_CHECKING:
    from engine.analysis.forecasts import Observation, Target
    from engine.store import Reader, Store
    from engine.store.rows import ForecastRow, RunRow

ACT = 1
"""Marks the forecast that a study's second act waits for; what a person locks has 0."""
TOKEN_FIELDS = frozenset({"training.tokens", "training.tokens_per_param", "training.steps", "training.epochs"})
"""Varied fields that only change how long a run trains: its runs still lie on one surface L(N, D)."""
_OVER = (RunState.FINISHED, RunState.CANCELLED)
_LEFT = (*_OVER, RunState.INTERRUPTED, RunState.FAILED)


def first_held(study: StudySpec) -> int | None:
    """The index of the first size that waits for a forecast; None where none does."""
    if not isinstance(study.forecast, ForecastSpec):
        return None
    return max(0, len(study.ladder.sizes) - study.forecast.hold)


class Gate:
    """Which queued runs must wait for their study's forecast. Used under the runner's lock."""

    def __init__(self, store: "Store") -> None:
        self._reader = store.reader()
        self._first: dict[str, int | None] = {}
        self._open: set[str] = set()

    def holds(self, study_id: str, spec: RunSpec) -> bool:
        """Whether this run belongs to a second act whose forecast is not locked yet."""
        if study_id not in self._first:
            self._first[study_id] = first_held(self._reader.study_spec(study_id))
        first = self._first[study_id]
        if first is None or spec.size_index < first or study_id in self._open:
            return False
        if any(row.document["act"] == ACT for row in self._reader.forecasts(study_id)):
            self._open.add(study_id)
            return False
        return True


def settle(store: "Store", study_id: str) -> None:
    """What is due once nothing of a study is left to do: lock the forecast of its second act, score what can be.

    Raises:
        InputError: the smaller sizes do not carry a forecast.
    """
    reader = store.reader()
    study = reader.study_spec(study_id)
    first = first_held(study)
    if first is not None and not any(row.document["act"] == ACT for row in reader.forecasts(study_id)):
        _lock_act(store, study_id, study, first)
        return
    for row in reader.forecasts(study_id):
        if row.score is None and is_due(reader, row):
            score(store, row)


def _lock_act(store: "Store", study_id: str, study: StudySpec, first: int) -> None:
    reader = store.reader()
    rows = reader.runs(study_id)
    missing = [row for row in rows if row.size_index < first and row.state not in _OVER]
    if missing:
        raise InputError(
            tr("the forecast was not locked: {n} runs of the smaller sizes did not finish.", n=len(missing)),
            tr("Run them again; the larger sizes wait for it."),
        )
    held = [row for row in rows if row.size_index >= first]
    assert isinstance(study.forecast, ForecastSpec)
    targets = _targets([(reader.run_spec(row.id), row.size) for row in held])
    document = _forecast(reader, study_id, study, rows, targets, study.forecast.level, ACT)
    _keep(store, study_id, document)


def lock(store: "Store", study_id: str, sizes: Sequence[int], level: float = 0.9, runs: int = 0) -> "ForecastRow":
    """Lock a forecast of ``sizes`` (without embeddings) from what the study has trained; returns it.

    ``runs`` is how many seeds will be trained at each, the study's own number where 0.

    Raises:
        InputError: a size is trained already or gives a model that is, or fewer than three sizes are trained.
    """
    reader = store.reader()
    study = reader.study_spec(study_id)
    seeds = study.ladder.seeds if not runs else tuple(range(runs))
    ladder = msgspec.structs.replace(study.ladder, sizes=tuple(sorted(set(sizes))), seeds=seeds)
    asked = msgspec.structs.replace(study, ladder=ladder, forecast=msgspec.UNSET)
    targets = _targets([(spec, spec.size) for spec in expand(asked)])
    _refuse_trained(reader, study, targets)
    document = _forecast(reader, study_id, study, reader.runs(study_id), targets, level, 0)
    identity = _keep(store, study_id, document)
    return next(row for row in store.reader().forecasts(study_id) if row.id == identity)


def _refuse_trained(reader: "Reader", study: StudySpec, targets: Sequence["Target"]) -> None:
    started = {
        row.n_params_non_embedding
        for sibling in siblings(reader, study)
        for row in reader.runs(sibling)
        if row.started is not None
    }
    for target in targets:
        if target.n_params_non_embedding in started:
            raise InputError(
                tr("size {size:,} is trained already; a forecast is made before.", size=target.size),
                tr("Name sizes that have not been trained."),
            )


def _keep(store: "Store", study_id: str, document: dict[str, Any]) -> int:
    once = document["act"] == ACT
    return store.writer.call(
        lambda conn: mutations.lock_forecast(conn, study_id, document["form"], document, once)
    ).result()


def _forecast(
    reader: "Reader",
    study_id: str,
    study: StudySpec,
    rows: "Sequence[RunRow]",
    targets: "Sequence[Target]",
    level: float,
    act: int,
) -> dict[str, Any]:
    from engine.analysis.forecasts import make_forecast

    return make_forecast(
        observations(reader, study_id, rows),
        targets,
        spec_hash(study),
        level,
        act=act,
        lr_scaled=study.training.lr_rule != "fixed",
        converged=study.training.schedule != "constant",
    )


def observations(reader: "Reader", study_id: str, rows: "Sequence[RunRow] | None" = None) -> "list[Observation]":
    """The finished runs of a study that lie on one law: those that vary nothing but how long they train.

    Raises ``InputError`` where every run varies something else.
    """
    from engine.analysis.forecasts import Observation
    from engine.results import final_evaluations

    finished = [
        row
        for row in (reader.runs(study_id) if rows is None else rows)
        if row.kind not in DERIVED
        and row.state == RunState.FINISHED
        and row.val_loss is not None
        and math.isfinite(row.val_loss)
    ]
    plain = [row for row in finished if row.variant.keys() <= TOKEN_FIELDS]
    if finished and not plain:
        raise InputError(
            tr("this study varies {fields}, so its runs lie on no one law.", fields=", ".join(finished[0].variant)),
            tr("Forecast from a study of one recipe."),
        )
    final = final_evaluations(reader, study_id)
    return [
        Observation(
            n_params=row.n_params_non_embedding,
            tokens=reader.run_spec(row.id).training.tokens,
            seed=row.seed,
            loss=row.val_loss or math.nan,
            scores={(e.capability, e.metric): (e.value, e.n) for e in final.get(row.id, ())},
        )
        for row in plain
    ]


def _targets(specs: "Sequence[tuple[RunSpec, int]]") -> "list[Target]":
    from engine.analysis.forecasts import Target

    groups: dict[str, list[tuple[RunSpec, int]]] = defaultdict(list)
    for spec, size in specs:
        groups[f"{size} {msgspec.json.encode(spec.variant, order='sorted').decode()}"].append((spec, size))
    return [
        Target(
            size=of[0][1],
            n_params=of[0][0].n_params,
            n_params_non_embedding=of[0][0].n_params_non_embedding,
            tokens=of[0][0].training.tokens,
            runs=len(of),
            variant=of[0][0].variant,
        )
        for of in groups.values()
    ]


def siblings(reader: "Reader", study: StudySpec) -> list[str]:
    """Studies of this home that differ in sizes, seeds and words alone: their runs score each other's forecasts."""
    return [row.id for row in reader.studies() if _recipe(reader.study_spec(row.id)) == _recipe(study)]


def _recipe(study: StudySpec) -> str:
    ladder = msgspec.structs.replace(study.ladder, sizes=(1,), seeds=(0,))
    same = {"name": "x", "title": "", "question": "", "zh_CN": {}, "profiles": {}, "capabilities": ()}
    blank = StudySpec(name="x", title="", model={}, data={}, ladder=ladder)
    silent = same | {"ladder": ladder, "forecast": msgspec.UNSET, "budget": blank.budget}
    return spec_hash(msgspec.structs.replace(study, **silent, headline=blank.headline, execution=blank.execution))


def _came(reader: "Reader", row: "ForecastRow") -> "list[list[RunRow]]":
    """For each target of a forecast the runs there that began after it was locked, or are still to begin.

    A second act is scored by its own runs; what a person locked also by those of studies of the same recipe.
    """
    act = row.document["act"] == ACT
    of = [row.study_id] if act else siblings(reader, reader.study_spec(row.study_id))
    runs = [run for study_id in of for run in reader.ladder(study_id)]
    runs = [run for run in runs if run.started is None or run.started >= row.created]
    return [
        [
            run
            for run in runs
            if run.n_params_non_embedding == target["n_params_non_embedding"] and run.variant == target["variant"]
        ]
        for target in row.document["targets"]
    ]


def is_due(reader: "Reader", row: "ForecastRow") -> bool:
    """Whether every target has a finished run and none that is still to come.

    What another study of the recipe left unfinished is not waited for.
    """

    def pending(run: "RunRow") -> bool:
        return run.state not in (_OVER if run.study_id == row.study_id else _LEFT)

    return all(
        any(run.state == RunState.FINISHED for run in of) and not any(pending(run) for run in of)
        for of in _came(reader, row)
    )


def score(store: "Store", row: "ForecastRow") -> dict[str, Any]:
    """Score a forecast, once, against the runs that came after it; returns the score.

    Raises:
        InputError: it has a score, or not all of its sizes are trained.
    """
    from engine.analysis.forecasts import score_forecast
    from engine.results import final_evaluations

    reader = store.reader()
    if row.score is not None:
        raise InputError(tr("forecast {id} has been scored.", id=row.id))
    if not is_due(reader, row):
        raise InputError(
            tr("not all sizes of forecast {id} are trained yet.", id=row.id),
            tr("Run a study of the same recipe with these sizes first."),
        )
    seen = []
    for of in _came(reader, row):
        values: dict[tuple[str, str], list[float]] = defaultdict(list)
        for run in of:
            if run.state != RunState.FINISHED:
                continue
            if run.val_loss is not None:
                values["language-modelling", "loss"].append(run.val_loss)
            for found in final_evaluations(reader, run.study_id).get(run.id, ()):
                if (found.capability, found.metric) != ("language-modelling", "loss"):
                    values[found.capability, found.metric].append(found.value)
        seen.append(values)
    document = score_forecast(row.document, seen)
    store.writer.call(lambda conn: mutations.score_forecast(conn, row.id, document)).result()
    return document


def forecast_documents(reader: "Reader", study_id: str | None = None) -> list[dict[str, Any]]:
    """Forecasts as the verbs print them, oldest first, with their score and whether their seal holds."""
    from engine.analysis.forecasts import intact

    return [
        {
            "forecast_id": row.id,
            "study_id": row.study_id,
            **row.document,
            "intact": intact(row.document),
            "score": row.score,
        }
        for row in reader.forecasts(study_id)
    ]
