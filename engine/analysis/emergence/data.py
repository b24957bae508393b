"""From a table of results to curves: runs grouped by metric, size and seed, checked and oriented."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from engine.analysis.arrays import Floats, Ints, as_floats
from engine.analysis.emergence import names
from engine.analysis.emergence.curve import PLATEAU_MARGIN, Curve, Kind, Noise
from engine.errors import InputError
from engine.i18n import tr

SAME_SIZE: Final = 0.01
"""Sizes closer than this share are one size: builders round widths."""
MOST_SIZES: Final = 40
"""More are joined into this many bins of equal length in log size."""
MOST_RUNS: Final = 200
"""More runs of one size than this are thinned evenly."""
MOST_ITEMS: Final = 1e5
"""More items of a run than this count as this many: beyond it runs differ by far more than their items' noise."""
UNNAMED: Final = "score"


@dataclass(frozen=True, eq=False)
class Observations:
    """One capability, one value per run and metric: equally long columns. ``n`` is NaN and ``seed`` None if unknown."""

    size: Floats
    score: Floats
    n: Floats
    metric: Any
    seed: Floats | None
    variable: str = "size"

    @property
    def metrics(self) -> list[str]:
        """Names, in the order they first appear."""
        return list(dict.fromkeys(self.metric.tolist()))


def observations(
    size: Sequence[float] | Floats,
    score: Sequence[float] | Floats,
    n: Sequence[float] | Floats | float | None = None,
    metric: Sequence[str] | str | None = None,
    seed: Sequence[float] | Floats | None = None,
    variable: str = "size",
    rows: Ints | None = None,
) -> Observations:
    """Check the columns and put them together.

    ``rows`` are the numbers of the rows in the file they come from, 1, 2, 3 by default. Raises ``InputError`` naming
    the row at fault.
    """
    x, y = as_floats(size), as_floats(score)
    if not len(x):
        raise InputError(tr("There are no rows to judge."))
    items = np.full(len(x), np.nan) if n is None else as_floats(np.broadcast_to(as_floats(n), x.shape))
    labels = np.array([metric or UNNAMED] * len(x) if metric is None or isinstance(metric, str) else metric, object)
    runs = None if seed is None else as_floats(seed)
    at = np.arange(1, len(x) + 1) if rows is None else rows
    _refuse(~(np.isfinite(x) & (x > 0)), variable, x, at, tr("Sizes are put on a logarithmic axis."))
    _refuse(~np.isfinite(y), "score", y, at, tr("Leave the row out, or write the score."))
    _refuse(np.isinf(items) | (items < 1), "n", items, at, tr("n is how many items the score is a mean of."))
    if runs is not None and np.isnan(runs).all():
        runs = None
    return Observations(x, y, items, labels, runs, variable)


def _refuse(bad: Any, column: str, values: Floats, rows: Any, remedy: str) -> None:
    if bad.any():
        first = int(bad.argmax())
        raise InputError(
            tr(
                "Row {row}, column {column}: {value:g} cannot be used.",
                row=int(rows[first]),
                column=column,
                value=float(values[first]),
            ),
            remedy,
        )


def curves(
    table: Observations,
    kinds: Mapping[str, Kind] | None = None,
    chance: Mapping[str, float] | None = None,
    ceiling: Mapping[str, float] | None = None,
) -> dict[str, Curve]:
    """One curve per metric, all on the same orientation of the size axis.

    Kinds that are not given are guessed from the names. A score that is better when lower is turned round. If the
    ability then falls with size under the first metric, the size axis of all is turned round.
    """
    kinds, found = kinds or {}, {}
    for name in table.metrics:
        of = table.metric == name
        kind = kinds.get(name, names.kind_of(name))
        found[name] = _curve(table, name, kind, of)
    main = next((c for c in found.values() if c.kind != "continuous"), next(iter(found.values())))
    mirrored = main.n_sizes > 1 and rising(main) < 0 and not (main.kind == "continuous")
    for name, curve in found.items():
        turned = curve.mirror() if mirrored else curve
        if turned.kind == "continuous" and turned.n_sizes > 1 and rising(turned) < 0:
            turned = _upside_down(turned)
        level = None if chance is None else chance.get(name)
        top = None if ceiling is None else ceiling.get(name)
        found[name] = _bounded(turned, level, top)
    return found


def rising(curve: Curve) -> float:
    """The covariance of the sizes' ranks with their means: its sign is the direction of the ability."""
    rank = np.arange(curve.n_sizes) - (curve.n_sizes - 1) / 2
    return float((rank * curve.mean).sum())


