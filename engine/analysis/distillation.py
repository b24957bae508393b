"""What a teacher is worth: each size distilled beside its twins trained alone, over pairs of equal seeds."""

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine.analysis.gains import LEVEL, mean_of, with_interval
from engine.capabilities import higher_is_better
from engine.distilling import FIELD
from engine.errors import InputError
from engine.events import RunState
from engine.i18n import tr
from engine.study import Scalar

if TYPE_CHECKING:
    from engine.store import Reader, RunRow


@dataclass(frozen=True, slots=True)
class Pair:
    """One student and its twin: everything equal but the teacher."""

    size: int
    """Parameters without embeddings."""
    n_params: int
    seed: int
    variant: Mapping[str, Scalar]
    alone: float
    distilled: float


def compare(pairs: Sequence[Pair], higher: bool) -> list[dict[str, Any]]:
    """One row per variant and size, ascending: means, distilled less alone with Student's interval, and a verdict.

    ``verdict`` is ``gain`` or ``loss`` where the interval at ``LEVEL`` leaves out 0, else ``none``; ``seeds`` where
    pairs are fewer than two or all alike and give no interval. Sizes are judged one by one: of twenty that gain
    nothing, one will seem to.
    """
    groups: dict[tuple[str, int], list[Pair]] = defaultdict(list)
    for pair in pairs:
        groups[str(sorted(pair.variant.items())), pair.size].append(pair)
    return [_row(groups[key], 1.0 if higher else -1.0) for key in sorted(groups)]


def _row(of: Sequence[Pair], up: float) -> dict[str, Any]:
    changes = [pair.distilled - pair.alone for pair in of]
    interval = mean_of(changes).interval
    ends = sorted(up * end for end in interval) if interval else None
    verdict = "seeds" if ends is None else "gain" if ends[0] > 0 else "loss" if ends[1] < 0 else "none"
    return {
        "size": of[0].size,
        "n_params": of[0].n_params,
        "variant": dict(of[0].variant),
        "seeds": len(of),
        "alone": statistics.fmean(pair.alone for pair in of),
        "distilled": statistics.fmean(pair.distilled for pair in of),
        "difference": statistics.fmean(changes),
        "interval": interval,
        "verdict": verdict,
    }


def judge_distillation(reader: "Reader", study_id: str, capability: str = "", metric: str = "") -> dict[str, Any]:
    """The comparison of a stored study as one document: ``sizes``, the ``teacher`` (mean of its seeds) and ``words``.

    The metric is the headline's by default.

    Raises:
        InputError: no student and its twin have both finished and been measured.
    """
    headline = reader.study_spec(study_id).headline
    wanted = (capability or headline.capability, metric or headline.metric)
    found = reader.scores(study_id, *wanted)
    rows = [row for row in reader.runs(study_id) if row.state == RunState.FINISHED and row.id in found]
    twins = {_key(row): row for row in rows if row.kind == "pretrain"}
    students = [row for row in rows if row.kind == "distil" and _key(row) in twins]
    if not students:
        raise InputError(
            tr("no distilled model of this study has been measured beside its twin yet."),
            tr("Let its runs finish, or give the study a distillation."),
        )
    pairs = [
        Pair(row.n_params_non_embedding, row.n_params, row.seed, _rest(row), found[twins[_key(row)].id], found[row.id])
        for row in students
    ]
    higher = higher_is_better(*wanted)
    taught_by = {reader.run_spec(row.id).parent for row in students}
    teachers = [found[row.id] for row in rows if row.spec_hash in taught_by]
    document: dict[str, Any] = {
        "capability": wanted[0],
        "metric": wanted[1],
        "higher_is_better": higher,
        "level": LEVEL,
        "teacher": statistics.fmean(teachers) if teachers else None,
        "sizes": compare(pairs, higher),
    }
    return document | {"words": in_words(document)}


def in_words(document: Mapping[str, Any]) -> list[str]:
    """One sentence for each size."""
    verdicts = {
        "gain": tr("the teacher helps"),
        "loss": tr("the teacher does harm"),
        "none": tr("no gain that the seeds can tell"),
        "seeds": tr("too few seeds to tell"),
    }
    return [
        tr(
            "{size:,} parameters{variant}: alone {alone:.4g}, distilled {distilled:.4g}, difference {change} over "
            "{seeds} pairs of seeds: {verdict}.",
            size=row["size"],
            variant="".join(f", {name}={value}" for name, value in row["variant"].items()),
            alone=row["alone"],
            distilled=row["distilled"],
            change=with_interval(row["difference"], row["interval"]),
            seeds=row["seeds"],
            verdict=verdicts[row["verdict"]],
        )
        for row in document["sizes"]
    ]


def _rest(row: "RunRow") -> dict[str, Scalar]:
    return {name: value for name, value in row.variant.items() if name != FIELD}


def _key(row: "RunRow") -> tuple[int, int, str]:
    return row.size_index, row.seed, str(sorted(_rest(row).items()))
