"""What compression costs and buys: every compressed model beside what it was made from, and large ones beside small.

A comparison of a large compressed model with a small whole one is Welch's over seeds, each at its own level.
"""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from engine.analysis.gains import LEVEL, difference, mean_of, with_interval
from engine.capabilities import higher_is_better
from engine.errors import InputError
from engine.events import RunState
from engine.i18n import mark, tr
from engine.study import RunSpec

if TYPE_CHECKING:
    from engine.store import Reader, RunRow

COST = "cost"
Price = Literal["bytes", "memory", "latency", "latency_batch"]
PRICES: Mapping[str, str] = {
    "bytes": mark("Size of the file (bytes)"),
    "memory": mark("Memory of the weights (bytes)"),
    "latency": mark("Time of one sample (ms)"),
    "latency_batch": mark("Time of 32 samples (ms)"),
}
"""What a model is paid for in, as an axis calls it."""
RATIOS = ("smaller", "faster", "faster_batch")
TIMES = {"latency": "faster", "latency_batch": "faster_batch"}
"""Prices that are times, and the ratio that was measured in turns."""
WHOLE, DISTILLED = "", "distil"
_METHODS = {
    WHOLE: mark("uncompressed"),
    DISTILLED: mark("distilled"),
    "prune-unstructured": mark("single weights pruned, {percent:g}%"),
    "prune-structured": mark("units pruned, {percent:g}%"),
    "int8-dynamic": mark("8 bits, activations too"),
    "int8-weights": mark("8-bit weights"),
    "int4-weights": mark("4-bit weights"),
}


@dataclass(frozen=True, slots=True)
class Measured:
    """One model: its score and its price. ``way`` is empty for a whole one, else what was done to it."""

    run_id: int
    way: str
    size: int
    """Parameters without embeddings of the whole model."""
    seed: int
    score: float
    price: Mapping[str, float]
    ratios: Mapping[str, float] = field(default_factory=dict)
    """Times smaller and as fast as what it was made from, by ``RATIOS``; empty for a whole one."""
    before: "Measured | None" = None


@dataclass(frozen=True, slots=True)
class Group:
    """The seeds of one way and size."""

    way: str
    size: int
    models: tuple[Measured, ...]

    @property
    def score(self) -> float:
        """Mean over seeds."""
        return statistics.fmean(model.score for model in self.models)

    def price(self, name: str) -> float:
        """Median over seeds: while one was timed the machine may have been busy with something else."""
        return statistics.median(model.price[name] for model in self.models)

    @property
    def interval(self) -> tuple[float, float] | None:
        """Of the mean score over seeds; None where they do not tell."""
        return mean_of([model.score for model in self.models]).interval


def way_words(way: str) -> str:
    """What is done to a model, in the language in use; ``way`` as ``Measured`` has it."""
    method, _, amount = way.partition(" ")
    said = _METHODS.get(method)
    if said is None:
        return way
    amounts = amount.split(" ")
    percent = 100 * float(amounts[0]) if amounts[0] else 0.0
    rest = [tr("at once") if word == "schedule=one-shot" else word for word in amounts[1:]]
    return ", ".join([tr(said, percent=percent), *rest])


def measured(reader: "Reader", study_id: str, capability: str, metric: str) -> list[Measured]:
    """Whole, compressed and distilled models of a study with their score and price.

    Raises:
        InputError: no model of the study was compressed and measured yet.
    """
    found: list[Measured] = []
    scores = _Scores(reader, capability, metric)
    costs = _costs(reader, study_id)
    before: dict[int, list[Measured]] = defaultdict(list)
    for run in reader.runs(study_id):
        score = scores.of(run)
        price = costs.get(run.id, {})
        if run.state != RunState.FINISHED or score is None or not PRICES.keys() <= price.keys():
            continue
        if run.kind == "teacher":  # of another recipe than the ladder's
            continue
        if run.kind != "compress":
            way = DISTILLED if run.kind == "distil" else WHOLE
            found.append(Measured(run.id, way, run.n_params_non_embedding, run.seed, score, _paid(price)))
            continue
        parent = _parent(reader, run, scores, price)
        if parent is not None:
            before[parent.run_id].append(parent)
            way = _way(reader.run_spec(run.id))
            ratios = {name: price[name] for name in RATIOS}
            found.append(Measured(run.id, way, parent.size, run.seed, score, _paid(price), ratios, parent))
    typical = {run_id: _typical(of) for run_id, of in before.items()}
    alone = {model.run_id for model in found}
    whole = [model for run_id, model in typical.items() if run_id not in alone]
    if not before:
        raise InputError(
            tr("no compressed model of this study has been measured yet."),
            tr("Compress its runs, or wait for the first of them."),
        )
    return [*whole, *(_paired(model, typical) for model in found)]


