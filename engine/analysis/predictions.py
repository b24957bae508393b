"""What a classifier said of every test item: confusion, reliability, a table by class, the best and worst examples.

Reads the ``predictions.json`` that the capability ``classification`` keeps with a run. Pure functions of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.errors import InputError
from engine.i18n import tr

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BOOTSTRAPS = 1_000
"""Resamples behind the intervals of F1: its ends are known to about a tenth of a standard error."""
LEVEL = 0.95


class _File(msgspec.Struct, frozen=True):
    classes: tuple[str, ...]
    labels: list[int]
    probabilities: list[list[float]]
    texts: list[str]
    origins: list[str]
    images: dict[str, bytes] = {}  # msgspec copies it


@dataclass(frozen=True, slots=True)
class Predictions:
    """Test items, their true classes, and what a model took them for."""

    classes: tuple[str, ...]
    labels: Ints
    """(n,) index of ``classes``."""
    probabilities: Floats
    """(n, classes)."""
    texts: tuple[str, ...]
    origins: tuple[str, ...]
    """File and row of each."""
    images: Mapping[int, bytes] = field(default_factory=dict)
    """PNG of some of them, by place, where they are images."""

    @property
    def predicted(self) -> Ints:
        """(n,) the likeliest class."""
        return np.asarray(self.probabilities.argmax(axis=1), np.int64)


@dataclass(frozen=True, slots=True)
class ClassRow:
    """One class: how well it is told, with intervals at ``LEVEL``; ``n`` items are of it, ``n_predicted`` called so."""

    name: str
    n: int
    n_predicted: int
    precision: float
    recall: float
    f1: float
    precision_interval: tuple[float, float]
    recall_interval: tuple[float, float]
    f1_interval: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Bin:
    """Items whose confidence lies between ``low`` and ``high``: their number, mean confidence and accuracy."""

    low: float
    high: float
    n: int
    confidence: float
    accuracy: float
    interval: tuple[float, float]
    """Of the accuracy, at ``LEVEL`` (Wilson 1927)."""


@dataclass(frozen=True, slots=True)
class Example:
    """One test item: its true class, what it was taken for, and the probability of each."""

    text: str
    origin: str
    label: str
    predicted: str
    p_label: float
    p_predicted: float
    image: bytes = b""
    """PNG, where the item is an image."""


def read_predictions(path: Path) -> Predictions:
    """Read the file of a run; raises ``InputError`` where it is damaged or not there."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=_File)
        probabilities = np.asarray(found.probabilities, np.float64).reshape(len(found.labels), len(found.classes))
    except (OSError, ValueError, msgspec.DecodeError) as error:
        raise InputError(tr("{path} holds no predictions: {error}.", path=str(path), error=str(error))) from None
    labels = np.asarray(found.labels, np.int64)
    if len({len(labels), len(found.texts), len(found.origins)}) > 1 or (labels >= len(found.classes)).any():
        raise InputError(tr("{path} holds no predictions: {error}.", path=str(path), error=tr("its parts do not fit")))
    images = {int(place): content for place, content in found.images.items() if place.isdecimal()}
    return Predictions(found.classes, labels, probabilities, tuple(found.texts), tuple(found.origins), images)


def confusion(found: Predictions) -> Ints:
    """Counts (true class, predicted class)."""
    k = len(found.classes)
    return np.bincount(found.labels * k + found.predicted, minlength=k * k).reshape(k, k)


def reliability(found: Predictions, bins: int = 10) -> list[Bin]:
    """Confidence against accuracy in bins of equal width; empty bins are left out."""
    confidence = found.probabilities.max(axis=1)
    right = found.predicted == found.labels
    place = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    table = []
    for number in np.unique(place):
        inside = place == number
        n, hits = int(inside.sum()), int(right[inside].sum())
        table.append(
            Bin(
                low=number / bins,
                high=(number + 1) / bins,
                n=n,
                confidence=float(confidence[inside].mean()),
                accuracy=hits / n,
                interval=wilson(hits, n),
            )
        )
    return table


def by_class(found: Predictions) -> list[ClassRow]:
    """Precision, recall and F1 of every class; intervals by Wilson 1927, that of F1 by bootstrap over items."""
    counts = confusion(found)
    rows = []
    for k, (name, (low, high)) in enumerate(zip(found.classes, _f1_intervals(found), strict=True)):
        hits, n, named = int(counts[k, k]), int(counts[k].sum()), int(counts[:, k].sum())
        rows.append(
            ClassRow(
                name=name,
                n=n,
                n_predicted=named,
                precision=hits / max(1, named),
                recall=hits / max(1, n),
                f1=2 * hits / max(1, n + named),
                precision_interval=wilson(hits, named),
                recall_interval=wilson(hits, n),
                f1_interval=(low, high),
            )
        )
    return rows


def examples(found: Predictions, n: int = 10) -> tuple[list[Example], list[Example]]:
    """The items whose true class was likeliest, and those whose true class was least likely, ``n`` of each at most."""
    of_truth = found.probabilities[np.arange(len(found.labels)), found.labels]
    order = np.argsort(-of_truth, kind="stable")
    best = [_example(found, int(i)) for i in order[:n]]
    worst = [_example(found, int(i)) for i in order[::-1][:n]]
    return best, worst


def wilson(hits: int, n: int) -> tuple[float, float]:
    """The interval of a share at ``LEVEL`` (Wilson 1927); 0 to 1 where nothing was tried."""
    if not n:
        return 0.0, 1.0
    z, share = 1.959964, hits / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * float(np.sqrt(share * (1 - share) / n + z * z / (4 * n * n)))
    return max(0.0, middle - half), min(1.0, middle + half)


def _f1_intervals(found: Predictions) -> list[tuple[float, float]]:
    classes = np.eye(len(found.classes))
    truth, predicted = classes[found.labels], classes[found.predicted]
    n = len(found.labels)
    draws = np.random.default_rng(0).multinomial(n, np.full(n, 1 / max(1, n)), BOOTSTRAPS).astype(np.float64)
    f1 = 2 * (draws @ (truth * predicted)) / np.maximum(draws @ (truth + predicted), 1.0)
    low, high = np.quantile(f1, ((1 - LEVEL) / 2, (1 + LEVEL) / 2), axis=0)
    return list(zip(low.tolist(), high.tolist(), strict=True))


def _example(found: Predictions, i: int) -> Example:
    label, predicted = int(found.labels[i]), int(found.predicted[i])
    return Example(
        text=found.texts[i],
        origin=found.origins[i],
        label=found.classes[label],
        predicted=found.classes[predicted],
        p_label=float(found.probabilities[i, label]),
        p_predicted=float(found.probabilities[i, predicted]),
        image=found.images.get(i, b""),
    )
