"""Answering the questions that were held out by marking a span of their texts: exact match and F1 as SQuAD has them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.capabilities import capabilities
from engine.capabilities._kept_answers import Answer, keep
from engine.capabilities._squad import exact, f1
from engine.capabilities.base import Capability, Metric, Score
from engine.i18n import mark, tr
from engine.study import TableSpec

if TYPE_CHECKING:
    from engine.capabilities.base import ModelUnderTest
    from engine.sources._question_items import HeldOut, QuestionItems
    from engine.sources.base import Prepared

ITEMS_PER_BATCH = 16
LEAST = -1e3
"""Log-likelihood, nats, under which a question whose text cannot be read is kept."""


class QuestionAnsweringSpec(TableSpec, frozen=True, kw_only=True):
    """How an answer is read off."""

    longest_answer: Annotated[
        int,
        msgspec.Meta(
            title=mark("Longest answer"), description=mark("Tokens that a marked answer has at most."), ge=1, le=512
        ),
    ] = 30


@dataclass(slots=True)
class Reply:
    """What a model says to one question, over all windows of its text."""

    text: str = ""
    """The likeliest span."""
    score: float = -np.inf
    """Of that span: both ends together."""
    nothing: float = np.inf
    """The score of there being no answer, in the window where it is least."""
    log_likelihoods: tuple[float, ...] = ()
    """Of what is right in each window, both ends together, in nats."""
    guesses: tuple[float, ...] = ()
    """The same by marking any token of the text, or none, with equal chance."""


@capabilities.register("question-answering")
class QuestionAnswering(Capability):
    """A fine-tuned model on the test questions of a ``question-table``.

    Standard errors are over questions. Chance marks a word of the text at random, or says of every question that it has
    no answer, whichever is right more often.
    """

    name = "question-answering"
    version = 1
    title = mark("Answers found in texts")
    description = mark("Mark in its text the answer to every question that was held out.")
    Spec = QuestionAnsweringSpec
    metrics = (
        Metric("exact_match", mark("Exact match"), True, "threshold"),
        Metric("f1", mark("F1 over words"), True, "threshold"),
        Metric("answered_exact_match", mark("Exact match where there is an answer"), True, "threshold"),
        Metric("answered_f1", mark("F1 over words where there is an answer"), True, "threshold"),
        Metric("unanswerable_accuracy", mark("Accuracy where there is no answer"), True, "threshold"),
        Metric("log_likelihood", mark("Log-likelihood per question"), True, "continuous", mark("nats per question")),
    )

    def evaluate(self, spec: QuestionAnsweringSpec, model: "ModelUnderTest", data: "Prepared") -> list[Score]:
        """Nothing where the data are no questions with texts or the model has no head for it."""
        from engine.sources._question_items import QuestionItems

        if not isinstance(data, QuestionItems) or model.outputs is None:
            return []
        questions = data.texts()
        replies = ask(model, data, questions, spec.longest_answer)
        read = mark("log-likelihood per question")
        keep(model, read, np.maximum(likelihoods(replies), LEAST), lambda places: _answers(questions, replies, places))
        return score(questions, replies)


def ask(model: "ModelUnderTest", data: "QuestionItems", questions: "Sequence[HeldOut]", longest: int) -> list[Reply]:
    """The reply to every test question, found across the windows of its text."""
    import torch

    from engine.capabilities.span_question_answering import best_spans

    assert model.outputs is not None
    rows, characters = data.rows("test"), data.characters()
    replies = [Reply() for _ in questions]
    for some, batch in data.by_length(rows, ITEMS_PER_BATCH):
        tensors = {name: torch.from_numpy(array).to(model.device) for name, array in batch.items()}
        scores = model.outputs(tensors).float().cpu()
        places = torch.arange(scores.shape[1])
        text = (places >= torch.from_numpy(data.begins[some])[:, None]) & (
            places < torch.from_numpy(data.stops[some])[:, None]
        )
        first, last = best_spans(scores.masked_fill(~text[..., None], float("-inf")), longest)
        padding = torch.from_numpy(batch["mask"] == 0)[..., None]
        known = scores.double().masked_fill(padding, float("-inf")).log_softmax(1).numpy()
        for i, (row, marks) in enumerate(zip(some.tolist(), batch["targets"], strict=True)):
            reply = replies[data.questions[row]]
            reply.nothing = min(reply.nothing, float(scores[i, 0].sum()))
            reply.log_likelihoods += (float(known[i, marks[0], 0] + known[i, marks[1], 1]),)
            reply.guesses += (-2 * float(np.log(int(text[i].sum()) + 1)),)
            found = float(scores[i, first[i], 0] + scores[i, last[i], 1])
            if found > reply.score:
                of = characters[int(np.searchsorted(rows, row))]
                context = questions[data.questions[row]].context
                reply.score, reply.text = found, context[of[first[i], 0] : of[last[i], 1]]
    return replies


def said(replies: Sequence[Reply], may_be_nothing: bool) -> list[str]:
    """The answers given: nothing where that scores more than any span, and there are questions without an answer."""
    return ["" if may_be_nothing and reply.nothing > reply.score else reply.text for reply in replies]


def score(questions: "Sequence[HeldOut]", replies: Sequence[Reply]) -> list[Score]:
    """Every metric; those of questions with and without an answer apart where there are both."""
    from engine.capabilities._tokens import mean_and_stderr

    there = np.asarray([bool(q.answers) for q in questions])
    given = said(replies, not there.all())
    hits = np.asarray([exact(text, q.answers) for text, q in zip(given, questions, strict=True)])
    overlaps = np.asarray([f1(text, q.answers) for text, q in zip(given, questions, strict=True)])
    guessed = np.asarray([_guess(q) for q in questions])
    if (~there).mean() > guessed[:, 0].mean():
        guessed = np.repeat((~there).astype(np.float64)[:, None], 2, axis=1)

    def one(metric: str, values: NDArray[np.float64], of: NDArray[np.bool_], column: int) -> Score:
        return Score(metric, *mean_and_stderr(values[of]), int(of.sum()), float(guessed[of, column].mean()))

    every = np.ones(len(questions), np.bool_)
    found = [one("exact_match", hits, every, 0), one("f1", overlaps, every, 1)]
    if not there.all() and there.any():
        found += [
            one("answered_exact_match", hits, there, 0),
            one("answered_f1", overlaps, there, 1),
            one("unanswerable_accuracy", hits, ~there, 0),
        ]
    known = likelihoods(replies)
    readable = np.isfinite(known)
    chance = float(np.mean([np.mean(reply.guesses) for reply in replies if reply.guesses]))
    return [*found, Score("log_likelihood", *mean_and_stderr(known[readable]), int(readable.sum()), chance)]


def likelihoods(replies: Sequence[Reply]) -> NDArray[np.float64]:
    """(n,) log-likelihood of what is right, mean over windows; -inf where a model can read nothing of the text."""
    return np.asarray([np.mean(r.log_likelihoods) if r.log_likelihoods else -np.inf for r in replies], np.float64)


def _guess(question: "HeldOut") -> tuple[float, float]:
    """Exact match and F1 of a word of the text at random."""
    words = Counter(question.context.split())
    scores = np.asarray([(n * exact(w, question.answers), n * f1(w, question.answers)) for w, n in words.items()])
    hits, overlaps = (scores.sum(axis=0) / words.total()).tolist()
    return hits, overlaps


def _answers(questions: "Sequence[HeldOut]", replies: Sequence[Reply], places: Sequence[int]) -> list[Answer]:
    """Some of the questions with their texts, what was wanted and what was said."""
    given = said(replies, not all(q.answers for q in questions))
    return [
        Answer(
            origin=questions[place].where,
            prompt=f"{questions[place].question}\n\n{questions[place].context}",
            wanted=" / ".join(dict.fromkeys(questions[place].answers)) or tr("(no answer)"),
            given=given[place].strip() or tr("(no answer)"),
        )
        for place in places
    ]
