"""What a fine-tuned study found, as numbers with intervals and as sentences. No Qt in here."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.analysis.gains import Mean, gain, mean_of
from engine.events import RunState
from engine.figures.words import metric_name
from engine.i18n import mark, tr
from lab_app import words
from lab_app.modelling.draft import METHODS

if TYPE_CHECKING:
    from engine.store.rows import EvaluationRow, RunRow

CAPABILITY = "classification"
METRICS = ("accuracy", "precision", "recall", "f1", "micro_f1", "log_likelihood", "brier", "ece")
NORMAL = 1.959964
"""Standard errors on each side of a 95 % interval."""


@dataclass(frozen=True, slots=True)
class Score:
    """A metric of one way of training at one size, over its seeds.

    Where these give no interval it has the one over test items, and says so.
    """

    mean: Mean
    chance: float | None
    over_items: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """One way of training at one size."""

    method: str
    size: int
    n_params: int
    scores: dict[str, Score]
    by_seed: dict[int, float]
    """F1 by seed."""


def method_of(run: "RunRow") -> str:
    """How much of the base a run trained; empty where it began with none."""
    return str(run.shape.get("method", ""))


def method_words(method: str) -> str:
    """It in words."""
    return tr(METHODS[method][0]) if method in METHODS else method


def run_words(run: "RunRow", sizes: int) -> str:
    """A run in a list of its study: method, size where there are several, seed."""
    parts = [method_words(method_of(run))]
    if sizes > 1 or not parts[0]:
        parts.append(words.count(run.n_params))
    return " · ".join(filter(None, (*parts, tr("seed {seed}", seed=run.seed))))


def lines(runs: "Sequence[RunRow]", rows: "Sequence[EvaluationRow]") -> list[Line]:
    """Every way of training at every size, largest first, as far as runs are finished."""
    finished = {run.id: run for run in runs if run.state == RunState.FINISHED}
    groups: dict[tuple[int, str], dict[str, list[EvaluationRow]]] = {}
    for row in rows:
        run = finished.get(row.run_id)
        if run is not None and row.capability == CAPABILITY and row.step is None:
            groups.setdefault((run.size, method_of(run)), {}).setdefault(row.metric, []).append(row)
    order = list(METHODS)
    keys = sorted(groups, key=lambda k: (-k[0], order.index(k[1]) if k[1] in order else len(order)))
    found = []
    for size, method in keys:
        measured = groups[size, method]
        any_run = finished[next(iter(measured.values()))[0].run_id]
        by_seed = {finished[row.run_id].seed: row.value for row in measured.get("f1", ())}
        scores = {metric: _score(some) for metric, some in measured.items()}
        found.append(Line(method, size, any_run.n_params, scores, by_seed))
    return found


def _score(rows: "Sequence[EvaluationRow]") -> Score:
    mean = mean_of([row.value for row in rows])
    if not mean.known and rows[0].stderr is not None:
        half = NORMAL * rows[0].stderr
        return Score(Mean(mean.value, mean.value - half, mean.value + half, mean.n), rows[0].chance, over_items=True)
    return Score(mean, rows[0].chance)


def sentences(found: Sequence[Line]) -> list[str]:
    """What the largest size says: its score against chance, and what pretraining and training gave."""
    if not found:
        return []
    size = found[0].size
    by_method = {line.method: line for line in found if line.size == size}
    main = by_method.get("full") or by_method.get("lora") or found[0]
    said = [_main_sentence(main)]
    for other, text in OVER.items():
        line = by_method.get(other)
        if line is None or line is main:
            continue
        said.append(_gain_sentence(text, gain(main.by_seed, line.by_seed)))
    return said


OVER = {
    "scratch": mark("What pretraining gave: {gain} F1 over the same network from scratch{words}."),
    "frozen": mark("What training the whole gave: {gain} F1 over a new head on the untouched base{words}."),
    "lora": mark("All weights against LoRA: {gain} F1{words}."),
}


def _main_sentence(line: Line) -> str:
    score = line.scores.get("f1")
    if score is None:
        return ""
    text = tr(
        "{method} reaches an F1 of {value} (mean over classes), {words}.",
        method=method_words(line.method) or tr("The model"),
        value=f"{score.mean.value:.3f}",
        words=interval_words(score),
    )
    if score.chance is not None:
        text += " " + tr("Always naming the commonest class scores {chance}.", chance=f"{score.chance:.3f}")
    return text


def _gain_sentence(text: str, found: Mean | None) -> str:
    if found is None:
        return tr("There is no seed that both have finished yet.")
    extra = ""
    if found.known:
        extra = tr(
            " (95% interval {low} to {high}, {n} seeds)", low=_signed(found.low), high=_signed(found.high), n=found.n
        )
        if found.low <= 0 <= found.high:
            extra += tr(", which these seeds cannot tell from nothing")
    elif found.n > 1:
        extra = tr(" (the same with each of {n} seeds: no interval)", n=found.n)
    else:
        extra = tr(" (one seed: no interval)")
    return tr(text, gain=_signed(found.value), words=extra)


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")


def interval_words(score: Score) -> str:
    """Where an interval comes from and what it is."""
    mean = score.mean
    if score.over_items:
        return tr("95% interval {low:.3f} to {high:.3f} over the test items", low=mean.low, high=mean.high)
    return tr("95% interval {low:.3f} to {high:.3f} over {n} seeds", low=mean.low, high=mean.high, n=mean.n)


def cell(line: Line, metric: str) -> str:
    """A score as a cell of the table."""
    score = line.scores.get(metric)
    if score is None:
        return "–"
    mean = score.mean
    return f"{mean.value:.3f}  [{mean.low:.2f}, {mean.high:.2f}]"


def metric_words(metric: str) -> str:
    """The heading of a metric's column."""
    return metric_name(CAPABILITY, metric)
