"""Telling the class of held-out texts: accuracy, precision, recall, F1, likelihood and calibration."""

import dataclasses
from typing import TYPE_CHECKING, Annotated

import msgspec
import numpy as np

from engine.capabilities import capabilities
from engine.capabilities.base import Capability, Metric, Score
from engine.i18n import mark
from engine.study import TableSpec

if TYPE_CHECKING:
    from engine.capabilities._classification import Classified
    from engine.capabilities.base import ModelUnderTest
    from engine.sources._label_table import Ints
    from engine.sources._labelled_items import LabelledItems
    from engine.sources.base import Prepared

ITEMS_PER_BATCH = 64
PREDICTIONS = "predictions.json"
"""Every test item's class, probabilities and text; ``engine.analysis.predictions`` reads it."""


class ClassificationSpec(TableSpec, frozen=True, kw_only=True):
    """How calibration is measured."""

    bins: Annotated[
        int,
        msgspec.Meta(
            title=mark("Calibration bins"),
            description=mark("Bins of equal width in which confidence is compared with accuracy."),
            ge=2,
            le=100,
        ),
    ] = 15


@capabilities.register("classification")
class Classification(Capability):
    """What a classifier of texts is right about and how sure it is, on the rows that were held out for it alone.

    Standard errors of F1, precision, recall and calibration are by bootstrap over rows. Chance names the commonest
    class, or guesses by frequency.
    """

    name = "classification"
    version = 1
    title = mark("Classification of texts")
    description = mark("Tell the class of every row of the test split of a labelled table.")
    Spec = ClassificationSpec
    metrics = (
        Metric("accuracy", mark("Accuracy"), True, "threshold"),
        Metric("precision", mark("Precision, mean over classes"), True, "threshold"),
        Metric("recall", mark("Recall, mean over classes"), True, "threshold"),
        Metric("f1", mark("F1, mean over classes"), True, "threshold"),
        Metric("micro_f1", mark("F1 over all rows, equal to accuracy"), True, "threshold"),
        Metric("log_likelihood", mark("Log-likelihood per item"), True, "continuous", mark("nats per item")),
        Metric("brier", mark("Brier score"), False, "continuous"),
        Metric("ece", mark("Expected calibration error"), False, "continuous"),
    )

    def evaluate(self, spec: ClassificationSpec, model: "ModelUnderTest", data: "Prepared") -> list[Score]:
        """Nothing where the data are no labelled table or the model has no head for it."""
        from engine.capabilities import _classification as scoring
        from engine.sources._labelled_items import LabelledItems

        if not isinstance(data, LabelledItems) or model.outputs is None:
            return []
        rows = data.rows("test")
        found = classify(model, data, rows)
        if model.keep is not None:
            model.keep("predictions", PREDICTIONS, _file(data, found))
        accuracy = scoring.top_k_score("accuracy", found, 1)
        nll = scoring.likelihood_score("", found)
        assert nll.chance is not None
        return [
            accuracy,
            *scoring.macro_scores(("precision", "recall", "f1"), found),
            dataclasses.replace(accuracy, metric="micro_f1"),
            Score("log_likelihood", -nll.value, nll.stderr, nll.n, -nll.chance),
            scoring.brier_score("brier", found),
            scoring.calibration_score("ece", found, spec.bins),
        ]


def classify(model: "ModelUnderTest", data: "LabelledItems", rows: "Ints") -> "Classified":
    """Log-probabilities of every class for each of ``rows``, in their order."""
    import torch

    from engine.capabilities._classification import Classified

    assert model.outputs is not None
    found = np.zeros((len(rows), len(data.class_names)))
    place = np.empty(int(rows.max()) + 1, np.int64)
    place[rows] = np.arange(len(rows))
    for some, batch in data.by_length(rows, ITEMS_PER_BATCH):
        tensors = {name: torch.from_numpy(array).to(model.device) for name, array in batch.items()}
        found[place[some]] = model.outputs(tensors).double().log_softmax(-1).cpu().numpy()
    return Classified(data.labels[rows], found)


def _file(data: "LabelledItems", found: "Classified") -> bytes:
    items = data.texts("test")
    return msgspec.json.encode(
        {
            "classes": data.class_names,
            "labels": found.targets.tolist(),
            "probabilities": np.exp(found.log_probabilities).round(6).tolist(),
            "texts": ["\n\n".join(texts) for _, texts in items],
            "origins": [where for where, _ in items],
        }
    )
