"""Where a varied setting is best at each size: the parabola in its logarithm, and how far the best one wanders."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.analysis.arrays import Floats, as_floats
from engine.i18n import tr

FEWEST_VALUES = 3


@dataclass(frozen=True, slots=True)
class Trial:
    """One run of a sweep: ``n_params`` without embeddings, the varied value, and the loss it reached."""

    n_params: int
    value: float
    loss: float


def sweep_document(field: str, trials: Sequence[Trial], variant: dict[str, Any]) -> dict[str, Any] | None:
    """Best value by size for one combination of everything else; None with under three values at any size.

    ``drift`` is the slope of ln(best value) against ln N: 0 where one value is best for all sizes. ``regret`` is what
    the value that is best at the smallest size costs at each size, in the unit of the loss.
    """
    sizes = sorted({trial.n_params for trial in trials})
    means = {size: _means([t for t in trials if t.n_params == size]) for size in sizes}
    if any(len(values) < FEWEST_VALUES for values, _, _ in means.values()):
        return None
    rows = [_best(size, *means[size]) for size in sizes]
    first = rows[0]["best"]
    for row, size in zip(rows, sizes, strict=True):
        values, losses, _ = means[size]
        row["regret"] = float(np.interp(math.log(first), np.log(values), losses) - row["loss"])
    drift = None
    if len(rows) > 1:
        x, y = np.log(as_floats(sizes)), np.log(as_floats([row["best"] for row in rows]))
        drift = float(np.polyfit(x, y, 1)[0])
    return {
        "field": field,
        "variant": variant,
        "by_size": rows,
        "drift": drift,
        "factor": max(row["best"] for row in rows) / min(row["best"] for row in rows),
        "warnings": _warnings(rows),
    }


def _means(trials: Sequence[Trial]) -> tuple[Floats, Floats, Floats]:
    """Values ascending, the mean loss at each, and its standard deviation over seeds (0 for one)."""
    values = sorted({trial.value for trial in trials})
    of = [[t.loss for t in trials if t.value == value] for value in values]
    spread = [float(np.std(losses, ddof=1)) if len(losses) > 1 else 0.0 for losses in of]
    return as_floats(values), as_floats([np.mean(losses) for losses in of]), as_floats(spread)


def _best(size: int, values: Floats, losses: Floats, spread: Floats) -> dict[str, Any]:
    """The lowest of the parabola through the lowest value and its neighbours, in ln(value)."""
    at = int(losses.argmin())
    edge = at in (0, len(values) - 1)
    best, loss = float(values[at]), float(losses[at])
    if not edge:
        x, y = np.log(values[at - 1 : at + 2]), losses[at - 1 : at + 2]
        a, b, c = np.polyfit(x, y, 2)
        if a > 0:
            best, loss = float(np.exp(-b / (2 * a))), float(c - b * b / (4 * a))
    return {
        "n_params_non_embedding": size,
        "best": best,
        "loss": loss,
        "edge": edge,
        "values": values.tolist(),
        "losses": losses.tolist(),
        "sd": spread.tolist(),
    }


def _warnings(rows: Sequence[dict[str, Any]]) -> list[str]:
    return [
        tr(
            "At {size:,} parameters the best value is at the edge of those tried; the true one may lie beyond.",
            size=row["n_params_non_embedding"],
        )
        for row in rows
        if row["edge"]
    ]
