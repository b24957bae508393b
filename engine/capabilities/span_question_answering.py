"""Answering a question with a span of the text that it is asked about, by a model fine-tuned to mark it."""

from typing import TYPE_CHECKING

import numpy as np

from engine.capabilities import capabilities
from engine.capabilities._finetune import LONGEST, FineTuneSpec
from engine.capabilities.base import Capability, Metric, Score
from engine.i18n import mark

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from engine.capabilities.base import ModelUnderTest
    from engine.sources._spans import SpanItems
    from engine.sources.base import Prepared

LONGEST_ANSWER = 32
"""Tokens of an answer at most; those asked for have 24 characters or fewer."""


class SpanQuestionAnsweringSpec(FineTuneSpec, frozen=True, kw_only=True):
    """How much the model is fine-tuned before it is asked."""


@capabilities.register("span-question-answering")
class SpanQuestionAnswering(Capability):
    """Extractive answers (Rajpurkar 2016): two linear heads on the states of positions score where one begins and ends.

    The question is the name of a field of real code or documentation, the answer the value it has in the context, which
    holds other named values too. Standard errors are over places of the text.
    """

    name = "span-question-answering"
    version = 1
    title = mark("Answers as spans")
    description = mark("After fine-tuning, mark in a piece of code or documentation the value of the field asked for.")
    Spec = SpanQuestionAnsweringSpec
    metrics = (
        Metric("exact_match", mark("Exact match"), True, "threshold"),
        Metric("f1", mark("F1 over tokens"), True, "threshold"),
        Metric("log_likelihood", mark("Log-likelihood per item"), True, "continuous", mark("nats per item")),
    )

    def evaluate(self, spec: SpanQuestionAnsweringSpec, model: "ModelUnderTest", data: "Prepared") -> list[Score]:
        """Nothing where the text has no such fields, or the family no states. Chance marks one of the values there."""
        from engine.sources._spans import AsksForSpans

        if not isinstance(data, AsksForSpans):
            return []
        items = data.spans(min(model.context, LONGEST), spec.train_items, spec.test_items)
        scores = None if items is None else ask(spec, model, *items)
        return [] if items is None or scores is None else score(scores, items[1])


def ask(
    spec: SpanQuestionAnsweringSpec, model: "ModelUnderTest", train: "SpanItems", test: "SpanItems"
) -> "Tensor | None":
    """Log-probabilities (n, t, 2) of beginning and end of the test items' answers; None where there are no states."""
    import torch

    from engine.capabilities._finetune import fine_tune, outputs

    begins, starts, ends = (
        torch.from_numpy(array).to(model.device) for array in (train.begins, train.starts, train.ends)
    )

    def loss(scores: "Tensor", rows: "Tensor") -> "Tensor":
        known = in_context(scores, begins[rows])
        places = torch.stack((starts[rows], ends[rows]), dim=1)
        return -known.gather(1, places[:, None]).mean()

    headed = fine_tune(model, train.tokens, 2, loss, epochs=spec.epochs, per_position=True)
    if headed is None:
        return None
    return in_context(outputs(model, headed, test.tokens), torch.from_numpy(test.begins))


def in_context(scores: "Tensor", begins: "Tensor") -> "Tensor":
    """Log-probabilities of (n, t, 2) scores over positions from ``begins`` (n,) on; the question cannot be marked."""
    import torch

    before = torch.arange(scores.shape[1], device=scores.device) < begins[:, None]
    return scores.float().masked_fill(before[..., None], float("-inf")).log_softmax(1)


def best_spans(scores: "Tensor", longest: int = LONGEST_ANSWER) -> "tuple[NDArray[np.int64], NDArray[np.int64]]":
    """First and last token (n,) of the likeliest span of at most ``longest`` tokens, from (n, t, 2) scores of both."""
    import torch

    t = scores.shape[1]
    together = scores[:, :, None, 0] + scores[:, None, :, 1]
    allowed = torch.ones(t, t, dtype=torch.bool).triu().tril(longest - 1)
    best = together.masked_fill(~allowed, float("-inf")).flatten(1).argmax(1).numpy()
    return best // t, best % t


def score(scores: "Tensor", items: "SpanItems") -> list[Score]:
    """Every metric of (n, t, 2) log-probabilities, with errors over chunks of text."""
    from engine.capabilities._tokens import ratio_and_stderr

    n = len(items.tokens)
    first, last = best_spans(scores)
    overlap = np.maximum(0, np.minimum(last, items.ends) - np.maximum(first, items.starts) + 1)
    rows = np.arange(n)
    known = scores.double().numpy()
    values = {
        "exact_match": ((first == items.starts) & (last == items.ends)).astype(float),
        "f1": 2 * overlap / (last - first + items.ends - items.starts + 2),
        "log_likelihood": known[rows, items.starts, 0] + known[rows, items.ends, 1],
    }
    guess = float((1 / items.n_values).mean())
    chances = (guess, guess, float(-2 * np.log(items.n_values).mean()))
    _, chunk = np.unique(items.chunks, return_inverse=True)
    counts = np.bincount(chunk)
    return [
        Score(name, *ratio_and_stderr(np.bincount(chunk, of_items).astype(float), counts), n, chance)
        for (name, of_items), chance in zip(values.items(), chances, strict=True)
    ]
