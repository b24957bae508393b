"""How good generated images are: as a distribution, one by one, and over the classes of the real ones."""

import dataclasses
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, Protocol, runtime_checkable

import msgspec
import numpy as np

from engine.capabilities import capabilities
from engine.capabilities.base import Capability, Metric, Score
from engine.i18n import mark
from engine.study import TableSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from engine.capabilities._image_judge import Judge, Seen
    from engine.capabilities.base import ModelUnderTest
    from engine.sources._images import ImageData
    from engine.sources.base import Prepared

NOISE_SEED, DRAW_SEED, RESAMPLING_SEED = 0x4015E, 0xD4A3, 0x5A3B
RESAMPLINGS = 60
"""Enough for a standard error within a tenth of itself."""
DRAWN_AT_ONCE = 256


@runtime_checkable
class DrawsImages(Protocol):
    """A model that makes images."""

    def draw(self, n: int, seed: int) -> "Tensor":
        """(n, c, h, w) images in about -1..1, a function of the weights and the seed."""
        ...


class ImageGenerationSpec(TableSpec, frozen=True, kw_only=True):
    """How many images are compared, and what is near and what is fair."""

    items: Annotated[
        int,
        msgspec.Meta(
            title=mark("Images"),
            description=mark("Images to generate; as many held-out real ones, or all where there are fewer."),
            ge=100,
        ),
    ] = 1_024
    neighbours: Annotated[
        int,
        msgspec.Meta(
            title=mark("Neighbours"),
            description=mark("For precision and recall, an image reaches to its nearest neighbour of this rank."),
            ge=1,
            le=50,
        ),
    ] = 3
    fair_share: Annotated[
        float,
        msgspec.Meta(
            title=mark("Fair share"),
            description=mark("A class is covered from this share of how often it is among real images."),
            gt=0,
            le=1,
        ),
    ] = 0.5


@capabilities.register("image-generation")
class ImageGeneration(Capability):
    """Generated against held-out real images in the features of a classifier that was trained on real training images.

    ``training_`` is the same of real training images in place of generated ones: what a perfect generator would get.
    Chance is what even noise gets. The standard errors are over images, of both kinds for the Fréchet distance.
    """

    name = "image-generation"
    version = 1
    title = mark("Generating images")
    description = mark("Make images that a classifier's features cannot tell from held-out real ones, of every class.")
    Spec = ImageGenerationSpec
    scores_items = False
    metrics = (
        Metric("frechet_distance", mark("Fréchet distance"), False, "continuous", mark("variances of real images")),
        Metric("precision", mark("Precision of generated images"), True, "threshold"),
        Metric("recall", mark("Recall of real images"), True, "threshold"),
        Metric("class_coverage", mark("Classes with a fair share"), True, "threshold"),
        Metric("class_divergence", mark("Divergence of class frequencies"), False, "continuous", mark("nats")),
        Metric(
            "training_frechet_distance",
            mark("Fréchet distance of training images"),
            False,
            "continuous",
            mark("variances of real images"),
        ),
        Metric("training_precision", mark("Precision of training images"), True, "threshold"),
        Metric("training_recall", mark("Recall by training images"), True, "threshold"),
        Metric("training_class_coverage", mark("Classes with a fair share of training images"), True, "threshold"),
        Metric(
            "training_class_divergence",
            mark("Divergence of class frequencies of training images"),
            False,
            "continuous",
            mark("nats"),
        ),
        Metric("judge_accuracy", mark("Accuracy of the classifier that judges"), True, "threshold"),
    )

    def evaluate(self, spec: ImageGenerationSpec, model: "ModelUnderTest", data: "Prepared") -> list[Score]:
        """Nothing where the data are no labelled images or the model makes none.

        Only the judge's accuracy where it is less than half of the way from chance to 1: its features would mean
        little, and so would a distance in them.
        """
        from engine.capabilities._image_judge import judge_of
        from engine.sources._images import ImageData

        if not isinstance(data, ImageData) or not isinstance(model.module, DrawsImages):
            return []
        judge = judge_of(data)
        references = judge.references.get(spec)
        if references is None:
            references = judge.references[spec] = _References(spec, judge, data)
        if not references.judge_knows:
            return references.scores[-1:]
        generated = judge.see(_drawn(model.module, spec.items))
        found = _compared(spec, generated, references.real, references.n_classes)
        return references.with_chance(found) + references.scores


