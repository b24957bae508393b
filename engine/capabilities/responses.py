"""Giving the responses that were held out: how likely they are, and how often they come word for word."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from engine.capabilities import capabilities
from engine.capabilities.base import Capability, Metric, Score
from engine.errors import StudyError
from engine.i18n import mark, tr
from engine.study import TableSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from engine.capabilities._kept_answers import Answer
    from engine.capabilities.base import ModelUnderTest
    from engine.sources._instruction_items import InstructionItems
    from engine.sources.base import Prepared

ITEMS_PER_BATCH = 16
MOST_WRITTEN, MORE = 64, 8
"""Tokens written after a prompt at most, and how many more than the response has."""


class ResponsesSpec(TableSpec, frozen=True, kw_only=True):
    """Nothing to choose: every test row counts."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What a model makes of each test row, given what came before."""

    nll: "NDArray[np.float64]"
    """(n,) nats of the whole response."""
    exact: "NDArray[np.float64]"
    """(n,) 1 where the likeliest token is right at every place: then the greedy answer is the response."""


@capabilities.register("responses")
class Responses(Capability):
    """A tuned language model on the test rows of an ``instruction-table``, and its untouched base on the same rows.

    Standard errors are by bootstrap over rows; that of the gain is paired. Chance guesses tokens by frequency, or
    always gives the commonest response.
    """

    name = "responses"
    version = 2
    title = mark("Responses")
    description = mark("Give the responses that were held out, token by token.")
    Spec = ResponsesSpec
    metrics = (
        Metric("loss", mark("Loss on responses"), False, "continuous", mark("nats per token")),
        Metric("perplexity", mark("Perplexity of responses"), False, "continuous"),
        Metric("exact_match", mark("Exact match"), True, "threshold"),
        Metric("base_loss", mark("Loss of the untouched base"), False, "continuous", mark("nats per token")),
        Metric("base_exact_match", mark("Exact match of the untouched base"), True, "threshold"),
        Metric("gain", mark("Loss below that of the base"), True, "continuous", mark("nats per token")),
    )

    def evaluate(self, spec: ResponsesSpec, model: "ModelUnderTest", data: "Prepared") -> list[Score]:
        """Nothing where the data are other than prompts and responses; nothing of a base that is there no more."""
        from engine.capabilities import _kept_answers
        from engine.sources._instruction_items import InstructionItems

        if not isinstance(data, InstructionItems) or model.outputs is None:
            return []
        counts = learnt(data)
        found = answered(model.outputs, model, data)
        _kept_answers.keep(
            model, mark("log-likelihood per token"), -found.nll / counts, lambda places: written(model, data, places)
        )
        base = None if model.keep is None else _untouched(model, data)  # while it trains the base is left alone
        return score(found, base, counts, _responses(data))


def answered(
    outputs: "Callable[[Mapping[str, Tensor]], Tensor]", model: "ModelUnderTest", data: "InstructionItems"
) -> Answered:
    """Every test row, in the order of the rows."""
    import torch
    from torch.nn import functional

    rows = data.rows("test")
    nll, exact = np.zeros(len(rows)), np.zeros(len(rows))
    for some, batch in data.by_length(rows, ITEMS_PER_BATCH):
        tensors = {name: torch.from_numpy(array).to(model.device) for name, array in batch.items()}
        logits, targets = outputs(tensors).float(), tensors["targets"]
        places = np.searchsorted(rows, some)
        each = functional.cross_entropy(logits.transpose(1, 2), targets, ignore_index=-100, reduction="none")
        nll[places] = each.double().sum(1).cpu().numpy()
        exact[places] = ((logits.argmax(-1) == targets) | (targets < 0)).all(1).double().cpu().numpy()
    return Answered(nll, exact)


def learnt(data: "InstructionItems") -> "NDArray[np.int64]":
    """(n,) tokens of each test row's response."""
    rows = data.rows("test")
    return np.asarray(data.lengths(rows) - data.starts[rows], np.int64)


def written(model: "ModelUnderTest", data: "InstructionItems", places: "Sequence[int]") -> "list[Answer]":
    """What the model writes after the prompts of these test rows, always the likeliest token, beside the response."""
    import torch

    from engine.capabilities._kept_answers import Answer

    rows, tuned = data.rows("test"), cast("Any", model.module).model
    last = data.tokens[data.ends[rows] - 1]
    end = int(np.bincount(last).argmax())  # what ends a response, where the longest have not been cut
    answers = []
    for row in rows[list(places)]:
        start, tokens = int(data.starts[row]), data.collate(np.array([row]))["inputs"][0]
        given = torch.from_numpy(tokens[None, :start]).to(model.device)
        longest = min(MOST_WRITTEN, len(tokens) - start + MORE, model.context - start)
        made = tuned.generate(
            input_ids=given,
            attention_mask=torch.ones_like(given),
            max_new_tokens=longest,
            do_sample=False,
            eos_token_id=end,
            pad_token_id=data.pad,
        )[0, start:]
        place = int(np.searchsorted(rows, row))
        answers.append(
            Answer(
                origin=tr("test row {number:,}", number=place + 1),
                prompt=data.plain(tokens[:start]),
                wanted=data.plain(tokens[start:]),
                given=data.plain(made.cpu().numpy()),
            )
        )
    return answers


def score(
    found: Answered, base: Answered | None, counts: "NDArray[np.int64]", responses: "list[NDArray[np.int32]]"
) -> list[Score]:
    """Every metric of the test rows, whose responses have so many tokens."""
    from engine.capabilities._classification import resamples
    from engine.capabilities._tokens import mean_and_stderr, most_frequent_share, unigram_entropy

    n, weights = len(counts), resamples(len(counts))
    total = float(counts.sum())

    def per_token(nll: "NDArray[np.float64]") -> "tuple[float, NDArray[np.float64]]":
        """The mean over tokens, and that of each resample of rows."""
        return float(nll.sum()) / total, np.asarray(weights @ nll / (weights @ counts), np.float64)

    loss, drawn = per_token(found.nll)
    entropy = unigram_entropy(np.concatenate(responses))
    commonest = most_frequent_share(np.unique([some.tobytes() for some in responses], return_inverse=True)[1])
    scores = [
        Score("loss", loss, float(drawn.std(ddof=1)), n, entropy),
        Score("perplexity", float(np.exp(loss)), float(np.exp(drawn).std(ddof=1)), n, float(np.exp(entropy))),
        Score("exact_match", *mean_and_stderr(found.exact), n, commonest),
    ]
    if base is not None:
        base_loss, base_drawn = per_token(base.nll)
        scores += [
            Score("base_loss", base_loss, float(base_drawn.std(ddof=1)), n, entropy),
            Score("base_exact_match", *mean_and_stderr(base.exact), n, commonest),
            Score("gain", base_loss - loss, float((base_drawn - drawn).std(ddof=1)), n, 0.0),
        ]
    return scores


def _untouched(model: "ModelUnderTest", data: "InstructionItems") -> Answered | None:
    """The same rows by the base as it came; None where it is gone."""
    assert model.family is not None
    try:
        base: Any = model.family.build({**model.shape, "method": "full", "fresh": ""}, model.seed)
    except StudyError:
        return None
    tuned: Any = model.module
    base.configure(compute_dtype=tuned.compute_dtype)
    return answered(base.to(model.device).eval().outputs, model, data)


def _responses(data: "InstructionItems") -> "list[NDArray[np.int32]]":
    """Tokens of each test row's response."""
    rows = data.rows("test")
    return [data.tokens[end - n : end] for end, n in zip(data.ends[rows], learnt(data), strict=True)]
