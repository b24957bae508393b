"""How far back a model copies: random strings that come again, by distance."""

import math
from typing import TYPE_CHECKING, Annotated

import msgspec

from engine.capabilities import capabilities
from engine.capabilities.base import Capability, Metric, Score
from engine.i18n import mark
from engine.study import TableSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from engine.capabilities.base import ModelUnderTest
    from engine.sources.base import Prepared

DISTANCES = tuple(2**power for power in range(2, 13))
"""4 to 4,096 tokens between a token and its copy."""
ABOVE_CHANCE = 0.5
"""Accuracy over chance from which a distance counts as copied."""
KINDS_TOKENS = 32_768
"""Held-out tokens of text that are looked through for which there are."""
SALT = 0xC0B1


class LongRangeCopyingSpec(TableSpec, frozen=True, kw_only=True):
    """How many strings are asked for at every distance."""

    items: Annotated[
        int,
        msgspec.Meta(
            title=mark("Items"),
            description=mark("Strings to copy at every distance, the same every time; all where there are fewer."),
            ge=16,
        ),
    ] = 512


@capabilities.register("long-range-copying")
class LongRangeCopying(Capability):
    """A random string stands in the context twice; of the second time all but its first token can be known.

    Of data that copy themselves (``copying``, ``induction``) their own held-out items are asked, of other tokens
    strings of the tokens that occur, drawn evenly and twice in a row, up to half a context. Such a string is nothing
    that a model of text was trained on: what is measured is whether it has learned to copy as such.
    """

    name = "long-range-copying"
    version = 1
    title = mark("Long-range copying")
    description = mark("Write a random string again that stood so many tokens earlier.")
    Spec = LongRangeCopyingSpec
    metrics = (
        Metric("distance", mark("Longest distance copied"), True, "threshold", mark("tokens")),
        Metric("accuracy", mark("Accuracy, mean over distances"), True, "threshold"),
        Metric(
            "log_likelihood",
            mark("Log-likelihood, mean over distances"),
            True,
            "continuous",
            mark("nats per token"),
        ),
        *(Metric(f"accuracy_{d}", mark("Accuracy at distance {number}"), True, "threshold", "", d) for d in DISTANCES),
        *(
            Metric(
                f"log_likelihood_{d}",
                mark("Log-likelihood at distance {number}"),
                True,
                "continuous",
                mark("nats per token"),
                d,
            )
            for d in DISTANCES
        ),
    )

    def evaluate(self, spec: LongRangeCopyingSpec, model: "ModelUnderTest", data: "Prepared") -> list[Score]:
        """Nothing of families that do not predict the next token. Chance draws evenly from the tokens of the strings.

        ``distance`` is 0 where none is copied; the means weigh every distance alike.
        """
        if model.family is not None and not model.family.predicts_next:
            return []
        strings = _strings(model, data, spec.items)
        if not strings:
            return []
        by_distance: list[Score] = []
        longest, chances = 0, []
        for distance, (items, n_copied, n_kinds) in strings.items():
            hits, likelihood = _copy(model, items, n_copied)
            chance = 1 / n_kinds
            by_distance.append(_score(f"accuracy_{distance}", hits, chance))
            by_distance.append(_score(f"log_likelihood_{distance}", likelihood, -math.log(n_kinds)))
            chances.append(chance)
            if hits.mean() >= chance + ABOVE_CHANCE:
                longest = distance
        n = sum(score.n or 0 for score in by_distance[::2])
        return [
            Score("distance", float(longest), None, n, 0.0),
            _mean("accuracy", by_distance[::2], n),
            _mean("log_likelihood", by_distance[1::2], n),
            *by_distance,
        ]


def _strings(model: "ModelUnderTest", data: "Prepared", n: int) -> "dict[int, tuple[NDArray[np.int64], int, int]]":
    """By distance: items (n, length) that end with a copy, tokens of it to score, and different tokens in use."""
    import numpy as np

    from engine.sources.copying import HeldOutCopies

    if isinstance(data, HeldOutCopies):
        asked = {d: data.copies(d, n) for d in DISTANCES}
        return {d: found for d, found in asked.items() if found is not None and found[0].shape[1] <= model.context + 1}
    kinds = _kinds(model, data)
    if len(kinds) < 2:
        return {}
    found = {}
    for distance in (d for d in DISTANCES if 2 * d <= model.context + 1):
        string = kinds[np.random.default_rng((SALT, distance)).integers(0, len(kinds), (n, distance))]
        found[distance] = (np.concatenate([string, string], axis=1), distance - 1, len(kinds))
    return found


def _kinds(model: "ModelUnderTest", data: "Prepared") -> "NDArray[np.int64]":
    """The different tokens that occur in held-out windows."""
    import numpy as np

    batches = data.validation_batches(64, model.context, KINDS_TOKENS)
    return np.unique(np.concatenate([np.zeros(0, np.int64), *(np.unique(batch["inputs"]) for batch in batches)]))


def _copy(
    model: "ModelUnderTest", items: "NDArray[np.int64]", n_copied: int
) -> "tuple[NDArray[np.float64], NDArray[np.float64]]":
    """(n,) share of each item's copied tokens that are the likeliest, and their mean log-likelihood."""
    import numpy as np
    import torch
    import torch.nn.functional as F

    from engine.capabilities._answers import TOKENS_PER_BATCH

    rows = max(1, TOKENS_PER_BATCH // items.shape[1])
    hits, likelihoods = [], []
    for first in range(0, len(items), rows):
        tokens = torch.from_numpy(np.ascontiguousarray(items[first : first + rows]))
        logits = model.logits(tokens[:, :-1])[:, -n_copied:]
        targets = tokens[:, -n_copied:].to(logits.device)
        hits.append((logits.argmax(-1) == targets).double().mean(1).cpu().numpy())
        nll = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none").view(targets.shape)
        likelihoods.append(-nll.double().mean(1).cpu().numpy())
    return np.concatenate(hits), np.concatenate(likelihoods)


def _score(name: str, values: "NDArray[np.float64]", chance: float) -> Score:
    from engine.capabilities._tokens import mean_and_stderr

    return Score(name, *mean_and_stderr(values), len(values), chance)


def _mean(name: str, scores: list[Score], n: int) -> Score:
    """The mean over distances, whose items are independent."""
    k = len(scores)
    errors = [score.stderr for score in scores if score.stderr is not None]
    error = math.sqrt(sum(e * e for e in errors)) / k if len(errors) == k else None
    chance = sum(score.chance or 0.0 for score in scores) / k
    return Score(name, sum(score.value for score in scores) / k, error, n, chance)