def _curve(table: Observations, name: str, kind: Kind, of: Any) -> Curve:
    x, y, n = np.log10(table.size[of]), table.score[of], table.n[of]
    group, centres = _groups(x)
    seed = np.arange(len(x), dtype=np.float64) if table.seed is None else table.seed[of]
    if np.isnan(n).all() and len(x) > 2 * len(centres) and np.isin(y, (0.0, 1.0)).all():
        # Right or wrong, one row an item: without seeds, all items of a size are of one run.
        n = np.ones(len(x))
        seed = np.zeros(len(x)) if table.seed is None else seed
    y, n, group = _same_run(y, n, group, seed)
    padded_y, padded_n, runs = _padded(y, n, group, len(centres))
    known = bool(np.isfinite(n).all())
    share = bool((y >= 0).all() and (y <= 1).all())
    if kind == "threshold" and not share:
        raise InputError(
            tr("The scores of {metric} do not lie between 0 and 1.", metric=name),
            tr("Divide percentages by 100."),
        )
    noise: Noise = "binomial" if known and share and names.counts_items(name) else "gaussian"
    curve = Curve(name, kind, noise, centres, padded_y, np.minimum(padded_n, MOST_ITEMS), runs)
    if names.falls_with_ability(name):
        curve = _upside_down(curve)
    if noise == "gaussian":
        low, high = float(curve.mean.min()), float(curve.mean.max())
        scale = high - low if high > low else max(abs(high), 1.0)
        return replace(
            curve, y=(curve.y - low) / scale, shift=curve.shift + curve.scale * low, scale=curve.scale * scale
        )
    return curve


def _upside_down(curve: Curve) -> Curve:
    """The same curve with 1 - y for y: up is down."""
    return replace(curve, y=1 - curve.y, shift=curve.shift + curve.scale, scale=-curve.scale)


def _bounded(curve: Curve, chance: float | None, ceiling: float | None) -> Curve:
    """Asymptotes kept within chance and ceiling, unless the scores plainly lie outside them."""
    if curve.noise == "gaussian":
        return curve
    error = curve.standard_error()
    if curve.scale < 0:
        chance, ceiling = None, None
    low, high = chance or 0.0, 1.0 if ceiling is None else ceiling
    if (curve.mean < low - PLATEAU_MARGIN * error).any():
        low = 0.0
    if (curve.mean > high + PLATEAU_MARGIN * error).any():
        high = 1.0
    return replace(curve, low=low, high=high)


def _groups(x: Floats) -> tuple[Ints, Floats]:
    """(n,) index of the size of each row, and (I,) log sizes ascending: their means."""
    order = np.argsort(x, kind="stable")
    steps = np.diff(x[order]) > np.log10(1 + SAME_SIZE)
    sorted_group = np.concatenate([[0], np.cumsum(steps)])
    if sorted_group[-1] >= MOST_SIZES:
        edges = np.linspace(x.min(), x.max(), MOST_SIZES + 1)[1:-1]
        _, sorted_group = np.unique(np.searchsorted(edges, x[order]), return_inverse=True)
    group = np.empty(len(x), dtype=np.int64)
    group[order] = sorted_group
    counts = np.bincount(group)
    return group, np.bincount(group, x) / counts


def _same_run(y: Floats, n: Floats, group: Ints, seed: Floats) -> tuple[Floats, Floats, Ints]:
    """Rows of one size and seed are one run: item by item results become a mean over items."""
    _, seed_index = np.unique(seed, return_inverse=True)
    width = int(seed_index.max()) + 1
    key, run = np.unique(group * width + seed_index, return_inverse=True)
    if len(key) == len(y):
        return y, n, group
    items = np.where(np.isfinite(n), n, 1.0)
    total = np.bincount(run, items)
    joined_n = np.where(np.bincount(run, ~np.isfinite(n)) > 0, np.nan, total)
    return np.bincount(run, y * items) / total, joined_n, key // width


def _padded(y: Floats, n: Floats, group: Ints, n_sizes: int) -> tuple[Floats, Floats, Any]:
    counts = np.bincount(group, minlength=n_sizes)
    width = min(int(counts.max()), MOST_RUNS)
    padded_y, padded_n = np.zeros((n_sizes, width)), np.ones((n_sizes, width))
    runs = np.zeros((n_sizes, width), dtype=np.bool_)
    order = np.argsort(group, kind="stable")
    for size, rows in enumerate(np.split(order, np.cumsum(counts)[:-1])):
        if len(rows) > MOST_RUNS:
            rows = rows[np.linspace(0, len(rows) - 1, MOST_RUNS).astype(np.int64)]
        padded_y[size, : len(rows)], padded_n[size, : len(rows)] = y[rows], n[rows]
        runs[size, : len(rows)] = True
    return padded_y, padded_n, runs
