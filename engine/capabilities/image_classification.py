"""Telling what is in an image: accuracy, likelihood, calibration, and what noise, shifts and new images do to them."""

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
    from engine.sources._images import Floats
    from engine.sources.base import Batch, Prepared

DISTURBANCE_SALT = 0xD157
VALUES_PER_BATCH = 2**21
"""Numbers of the images that are classified at a time."""
DIRECTIONS = np.array([(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0)])


class ImageClassificationSpec(TableSpec, frozen=True, kw_only=True):
    """How many images are asked and how they are disturbed."""

    items: Annotated[
        int,
        msgspec.Meta(
            title=mark("Images"),
            description=mark("Held-out images of each split, the same every time; all where there are fewer."),
            ge=50,
        ),
    ] = 2_048
    noise: Annotated[
        float,
        msgspec.Meta(
            title=mark("Noise"),
            description=mark("Standard deviation of the noise added to each pixel, whose values go from -1 to 1."),
            gt=0,
            le=4,
        ),
    ] = 0.5
    shift: Annotated[
        int,
        msgspec.Meta(
            title=mark("Shift"),
            description=mark("Pixels by which images are shifted, in one of eight directions each."),
            ge=1,
            le=64,
        ),
    ] = 1
    bins: Annotated[
        int,
        msgspec.Meta(
            title=mark("Calibration bins"),
            description=mark("Bins of equal width in which confidence is compared with accuracy."),
            ge=2,
            le=100,
        ),
    ] = 15


@capabilities.register("image-classification")
class ImageClassification(Capability):
    """What a classifier of images is right about, how sure it is, and how both hold when the images change."""

    name = "image-classification"
    version = 1
    title = mark("Image classification")
    description = mark("Tell the class of held-out images; also under noise, shifted and out of distribution.")
    Spec = ImageClassificationSpec
    metrics = (
        Metric("top1", mark("Accuracy"), True, "threshold"),
        Metric("top5", mark("Truth among the five likeliest"), True, "threshold"),
        Metric("macro_f1", mark("F1, mean over classes"), True, "threshold"),
        Metric("nll", mark("Negative log-likelihood"), False, "continuous", mark("nats per image")),
        Metric("brier", mark("Brier score"), False, "continuous"),
        Metric("ece", mark("Expected calibration error"), False, "continuous"),
        Metric("noise_top1", mark("Accuracy under noise"), True, "threshold"),
        Metric("noise_nll", mark("Negative log-likelihood under noise"), False, "continuous", mark("nats per image")),
        Metric("shift_top1", mark("Accuracy when shifted"), True, "threshold"),
        Metric("shift_nll", mark("Negative log-likelihood when shifted"), False, "continuous", mark("nats per image")),
        Metric("ood_top1", mark("Accuracy, out of distribution"), True, "threshold"),
        Metric(
            "ood_nll",
            mark("Negative log-likelihood, out of distribution"),
            False,
            "continuous",
            mark("nats per image"),
        ),
    )

    def evaluate(self, spec: ImageClassificationSpec, model: "ModelUnderTest", data: "Prepared") -> list[Score]:
        """Nothing where the data are not labelled images or the model gives no score for each class."""
        from engine.capabilities import _classification as scoring
        from engine.sources._images import ImageData

        if not isinstance(data, ImageData):
            return []
        batch = data.held_out("validation", spec.items)
        found = classify(model, batch["inputs"], batch["targets"], len(data.class_names))
        if found is None:
            return []
        scores = [
            scoring.top_k_score("top1", found, 1),
            scoring.macro_f1_score("macro_f1", found),
            scoring.likelihood_score("nll", found),
            scoring.brier_score("brier", found),
            scoring.calibration_score("ece", found, spec.bins),
        ]
        if found.n_classes > 5:
            scores.append(scoring.top_k_score("top5", found, 5))
        changed = {
            "noise": _noisy(batch["inputs"], spec.noise),
            "shift": _shifted(batch["inputs"], spec.shift),
        }
        parts: dict[str, Batch] = {
            name: {"inputs": inputs, "targets": batch["targets"]} for name, inputs in changed.items()
        }
        parts["ood"] = data.held_out("ood", spec.items)
        for name, part in parts.items():
            of_part = classify(model, part["inputs"], part["targets"], found.n_classes)
            if of_part is not None:
                scores.append(scoring.top_k_score(f"{name}_top1", of_part, 1))
                scores.append(scoring.likelihood_score(f"{name}_nll", of_part))
        return scores


def classify(model: "ModelUnderTest", inputs: "Floats", targets: "np.ndarray", n_classes: int) -> "Classified | None":
    """Log-probabilities of every image; None without images or where the model gives no score for each class."""
    import torch

    from engine.capabilities._classification import Classified

    if not len(inputs):
        return None
    rows, parts = max(1, VALUES_PER_BATCH // inputs[0].size), []
    for first in range(0, len(inputs), rows):
        logits = model.logits(torch.from_numpy(inputs[first : first + rows]))
        if logits.shape[1:] != (n_classes,):
            return None
        parts.append(logits.double().log_softmax(-1).cpu().numpy())
    return Classified(targets, np.concatenate(parts))


def _noisy(images: "Floats", std: float) -> "Floats":
    """With normal noise, the same every time."""
    noise = np.random.default_rng(DISTURBANCE_SALT).standard_normal(images.shape, dtype=np.float32)
    return images + np.float32(std) * noise


def _shifted(images: "Floats", pixels: int) -> "Floats":
    """Each in one of eight directions, the same every time."""
    from engine.sources._images import moved

    rng = np.random.default_rng(DISTURBANCE_SALT)
    shift = pixels * DIRECTIONS[rng.integers(0, len(DIRECTIONS), len(images))]
    return moved(images, np.zeros(len(images)), shift)
