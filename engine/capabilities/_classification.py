"""What classifiers are scored by: from log-probabilities of classes to accuracies, F1, likelihood and calibration."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.capabilities._tokens import mean_and_stderr
from engine.capabilities.base import Score

Floats = NDArray[np.float64]

BOOTSTRAPS = 200
"""Resamples behind the standard errors that have no simple formula: known to 5 % themselves."""
BOOTSTRAP_SALT = 0xB007
MOST_CLASSES = 50
"""Whose F1 is stored one by one: with more, lists of metrics could not be read, nor figures of them."""


@dataclass(frozen=True, slots=True)
class Classified:
    """Items, what they are and what a model takes them for."""

    targets: NDArray[np.int64]
    """(n,) the true class."""
    log_probabilities: Floats
    """(n, classes), natural logarithm."""

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def n_classes(self) -> int:
        return int(self.log_probabilities.shape[1])

    @property
    def predicted(self) -> NDArray[np.int64]:
        """(n,) the likeliest class."""
        return np.asarray(self.log_probabilities.argmax(axis=1), np.int64)

    @property
    def frequency(self) -> Floats:
        """(classes,) share of items that are of each class: what guessing goes by."""
        return np.bincount(self.targets, minlength=self.n_classes) / len(self)


def top_k_score(metric: str, found: Classified, k: int) -> Score:
    """Share of items whose class is among the ``k`` likeliest; chance names the ``k`` commonest classes."""
    ranked = np.argsort(-found.log_probabilities, axis=1, kind="stable")[:, :k]
    hits = (ranked == found.targets[:, None]).any(axis=1)
    chance = float(np.sort(found.frequency)[-k:].sum())
    return Score(metric, *mean_and_stderr(hits.astype(np.float64)), len(found), chance)


def likelihood_score(metric: str, found: Classified) -> Score:
    """Mean negative log-likelihood of the true class in nats; chance guesses by frequency."""
    nll = -np.take_along_axis(found.log_probabilities, found.targets[:, None], axis=1)[:, 0]
    share = found.frequency[found.frequency > 0]
    return Score(metric, *mean_and_stderr(nll), len(found), float(-(share * np.log(share)).sum()))


def brier_score(metric: str, found: Classified) -> Score:
    """Mean squared distance of the probabilities from the truth, 0 to 2 (Brier 1950); chance guesses by frequency."""
    truth = np.eye(found.n_classes)[found.targets]
    distance = np.square(np.exp(found.log_probabilities) - truth).sum(axis=1)
    return Score(metric, *mean_and_stderr(distance), len(found), float(1 - np.square(found.frequency).sum()))


def macro_f1_score(metric: str, found: Classified) -> Score:
    """F1 of each class, their mean over the classes that occur; see ``macro_scores``."""
    return macro_scores(("", "", metric), found)[2]


def macro_scores(metrics: tuple[str, str, str], found: Classified) -> list[Score]:
    """Precision, recall and F1 as named, each the mean over the classes that occur; errors by bootstrap over items.

    A class that is never named has a precision of 0. Chance always names the commonest class.
    """
    occurs = found.frequency > 0
    values = rates(found, np.ones((1, len(found))))[:, occurs].mean(axis=1)[0]
    errors = rates(found, resamples(len(found)))[:, occurs].mean(axis=1).std(axis=0, ddof=1)
    commonest, k = float(found.frequency.max()), int(occurs.sum())
    chances = (commonest / k, 1 / k, 2 * commonest / (1 + commonest) / k)
    return [
        Score(metric, float(value), float(error), len(found), chance)
        for metric, value, error, chance in zip(metrics, values, errors, chances, strict=True)
    ]


def rates(found: Classified, weights: Floats) -> Floats:
    """Precision, recall and F1 of every class, (m, classes, 3), for weights (m, n) of the items."""
    classes = np.eye(found.n_classes)
    truth, predicted = classes[found.targets], classes[found.predicted]
    hits, named, there = weights @ (truth * predicted), weights @ predicted, weights @ truth
    pairs = ((hits, named), (hits, there), (2 * hits, named + there))
    return np.stack([a / np.maximum(b, 1e-9) for a, b in pairs], axis=-1)


def class_f1_scores(metric: str, names: Sequence[str], found: Classified) -> list[Score]:
    """F1 of each class that occurs as ``metric[name]``, its items as ``n``; errors by bootstrap over all items.

    None where there are more classes than ``MOST_CLASSES``: each is a row for every run. Chance always names the
    commonest class.
    """
    if found.n_classes > MOST_CLASSES:
        return []
    values = rates(found, np.ones((1, len(found))))[0, :, 2]
    errors = rates(found, resamples(len(found)))[:, :, 2].std(axis=0, ddof=1)
    counts, share = np.bincount(found.targets, minlength=found.n_classes), found.frequency
    guessed = np.zeros(found.n_classes)
    guessed[share.argmax()] = 2 * share.max() / (1 + share.max())
    return [
        Score(f"{metric}[{names[k]}]", float(values[k]), float(errors[k]), int(counts[k]), float(guessed[k]))
        for k in np.flatnonzero(counts).tolist()
    ]


def calibration_score(metric: str, found: Classified, bins: int) -> Score:
    """Expected calibration error: the distance of confidence from accuracy, by confidence in equal bins (Guo 2017).

    Chance guesses by frequency, which is calibrated: 0. Few items in a bin raise the value by their own noise. The
    standard error is by bootstrap over items.
    """
    confidence = np.exp(found.log_probabilities.max(axis=1))
    excess = confidence - (found.predicted == found.targets)
    by_bin = np.eye(bins)[np.minimum((confidence * bins).astype(np.int64), bins - 1)] * excess[:, None]

    def error(weights: Floats) -> Floats:
        """(m,) for weights (m, n) of the items."""
        return np.asarray(np.abs(weights @ by_bin).sum(axis=1) / len(found), np.float64)

    value = float(error(np.ones((1, len(found))))[0])
    return Score(metric, value, float(error(resamples(len(found))).std(ddof=1)), len(found), 0.0)


def resamples(n: int) -> Floats:
    """(``BOOTSTRAPS``, n) how often each item is drawn; the same every time."""
    rng = np.random.default_rng((BOOTSTRAP_SALT, n))
    return rng.multinomial(n, np.full(n, 1 / n), BOOTSTRAPS).astype(np.float64)
