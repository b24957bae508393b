"""How one run learned: training and validation loss over epochs, the best point, and where it began to overfit."""

import numpy as np

from engine.errors import InputError
from engine.figures.curves import MAX_POINTS
from engine.figures.model import Axis, Figure, Floats, Line, Series
from engine.figures.palette import OKABE_ITO
from engine.figures.provenance import provenance
from engine.figures.words import loss_words
from engine.i18n import tr
from engine.store import Reader, RunRow

SMOOTHED = 0.03
"""Window of the running mean of the training loss, as a share of the steps."""


def learning_curves(reader: Reader, study_id: str, run: int = 0) -> Figure:
    """Losses of one run against steps; 0 takes the first run of the largest size that has any."""
    rows = [row for row in reader.runs(study_id) if run in (0, row.id)]
    for row in sorted(rows, key=lambda row: -row.n_params_non_embedding):
        steps, values = reader.curve_full(row.id, "train/loss")
        if len(steps):
            return _figure(reader, study_id, row, steps.astype(np.float64), values)
    raise InputError(tr("there are no values of {key} yet.", key="train/loss"), tr("Train a run first."))


def _figure(reader: Reader, study_id: str, row: RunRow, steps: Floats, values: Floats) -> Figure:
    smooth = _running_mean(values, max(1, round(SMOOTHED * len(values))))
    thinned = np.unique(np.linspace(0, len(steps) - 1, min(len(steps), MAX_POINTS)).round().astype(np.int64))
    series = [Series(tr("training, running mean"), steps[thinned], smooth[thinned], color=OKABE_ITO[0], line=True)]
    at, held_out = reader.curve_full(row.id, "val/loss")
    lines: tuple[Line, ...] = ()
    caption = tr("{run}: loss while it was trained.", run=row.label)
    if len(at):
        validation = at.astype(np.float64)
        series.append(
            Series(tr("validation"), validation, held_out, color=OKABE_ITO[1], marker="circle", line=len(at) > 1)
        )
        best = int(np.nanargmin(held_out)) if np.isfinite(held_out).any() else 0
        caption += " " + tr(
            "The validation loss is lowest at step {step:,} ({value:.3f}).",
            step=int(at[best]),
            value=float(held_out[best]),
        )
        if len(at) > 1 and best == len(at) - 1:
            caption += " " + tr("It was still falling at the end: more epochs may help.")
    began, _ = reader.curve_full(row.id, "overfitting")
    if len(began):
        lines = (Line(tr("overfits from here"), float(began[0]), horizontal=False, dash="dashed"),)
        caption += " " + tr("From there on it overfits: the training loss falls on, the validation loss rises.")
    elif len(at):
        caption += " " + tr("No overfitting was seen.")
    return Figure(
        id="learning-curves",
        title=tr("Learning curves: {run}", run=row.label),
        x=Axis(tr("Step"), kind="count"),
        y=Axis(loss_words([row], "")),
        series=tuple(series),
        lines=lines,
        provenance=provenance(reader, study_id, [row]),
        caption=caption,
        legend_at="upper right",
    )


def _running_mean(values: Floats, width: int) -> Floats:
    """Over what there is on both sides; as long as the values."""
    sums = np.cumsum(np.concatenate([[0.0], np.nan_to_num(values)]))
    place = np.arange(len(values))
    low, high = np.maximum(0, place - width // 2), np.minimum(len(values), place + width // 2 + 1)
    return np.asarray((sums[high] - sums[low]) / (high - low), np.float64)
