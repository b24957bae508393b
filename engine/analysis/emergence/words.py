"""The verdict in a sentence or three, and what is missing, in the language in use."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from engine.analysis.emergence.shape import Shape
from engine.i18n import mark, tr

MISSING: Final = {
    "few-sizes": mark("Sizes: there are {n}, and {least} are the least that can be judged."),
    "rise": mark("A rise: {metric} does not leave the level where it begins by more than its noise."),
    "hidden": mark(
        "More items or an easier threshold: {metric} already moves while {threshold} is still at its floor."
    ),
    "items": mark("Items: scores of {n} items cannot show anything much smaller than one in {n}."),
    "sizes": mark("Sizes between {low} and {high}, where {metric} rises, or more items there."),
    "seeds": mark("Seeds: train {n} or more at the sizes on both sides of the jump."),
    "more-seeds": mark(
        "Seeds: with {n} near the threshold the fraction that learn it is hardly known; {least} are better."
    ),
    "continuous": mark("A continuous metric on the same outputs, to tell whether {metric} makes the jump."),
    "edge": mark("Sizes beyond the jump: at least {n} on each side."),
    "elsewhere": mark("Agreement: the two metrics jump at different sizes."),
    "disagree": mark("Agreement: {sharp} jumps while {smooth} is smooth."),
    "neither": mark("A form that fits: {metric} is neither smooth nor on two plateaus around {low} to {high}."),
}

_SENTENCES: Final = {
    "few-sizes": mark("There are too few sizes to say anything about {main}."),
    "smooth": mark(
        "{main} rises smoothly with {variable}: no break predicts left-out sizes better than a smooth curve."
    ),
    "smooth-both": mark(
        "{main} rises smoothly with {variable}, and so does {beside}: no break predicts left-out sizes better."
    ),
    "sharp": mark(
        "The jump is made by the metric: {main} breaks near {critical}, "
        "but on the same runs {beside} improves smoothly."
    ),
    "late": mark(
        "The sudden start is made by the metric: {beside} improves smoothly and has made {late} of its rise "
        "before {main} has made a tenth of its own."
    ),
    "break": mark(
        "A real break: {main} jumps at {variable} {critical} (within {low} to {high}), in less than one step of the "
        "grid; a smooth curve predicts left-out sizes worse by {gain} nats."
    ),
    "mixed": mark(
        "A real break that depends on the seed: around {variable} {critical} ({low} to {high}) some seeds learn {main} "
        "and some do not, with few between."
    ),
    "flat": mark("Not enough evidence: {main} does not clearly change with {variable}."),
    "sharp-one-metric": mark(
        "Not enough evidence: {main} jumps between {low} and {high}, but it is a threshold metric and is given alone."
    ),
    "one-seed": mark(
        "Not enough evidence: {main} jumps between {low} and {high}, "
        "but with one run a size it may be luck of the seed."
    ),
    "edge": mark("Not enough evidence: {main} jumps between {low} and {high}, at the end of the sizes."),
    "elsewhere": mark("Not enough evidence: {main} and {beside} both jump, but not at the same size."),
    "disagree": mark("Not enough evidence: {beside} jumps while {main} rises smoothly."),
    "neither": mark("Not enough evidence: neither a smooth curve nor a break describes {main}."),
    "undecided": mark("Not enough evidence: a smooth curve and a break describe {main} about equally well."),
}
_BOTH: Final = mark("It is sharp under {beside} too.")
_ALONE: Final = mark("Only {main} was given, so whether the metric makes the jump was not tested.")
_EXPECTED: Final = mark("Exact match expected from the tokens (length {length}) is within {off} of the measured.")
_ONE_SEED: Final = mark("One run a size: what seeds would do is not known.")
_FALLS: Final = mark("(It falls as {variable} grows.)")
_MISSING: Final = mark("Missing: {what}")


def missing(code: str, values: Mapping[str, Any]) -> str:
    """What is missing, as a sentence."""
    shown = {name: number(v) if isinstance(v, float) else v for name, v in values.items()}
    return tr(MISSING[code], **shown)


def sentence(
    reason: str, shape: Shape | None, lacks: Sequence[tuple[str, Mapping[str, Any]]], values: Mapping[str, Any]
) -> str:
    """The verdict in words. ``values`` has the metrics' names, the head start, the variable and the check of p^k."""
    shown = {"main": values["main"], "beside": values["beside"], "variable": values["variable"]}
    if values["late"] is not None:
        shown["late"] = f"{100 * values['late']:.0f}%"
    if shape is not None:
        low, high = shape.critical_interval()
        middle = number(shape.curve.size(shape.critical.middle))
        shown |= {"critical": middle, "low": number(low), "high": number(high)}
        shown["gain"] = f"{shape.comparison.break_gain:.0f}"
    said = [tr(_SENTENCES[reason], **shown)]
    if reason in ("break", "mixed"):
        said.append(tr(_BOTH, **shown) if values["beside"] not in ("", values["main"]) else tr(_ALONE, **shown))
    check = values["check"]
    if reason in ("sharp", "late") and check is not None:
        said.append(tr(_EXPECTED, length=f"{check.length:.3g}", off=f"{check.largest:.2g}"))
    if shape is not None and reason in ("smooth", "smooth-both", "sharp", "late") and shape.curve.n_runs.max() == 1:
        said.append(tr(_ONE_SEED))
    if shape is not None and shape.curve.mirrored and reason != "flat":
        said.append(tr(_FALLS, **shown))
    if reason not in ("break", "mixed", "smooth", "smooth-both", "sharp", "late") and lacks:
        said.append(tr(_MISSING, what=missing(*lacks[-1] if reason == "one-seed" else lacks[0])))
    return " ".join(said)


def number(value: float) -> str:
    """A size as people write it: thousands in full, more in powers of ten."""
    if 1000 <= abs(value) < 1e7:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.3g}"
