"""Questions whose answer is a span of real text: the name of a field, and the value that stands beside it.

A context of code or documentation holds records such as ``axis=0, dtype=None`` or ``name: str``. The question is one of
its names, the answer the value that the text gives it. An item is the name, a separator and the context.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from engine.sources._labelled import SEPARATOR

CHUNK = 4_096
"""Tokens that are searched at a time; items of one chunk are of about one file."""
LONGEST_NAME = 0.3
"""Share of an item that its name takes at most."""
MIN_ITEMS = 64
"""Items of each split below which nothing is asked."""
SALT = 0x59A2
PAIR = re.compile(r"(?<![\w.])([A-Za-z_]\w{2,31})(?: ?= ?|: )([\w.'\"-]{1,24})(?=[\s,)\]}])")
NO_NAMES = frozenset({"else", "try", "finally", "except", "return", "lambda", "with", "and", "not"})


@dataclass(frozen=True, slots=True)
class SpanItems:
    """Items of one split; arrays have one entry per item."""

    tokens: NDArray[np.int64]
    """(n, length): the name, a separator, the context."""
    begins: NDArray[np.int64]
    """Where the context begins."""
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    """First and last token of the answer."""
    n_values: NDArray[np.int64]
    """Named values in the context, of which one is asked for: at least two."""
    chunks: NDArray[np.int64]
    """Equal for items from one place of the text, which are not independent."""


@runtime_checkable
class AsksForSpans(Protocol):
    """Prepared text in which such questions can be asked."""

    def spans(self, length: int, n_train: int, n_test: int) -> tuple[SpanItems, SpanItems] | None:
        """At most so many items of the training and of the validation split, the same every time.

        None where the text holds too few.
        """
        ...


class _Pair(NamedTuple):
    """Tokens, first and stop, of a name and of its value."""

    name: str
    first: int
    name_stop: int
    start: int
    stop: int
    value: str


def span_items(
    streams: Sequence[NDArray[Any]], table: Sequence[str], length: int, n_items: Sequence[int]
) -> tuple[SpanItems, SpanItems] | None:
    """See ``AsksForSpans``; ``table`` is the text of each token. What is repeated word for word comes once."""
    seen: set[bytes] = set()
    parts = []
    for split, (stream, n) in enumerate(zip(streams, n_items, strict=True)):
        rng = np.random.default_rng((SALT, split, length))
        rows: list[tuple[NDArray[np.int64], int, int, int, int, int]] = []
        for chunk in rng.permutation(max(1, len(stream) // CHUNK)).tolist():
            ids = stream[chunk * CHUNK : (chunk + 1) * CHUNK].astype(np.int64)
            for item in _of_chunk(ids, _pairs(ids, table), length, rng):
                if item[0].tobytes() not in seen:
                    seen.add(item[0].tobytes())
                    rows.append((*item, chunk))
            if len(rows) >= n:
                break
        if len(rows) < MIN_ITEMS:
            return None
        tokens, *columns = zip(*rows[:n], strict=True)
        parts.append(SpanItems(np.stack(tokens), *(np.asarray(column, np.int64) for column in columns)))
    return parts[0], parts[1]


def _pairs(ids: NDArray[np.int64], table: Sequence[str]) -> list[_Pair]:
    """Named values of a chunk, in order, by the tokens that hold them."""
    pieces = [table[i] for i in ids]
    stops = np.cumsum([len(piece) for piece in pieces])
    found = []
    for match in PAIR.finditer("".join(pieces)):
        if match[1] in NO_NAMES:
            continue
        first, name_last, start, last = np.searchsorted(
            stops, [match.start(1), match.end(1) - 1, match.start(2), match.end(2) - 1], side="right"
        ).tolist()
        found.append(_Pair(match[1], first, name_last + 1, start, last + 1, match[2]))
    return found


def _of_chunk(
    ids: NDArray[np.int64], pairs: list[_Pair], length: int, rng: np.random.Generator
) -> Iterator[tuple[NDArray[np.int64], int, int, int, int]]:
    """Items whose contexts do not overlap: (tokens, where the context begins, start, end, values in it)."""
    at, free = 0, 0
    while at < len(pairs) and len(ids) >= length:
        first = pairs[at].first
        asked = pairs[min(at + int(rng.integers(3)), len(pairs) - 1)]  # it may also be the second or third there
        question = ids[asked.first : asked.name_stop]
        room = length - len(question) - 1
        slack = min(first + room - asked.stop, first - free)
        begin = max(0, min(first - int(rng.integers(max(0, slack) + 1)), len(ids) - room))
        visible = [p for p in pairs if begin <= p.first < begin + room]
        n_values = sum(p.stop <= begin + room for p in visible)
        fits = slack >= 0 and begin + room >= asked.stop and len(question) <= LONGEST_NAME * length
        if fits and n_values > 1 and _is_clear(asked, visible):
            where = len(question) + 1
            tokens = np.concatenate((question, [SEPARATOR], ids[begin : begin + room]))
            yield tokens, where, asked.start - begin + where, asked.stop - 1 - begin + where, n_values
            free = begin + room
        while at < len(pairs) and pairs[at].first < max(free, first + 1):
            at += 1


def _is_clear(asked: _Pair, visible: list[_Pair]) -> bool:
    """Whether there is one right answer: the name stands once, and no other value is the same."""
    return not any(p is not asked and (p.name == asked.name or p.value == asked.value) for p in visible)
