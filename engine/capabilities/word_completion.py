"""Completing a word from its beginning: an ability that exact match shows as sudden and likelihood as smooth."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import msgspec
import numpy as np

from engine.capabilities import capabilities
from engine.capabilities.base import Capability, Metric, Score
from engine.i18n import mark
from engine.study import TableSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from engine.capabilities._tokens import Scored
    from engine.capabilities.base import ModelUnderTest
    from engine.sources.base import Prepared

MIN_ITEMS = 30
"""Below this many words a share says nothing."""
BYTES_PER_LETTER_TOKEN = 1.5
"""Up to this many bytes per token a token is about a letter, and three of them begin a word."""


class WordCompletionSpec(TableSpec, frozen=True, kw_only=True):
    """Which words are asked for, and how many."""

    items: Annotated[
        int,
        msgspec.Meta(
            title=mark("Words"),
            description=mark("Most words to complete; each held-out window gives at most one."),
            ge=MIN_ITEMS,
        ),
    ] = 1_000
    tokens: Annotated[
        int,
        msgspec.Meta(title=mark("Tokens"), description=mark("Held-out tokens in which words are looked for."), ge=64),
    ] = 131_072
    given: Annotated[
        int,
        msgspec.Meta(
            title=mark("Tokens given"),
            description=mark("Tokens of the word the model sees; 0 is three bytes, or one longer token."),
            ge=0,
            le=16,
        ),
    ] = 0
    completed: Annotated[
        int,
        msgspec.Meta(
            title=mark("Tokens to complete"),
            description=mark("The fewest tokens left to the model; 0 is three bytes, or one longer token."),
            ge=0,
            le=16,
        ),
    ] = 0


@dataclass(frozen=True, slots=True)
class _Words:
    """Words by the window they end in and the slice of targets to complete."""

    rows: "NDArray[np.int64]"
    starts: "NDArray[np.int64]"
    stops: "NDArray[np.int64]"


@capabilities.register("word-completion")
class WordCompletion(Capability):
    """The last long word of each held-out window, its first letters given, the rest completed greedily.

    Greedy decoding gives exactly the word if, and only if, each of its tokens is the likeliest one after the true
    tokens before it, so that one forward pass scores every word without generating any.
    """

    name = "word-completion"
    version = 1
    title = mark("Word completion")
    description = mark("Given the first letters of a word in held-out text, write the rest of it.")
    Spec = WordCompletionSpec
    metrics = (
        Metric("exact_match", mark("Exact match"), True, "threshold"),
        Metric("token_accuracy", mark("Accuracy per token"), True, "threshold"),
        Metric("log_likelihood", mark("Log-likelihood per token"), True, "continuous", mark("nats per token")),
    )

    def evaluate(self, spec: WordCompletionSpec, model: "ModelUnderTest", data: "Prepared") -> list[Score]:
        """Chance of a token is guessing by the frequency of the asked tokens; of a word, the most frequent ending."""
        from engine.capabilities._tokens import most_frequent_share, ratio_and_stderr, score_windows, unigram_entropy

        scored = score_windows(model, data, spec.tokens)
        if scored is None:
            return []
        words = find_words(scored, data, spec)
        n = len(words.rows)
        if n < MIN_ITEMS:
            return []
        lengths = words.stops - words.starts
        hits, likelihood, endings = np.empty(n), np.empty(n), []
        for i, (row, start, stop) in enumerate(zip(words.rows, words.starts, words.stops, strict=True)):
            hits[i] = scored.correct[row, start:stop].sum()
            likelihood[i] = -scored.nll[row, start:stop].sum()
            endings.append(scored.targets[row, start:stop].tobytes())
        exact = hits == lengths
        share = float(exact.mean())
        asked = np.concatenate([np.frombuffer(ending, np.int64) for ending in endings])
        common = max(endings.count(ending) for ending in set(endings)) / n
        return [
            Score("exact_match", share, float(np.sqrt(share * (1 - share) / n)), n, common),
            Score("token_accuracy", *ratio_and_stderr(hits, lengths), n, most_frequent_share(asked)),
            Score("log_likelihood", *ratio_and_stderr(likelihood, lengths), n, -unigram_entropy(asked)),
        ]


OTHER, STARTS, LETTERS = 0, 1, 2
"""What a token's text is: neither of the others; a space and letters (BPE's word starts); letters alone."""


def find_words(scored: "Scored", data: "Prepared", spec: WordCompletionSpec) -> _Words:
    """The last word of each window that is long enough and ends inside it, at most ``spec.items``."""
    kinds = _kinds(scored, data)
    few = 3 if data.bytes_per_token < BYTES_PER_LETTER_TOKEN else 1
    given, completed = spec.given or few, spec.completed or few
    rows: list[int] = []
    starts: list[int] = []
    stops: list[int] = []
    for row in range(len(scored)):
        if len(rows) == spec.items:
            break
        found = last_word(kinds[scored.targets[row]].tolist(), given + completed)
        if found is not None:
            rows.append(row)
            starts.append(found[0] + given)
            stops.append(found[1])
    return _Words(np.array(rows, np.int64), np.array(starts, np.int64), np.array(stops, np.int64))


def last_word(kinds: list[int], need: int) -> tuple[int, int] | None:
    """(first, stop) of the last word of at least ``need`` tokens whose beginning and end are both in the window."""
    stop = len(kinds) - 1
    while stop > 0:
        if kinds[stop] == LETTERS or kinds[stop - 1] == OTHER:
            stop -= 1  # the word goes on here, or none ends here
            continue
        first = stop - 1
        while first > 0 and kinds[first] == LETTERS:
            first -= 1
        if kinds[first] == OTHER:
            first += 1
        elif kinds[first] == LETTERS:
            return None  # it reaches back to before the window
        if stop - first >= need:
            return first, stop
        stop = first
    return None


def _kinds(scored: "Scored", data: "Prepared") -> "NDArray[np.int8]":
    """The kind of every vocabulary entry that occurs."""
    kinds = np.zeros(scored.vocab_size, np.int8)
    for token in np.unique(scored.targets[scored.targets >= 0]):
        text = data.decode(np.array([token]))
        if text.isascii() and text.isalpha():
            kinds[token] = LETTERS
        elif text.isascii() and text[:1] == " " and text[1:].isalpha():
            kinds[token] = STARTS
    return kinds
