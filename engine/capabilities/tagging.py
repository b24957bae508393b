"""Tagging the words of held-out sentences: accuracy, F1 over tags, and over whole spans where tags name them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
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
SPAN_METRIC = "entity_"

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
    by_class = (
        Metric("entity_f1", mark("F1 of {of}"), True, "threshold"),
        Metric("tag_f1", mark("F1 of {of}"), True, "threshold"),
    )

    def measures(self, metric: str, data: "DataShape") -> bool:
        """Entities only where the tags name them."""
        return super().measures(metric, data) and (not metric.startswith(SPAN_METRIC) or name_spans(data.class_names))

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
    """Every metric that the tags allow, of each kind of entity (or each tag) too where there are not very many."""
    from engine.capabilities._classification import resamples

    n, k = found.n_sentences, len(found.names)
    share = np.bincount(found.targets, minlength=k) / len(found.targets)
    said = (found.predicted, np.full(len(found.targets), share.argmax()))
    weights = np.concatenate([np.ones((1, n)), resamples(n)])  # the sentences themselves, then as they were drawn again
    tags = _by_kind("tag", found.names, weights, *(_tag_counts(found, some) for some in said))
    hits = {score.metric: score for score in tags}
    measured = [
        replace(hits["tag_f1"], metric="accuracy"),
        replace(hits["tag_macro_f1"], metric="macro_f1"),
        replace(hits["tag_f1"], metric="micro_f1"),
    ]
    if name_spans(found.names):
        kinds = kinds_of(found.names)
        measured += _by_kind("entity", kinds, weights, *(_span_counts(found, some, kinds) for some in said))
    else:
        measured += [single for single in tags if "[" in single.metric]
    known = np.take_along_axis(found.log_probabilities, found.targets[:, None], axis=1)
    sums = weights @ _per_sentence(found, known), weights @ _per_sentence(found, np.ones_like(known))
    entropy = -(share[share > 0] * np.log(share[share > 0])).sum()
    return [*measured, *_scores(["log_likelihood"], [n], sums[0] / np.maximum(sums[1], 1), np.array([-entropy]))]


def _by_kind(what: str, kinds: Sequence[str], weights: Floats, counts: Floats, guessed: Floats) -> list[Score]:
    """Scores of (sentences, kinds, 3) counts and of those of a guess: overall, as a mean, and of each that occurs."""
    from engine.capabilities._classification import MOST_CLASSES

    n = len(counts)
    occurs = np.flatnonzero(counts[..., 0].sum(axis=0))
    values, chance = _rates(weights, counts, occurs), _rates(weights[:1], guessed, occurs)[0]
    names = [f"{what}_{name}" for name in ("precision", "recall", "f1", "macro_f1")]
    found = _scores(names, [n] * 4, values[:, :4], chance[:4])
    if len(kinds) > MOST_CLASSES:
        return found
    single = [f"{what}_f1[{kinds[place]}]" for place in occurs.tolist()]
    return found + _scores(single, counts[:, occurs, 0].sum(axis=0).tolist(), values[:, 4:], chance[4:])


def _scores(names: Sequence[str], counts: Sequence[float], values: Floats, chance: Floats) -> list[Score]:
    """One score for each column of (1 + resamples, metrics)."""
    errors = values[1:].std(axis=0, ddof=1)
    return [
        Score(name, float(value), float(error), int(count), float(guess))
        for name, count, value, error, guess in zip(names, counts, values[0], errors, chance, strict=True)
    ]


def _rates(weights: Floats, counts: Floats, occurs: NDArray[np.int64]) -> Floats:
    """(m, 4 + kinds): precision, recall and F1 over all of (sentences, kinds, 3) counts, the mean of F1, and each F1.

    Those that do not occur have none. Precision is 0 where nothing is named.
    """
    drawn = np.tensordot(weights, counts, axes=1)
    there, named, hits = np.moveaxis(drawn.sum(axis=1), -1, 0)
    each = 2 * drawn[:, occurs, 2] / np.maximum(drawn[:, occurs, 0] + drawn[:, occurs, 1], 1)
    mean = each.mean(axis=1) if len(occurs) else np.zeros(len(drawn))
    overall = (hits / np.maximum(named, 1), hits / np.maximum(there, 1), 2 * hits / np.maximum(there + named, 1))
    return np.concatenate([np.stack([*overall, mean], axis=1), each], axis=1)


def _tag_counts(found: Tagged, predicted: NDArray[np.int64]) -> Floats:
    """(sentences, tags, 3): words that are of a tag, that are called so, and that are both."""
    tags = np.eye(len(found.names))
    truth, said = tags[found.targets], tags[predicted]
    return np.stack([_per_sentence(found, values) for values in (truth, said, truth * said)], axis=-1)


def _span_counts(found: Tagged, predicted: NDArray[np.int64], kinds: tuple[str, ...]) -> Floats:
    """(sentences, kinds, 3) spans; see ``chunk_counts``."""
    return chunk_counts(_sentences(found, found.targets), _sentences(found, predicted), kinds)


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
    texts, origins = zip(*(items[i] for i in chosen), strict=True)
    return predictions_file(Tested(found.names, words, list(texts), list(origins)))


def _kept_sentences(found: Tagged) -> int:
    """How many sentences hold ``MOST_KEPT`` words."""
    return max(1, min(found.n_sentences, MOST_KEPT * found.n_sentences // len(found.targets)))
