"""Spans that the tags of a sentence name, and how many of them are found: the rules of the CoNLL shared tasks.

As in conlleval (Tjong Kim Sang 2000, 2003): a span ends where the kind changes or a tag begins another, whether or not
the tags keep to their scheme. IOB1, IOB2 (BIO), IOBES and BILOU are read alike.
"""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

OUTSIDE = "O"
_TAG = re.compile(r"([BIESLUM])(?:-(.+))?")
_SAME = {"L": "E", "U": "S", "M": "I"}
"""Letters of BILOU and BMES for what others call end, single and inside."""

Chunk = tuple[str, int, int]
"""(kind, first word, last word)."""


def name_spans(tags: Sequence[str]) -> bool:
    """Whether tags name spans: each is O or a letter of a scheme with a kind, and some begin or go on with one."""
    marks = [_TAG.fullmatch(tag) for tag in tags if tag != OUTSIDE]
    letters = {found[1] for found in marks if found}
    return bool(marks) and all(marks) and OUTSIDE in tags and bool(letters & {"B", "I", "S", "U"})


def chunks(tags: Sequence[str]) -> list[Chunk]:
    """The spans of one sentence, in order."""
    found: list[Chunk] = []
    before, kind_before, begun = OUTSIDE, "", 0
    for place, tag in enumerate((*tags, OUTSIDE)):
        mark, kind = _parsed(tag)
        ends = before in ("E", "S") or mark in ("B", "S", OUTSIDE) or kind != kind_before
        if before != OUTSIDE and ends:
            found.append((kind_before, begun, place - 1))
        if mark != OUTSIDE and (before == OUTSIDE or ends):
            begun = place
        before, kind_before = mark, kind
    return found


def _parsed(tag: str) -> tuple[str, str]:
    found = _TAG.fullmatch(tag)
    return (_SAME.get(found[1], found[1]), found[2] or "") if found else (OUTSIDE, "")


def chunk_counts(
    given: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]], kinds: Sequence[str]
) -> NDArray[np.float64]:
    """(sentences, kinds, 3): spans that are there, that are named, and that are named rightly, from first to last."""
    numbers = {kind: number for number, kind in enumerate(kinds)}
    counts = np.zeros((len(given), len(kinds), 3))
    for place, (true, said) in enumerate(zip(given, predicted, strict=True)):
        there, named = set(chunks(true)), set(chunks(said))
        for column, spans in enumerate((there, named, there & named)):
            for kind, _, _ in spans:
                counts[place, numbers[kind], column] += 1
    return counts


def kinds_of(tags: Sequence[str]) -> tuple[str, ...]:
    """The kinds of spans that tags may name, sorted."""
    return tuple(sorted({kind for mark, kind in map(_parsed, tags) if mark != OUTSIDE}))
