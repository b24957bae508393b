"""Figures of one classifier: which class is taken for which, and whether it is as sure as it is right."""

import numpy as np

from engine.analysis.predictions import LEVEL, Predictions, confusion, read_predictions
from engine.analysis.predictions import reliability as bins_of
from engine.errors import InputError
from engine.figures.model import Axis, Figure, Grid, Series
from engine.figures.palette import OKABE_ITO
from engine.figures.provenance import provenance
from engine.i18n import tr
from engine.store import Reader, RunRow

PREDICTIONS = "predictions"
"""Kind of the file in which a run keeps what it said of every test item."""


def confusion_matrix(reader: Reader, study_id: str, run: int = 0) -> Figure:
    """Test items by true class (rows) and predicted class (columns) of a run; 0 is the study's largest."""
    row, found = predictions_of(reader, study_id, run)
    counts = confusion(found)
    right, n = int(np.trace(counts)), int(counts.sum())
    return Figure(
        id="confusion-matrix",
        title=tr("Confusion matrix: {run}", run=row.label),
        x=Axis(tr("Predicted class")),
        y=Axis(tr("True class")),
        series=(),
        grid=Grid(found.classes, found.classes, counts),
        provenance=provenance(reader, study_id, [row]),
        caption=tr(
            "{right:,} of {n:,} test items are told rightly ({share:.1%}). {worst}",
            right=right,
            n=n,
            share=right / max(1, n),
            worst=_worst(found, counts),
        ),
    )


def reliability(reader: Reader, study_id: str, run: int = 0, bins: int = 10) -> Figure:
    """Accuracy against confidence in bins of equal width, with the diagonal of a model that knows what it knows."""
    row, found = predictions_of(reader, study_id, run)
    table = bins_of(found, bins)
    error = sum(one.n * abs(one.confidence - one.accuracy) for one in table) / max(1, len(found.labels))
    columns = np.array([(b.confidence, b.accuracy, *b.interval) for b in table]).T
    ends = np.array([0.0, 1.0])
    return Figure(
        id="reliability",
        title=tr("Confidence against accuracy: {run}", run=row.label),
        x=Axis(tr("Confidence in the predicted class")),
        y=Axis(tr("Share that is right")),
        series=(
            Series(tr("as sure as right"), ends, ends, line=True, dash="dashed", thin=True),
            Series(
                row.label,
                columns[0],
                columns[1],
                columns[2],
                columns[3],
                color=OKABE_ITO[0],
                marker="circle",
                line=True,
                label=tr("test items, {level:.0%} interval", level=LEVEL),
            ),
        ),
        provenance=provenance(reader, study_id, [row]),
        caption=tr(
            "Test items in {bins} bins of confidence. On average confidence and accuracy differ by {error:.1%} "
            "(expected calibration error); below the diagonal the model is surer than right.",
            bins=bins,
            error=error,
        ),
        legend_at="upper left",
    )


def predictions_of(reader: Reader, study_id: str, run: int = 0) -> tuple[RunRow, Predictions]:
    """A run of the study and what it said of every test item; 0 takes the largest run that kept it.

    Raises ``InputError`` where there is none, or its file is damaged.
    """
    rows = [row for row in reader.runs(study_id) if run in (0, row.id)]
    if run and not rows:
        raise InputError(tr("run {run} is not one of the study {study}.", run=run, study=study_id))
    size = max((row.n_params_non_embedding for row in rows), default=0)
    for row in sorted(rows, key=lambda row: row.n_params_non_embedding != size):
        path = reader.file(row.id, PREDICTIONS)
        if path is not None:
            return row, read_predictions(path)
    raise InputError(
        tr("no run of this study has kept what it said of every test item."),
        tr("Studies that measure the capability classification do, once a run of theirs is finished."),
    )


def _worst(found: Predictions, counts: "np.ndarray[tuple[int, ...], np.dtype[np.int64]]") -> str:
    """The commonest mistake in words."""
    wrong = counts * (1 - np.eye(len(counts), dtype=np.int64))
    if not wrong.any():
        return ""
    row, column = np.unravel_index(int(wrong.argmax()), wrong.shape)
    return tr(
        "The commonest mistake: {label} taken for {other} ({n:,} of {of:,}).",
        label=found.classes[row],
        other=found.classes[column],
        n=int(wrong[row, column]),
        of=int(counts[row].sum()),
    )
