"""The verdict on one capability: smooth, a break, made by the metric, or not enough evidence and what is missing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

import numpy as np

from engine.analysis.arrays import Floats
from engine.analysis.emergence import words
from engine.analysis.emergence.curve import Curve, Kind
from engine.analysis.emergence.data import Observations, curves, observations
from engine.analysis.emergence.metric_effect import LATE, ExactMatchCheck, exact_match_check, head_start
from engine.analysis.emergence.shape import BREAK, FEWEST_SIZES, RISE, SMOOTH, UNEXPLAINED, Shape, shape_of
from engine.errors import InputError
from engine.i18n import tr

Verdict = Literal["smooth", "break", "metric", "insufficient"]

FEWEST_SEEDS: Final = 2
"""Seeds on each side of a break before it is claimed: one run of a size may be of the lucky kind."""
GOOD_SEEDS: Final = 5
"""Seeds near a break from which the fraction that learn it can be read."""


@dataclass
class Finding:
    """What was decided, why, and what is missing (codes of ``words.MISSING`` with their values)."""

    verdict: Verdict
    reason: str
    missing: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    head_start: float | None = None


def judge(
    size: Sequence[float] | Floats,
    score: Sequence[float] | Floats,
    n: Sequence[float] | Floats | float | None = None,
    metric: Sequence[str] | str | None = None,
    seed: Sequence[float] | Floats | None = None,
    *,
    continuous: str | None = None,
    kinds: Mapping[str, Kind] | None = None,
    length: float | None = None,
    chance: float | None = None,
    ceiling: float | None = None,
    level: float = 0.9,
    variable: str = "size",
    titles: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The document of ``emergence`` for one value per run and metric (equally long columns).

    ``size`` is parameters, tokens, compute or loss, positive; ``n`` items behind each score; ``seed`` tells runs of
    one size apart (without it every row is a run). ``continuous`` names the continuous metric, ``kinds`` any
    metric's kind; both are else guessed from names. ``length`` is the number of tokens an exact match needs.
    ``chance`` and ``ceiling`` bound the scores of metrics that are not continuous. ``level`` is 0.68, 0.9, 0.95 or
    0.99. ``titles`` are what the words call metrics, their names by default. Raises ``InputError`` for values that
    cannot be used.
    """
    table = observations(size, score, n, metric, seed, variable)
    return judge_table(
        table,
        continuous=continuous,
        kinds=kinds,
        length=length,
        chance=chance,
        ceiling=ceiling,
        level=level,
        titles=titles,
    )


