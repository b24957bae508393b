"""Questions that real Python code answers: the name of a field, and the value that stands beside it.

The same fields of records that ``_spans`` asks of tokens (``axis=0, dtype=None`` or ``name: str``), as texts: a table
of questions on every machine.
"""

import hashlib
import keyword
import re
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from engine.errors import InputError
from engine.i18n import tr
from engine.sources import _docstrings
from engine.sources._spans import NO_NAMES, PAIR
from engine.sources.python_text import File

ASKED = "What is the value of {name}?"
SHORTEST, LONGEST = 120, 320
"""Characters of a context, cut between lines: short ones cost little to learn from."""
PER_FILE = 8
"""Questions of one file at most, each of lines of its own."""
_LARGEST_FILE = 60_000


class Asked(NamedTuple):
    """A question, and where in its context the answer begins."""

    where: str
    context: str
    question: str
    answer: str
    start: int
    file: str


def questions(n: int) -> tuple[Asked, ...]:
    """``n`` questions about different contexts, the same on every machine with the same packages.

    Raises ``InputError`` where there are too few.
    """
    found = _questions(n)
    if len(found) < n:
        raise InputError(
            tr(
                "the installed packages answer only {n} questions, and data.rows asks for {wanted}.",
                n=len(found),
                wanted=n,
            ),
            tr("Set data.rows lower, or give a table of your own with data.path."),
        )
    return found


@lru_cache(maxsize=2)
def _questions(n: int) -> tuple[Asked, ...]:
    seen: dict[str, Asked] = {}
    for asked in first():
        seen.setdefault(asked.context, asked)
        if len(seen) >= n:
            break
    return tuple(seen.values())


def first() -> Iterator[Asked]:
    """All of them, as they are read."""
    for _, file in _docstrings.files():
        if file.size <= _LARGEST_FILE:
            yield from islice(_of_file(file), PER_FILE)


def _of_file(file: File) -> Iterator[Asked]:
    """Questions of a file, its contexts in an order that a hash of them sets."""
    try:
        text = Path(file.path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return
    contexts = sorted(_contexts(text), key=lambda found: hashlib.sha256(found[1].encode()).digest())
    for line, context in contexts:
        asked = _asked(context)
        if asked is not None:
            name, answer, start = asked
            yield Asked(f"{file.name}, {line}", context, ASKED.format(name=name), answer, start, file.name)


def _contexts(text: str) -> Iterator[tuple[int, str]]:
    """(first line, text) of whole lines, one after another, as many as fit into ``LONGEST`` characters."""
    held: list[str] = []
    begins, length = 1, 0
    for number, line in enumerate((*text.splitlines(keepends=True), ""), 1):
        if not line or length + len(line) > LONGEST:
            if SHORTEST <= length <= LONGEST:
                yield begins, "".join(held)
            held, begins, length = [], number, 0
        held.append(line)
        length += len(line)


def _asked(context: str) -> tuple[str, str, int] | None:
    """(name, value, where it begins): one of several named values, whose name and value stand there once."""
    pairs = _pairs(context)
    names, values = Counter(match[1] for match in pairs), Counter(match[2] for match in pairs)
    clear = [
        match
        for match in pairs
        if names[match[1]] == values[match[2]] == 1 and any(letter.isalnum() for letter in match[2])
    ]
    if not clear or len(pairs) < 2:
        return None
    chosen = clear[int.from_bytes(hashlib.sha256(context.encode()).digest()[:4], "big") % len(clear)]
    return chosen[1], chosen[2], chosen.start(2)


def named_values(context: str) -> int:
    """How many named values stand in a context: one over them is what marking one of them at random scores."""
    return len(_pairs(context))


def _pairs(context: str) -> list[re.Match[str]]:
    """Names with their values; a word of the language is no name."""
    return [m for m in PAIR.finditer(context) if m[1] not in NO_NAMES and not keyword.iskeyword(m[1])]
