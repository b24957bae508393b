"""Telling the class of held-out texts or images: accuracy, precision, recall, F1, likelihood and calibration."""

import dataclasses
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import msgspec
import numpy as np

from engine.capabilities import capabilities
from engine.capabilities.base import Capability, Metric, Score
from engine.i18n import mark, tr
from engine.study import TableSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engine.capabilities._classification import Classified
    from engine.capabilities.base import ModelUnderTest
    from engine.sources._images import Floats
    from engine.sources._label_table import Ints
    from engine.sources._labelled_items import LabelledItems
    from engine.sources.base import Prepared

ITEMS_PER_BATCH = 64
MOST_IMAGES = 4_096
"""Test images at most, where a program makes as many as one likes: an accuracy to within 0.8 %."""
BEST, WORST, THUMBNAIL = 50, 200, 96
"""Images kept of the best and of the worst, and pixels of their longer side at most: a few megabytes for a run."""
PREDICTIONS = "predictions.json"
"""Every test item's class, probabilities, text or picture; ``engine.analysis.predictions`` reads it."""


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
    """What a fine-tuned classifier is right about and how sure it is, on the items held out for it alone.

    Standard errors of F1, precision, recall and calibration are by bootstrap over items. Chance names the commonest
    class, or guesses by frequency. F1 is stored of each class too, where there are not very many.
    """

    name = "classification"
    version = 2
    title = mark("Classification")
    description = mark("Tell the class of every row of the test split of a labelled table, or of held-out images.")
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

    by_class = (Metric("f1", mark("F1 of {of}"), True, "threshold"),)

    def evaluate(self, spec: ClassificationSpec, model: "ModelUnderTest", data: "Prepared") -> list[Score]:
        """Nothing where the data are neither a labelled table nor images with a test split, or the model no head."""
        tested = tested_on(model, data)
        if tested is None:
            return []
        found, names = tested.found, tested.names
        if model.keep is not None:
            model.keep("predictions", PREDICTIONS, predictions_file(tested))
        return scores_of(spec, found, names)


def scores_of(spec: ClassificationSpec, found: "Classified", names: "Sequence[str]") -> list[Score]:
    """Every metric of items of classes ``names``."""
    from engine.capabilities import _classification as scoring

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
        *scoring.class_f1_scores("f1", names, found),
    ]


@dataclass(frozen=True, slots=True)
class Tested:
    """Items of the test split, what a model takes them for, and how they are shown."""

    names: tuple[str, ...]
    """Of the classes."""
    found: "Classified"
    texts: list[str]
    origins: list[str]
    """Where each came from."""
    images: "Floats | None" = None
    """(n, channels, h, w) in -1..1, where the items are images."""


def tested_on(model: "ModelUnderTest", data: "Prepared") -> Tested | None:
    """The whole test split; None where there is none that the model has a head for."""
    from engine.capabilities.image_classification import classify as classify_images
    from engine.sources._images import ImageData
    from engine.sources._labelled_items import LabelledItems

    if model.outputs is None:
        return None
    if isinstance(data, LabelledItems):
        items = data.texts("test")
        texts, origins = ["\n\n".join(texts) for _, texts in items], [where for where, _ in items]
        return Tested(data.class_names, classify(model, data, data.rows("test")), texts, origins)
    if not isinstance(data, ImageData):
        return None
    batch = data.held_out("test", MOST_IMAGES)
    found = classify_images(model, batch["inputs"], batch["targets"], len(data.class_names))
    if found is None:
        return None
    origins = [tr("test image {number:,}", number=number + 1) for number in range(len(found))]
    return Tested(data.class_names, found, [""] * len(found), origins, batch["inputs"])


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


def predictions_file(tested: Tested) -> bytes:
    """What is kept with a run of its test items, JSON, to look at them one by one."""
    probabilities = np.exp(tested.found.log_probabilities)
    return msgspec.json.encode(
        {
            "classes": tested.names,
            "labels": tested.found.targets.tolist(),
            "probabilities": probabilities.round(6).tolist(),
            "texts": tested.texts,
            "origins": tested.origins,
            "images": {} if tested.images is None else _pictures(tested.images, tested.found),
        }
    )


def _pictures(images: "Floats", found: "Classified") -> dict[str, bytes]:
    """PNG of the images that the model is surest and rightest of, and most wrong about, by their place."""
    from PIL import Image

    from engine.sources._images import to_pixels

    of_truth = found.log_probabilities[np.arange(len(found)), found.targets]
    order = np.argsort(-of_truth, kind="stable")
    made = {}
    for place in {*order[:BEST].tolist(), *order[-WORST:].tolist()}:
        stream, picture = io.BytesIO(), Image.fromarray(to_pixels(images[place : place + 1])[0])
        picture.thumbnail((THUMBNAIL, THUMBNAIL))
        picture.save(stream, format="png")
        made[str(place)] = stream.getvalue()
    return made
