"""What images and captions are to a model: named in words it never saw together, and found by each other."""

from typing import TYPE_CHECKING, Annotated, NamedTuple

import msgspec
import numpy as np

from engine.capabilities import capabilities
from engine.capabilities.base import Capability, Metric, Score
from engine.i18n import mark
from engine.study import TableSpec

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from numpy.typing import NDArray

    from engine.capabilities.base import ModelUnderTest
    from engine.families.base import DataShape
    from engine.sources._captions import Choice
    from engine.sources.base import Batch, Prepared

    Floats = NDArray[np.float64]

FIRST = (1, 5)
"""How many of what comes nearest are looked at: R@1 and R@5."""
ROWS_PER_BATCH = 256


class ImageTextSpec(TableSpec, frozen=True, kw_only=True):
    """How many held-out images and pairs are asked."""

    images: Annotated[
        int,
        msgspec.Meta(
            title=mark("Images to name"),
            description=mark("Held-out images to choose a prompt for, of each kind, the same every time."),
            ge=50,
        ),
    ] = 1_024
    pairs: Annotated[
        int,
        msgspec.Meta(
            title=mark("Pairs to find"),
            description=mark("Held-out pairs among which each is to be found; chance falls with their number."),
            ge=20,
        ),
    ] = 512


class Found(NamedTuple):
    """Of n questions with one right answer each: its rank, 1 the best, and its log-likelihood in nats."""

    rank: "Floats"
    log_likelihood: "Floats"


_RETRIEVAL = {
    "text": (mark("Caption found, first"), mark("Caption found, first five"), mark("Caption found, reciprocal rank"),
             mark("Caption found, log-likelihood")),
    "image": (mark("Image found, first"), mark("Image found, first five"), mark("Image found, reciprocal rank"),
              mark("Image found, log-likelihood")),
}  # fmt: skip


def _retrieval_metrics(of: str) -> tuple[Metric, ...]:
    first, five, reciprocal, likelihood = _RETRIEVAL[of]
    return (
        Metric(f"{of}_r1", first, True, "threshold"),
        Metric(f"{of}_r5", five, True, "threshold"),
        Metric(f"{of}_mrr", reciprocal, True, "threshold"),
        Metric(f"{of}_log_likelihood", likelihood, True, "continuous", mark("nats per pair")),
    )


@capabilities.register("image-text")
class ImageText(Capability):
    """Zero-shot classification by prompts, and retrieval both ways (Radford 2021)."""

    name = "image-text"
    version = 1
    title = mark("Images and captions")
    description = mark(
        "Name what is in an image, in combinations never seen, and find caption by image and the reverse."
    )
    Spec = ImageTextSpec
    metrics = (
        Metric("unseen_accuracy", mark("Named in words, unseen combinations"), True, "threshold"),
        Metric(
            "unseen_log_likelihood",
            mark("Log-likelihood of the name, unseen combinations"),
            True,
            "continuous",
            mark("nats per image"),
        ),
        Metric("seen_accuracy", mark("Named in words, combinations met in training"), True, "threshold"),
        Metric(
            "seen_log_likelihood",
            mark("Log-likelihood of the name, combinations met in training"),
            True,
            "continuous",
            mark("nats per image"),
        ),
        *_retrieval_metrics("text"),
        *_retrieval_metrics("image"),
    )

    def measures(self, metric: str, data: "DataShape") -> bool:
        """Names need classes that prompts can be made of."""
        return super().measures(metric, data) and (data.n_classes > 0 or not metric.startswith(("seen_", "unseen_")))

    def evaluate(self, spec: ImageTextSpec, model: "ModelUnderTest", data: "Prepared") -> list[Score]:
        """Nothing where the data are no pairs or the model has not both towers; naming only where classes are known."""
        from engine.families._clip import Clip
        from engine.sources._captions import Captioned, Classified

        if not isinstance(data, Captioned) or not isinstance(model.module, Clip):
            return []
        scores: list[Score] = []
        if isinstance(data, Classified):
            for kind, unseen in (("unseen", True), ("seen", False)):
                choice = data.choices(spec.images, unseen=unseen)
                if len(choice.labels):
                    scores += _naming(kind, named(model, choice), len(choice.prompts))
        pairs = data.held_out_pairs(spec.pairs)
        for of, found in zip(("text", "image"), retrieved(model, pairs), strict=True):
            scores += _retrieval(of, found)
        return scores


def named(model: "ModelUnderTest", choice: "Choice") -> Found:
    """The right prompt among all, for every image."""
    logits = _logits(model, choice.images, choice.prompts)
    return _found(logits, choice.labels)


def retrieved(model: "ModelUnderTest", pairs: "Batch") -> tuple[Found, Found]:
    """Of every image its caption among all captions, and of every caption its image among all images."""
    logits = _logits(model, pairs["images"], pairs["captions"])
    own = np.arange(len(logits))
    return _found(logits, own), _found(logits.T, own)


def _logits(model: "ModelUnderTest", images: "NDArray[np.float32]", captions: "NDArray[np.int64]") -> "Floats":
    """(images, captions) of what the model makes of every combination."""
    import torch

    from engine.families._clip import Clip

    clip = model.module
    assert isinstance(clip, Clip)

    def embedded(array: "NDArray[np.generic]", embed: "Callable[[torch.Tensor], torch.Tensor]") -> "torch.Tensor":
        firsts = range(0, len(array), ROWS_PER_BATCH)
        return torch.cat([embed(torch.from_numpy(array[i : i + ROWS_PER_BATCH]).to(model.device)) for i in firsts])

    scaled = clip.scale() * embedded(images, clip) @ embedded(captions, clip.embed_captions).T
    logits: Floats = scaled.double().cpu().numpy()
    return logits


def _found(logits: "Floats", right: "NDArray[np.int64]") -> Found:
    """Ranks and log-likelihoods of the right column of each row; what ties with it counts as half before it."""
    own = np.take_along_axis(logits, right[:, None], axis=1)
    rank = 1 + (logits > own).sum(axis=1) + ((logits == own).sum(axis=1) - 1) / 2
    highest = logits.max(axis=1, keepdims=True)
    total = highest[:, 0] + np.log(np.exp(logits - highest).sum(axis=1))
    return Found(rank, own[:, 0] - total)


def _naming(kind: str, found: Found, n_classes: int) -> list[Score]:
    n = len(found.rank)
    return [
        Score(f"{kind}_accuracy", *_mean(found.rank < 2), n, 1 / n_classes),
        Score(f"{kind}_log_likelihood", *_mean(found.log_likelihood), n, -float(np.log(n_classes))),
    ]


def _retrieval(of: str, found: Found) -> list[Score]:
    n = len(found.rank)
    harmonic = float((1 / np.arange(1, n + 1)).sum())
    return [
        *(Score(f"{of}_r{k}", *_mean(found.rank < k + 1), n, min(1.0, k / n)) for k in FIRST),
        Score(f"{of}_mrr", *_mean(1 / found.rank), n, harmonic / n),
        Score(f"{of}_log_likelihood", *_mean(found.log_likelihood), n, -float(np.log(n))),
    ]


def _mean(values: "NDArray[np.generic]") -> tuple[float, float | None]:
    from engine.capabilities._tokens import mean_and_stderr

    return mean_and_stderr(values.astype(np.float64))