def judge_table(
    table: Observations,
    *,
    continuous: str | None = None,
    kinds: Mapping[str, Kind] | None = None,
    length: float | None = None,
    chance: float | None = None,
    ceiling: float | None = None,
    level: float = 0.9,
    titles: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """As ``judge``, for columns already checked."""
    _check(chance, ceiling, length)
    known: dict[str, Kind] = dict(kinds or {})
    if continuous is not None:
        if continuous not in table.metrics:
            raise InputError(
                tr("There is no metric {name!r} (there are: {known}).", name=continuous, known=", ".join(table.metrics))
            )
        known[continuous] = "continuous"
    everywhere = dict.fromkeys(table.metrics, chance) if chance is not None else {}
    tops = dict.fromkeys(table.metrics, ceiling) if ceiling is not None else {}
    found = curves(
        table,
        known,
        {k: v for k, v in everywhere.items() if v is not None},
        {k: v for k, v in tops.items() if v is not None},
    )
    if length is not None and length > 1:
        found = {k: _as_threshold(c, k in known) for k, c in found.items()}
    shapes = {name: shape_of(curve, length, level) for name, curve in found.items()}
    main = _first(found, lambda c: c.kind != "continuous")
    beside = continuous or _first(found, lambda c: c.kind == "continuous")
    finding = decide(found[main or beside or ""], shapes.get(main or ""), shapes.get(beside or ""))
    check = exact_match_check(found[main], found[beside], length) if main and beside else None
    return _document(table, shapes, main, beside, finding, check, level, titles or {})


def _check(chance: float | None, ceiling: float | None, length: float | None) -> None:
    low, high = 0.0 if chance is None else chance, 1.0 if ceiling is None else ceiling
    if not 0 <= low < high <= 1:
        raise InputError(tr("Chance {low:g} and ceiling {high:g} must rise within 0 to 1.", low=low, high=high))
    if length is not None and not 1 <= length < np.inf:
        raise InputError(tr("The length {length:g} must be 1 or more.", length=length))


def _as_threshold(curve: Curve, told: bool) -> Curve:
    """With a length given, a metric of unknown kind needs that many tokens right: a threshold."""
    return replace(curve, kind="threshold") if curve.kind == "unknown" and not told else curve


def _first(found: Mapping[str, Curve], wanted: Any) -> str | None:
    return next((name for name, curve in found.items() if wanted(curve)), None)


def decide(curve: Curve, main: Shape | None, beside: Shape | None) -> Finding:
    """The rule, on the shape under the main metric (threshold or of unknown kind) and under the continuous one.

    ``curve`` is that of the main metric (or of the continuous one if it is alone), for what is missing.
    """
    shape = main or beside
    if shape is None:
        return Finding("insufficient", "few-sizes", [("few-sizes", {"n": curve.n_sizes, "least": FEWEST_SIZES})])
    if main is None or beside is None:
        return _alone(shape)
    late = head_start(main.comparison, beside.comparison)
    if "flat" in (main.name, beside.name):
        return _flat(main, beside)
    if beside.name == "smooth":
        return _smooth_underneath(main, late)
    if beside.name == "sharp" and main.name == "sharp":
        return _sharp(main, beside)
    if beside.name == "sharp" and main.name == "smooth":
        names = {"sharp": beside.curve.metric, "smooth": main.curve.metric}
        return Finding("insufficient", "disagree", [("disagree", names)], late)
    return _undecided(beside if beside.name != "sharp" else main)


def _alone(shape: Shape) -> Finding:
    """One metric: smooth under a threshold is smooth; sharp under one may be the metric's doing."""
    if shape.name == "flat":
        return _flat(shape, None)
    if shape.name == "smooth":
        return Finding("smooth", "smooth")
    if shape.name != "sharp":
        return _undecided(shape)
    if shape.curve.kind == "threshold" and not shape.seeds.mixed:
        return Finding("insufficient", "sharp-one-metric", [("continuous", {"metric": shape.curve.metric})])
    return _sharp(shape, None)


def _flat(main: Shape, beside: Shape | None) -> Finding:
    flat = main if main.name == "flat" or beside is None else beside
    missing: list[tuple[str, dict[str, Any]]] = [("rise", {"metric": flat.curve.metric})]
    if main.name == "flat" and beside is not None and beside.name != "flat":
        missing.append(("hidden", {"metric": beside.curve.metric, "threshold": main.curve.metric}))
    if flat.curve.noise == "binomial":
        missing.append(("items", {"n": int(np.median(flat.curve.n[flat.curve.runs]))}))
    return Finding("insufficient", "flat", missing)


def _smooth_underneath(main: Shape, late: float | None) -> Finding:
    """The continuous metric is smooth: no break, and the question is whether the threshold metric makes one."""
    starts_late = late is not None and late >= LATE
    if main.name == "sharp" or starts_late:
        return Finding("metric", "sharp" if main.name == "sharp" else "late", head_start=late)
    if main.name == "smooth":
        return Finding("smooth", "smooth-both", head_start=late)
    found = _undecided(main)
    found.head_start = late
    return found


def _sharp(main: Shape, beside: Shape | None) -> Finding:
    """Sharp under all metrics given: a break, if it is within the sizes, at one place and seen with seeds."""
    if beside is not None and not _overlap(main, beside):
        return Finding("insufficient", "elsewhere", [("elsewhere", {})])
    if main.at_edge:
        return Finding("insufficient", "edge", [("edge", {"n": 2})])
    if main.seeds_near < FEWEST_SEEDS:
        return Finding("insufficient", "one-seed", [("seeds", {"n": GOOD_SEEDS})])
    missing: list[tuple[str, dict[str, Any]]] = []
    if main.seeds_near < GOOD_SEEDS:
        missing.append(("more-seeds", {"n": main.seeds_near, "least": GOOD_SEEDS}))
    if beside is None:
        missing.append(("continuous", {"metric": main.curve.metric}))
    return Finding("break", "mixed" if main.seeds.mixed else "break", missing)


def _overlap(main: Shape, beside: Shape) -> bool:
    """Whether both break at one place: intervals meet, within the gap of the grid that holds them."""
    a, b = main.critical, beside.critical
    room = float(main.curve.spacing_at(np.array([a.middle]))[0])
    return a.low - room / 2 <= b.high and b.low <= a.high + room / 2


def _undecided(shape: Shape) -> Finding:
    low, high = shape.critical_interval()
    values = {"metric": shape.curve.metric, "low": low, "high": high}
    if shape.name == "neither":
        return Finding("insufficient", "neither", [("neither", values)])
    missing: list[tuple[str, dict[str, Any]]] = [("sizes", values)]
    if shape.seeds_near < GOOD_SEEDS:
        missing.append(("seeds", {"n": GOOD_SEEDS}))
    return Finding("insufficient", "undecided", missing)


def _document(
    table: Observations,
    shapes: Mapping[str, Shape | None],
    main: str | None,
    beside: str | None,
    finding: Finding,
    check: ExactMatchCheck | None,
    level: float,
    titles: Mapping[str, str],
) -> dict[str, Any]:
    shape = shapes.get(main or "") or shapes.get(beside or "")
    broken = finding.verdict == "break" and shape is not None
    evidence: dict[str, Any] = {
        "reason": finding.reason,
        "break_gain": shape.comparison.break_gain if shape else None,
        "rise_gain": shape.comparison.rise_gain if shape else None,
        "needed": {"break": BREAK, "smooth": SMOOTH, "rise": RISE, "unexplained": UNEXPLAINED, "head_start": LATE},
        "threshold_metric": main,
        "continuous_metric": beside,
        "head_start": finding.head_start,
        "exact_match": check.to_document() if check else None,
        "seeds_near": shape.seeds_near if shape else None,
        "seeds_mixed": shape.seeds.mixed if shape else False,
        "seeds_log_ratio": shape.seeds.log_ratio if shape else None,
        "seeds_bimodality": shape.seeds.bimodality if shape else None,
        "falls_with_size": bool(shape and shape.curve.mirrored),
    }
    named = _titled({"main": main or beside, "beside": beside or ""}, titles) | {"variable": table.variable}
    missing = [(code, _titled(values, titles)) for code, values in finding.missing]
    named |= {"late": finding.head_start, "check": check}
    critical = shape.curve.size(shape.critical.middle) if broken and shape else None
    interval = shape.critical_interval() if broken and shape else None
    return {
        "verdict": finding.verdict,
        "critical_size": critical,
        "interval": interval,
        "level": level,
        "variable": table.variable,
        "sharpness": shape.sharpness_document() if shape else None,
        "seeds": shape.seeds.rows if shape else [],
        "seeds_mixed": broken and shape is not None and shape.seeds.mixed,
        "evidence": evidence,
        "metrics": [s.to_document() for s in shapes.values() if s is not None],
        "missing": [{"what": code, "words": words.missing(code, values)} for code, values in missing],
        "words": words.sentence(finding.reason, shape, missing, named),
    }


def _titled(values: Mapping[str, Any], titles: Mapping[str, str]) -> dict[str, Any]:
    """Names of metrics as their titles."""
    return {key: titles.get(value, value) if isinstance(value, str) else value for key, value in values.items()}
