"""Curves over steps under the names that this program draws, and the final numbers at their ends."""

import re
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from engine.importing.found import LANGUAGE_MODELLING, Curve, FoundRun, Measured

VALIDATION = frozenset({"val", "valid", "validation", "eval", "evaluation", "test", "dev", "heldout"})
TRAINING = frozenset({"train", "training"})
_LOSS = frozenset({"loss", "nll"})
_FILLING = frozenset({"epoch", "step", "total", "lm", "cross", "entropy", "ce", "avg", "mean", "batch", "iteration"})
_NAMED = {
    "lr": ({"lr"}, {"learning", "rate"}),
    "grad_norm": ({"grad", "norm"}, {"gradient", "norm"}, {"gradnorm"}),
    "tokens_per_second": ({"tokens", "per", "second"}, {"tokens", "per", "sec"}, {"tokens", "s"}),
}
_NOT_SCORES = frozenset({"runtime", "second", "time", "epoch", "step", "steps"})
NOT_FINAL = ("train/loss", "lr", "grad_norm", "tokens_per_second")


def canonical(tag: str) -> str:
    """The name under which the program draws a tag: ``train/loss``, ``val/loss``, ``lr``, ...; else the tag itself."""
    words = set(re.split(r"[^a-z0-9]+", tag.lower())) - {""}
    rest = words - _LOSS - _FILLING
    if words & _LOSS:
        if rest and rest <= VALIDATION:
            return "val/loss"
        if rest <= TRAINING:
            return "train/loss"
    for key, spellings in _NAMED.items():
        if any(words - TRAINING == spelling for spelling in spellings):
            return key
    return tag


def final_name(key: str) -> tuple[str, str] | None:
    """Capability and metric of which the end of a curve is the final number; None where it is none."""
    if key in NOT_FINAL:
        return None
    head, _, rest = key.partition("/")
    if key in ("val/loss", "val/bits_per_byte"):
        return LANGUAGE_MODELLING, rest
    if head.lower() in VALIDATION:
        if set(re.split(r"[^a-z0-9]+", rest.lower())) & _NOT_SCORES:
            return None
        capability, _, metric = rest.partition("/")
        return (capability, metric or "score") if capability else None
    return None


def curve(key: str, steps: NDArray[np.float64], values: NDArray[np.float64]) -> Curve | None:
    """Points by step; of several at one step the last stands, and what is not a number is left out."""
    kept = np.isfinite(values) & np.isfinite(steps)
    whole, values = steps[kept].astype(np.int64), values[kept]
    if not len(whole):
        return None
    unique, last = np.unique(whole[::-1], return_index=True)
    return Curve(key, unique, values[::-1][last].astype(np.float64))


def add_curves(
    run: FoundRun,
    series: Iterable[tuple[str, NDArray[np.float64], NDArray[np.float64]]],
    scored: frozenset[str] | None = None,
) -> FoundRun | None:
    """The run with curves (key, steps, values) and its final numbers; None where no point can be used.

    ``scored`` are the keys whose ends are final numbers though their names do not say so; None means all of them.
    """
    curves: dict[str, Curve] = {}
    scores: dict[tuple[str, str], Measured] = {}
    for key, steps, values in series:
        made = curve(key, steps, values)
        if made is None or key in curves:
            continue
        curves[key] = made
        name = final_name(key)
        if name is None and key not in NOT_FINAL and (scored is None or key in scored):
            capability, _, metric = key.partition("/")
            name = (capability, metric or "score")
        value = float(made.values[-1])
        if name is not None and not (name == (LANGUAGE_MODELLING, "loss") and value <= 0):
            scores.setdefault(name, Measured(*name, value))
    return replace(run, curves=tuple(curves.values()), scores=tuple(scores.values())) if curves else None
