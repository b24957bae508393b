"""A study's abilities, judged: what its runs scored, put to the tests of emergence."""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from engine.analysis.emergence import judge
from engine.analysis.emergence.names import kind_of
from engine.capabilities import capabilities
from engine.errors import InputError
from engine.events import RunState
from engine.i18n import tr

if TYPE_CHECKING:
    from engine.analysis.emergence.curve import Kind
    from engine.store import EvaluationRow, Reader, RunRow

OTHER_SPLITS = ("ood_", "train_", "expected_")
"""Metrics of these prefixes are of other items, or of no measurement: they are shown, not judged."""


def judged(metric: str) -> bool:
    """Whether a metric is of all the items: those of single classes (``f1[name]``) are shown, not judged."""
    return not metric.startswith(OTHER_SPLITS) and not metric.endswith("]")


def judged_capabilities(rows: Sequence["EvaluationRow"]) -> list[str]:
    """Capabilities with a metric other than the loss of language modelling, by name."""
    found = {row.capability for row in rows if row.capability != "language-modelling"}
    return sorted(name for name in found if name not in capabilities or capabilities[name].is_ability)


def variants(runs: Sequence["RunRow"]) -> list[str]:
    """The combinations of what the study varies, as JSON, in the order of its runs; ``{}`` is the plain ladder."""
    return list(dict.fromkeys(run.variant_json for run in runs))


def judge_study(
    reader: "Reader", study_id: str, capability: str, variant: str | None = None, convention: str = "non-embedding"
) -> dict[str, Any]:
    """The document of ``emergence`` for one capability of a study's finished runs.

    ``variant`` is one of ``variants``, the first by default. Raises ``InputError`` where nothing was measured.
    """
    runs = {run.id: run for run in reader.ladder(study_id) if run.state == RunState.FINISHED}
    chosen = variant if variant is not None else next(iter(variants(list(runs.values()))), "{}")
    runs = {run_id: run for run_id, run in runs.items() if run.variant_json == chosen}
    rows = [
        row
        for row in reader.evaluations(study_id, final_only=True)
        if row.run_id in runs and row.capability == capability and judged(row.metric)
    ]
    if not rows:
        raise InputError(tr("Nothing of {capability} has been measured yet.", capability=capability))
    rows.sort(key=lambda row: _order(capability, row.metric))
    document = judge(
        [row.n_params if convention == "all" else row.n_params_non_embedding for row in rows],
        [row.value for row in rows],
        [row.n if row.n else float("nan") for row in rows],
        [row.metric for row in rows],
        [row.seed for row in rows],
        kinds=_kinds(capability, rows),
        chance=_chance(rows),
        variable=tr("parameters"),
        titles=_titles(capability),
    )
    return document | {"capability": capability, "variant": json.loads(chosen), "convention": convention}


def _order(capability: str, metric: str) -> int:
    """As the capability lists its metrics; those it does not list last."""
    names = [known.name for known in capabilities[capability].metrics] if capability in capabilities else []
    return names.index(metric) if metric in names else len(names)


def _titles(capability: str) -> dict[str, str]:
    return (
        {known.name: known.words() for known in capabilities[capability].metrics} if capability in capabilities else {}
    )


def _kinds(capability: str, rows: Sequence["EvaluationRow"]) -> Mapping[str, "Kind"]:
    """What the capability says of metrics whose names do not tell."""
    if capability not in capabilities:
        return {}
    if not capabilities[capability].scores_items:  # each is judged as it is: none is the threshold of another
        return dict.fromkeys((row.metric for row in rows), "continuous")
    declared = {known.name: known.kind for known in capabilities[capability].metrics}
    return {
        row.metric: declared[row.metric] for row in rows if row.metric in declared and kind_of(row.metric) == "unknown"
    }


def _chance(rows: Sequence["EvaluationRow"]) -> float | None:
    """The threshold metric's chance level, where it is one number for all runs."""
    found = {row.chance for row in rows if row.chance is not None and kind_of(row.metric) == "threshold"}
    return found.pop() if len(found) == 1 else None
