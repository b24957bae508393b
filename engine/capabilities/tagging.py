"""Tagging the words of held-out sentences: accuracy, F1 over tags, and over whole spans where tags name them."""

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from engine.capabilities import capabilities
from engine.capabilities._chunks import chunk_counts, kinds_of, name_spans
from engine.capabilities.base import Capability, Metric, Score
from engine.capabilities.classification import PREDICTIONS, Tested, predictions_file
from engine.i18n import mark
from engine.study import TableSpec

if TYPE_CHECKING:
    from engine.capabilities.base import ModelUnderTest
    from engine.families.base import DataShape
    from engine.sources._tagged_items import TaggedItems
    from engine.sources.base import Prepared

ITEMS_PER_BATCH = 32
MOST_KEPT = 5_000
"""Words whose probabilities are kept with a run: of sentences spread over the test, so many as hold them."""
SPAN_METRICS = ("entity_precision", "entity_recall", "entity_f1", "entity_macro_f1")

Floats = NDArray[np.float64]


class TaggingSpec(TableSpec, frozen=True, kw_only=True):
    """Nothing to choose: every word of the test counts."""


@dataclass(frozen=True, slots=True)
class Tagged:
    """Words of sentences, one after another: what they are and what a model takes them for."""

    names: tuple[str, ...]
    targets: NDArray[np.int64]
    """(n,) index of ``names``."""
    log_probabilities: Floats
    """(n, tags), natural logarithm."""
    sentences: NDArray[np.int64]
    """(n,) which sentence each is of: 0, 1, and so on."""
    n_sentences: int

    @property
    def predicted(self) -> NDArray[np.int64]:
        """(n,) the likeliest tag."""
        return np.asarray(self.log_probabilities.argmax(axis=1), np.int64)


@capabilities.register("tagging")
class Tagging(Capability):
    """What a tagger is right about, on the sentences that were held out for it alone.

    Standard errors are by bootstrap over sentences, and ``n`` counts them. Chance gives every word the commonest tag,
    or guesses by frequency.
    """

    name = "tagging"
    version = 1
    title = mark("Tagging of words")
    description = mark("Tell the tag of every word of the test sentences of a tagged table.")
    Spec = TaggingSpec
    metrics = (
        Metric("accuracy", mark("Accuracy over words"), True, "threshold"),
        Metric("macro_f1", mark("F1, mean over tags"), True, "threshold"),
        Metric("micro_f1", mark("F1 over all words, equal to accuracy"), True, "threshold"),
        Metric("entity_precision", mark("Precision over entities"), True, "threshold"),
        Metric("entity_recall", mark("Recall over entities"), True, "threshold"),
        Metric("entity_f1", mark("F1 over entities"), True, "threshold"),
        Metric("entity_macro_f1", mark("F1 over entities, mean over kinds"), True, "threshold"),
        Metric("log_likelihood", mark("Log-likelihood per word"), True, "continuous", mark("nats per word")),
    )

    def measures(self, metric: str, data: "DataShape") -> bool:
        """Entities only where the tags name them."""
        return super().measures(metric, data) and (metric not in SPAN_METRICS or name_spans(data.class_names))

    def evaluate(self, spec: TaggingSpec, model: "ModelUnderTest", data: "Prepared") -> list[Score]:
        """Nothing where the data are no tagged table or the model has no head for it."""
        from engine.sources._tagged_items import TaggedItems

        if not isinstance(data, TaggedItems) or model.outputs is None:
            return []
        found = tag(model, data)
        if model.keep is not None:
            model.keep("predictions", PREDICTIONS, _file(data, found))
        return score(found)


def tag(model: "ModelUnderTest", data: "TaggedItems") -> Tagged:
    """Every test word that a model sees, in the order of sentences and words."""
    import torch

    assert model.outputs is not None
    rows = data.rows("test")
    by_row: dict[int, tuple[NDArray[np.int64], Floats]] = {}
    for some, batch in data.by_length(rows, ITEMS_PER_BATCH):
        tensors = {name: torch.from_numpy(array).to(model.device) for name, array in batch.items()}
        scores = model.outputs(tensors).double().log_softmax(-1).cpu().numpy()
        for row, targets, known in zip(some.tolist(), batch["targets"], scores, strict=True):
            by_row[row] = targets[targets >= 0], known[targets >= 0]
    targets, known = zip(*(by_row[row] for row in rows.tolist()), strict=True)
    sentences = np.repeat(np.arange(len(rows)), [len(some) for some in targets])
    return Tagged(data.class_names, np.concatenate(targets), np.concatenate(known), sentences, len(rows))