def groups(models: Iterable[Measured]) -> list[Group]:
    """Seeds together: whole models first, then way by way, sizes ascending."""
    by: dict[tuple[str, int], list[Measured]] = defaultdict(list)
    for model in models:
        by[model.way, model.size].append(model)
    ways = list(dict.fromkeys(way for way, _ in by))
    ordered = sorted(by, key=lambda key: (key[0] != WHOLE, ways.index(key[0]), key[1]))
    return [Group(way, size, tuple(by[way, size])) for way, size in ordered]


def judge(models: Iterable[Measured], capability: str, metric: str) -> dict[str, Any]:
    """The whole answer as one document: ``ways``, ``beside`` (large against small, per price) and ``words``.

    ``models`` are those of ``measured``, scored by this metric.
    """
    found = groups(models)
    up = 1.0 if higher_is_better(capability, metric) else -1.0
    document: dict[str, Any] = {
        "capability": capability,
        "metric": metric,
        "higher_is_better": up > 0,
        "level": LEVEL,
        "ways": [_change(group) for group in found if group.models[0].before is not None],
        "beside": {price: _beside(found, price, up) for price in ("bytes", "latency", "latency_batch")},
    }
    return document | {"words": _words(document)}


def _costs(reader: "Reader", study_id: str) -> dict[int, dict[str, float]]:
    found: dict[int, dict[str, float]] = defaultdict(dict)
    for row in reader.evaluations(study_id, final_only=True):
        if row.capability == COST:
            found[row.run_id][row.metric] = row.value
    return found


class _Scores:
    """Scores by one metric, also of runs of other studies, each study read once."""

    def __init__(self, reader: "Reader", capability: str, metric: str) -> None:
        self._reader, self._metric = reader, (capability, metric)
        self._known: dict[str, dict[int, float]] = {}

    def of(self, run: "RunRow") -> float | None:
        """That of a run; None where it was not measured."""
        if run.study_id not in self._known:
            self._known[run.study_id] = self._reader.scores(run.study_id, *self._metric)
        return self._known[run.study_id].get(run.id)


def _parent(reader: "Reader", run: "RunRow", scores: _Scores, price: Mapping[str, float]) -> Measured | None:
    """The whole model of a compressed run, priced as it was beside it."""
    digest = reader.run_spec(run.id).parent
    row = reader.run_of_hash(digest, run.study_id) if isinstance(digest, str) else None
    score = scores.of(row) if row is not None else None
    if row is None or score is None:
        return None
    paid = {name: price[f"parent_{name}"] for name in PRICES}
    way = DISTILLED if row.kind == "distil" else WHOLE
    return Measured(row.id, way, row.n_params_non_embedding, row.seed, score, paid)


def _typical(seen: Sequence[Measured]) -> Measured:
    """One whole model from how it was priced beside each of its children: the median."""
    price = {name: statistics.median(model.price[name] for model in seen) for name in PRICES}
    first = seen[0]
    return Measured(first.run_id, first.way, first.size, first.seed, first.score, price)


def _paired(model: Measured, typical: Mapping[int, Measured]) -> Measured:
    """Its times as what they were beside its parent's make of the parent's usual ones.

    Runs are timed at different moments, of which some are busier: only what was timed in turns can be compared.
    """
    if model.before is None:
        return model
    before = typical[model.before.run_id]
    times = {name: before.price[name] / model.ratios[ratio] for name, ratio in TIMES.items()}
    return replace(model, price={**model.price, **times}, before=before)


def _way(spec: RunSpec) -> str:
    """Method, amount and what else the run varies."""
    varied = dict(spec.variant)
    first = [str(varied.pop(f"compression.{name}", "")) for name in ("method", "amount")]
    return " ".join([*first, *(f"{name.rpartition('.')[2]}={value}" for name, value in varied.items())]).rstrip()


def _paid(price: Mapping[str, float]) -> dict[str, float]:
    return {name: price[name] for name in PRICES}


