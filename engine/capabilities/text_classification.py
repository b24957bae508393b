"""Telling where a snippet of text comes from, by a model that is fine-tuned with labels after its pretraining."""

import math
from typing import TYPE_CHECKING, Annotated

import msgspec
import numpy as np

from engine.capabilities import capabilities
from engine.capabilities._finetune import LONGEST, FineTuneSpec
from engine.capabilities.base import Capability, Metric, Score
from engine.i18n import mark

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from engine.capabilities.base import ModelUnderTest
    from engine.sources._labelled import LabelledText
    from engine.sources.base import Prepared

    Floats = NDArray[np.float64]

RESAMPLES = 400
"""Bootstrap draws for the standard errors of precision, recall and F1: known to within 4 %."""


class TextClassificationSpec(FineTuneSpec, frozen=True, kw_only=True):
    """How many classes are told apart, and what the model is given to learn from."""

    classes: Annotated[
        int,
        msgspec.Meta(
            title=mark("Classes"),
            description=mark("Classes to tell apart at most: those with most held-out text, as much of each."),
            ge=2,
            le=100,
        ),
    ] = 8


@capabilities.register("text-classification")
class TextClassification(Capability):
    """A linear head on the mean of the last layer, trained with a copy of the model for a few epochs (Devlin 2019).

    Classes are balanced. Test snippets come from files of the validation split, training snippets from the training
    split; standard errors are over files, whose snippets resemble each other.
    """

    name = "text-classification"
    version = 1
    title = mark("Text classification")
    description = mark("After fine-tuning with labels, tell which package or class a snippet of text comes from.")
    Spec = TextClassificationSpec
    metrics = (
        Metric("accuracy", mark("Accuracy"), True, "threshold"),
        Metric("precision", mark("Precision, mean over classes"), True, "threshold"),
        Metric("recall", mark("Recall, mean over classes"), True, "threshold"),
        Metric("f1", mark("F1, mean over classes"), True, "threshold"),
        Metric("log_likelihood", mark("Log-likelihood per item"), True, "continuous", mark("nats per item")),
        Metric("brier", mark("Brier score"), False, "continuous"),
    )

    def evaluate(self, spec: TextClassificationSpec, model: "ModelUnderTest", data: "Prepared") -> list[Score]:
        """Nothing where the text has no labels, or the family no features of text. Chance is a uniform guess."""
        from engine.sources._labelled import Labelled

        if not isinstance(data, Labelled):
            return []
        length = min(model.context, LONGEST)
        text = data.labelled(length, spec.classes, spec.train_items, spec.test_items)
        probabilities = None if text is None else classify(spec, model, text)
        if text is None or probabilities is None:
            return []
        return score(probabilities, text.test.labels, text.test.files)


def classify(spec: TextClassificationSpec, model: "ModelUnderTest", text: "LabelledText") -> "Floats | None":
    """Probabilities (n, classes) of the test snippets by a fine-tuned copy; None where there are no features."""
    import torch
    import torch.nn.functional as F

    from engine.capabilities._finetune import fine_tune, outputs

    labels = torch.from_numpy(text.train.labels).to(model.device)
    headed = fine_tune(
        model,
        text.train.tokens,
        len(text.classes),
        lambda logits, rows: F.cross_entropy(logits, labels[rows]),
        epochs=spec.epochs,
    )
    if headed is None:
        return None
    probabilities: Floats = outputs(model, headed, text.test.tokens).double().softmax(-1).numpy()
    return probabilities


def score(probabilities: "Floats", labels: "NDArray[np.int64]", files: "NDArray[np.int64]") -> list[Score]:
    """Every metric of (n, classes) probabilities for (n,) labels, with errors over files."""
    from engine.capabilities._tokens import ratio_and_stderr

    n, k = probabilities.shape
    _, file = np.unique(files, return_inverse=True)
    per_file = np.bincount(file)
    predicted = probabilities.argmax(1)
    of_truth = probabilities[np.arange(n), labels]
    means = {
        "accuracy": ((predicted == labels).astype(float), 1 / k),
        "log_likelihood": (np.log(np.maximum(of_truth, np.finfo(float).tiny)), -math.log(k)),
        "brier": (np.square(probabilities).sum(1) - 2 * of_truth + 1, 1 - 1 / k),
    }
    scores = [
        Score(name, *ratio_and_stderr(np.bincount(file, values).astype(float), per_file), n, chance)
        for name, (values, chance) in means.items()
    ]
    confusion = np.bincount((file * k + labels) * k + predicted, minlength=len(per_file) * k * k).reshape(-1, k, k)
    rates = macro(confusion.sum(0))
    errors = _bootstrap(confusion)
    scores += [
        Score(name, float(rate), float(error), n, 1 / k)
        for name, rate, error in zip(("precision", "recall", "f1"), rates, errors, strict=True)
    ]
    return scores


def macro(confusion: "NDArray[np.int64]") -> "Floats":
    """Precision, recall and F1, each the mean over classes, of (..., truth, prediction) counts: (..., 3).

    A class that is never predicted has a precision of 0, one that never occurs a recall of 0.
    """
    hits = np.diagonal(confusion, axis1=-2, axis2=-1).astype(float)
    predicted, actual = np.maximum(confusion.sum(-2), 1), np.maximum(confusion.sum(-1), 1)
    each = np.stack([hits / predicted, hits / actual, 2 * hits / (predicted + actual)], axis=-1)
    mean: Floats = each.mean(-2)
    return mean


def _bootstrap(confusion: "NDArray[np.int64]") -> "Floats":
    """Standard errors (3,) of ``macro`` when files are drawn anew, of (files, truth, prediction) counts."""
    n_files = len(confusion)
    draws = np.random.default_rng(0).multinomial(n_files, np.full(n_files, 1 / n_files), RESAMPLES)
    resampled = np.tensordot(draws, confusion, axes=1)
    errors: Floats = macro(resampled).std(axis=0, ddof=1)
    return errors
