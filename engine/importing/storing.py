"""What was found, kept as a study of finished runs: one transaction, and nothing twice."""

import contextlib
import datetime
import re
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from engine.errors import InputError
from engine.events import Evaluation, Event, Facts, MetricBlock, Progress, RunState
from engine.i18n import tr
from engine.importing.found import LANGUAGE_MODELLING, Found, FoundRun
from engine.store import mutations
from engine.store.record import Recorder
from engine.study import Headline, Imported, LadderSpec, ResolvedTraining, RunSpec, StudySpec

if TYPE_CHECKING:
    from engine.store import Store

FAMILY = "imported"
_FLOPS_PER_PARAM_AND_TOKEN = 6
"""Forward and backward pass of a dense model (Kaplan 2020, C = 6 N D), where no compute is given."""
_UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Kept:
    """Where the results are. ``added`` is False where the same import was there already."""

    study_id: str
    added: bool
    law: dict[str, Any] | None


def keep(store: "Store", found: Found, name: str = "", title: str = "", *, fit: bool = True) -> Kept:
    """Put the runs into the store as finished ones and, unless told not to, fit what can be fitted to them.

    Raises:
        InputError: the size of a run is not known, or ``name`` is no name of a study.
        ResourceError: the disk is full; nothing was written.
    """
    study, specs = as_study(found, name, title)
    study_id, added = store.writer.call(lambda conn: _insert(conn, study, specs, found.runs)).result()
    if added and fit:
        fit_law(store, study_id)
    return Kept(study_id, added, store.reader().law(study_id))


def fit_law(store: "Store", study_id: str) -> None:
    """Fit the laws that the imported runs can carry and keep them; results that carry none are still results."""
    from engine.results import finish_study

    with contextlib.suppress(InputError):
        finish_study(store, study_id)


def as_study(found: Found, name: str = "", title: str = "") -> tuple[StudySpec, list[RunSpec]]:
    """The study and its runs, in the order of ``found.runs``; raises ``InputError`` for a run without a size."""
    missing = found.without_size
    if missing:
        raise InputError(
            tr("the size of {run} is in no file and in no name.", run=missing[0] or found.files[0].name),
            tr("Give it with --size 124M, or --size NAME=124M for one of several runs."),
        )
    named = name or slug(PurePosixPath(found.files[0].name).parts[0])
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,63}", named):
        raise InputError(
            tr("{name!r} is no name for a study.", name=named),
            tr("Use small letters, digits and hyphens, at most 64, beginning with a letter or digit."),
        )
    sizes = sorted({_counts(run)[1] for run in found.runs})
    study = StudySpec(
        name=named,
        title=title.strip() or _title(found),
        kind="import",
        model={"family": FAMILY},
        data={"source": FAMILY},
        ladder=LadderSpec(sizes=tuple(sizes), seeds=tuple(sorted({run.seed for run in found.runs}))),
        headline=_headline(found),
        imported=Imported(
            format=found.format,
            files=found.files,
            digest=found.digest,
            date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        ),
    )
    return study, [_run_spec(named, run, sizes.index(_counts(run)[1]), i) for i, run in enumerate(found.runs)]


def slug(text: str) -> str:
    """A file's name as the name of a study."""
    stem = re.sub(r"\.(csv|tsv|txt|jsonl?|ndjson|parquet|pq)$", "", text, flags=re.IGNORECASE)
    plain = re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-")[:48].strip("-")
    return plain or FAMILY


def _title(found: Found) -> str:
    first = PurePosixPath(found.files[0].name)
    stem = first.parts[0] if len(first.parts) > 1 else first.stem
    others = len({PurePosixPath(file.name).parts[0] for file in found.files}) - 1
    return tr("{file} and {n} more", file=stem, n=others) if others else stem


def _headline(found: Found) -> Headline:
    """The loss where there is one, else what was measured most often."""
    if any(run.loss is not None for run in found.runs) or not found.measured:
        return Headline()
    capability, metric = found.measured[0]
    return Headline(capability=capability, metric=metric)


def _counts(run: FoundRun) -> tuple[int, int]:
    """Parameters, all and without embeddings; the one that is given stands for the other."""
    n_params = run.n_params if run.n_params is not None else run.n_params_non_embedding
    assert n_params is not None, "checked before"
    return n_params, run.n_params_non_embedding or n_params


def _run_spec(study: str, run: FoundRun, size_index: int, number: int) -> RunSpec:
    n_params, non_embedding = _counts(run)
    compute = run.compute or float(_FLOPS_PER_PARAM_AND_TOKEN * non_embedding * (run.tokens or 0))
    return RunSpec(
        study=study,
        kind="import",
        family=run.family or FAMILY,
        family_version=0,
        shape={},
        size=non_embedding,
        size_index=size_index,
        seed=run.seed,
        variant=dict(run.variant),
        n_params=n_params,
        n_params_non_embedding=non_embedding,
        compute_flops=compute,
        memory_bytes=0,
        source=FAMILY,
        source_version=0,
        data={"name": run.name, "number": number},
        training=_training(run),
    )


def _training(run: FoundRun) -> ResolvedTraining:
    """Of the recipe nothing is known but how long it was; zeros and ``unknown`` say so."""
    kinds = ResolvedTraining.__annotations__
    blank: dict[str, Any] = {f: {int: 0, float: 0.0, bool: False}.get(kinds[f], _UNKNOWN) for f in kinds}
    return ResolvedTraining(**{**blank, "n_steps": max(1, _last_step(run)), "tokens": run.tokens or 0})


def _last_step(run: FoundRun) -> int:
    return max((int(curve.steps[-1]) for curve in run.curves), default=0)


def _insert(
    conn: sqlite3.Connection, study: StudySpec, specs: Sequence[RunSpec], runs: Sequence[FoundRun]
) -> tuple[str, bool]:
    """The study's id and whether it is new; called inside the writer's transaction."""
    there = conn.execute(
        "SELECT id FROM study WHERE json_extract(spec_json, '$.imported.digest') = ?", (_digest(study),)
    ).fetchone()
    if there is not None:
        mutations.trash(conn, there[0], False)
        return str(there[0]), False
    ids = mutations.add_study(conn, study, specs)
    recorder = Recorder(conn)
    now = time.time()
    for run_id, run in zip(ids, runs, strict=True):
        recorder.record(_events(run_id, run))
        mutations.set_state(conn, run_id, RunState.FINISHED, now)
    (study_id,) = conn.execute("SELECT study_id FROM run WHERE id = ?", (ids[0],)).fetchone()
    return str(study_id), True


def _digest(study: StudySpec) -> str:
    assert isinstance(study.imported, Imported)
    return study.imported.digest


def _events(run_id: int, run: FoundRun) -> list[Event]:
    steps = max(1, _last_step(run))
    events: list[Event] = [
        Facts(run_id, run.facts),
        Progress(run_id, steps, steps, run.tokens or 0, 0.0, 0.0),
    ]
    events += [MetricBlock(run_id, curve.key, curve.steps, curve.values) for curve in run.curves]
    events += [Evaluation(run_id, s.capability, s.metric, s.value, s.stderr, s.n, s.chance) for s in run.scores]
    return events


def headline_words(found: Found) -> str:
    """What was measured, in a few words."""
    shown = ["loss" if m == (LANGUAGE_MODELLING, "loss") else "/".join(m) for m in found.measured[:6]]
    return ", ".join(shown) + (", …" if len(found.measured) > 6 else "")