def _change(group: Group) -> dict[str, Any]:
    """What one way did to one size: paired with its parents, seed by seed."""
    changes = [model.score - model.before.score for model in group.models if model.before is not None]
    return {
        "way": group.way,
        "size": group.size,
        "seeds": len(changes),
        "score": group.score,
        "change": statistics.fmean(changes),
        "interval": mean_of(changes).interval,
        **{name: group.price(name) for name in PRICES},
        **{name: statistics.median(model.ratios[name] for model in group.models) for name in RATIOS},
    }


def _beside(found: Sequence[Group], price: str, up: float) -> list[dict[str, Any]]:
    """Every compressed or distilled model beside every smaller whole one that is no cheaper."""
    whole = [group for group in found if group.way == WHOLE]
    compared = []
    for group in found:
        for small in whole if group.way != WHOLE else ():
            if small.size >= group.size or group.price(price) > small.price(price):
                continue
            away, interval = difference([m.score for m in group.models], [m.score for m in small.models])
            ends = sorted(up * end for end in interval) if interval else None
            verdict = "open" if ends is None or ends[0] <= 0 <= ends[1] else "better" if ends[0] > 0 else "worse"
            compared.append(
                {
                    "way": group.way,
                    "size": group.size,
                    "price": group.price(price),
                    "score": group.score,
                    "small_size": small.size,
                    "small_price": small.price(price),
                    "small_score": small.score,
                    "difference": away,
                    "interval": interval,
                    "verdict": verdict,
                    "gain": ends[0] if ends else up * away,
                }
            )
    return compared


def _words(document: Mapping[str, Any]) -> list[str]:
    """Sentences: where a large model made small beats a small one, by bytes and by time; then what each way did."""
    said = [_way_sentence(way, of) for way, of in _by_way(document["ways"]).items()]
    names = {"bytes": tr("bytes"), "latency": tr("time of one sample"), "latency_batch": tr("time of 32 samples")}
    return [_beside_sentence(names[price], rows) for price, rows in document["beside"].items()] + said


def _by_way(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    found: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        found[row["way"]].append(row)
    return found


def _way_sentence(way: str, rows: Sequence[Mapping[str, Any]]) -> str:
    largest = rows[-1]
    spread = largest["interval"]
    return tr(
        "{way}: {smaller} times smaller on the disk, {faster} times as fast; the score changes by {low:+.3g} to "
        "{high:+.3g} over the sizes, at {size:,} parameters by {change}.",
        way=way_words(way),
        smaller=_range([row["smaller"] for row in rows]),
        faster=_range([row["faster"] for row in rows]),
        low=min(row["change"] for row in rows),
        high=max(row["change"] for row in rows),
        size=largest["size"],
        change=with_interval(largest["change"], spread),
    )


def _beside_sentence(price: str, rows: Sequence[Mapping[str, Any]]) -> str:
    better = [row for row in rows if row["verdict"] == "better"]
    worse = sum(row["verdict"] == "worse" for row in rows)
    if not rows:
        return tr("By {price}: no compressed model is as cheap as a smaller whole one.", price=price)
    if not better:
        return tr(
            "By {price}: in none of {n} comparisons does a compressed large model beat a whole small one that costs "
            "no less; in {worse} it is worse, in the others the seeds do not tell.",
            price=price,
            n=len(rows),
            worse=worse,
        )
    best = max(better, key=lambda row: row["gain"])
    return tr(
        "By {price}: in {better} of {n} comparisons a compressed large model beats a whole small one that costs no "
        "less, in {worse} it is worse. Most plainly {way} of {size:,} parameters ({cost}, score {score:.3g}) "
        "against {small:,} whole ({small_cost}, {small_score:.3g}): {change}.",
        price=price,
        better=len(better),
        n=len(rows),
        worse=worse,
        way=way_words(best["way"]),
        size=best["size"],
        cost=_plain(best["price"]),
        score=best["score"],
        small=best["small_size"],
        small_cost=_plain(best["small_price"]),
        small_score=best["small_score"],
        change=with_interval(best["difference"], best["interval"]),
    )


def _plain(price: float) -> str:
    """Bytes as whole numbers, milliseconds to three digits."""
    return f"{price:,.0f}" if price >= 1_000 else f"{price:.3g}"


def _range(values: Sequence[float]) -> str:
    low, high = f"{min(values):.2f}", f"{max(values):.2f}"
    return low if low == high else f"{low}–{high}"
