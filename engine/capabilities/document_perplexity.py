"""How well a model predicts whole held-out documents: what lm-evaluation-harness reports, measured here."""

import math
from typing import TYPE_CHECKING, Annotated

import msgspec
import numpy as np

from engine.capabilities import capabilities
from engine.capabilities.base import Capability, Metric, Score
from engine.i18n import mark
from engine.study import TableSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from engine.capabilities._rolling import Text
    from engine.capabilities.base import ModelUnderTest
    from engine.sources.base import Prepared


class DocumentPerplexitySpec(TableSpec, frozen=True, kw_only=True):
    """How many documents are read."""

    documents: Annotated[
        int,
        msgspec.Meta(
            title=mark("Documents"),
            description=mark("Held-out documents, spread evenly; more give a smaller standard error."),
            ge=2,
        ),
    ] = 200


@capabilities.register("document-perplexity")
class DocumentPerplexity(Capability):
    """Perplexity over documents, each begun anew after the separator, by rolling windows; errors are over documents.

    Other than ``language-modelling``, whose windows cut across documents, predict separators and begin in mid-text.
    """

    name = "document-perplexity"
    version = 1
    title = mark("Perplexity of documents")
    description = mark("How well the model predicts whole held-out documents, per word and per byte.")
    Spec = DocumentPerplexitySpec
    metrics = (
        Metric("loss", mark("Loss"), False, "continuous", mark("nats per token")),
        Metric("bits_per_byte", mark("Bits per byte"), False, "continuous", mark("bits per byte")),
        Metric("byte_perplexity", mark("Perplexity per byte"), False, "continuous"),
        Metric("word_perplexity", mark("Perplexity per word"), False, "continuous"),
    )

    def evaluate(self, spec: DocumentPerplexitySpec, model: "ModelUnderTest", data: "Prepared") -> list[Score]:
        """Nothing where the data are no text or the model does not predict what comes next."""
        from engine.capabilities._rolling import held_out
        from engine.sources._tokenizers import SEPARATOR

        if model.family is not None and not model.family.predicts_next:
            return []
        documents = held_out(data, spec.documents)
        return score_documents(model.logits, documents, SEPARATOR, model.context) if len(documents) > 1 else []


def score_documents(
    logits: "Callable[[Tensor], Tensor]", documents: "Sequence[Text]", prefix: int, context: int
) -> list[Score]:
    """The metrics of two documents or more. Chance is guessing by the documents' own frequencies of tokens."""
    from engine.capabilities._rolling import log_likelihoods
    from engine.capabilities._tokens import ratio_and_stderr, unigram_entropy

    nats = -log_likelihoods(logits, documents, prefix, context)
    counts = {
        "loss": np.array([len(document.tokens) for document in documents]),
        "bits_per_byte": np.array([document.n_bytes for document in documents]),
        "word_perplexity": np.array([document.n_words for document in documents]),
    }
    n, n_tokens = len(documents), int(counts["loss"].sum())
    guessing = unigram_entropy(np.concatenate([document.tokens for document in documents])) * n_tokens
    scores = {}
    for metric, count in counts.items():
        mean, stderr = ratio_and_stderr(nats, count)
        scores[metric] = (mean, stderr or 0.0, guessing / float(count.sum()))
    bits = [value / math.log(2) for value in scores["bits_per_byte"]]
    return [
        Score("loss", *scores["loss"][:2], n, scores["loss"][2]),
        Score("bits_per_byte", bits[0], bits[1], n, bits[2]),
        _perplexity("byte_perplexity", *scores["bits_per_byte"], n),
        _perplexity("word_perplexity", *scores["word_perplexity"], n),
    ]


def _perplexity(metric: str, nats: float, stderr: float, guessing: float, n: int) -> Score:
    """exp of a mean, its error by linearisation; infinite beyond what a float holds."""
    value, chance = (math.exp(x) if x < 700 else math.inf for x in (nats, guessing))
    return Score(metric, value, value * stderr if math.isfinite(value) else None, n, chance)