def score(found: Tagged) -> list[Score]:
    """Every metric that the tags allow."""
    from engine.capabilities._classification import resamples

    n, k = found.n_sentences, len(found.names)
    share = np.bincount(found.targets, minlength=k) / len(found.targets)
    commonest = np.full(len(found.targets), share.argmax())
    weights = np.concatenate([np.ones((1, n)), resamples(n)])  # the sentences themselves, then as they were drawn again

    def scores(names: tuple[str, ...], values: Floats, chance: Floats) -> list[Score]:
        """One score for each column of (1 + resamples, metrics)."""
        errors = values[1:].std(axis=0, ddof=1)
        return [
            Score(name, float(value), float(error), n, float(guess))
            for name, value, error, guess in zip(names, values[0], errors, chance, strict=True)
        ]

    measured = scores(
        ("accuracy", "macro_f1", "micro_f1"),
        _by_tag(found, found.predicted, weights),
        _by_tag(found, commonest, weights[:1])[0],
    )
    if name_spans(found.names):
        by_span = _by_span(found, found.predicted, weights), _by_span(found, commonest, weights[:1])[0]
        measured += scores(SPAN_METRICS, *by_span)
    known = np.take_along_axis(found.log_probabilities, found.targets[:, None], axis=1)
    sums = weights @ _per_sentence(found, known), weights @ _per_sentence(found, np.ones_like(known))
    entropy = -(share[share > 0] * np.log(share[share > 0])).sum()
    return [*measured, *scores(("log_likelihood",), sums[0] / np.maximum(sums[1], 1), np.array([-entropy]))]


def _by_tag(found: Tagged, predicted: NDArray[np.int64], weights: Floats) -> Floats:
    """(m, 3): accuracy, F1 as mean over the tags that occur, and F1 over all words."""
    tags = np.eye(len(found.names))
    truth, said = tags[found.targets], tags[predicted]
    hits, there, named = (weights @ _per_sentence(found, values) for values in (truth * said, truth, said))
    f1 = 2 * hits / np.maximum(there + named, 1e-9)
    accuracy = hits.sum(axis=1) / np.maximum(there.sum(axis=1), 1e-9)
    return np.stack([accuracy, f1[:, truth.any(axis=0)].mean(axis=1), accuracy], axis=1)


def _by_span(found: Tagged, predicted: NDArray[np.int64], weights: Floats) -> Floats:
    """(m, 4): precision, recall and F1 over all spans, and F1 as mean over the kinds that occur."""
    counts = chunk_counts(_sentences(found, found.targets), _sentences(found, predicted), kinds_of(found.names))
    drawn = np.tensordot(weights, counts, axes=1)

    def rates(there: Floats, named: Floats, hits: Floats) -> tuple[Floats, Floats, Floats]:
        return hits / np.maximum(named, 1), hits / np.maximum(there, 1), 2 * hits / np.maximum(there + named, 1)

    overall = rates(*np.moveaxis(drawn.sum(axis=1), -1, 0))
    each = rates(*np.moveaxis(drawn, -1, 0))[2]
    occurs = counts[..., 0].any(axis=0)
    macro = each[:, occurs].mean(axis=1) if occurs.any() else np.zeros(len(drawn))
    return np.stack([*overall, macro], axis=1)


def _per_sentence(found: Tagged, values: Floats) -> Floats:
    """(sentences, m) sums of (words, m)."""
    sums = np.zeros((found.n_sentences, values.shape[1]))
    np.add.at(sums, found.sentences, values)
    return sums


def _sentences(found: Tagged, numbers: NDArray[np.int64]) -> list[list[str]]:
    """Names of tags, sentence by sentence."""
    words = [found.names[number] for number in numbers]
    ends = np.searchsorted(found.sentences, np.arange(found.n_sentences + 1)).tolist()
    return [words[first:stop] for first, stop in pairwise(ends)]


def _file(data: "TaggedItems", found: Tagged) -> bytes:
    """As a classifier of texts keeps it: an item is a word, marked in its sentence."""
    from engine.capabilities._classification import Classified

    items = [
        (" ".join((*words[:i], f"«{word}»", *words[i + 1 :])), where)
        for where, words in data.words("test")
        for i, word in enumerate(words)
    ]
    kept = np.unique(np.linspace(0, found.n_sentences - 1, _kept_sentences(found)).round().astype(np.int64))
    chosen = np.flatnonzero(np.isin(found.sentences, kept))
    words = Classified(found.targets[chosen], found.log_probabilities[chosen])
    return predictions_file(Tested(found.names, words, *map(list, zip(*(items[i] for i in chosen), strict=True))))


def _kept_sentences(found: Tagged) -> int:
    """How many sentences hold ``MOST_KEPT`` words."""
    return max(1, min(found.n_sentences, MOST_KEPT * found.n_sentences // len(found.targets)))
