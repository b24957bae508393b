"""What a fine-tuned study found, as numbers with intervals and as sentences. No Qt in here."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.analysis.gains import Mean, gain, mean_of
from engine.capabilities import capabilities, higher_is_better
from engine.events import RunState
from engine.figures.words import metric_name
from engine.i18n import mark, tr
from lab_app import words
from lab_app.modelling.draft import METHODS, tasks

if TYPE_CHECKING:
    from engine.store.rows import EvaluationRow, RunRow

CLASSIFICATION = "classification"
HEADLINE = (CLASSIFICATION, "f1")
COLUMNS = {CLASSIFICATION: ("f1", "accuracy", "precision", "recall", "log_likelihood", "ece")}
"""Metrics of the table where it does not simply show the first of the capability."""
MOST_COLUMNS = 6
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
    headline: tuple[str, str]
    """Capability and metric that the task is judged by."""
    by_seed: dict[int, float]
    """That metric by seed."""

    @property
    def main(self) -> "Score | None":
        """The score that the task is judged by."""
        return self.scores.get(self.headline[1])


def method_of(run: "RunRow") -> str:
    """How much of the base a run trained; empty where it began with none."""
    return str(run.shape.get("method", ""))


def headline_of(runs: "Sequence[RunRow]") -> tuple[str, str]:
    """Capability and metric that the task of these runs is judged by."""
    known = {task.name: task.headline for task in tasks()}
    return next((known[name] for run in runs if (name := str(run.shape.get("task", ""))) in known), HEADLINE)


def columns_of(found: "Sequence[Line]") -> list[str]:
    """Metrics that the table of these lines shows, the headline's first: such as were measured."""
    capability, main = found[0].headline if found else HEADLINE
    known = [metric.name for metric in capabilities[capability].metrics] if capability in capabilities else []
    wanted = COLUMNS.get(capability, (main, *(name for name in known if name != main)))
    return [name for name in wanted if not found or any(name in line.scores for line in found)][:MOST_COLUMNS]


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
    headline = headline_of(runs)
    groups: dict[tuple[int, str], dict[str, list[EvaluationRow]]] = {}
    for row in rows:
        run = finished.get(row.run_id)
        if run is not None and row.capability == headline[0] and row.step is None:
            groups.setdefault((run.size, method_of(run)), {}).setdefault(row.metric, []).append(row)
    order = list(METHODS)
    keys = sorted(groups, key=lambda k: (-k[0], order.index(k[1]) if k[1] in order else len(order)))
    found = []
    for size, method in keys:
        measured = groups[size, method]
        any_run = finished[next(iter(measured.values()))[0].run_id]
        by_seed = {finished[row.run_id].seed: row.value for row in measured.get(headline[1], ())}
        scores = {metric: _score(some) for metric, some in measured.items()}
        found.append(Line(method, size, any_run.n_params, scores, headline, by_seed))
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
        said.append(_gain_sentence(text, gain(main.by_seed, line.by_seed), main.headline))
    return [*said, *_over_base(main)]


OVER = {
    "scratch": mark("What pretraining gave: {gain} {metric} over the same network from scratch{words}."),
    "frozen": mark("What training the whole gave: {gain} {metric} over a new head on the untouched base{words}."),
    "lora": mark("All weights against LoRA: {gain} {metric}{words}."),
}


def _main_sentence(line: Line) -> str:
    score = line.main
    if score is None:
        return ""
    classes = line.headline == HEADLINE
    said = {
        "method": method_words(line.method) or tr("The model"),
        "value": f"{score.mean.value:.3f}",
        "words": interval_words(score),
    }
    text = (
        tr("{method} reaches an F1 of {value} (mean over classes), {words}.", **said)
        if classes
        else tr("{method}: {metric} {value}, {words}.", metric=metric_words(line.headline), **said)
    )
    if score.chance is not None:
        chance = f"{score.chance:.3f}"
        text += " " + (
            tr("Always naming the commonest class scores {chance}.", chance=chance)
            if classes
            else tr("Guessing without looking scores {chance}.", chance=chance)
        )
    return text


def _over_base(line: Line) -> list[str]:
    """What tuning gave over the untouched base, where the capability has measured both."""
    score = line.scores.get("gain")
    if score is None:
        return []
    return [
        tr(
            "Loss below that of the untouched base: {value}, {words}.",
            value=_signed(score.mean.value),
            words=interval_words(score),
        )
    ]


def _gain_sentence(text: str, found: Mean | None, headline: tuple[str, str]) -> str:
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
    if not higher_is_better(*headline):
        extra += tr(" (lower is better)")
    metric = "F1" if headline == HEADLINE else metric_words(headline)
    return tr(text, gain=_signed(found.value), metric=metric, words=extra)


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


def metric_words(metric: tuple[str, str]) -> str:
    """Capability and metric -> the metric's title."""
    return metric_name(*metric)
