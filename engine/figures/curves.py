"""Loss curves of a ladder: every run's loss over steps, tokens, compute or time, coloured by size."""

from collections.abc import Callable, Sequence

import numpy as np

from engine.errors import InputError
from engine.figures.model import Axis, Dash, Figure, Floats, Marker, Series
from engine.figures.provenance import provenance
from engine.figures.ticks import format_count
from engine.figures.words import convention_words, counts_samples, loss_words, size_of
from engine.i18n import tr
from engine.store import Reader, RunRow

X_AXES = ("step", "tokens", "flops", "seconds")
MAX_POINTS = 600
_MARKERS: tuple[Marker, ...] = ("circle", "square", "triangle", "diamond", "star")
_DASHES: tuple[Dash, ...] = ("solid", "dashed", "dotted", "dashdot")


def loss_curves(
    reader: Reader,
    study_id: str,
    x: str = "tokens",
    key: str = "train/loss",
    convention: str = "non-embedding",
    smooth: float = 0.02,
) -> Figure:
    """Loss against ``x`` (one of ``X_AXES``). ``smooth`` is the window of the running mean as a share of the steps."""
    if x not in X_AXES:
        raise InputError(
            tr("loss-curves has no x axis {name!r} (there are: {known}).", name=x, known=", ".join(X_AXES))
        )
    runs = sorted(reader.ladder(study_id), key=lambda r: (size_of(r, convention), r.variant_json, r.seed))
    x = _known_axis(runs, x)
    sizes = sorted({size_of(run, convention) for run in runs})
    series: list[Series] = []
    shown: list[RunRow] = []
    named: set[str] = set()
    for run in runs:
        steps, values = reader.curve_full(run.id, key)
        keep = np.isfinite(values) & (values > 0) & (steps > 0)
        steps, values = steps[keep], values[keep]
        if not len(steps):
            continue
        shown.append(run)
        index = sizes.index(size_of(run, convention))
        seeds = [r.seed for r in runs if size_of(r, convention) == sizes[index]]
        at, smoothed = _smoothed(steps, values, smooth)
        label = _label(run, convention)
        series.append(
            Series(
                name=tr("{label}, seed {seed}", label=label, seed=run.seed),
                x=_x_values(reader, run, x)(at),
                y=smoothed,
                shade=index / max(1, len(sizes) - 1),
                marker=_MARKERS[index % len(_MARKERS)] if label not in named else "",
                dash=_DASHES[sorted(set(seeds)).index(run.seed) % len(_DASHES)],
                line=True,
                thin=True,
                legend=label not in named,
                label=label,
            )
        )
        named.add(label)
    if not series:
        raise InputError(tr("there are no values of {key} yet.", key=key), tr("Train a run first."))
    return _figure(reader, study_id, x, key, convention, smooth, series, shown)


def _figure(
    reader: Reader,
    study_id: str,
    x: str,
    key: str,
    convention: str,
    smooth: float,
    series: list[Series],
    shown: list[RunRow],
) -> Figure:
    labels = {
        "step": Axis(tr("Optimizer steps"), "linear", "count"),
        "tokens": Axis(tr("Training samples") if counts_samples(shown) else tr("Training tokens"), "log", "count"),
        "flops": Axis(tr("Training compute (FLOPs)"), "log", "count"),
        "seconds": Axis(tr("Training time (s), at each run's mean speed"), "linear", "count"),
    }
    validation = key.startswith("val/")
    y_label = loss_words(shown, "val" if validation else "train")
    known = {"train/loss", "val/loss"}
    return Figure(
        id="loss-curves",
        title=tr("Loss while training: {study}", study=reader.study(study_id).shown_title),
        x=labels[x],
        y=Axis(y_label if key in known else key, "log"),
        series=tuple(series),
        provenance=provenance(reader, study_id, shown, extra={"metric": key, "smoothing": smooth}),
        caption=_caption(key, len(shown), smooth),
        legend_at="right of plot",
        legend_title=convention_words(convention),
    )


def _caption(key: str, n_runs: int, smooth: float) -> str:
    shown = tr("{key} of {n} runs.", key=key, n=n_runs)
    if smooth:
        shown += " " + tr("Running mean over {percent}% of each run, at least 7 steps.", percent=f"{100 * smooth:g}")
    return shown + " " + tr("Colour and marker are the size, the dash is the seed.")


def _label(run: RunRow, convention: str) -> str:
    varied = "".join(f", {k.rsplit('.', 1)[-1]}={v}" for k, v in run.variant.items())
    return f"{format_count(size_of(run, convention))}{varied}"


def _known_axis(runs: Sequence[RunRow], x: str) -> str:
    """``x``, or steps where an imported study does not tell it: its curves would all lie at zero."""
    if x == "step" or not runs or runs[0].kind != "import":
        return x
    told = {"tokens": "tokens_seen", "flops": "compute_flops", "seconds": "seconds"}[x]
    return x if any(getattr(run, told) > 0 for run in runs) else "step"


def _x_values(reader: Reader, run: RunRow, x: str) -> Callable[[Floats], Floats]:
    """What turns a step into ``x``; a step costs the same throughout a run."""
    if x == "step":
        return lambda steps: steps
    if x == "seconds":
        factor = run.seconds / max(1, run.step)
    elif x == "flops":
        factor = run.compute_flops / max(1, run.n_steps)
    else:
        factor = reader.run_spec(run.id).training.tokens / max(1, run.n_steps)
    return lambda steps: steps * factor


def _smoothed(steps: np.ndarray, values: Floats, share: float) -> tuple[Floats, Floats]:
    """Running mean over a centred window, then at most ``MAX_POINTS``, closer together at the start.

    Early windows are as short as the distance to the start allows, so that the first fall is not smeared.
    """
    n = len(values)
    centre = np.arange(n)
    # Short runs are as noisy from step to step as long ones: at least seven steps are averaged.
    half = np.minimum(centre // 2, max(3, int(share * n / 2)) if share else 0)
    # At the end the window only looks back, so that the last point is no noisier than the rest.
    end = np.minimum(centre + half, n - 1) + 1
    sums = np.concatenate(([0.0], np.cumsum(values)))
    means = (sums[end] - sums[centre - half]) / (end - centre + half)
    if n > MAX_POINTS:
        even = np.linspace(0, n - 1, MAX_POINTS // 2)
        early = np.geomspace(1, n, MAX_POINTS // 2) - 1
        kept = np.unique(np.concatenate((even, early)).astype(np.int64))
        steps, means = steps[kept], means[kept]
    return steps.astype(np.float64), means