class _References:
    """What does not depend on the model: the held-out images, what noise gets, and what real training images get."""

    def __init__(self, spec: ImageGenerationSpec, judge: "Judge", data: "ImageData") -> None:
        held_out, self.n_classes = data.held_out("validation", spec.items), len(data.class_names)
        images, targets = held_out["inputs"], held_out["targets"]
        self.real = judge.see(images)
        noise = np.random.default_rng(NOISE_SEED).uniform(-1, 1, (spec.items, *images.shape[1:]))
        of_noise = _compared(spec, judge.see(noise.astype(np.float32)), self.real, self.n_classes)
        self._chance = {score.metric: score.value for score in of_noise}
        training = judge.see(data.held_out("train", spec.items)["inputs"])
        of_training = _compared(spec, training, self.real, self.n_classes)
        right = self.real.classes == targets
        commonest = float(np.bincount(targets).max() / len(targets))
        self.judge_knows = bool(right.mean() >= (1 + commonest) / 2)
        self.scores = [
            *(dataclasses.replace(score, metric=f"training_{score.metric}") for score in self.with_chance(of_training)),
            Score("judge_accuracy", float(right.mean()), _stderr(right), len(right), commonest),
        ]

    def with_chance(self, scores: "Iterable[Score]") -> list[Score]:
        """The same, with what noise gets."""
        return [dataclasses.replace(score, chance=self._chance[score.metric]) for score in scores]


def _drawn(module: DrawsImages, n: int) -> "Tensor":
    """The same noise for every model, a batch at a time."""
    import torch

    parts = [
        module.draw(min(DRAWN_AT_ONCE, n - first), DRAW_SEED + first).float().cpu()
        for first in range(0, n, DRAWN_AT_ONCE)
    ]
    return torch.cat(parts)


def _compared(spec: ImageGenerationSpec, made: "Seen", real: "Seen", n_classes: int) -> Iterator[Score]:
    """Every metric of some images against real ones."""
    from engine.capabilities._image_judge import divergence, frechet_distance, frequencies, inside

    rng = np.random.default_rng(RESAMPLING_SEED)
    asked = frequencies(real.classes, n_classes)

    def of_all(made: "Seen", real: "Seen") -> tuple[float, float, float]:
        shares = frequencies(made.classes, n_classes)
        covered = (shares >= spec.fair_share * asked).mean()
        return frechet_distance(made.features, real.features), float(covered), divergence(shares, asked)

    n, m = len(made.classes), len(real.classes)
    again = [of_all(made.take(rng.integers(0, n, n)), real.take(rng.integers(0, m, m))) for _ in range(RESAMPLINGS)]
    errors = np.std(again, axis=0, ddof=1)
    names = ("frechet_distance", "class_coverage", "class_divergence")
    for name, value, error in zip(names, of_all(made, real), errors, strict=True):
        yield Score(name, value, float(error), n)
    # As many of each kind: a manifold of more points covers more.
    few = min(n, m)
    these, those = made.features[:few], real.features[:few]
    for name, hits in (
        ("precision", inside(these, those, spec.neighbours)),
        ("recall", inside(those, these, spec.neighbours)),
    ):
        yield Score(name, float(hits.mean()), _stderr(hits), few)


def _stderr(values: "NDArray[np.bool_]") -> float:
    return float(np.std(values, ddof=1) / np.sqrt(len(values)))
