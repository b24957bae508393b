"""What a study found, as one JSON document, and the law that is fitted when its last run is done."""

import contextlib
import json
import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from engine.errors import InputError
from engine.events import RunState
from engine.i18n import tr

if TYPE_CHECKING:
    from engine.store import Reader, Store

_ORDER = ("failed", "running", "paused", "queued", "interrupted", "cancelled")
_VERDICT = (
    "capability",
    "variant",
    "verdict",
    "critical_size",
    "interval",
    "level",
    "sharpness",
    "seeds",
    "seeds_mixed",
    "evidence",
    "missing",
    "words",
)
_COLUMNS = (
    "family",
    "kind",
    "label",
    "seed",
    "state",
    "size",
    "n_params",
    "n_params_non_embedding",
    "tokens_seen",
    "compute_flops",
    "val_loss",
    "val_bits_per_byte",
    "seconds",
    "tokens_per_second",
    "step",
    "n_steps",
    "error",
    "remedy",
)


def run_document(run: Any, evaluations: Sequence[Any] = ()) -> dict[str, Any]:
    """One run as the verbs print it; ``evaluations`` are those of the final model."""
    document: dict[str, Any] = {"run_id": run.id, "study_id": run.study_id}
    document |= {name: finite(getattr(run, name)) for name in _COLUMNS}
    document["variant"] = json.loads(run.variant_json or "{}")
    document["facts"] = json.loads(run.facts_json or "{}")
    document["evaluations"] = [
        {name: finite(getattr(row, name)) for name in ("capability", "metric", "value", "stderr", "n", "chance")}
        for row in evaluations
    ]
    return document


def study_document(reader: "Reader", study_id: str) -> dict[str, Any]:
    """The document of ``run`` and ``results``; raises ``InputError`` where there is no such study."""
    from engine.forecasting import forecast_documents
    from engine.study_laws import sweeps

    spec = reader.study_spec(study_id)
    runs = reader.runs(study_id)
    final = final_evaluations(reader, study_id)
    headline = spec.headline
    ladder = reader.ladder(study_id)
    by_size = headline_by_size(ladder, final, headline.capability, headline.metric)
    return {
        "study_id": study_id,
        "study": spec.name,
        "title": spec.title,
        "state": study_state([run.state for run in runs]),
        "runs": [run_document(run, final.get(run.id, ())) for run in runs],
        "law": reader.law(study_id),
        "laws": reader.laws(study_id),
        "sweeps": sweeps(reader, study_id),
        "forecasts": forecast_documents(reader, study_id),
        "distillation": distillation_document(reader, study_id),
        "emergence": verdicts(reader, study_id, headline.capability),
        "headline": {
            "capability": headline.capability,
            "metric": headline.metric,
            "by_size": by_size,
            "by_variant": headline_by_variant(ladder, final, headline.capability, headline.metric),
        },
    }


def distillation_document(reader: "Reader", study_id: str) -> dict[str, Any] | None:
    """What the teacher of a study was worth, by size; None where nothing was taught and measured."""
    from engine.analysis.distillation import judge_distillation

    with contextlib.suppress(InputError):
        return judge_distillation(reader, study_id)
    return None


def verdicts(reader: "Reader", study_id: str, capability: str) -> list[dict[str, Any]]:
    """The test of emergence on the study's headline ability, once per variant; none for language modelling."""
    from engine.analysis.abilities import judge_study, variants

    if capability == "language-modelling":
        return []
    finished = [run for run in reader.ladder(study_id) if run.state == RunState.FINISHED]
    found = []
    for variant in variants(finished):
        with contextlib.suppress(InputError):  # nothing was measured on these runs
            document = judge_study(reader, study_id, capability, variant)
            found.append({key: document[key] for key in _VERDICT})
    return found


def study_state(states: Sequence[str]) -> str:
    """One word for a ladder: ``finished`` only where every run is."""
    return next((state for state in _ORDER if state in states), str(RunState.FINISHED))


def final_evaluations(reader: "Reader", study_id: str) -> dict[int, list[Any]]:
    """Run id -> the evaluations of its final model (those without a step)."""
    final: dict[int, list[Any]] = defaultdict(list)
    for row in reader.evaluations(study_id):
        if row.step is None:
            final[row.run_id].append(row)
    return final


def headline_by_size(
    runs: Sequence[Any], evaluations: Mapping[int, Sequence[Any]], capability: str, metric: str
) -> list[list[float | int | None]]:
    """``[n_params, mean, sd]`` over the seeds of each size, ascending; ``sd`` is None for one seed."""
    plain = [run for run in runs if not json.loads(run.variant_json or "{}")]
    return _mean_by_size(plain, evaluations, capability, metric)


def headline_by_variant(
    runs: Sequence[Any], evaluations: Mapping[int, Sequence[Any]], capability: str, metric: str
) -> list[dict[str, Any]]:
    """The same for each combination of what ``ladder.vary`` varies, in the order of the runs; empty without any."""
    by_variant: dict[str, list[Any]] = defaultdict(list)
    for run in runs:
        if json.loads(run.variant_json or "{}"):
            by_variant[run.variant_json].append(run)
    return [
        {"variant": json.loads(variant), "by_size": _mean_by_size(of, evaluations, capability, metric)}
        for variant, of in by_variant.items()
    ]


def _mean_by_size(
    runs: Sequence[Any], evaluations: Mapping[int, Sequence[Any]], capability: str, metric: str
) -> list[list[float | int | None]]:
    values: dict[int, list[float]] = defaultdict(list)
    for run in runs:
        if run.state != RunState.FINISHED:
            continue
        found = [e.value for e in evaluations.get(run.id, ()) if (e.capability, e.metric) == (capability, metric)]
        if not found and (capability, metric) == ("language-modelling", "loss") and run.val_loss is not None:
            found = [run.val_loss]
        values[run.n_params] += found[:1]
    return [
        [n_params, statistics.fmean(of), statistics.stdev(of) if len(of) > 1 else None]
        for n_params, of in sorted(values.items())
        if of
    ]


def finish_study(store: "Store", study_id: str) -> dict[str, Any] | None:
    """What is due when the runs of a ladder are done: its law, and a forecast to lock or to score.

    Returns the law, None where there is too little to fit. Raises ``InputError`` where a forecast cannot be locked.
    """
    from engine.forecasting import settle
    from engine.study_laws import fit_study

    store.writer.flush()
    document = fit_study(store, study_id)
    settle(store, study_id)
    return document


def known_study(reader: "Reader", study_id: str) -> str:
    """The id itself, or the one study it begins or is the name of; raises ``InputError`` else."""
    ids = [row.id for row in reader.studies()]
    if study_id in ids:
        return study_id
    near = [i for i in ids if i.startswith(study_id)]
    if len(near) == 1:
        return near[0]
    raise InputError(
        tr(
            "there is no study {study!r} in this home (there are: {known}).",
            study=study_id,
            known=", ".join(ids) or "-",
        )
    )


def finite(value: Any) -> Any:
    """JSON has no NaN; what is not a number is null."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
