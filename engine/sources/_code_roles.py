"""Lines of real Python code and what its names are: a table of tagged words on every machine.

Words are the tokens of a logical line. A name is tagged by its role in the syntax tree, as a span where it is dotted:
what is called, a module that is imported, a function, class or parameter that is defined, a keyword of a call.
"""

import ast
import hashlib
import io
import tokenize
import warnings
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from engine.errors import InputError
from engine.i18n import tr
from engine.sources import _docstrings
from engine.sources.python_text import File

KINDS = ("CALL", "CLASS", "FUNCTION", "KEYWORD", "MODULE", "PARAMETER")
TAGS = ("O", *(f"{mark}-{kind}" for kind in KINDS for mark in "BI"))
FEWEST, MOST = 4, 40
"""Tokens of a line that is taken."""
PER_FILE = 8
"""Lines of one file at most: neighbours resemble each other."""
_LARGEST_FILE = 12_000
"""Bytes: a whole file is parsed for a few of its lines."""
_LONGEST_STRING = 24
"""Characters of a string from which on it is shown as an empty one."""
_LEFT_OUT = {tokenize.COMMENT, tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.NEWLINE, tokenize.ENDMARKER}
_STRINGS = {getattr(tokenize, name, tokenize.STRING) for name in ("STRING", "FSTRING_MIDDLE")}

Place = tuple[int, int]
"""Line from 1 on and column from 0 on."""


class Line(NamedTuple):
    """One logical line."""

    where: str
    words: tuple[str, ...]
    tags: tuple[str, ...]
    file: str


def lines(n: int) -> tuple[Line, ...]:
    """``n`` different lines in which something is named, the same on every machine with the same packages.

    Raises ``InputError`` where there are too few.
    """
    found = _lines(n)
    if len(found) < n:
        raise InputError(
            tr("the installed packages have only {n} lines, and data.rows asks for {wanted}.", n=len(found), wanted=n),
            tr("Set data.rows lower, or give a table of your own with data.path."),
        )
    return found


@lru_cache(maxsize=2)
def _lines(n: int) -> tuple[Line, ...]:
    seen: dict[tuple[str, ...], Line] = {}
    for line in first():
        seen.setdefault(line.words, line)
        if len(seen) >= n:
            break
    return tuple(seen.values())


def first() -> Iterator[Line]:
    """All of them, as they are read."""
    for _, file in _docstrings.files():
        if file.size <= _LARGEST_FILE:
            yield from islice(_of_file(file), PER_FILE)


def _of_file(file: File) -> Iterator[Line]:
    """Lines of a file in an order that a hash of the words sets."""
    try:
        text = Path(file.path).read_text(encoding="utf-8")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes that are no escapes in old sources
            spans = dict(_spans(ast.parse(text)))
        found = list(_logical(text, spans, file.name))
    except (OSError, SyntaxError, ValueError, RecursionError, tokenize.TokenError):
        return
    yield from sorted(found, key=lambda line: hashlib.sha256("\n".join(line.words).encode()).digest())


def _logical(text: str, spans: dict[Place, tuple[str, Place]], name: str) -> Iterator[Line]:
    words: list[str] = []
    tags: list[str] = []
    until, kind, before, plain = (0, 0), "", "", True
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.NEWLINE:
            if FEWEST <= len(words) <= MOST and set(tags) != {"O"} and plain:
                yield Line(f"{name}, {token.start[0]}", tuple(words), tuple(tags), name)
            words, tags, before, plain = [], [], "", True
        if token.type in _LEFT_OUT:
            continue
        plain = plain and token.line.isascii()
        begins = token.start in spans
        if begins:
            kind, until = spans[token.start]
        elif before in ("def", "class"):
            begins, kind, until = True, "CLASS" if before == "class" else "FUNCTION", token.end
        elif before == "from" and words == ["from"] and token.type == tokenize.NAME and token.string != "import":
            begins, kind, until = True, "MODULE", (token.start[0], token.start[1] + len(_dotted(token)))
        tags.append(f"{'B' if begins else 'I'}-{kind}" if begins or token.start < until else "O")
        long = token.type in _STRINGS and len(token.string) > _LONGEST_STRING
        words.append('""' if long else token.string)
        before = token.string


def _dotted(token: tokenize.TokenInfo) -> str:
    """The dotted name that begins with a token."""
    return token.line[token.start[1] :].partition(" ")[0]


def _spans(tree: ast.AST) -> Iterator[tuple[Place, tuple[str, Place]]]:
    """(where a name begins, (its kind, where it ends)); columns are bytes, and so right in lines of ASCII alone."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield from _called(node.func)
        elif isinstance(node, ast.arg):
            yield (node.lineno, node.col_offset), ("PARAMETER", (node.lineno, node.col_offset + len(node.arg)))
        elif isinstance(node, ast.keyword) and node.arg is not None:
            yield (node.lineno, node.col_offset), ("KEYWORD", (node.lineno, node.col_offset + len(node.arg)))
        elif isinstance(node, ast.Import):
            for name in node.names:
                yield (name.lineno, name.col_offset), ("MODULE", (name.lineno, name.col_offset + len(name.name)))


def _called(node: ast.expr) -> Iterator[tuple[Place, tuple[str, Place]]]:
    """A dotted name from its first part on; of anything else its last name."""
    end = (node.end_lineno or 0, node.end_col_offset or 0)
    root: ast.expr = node
    while isinstance(root, ast.Attribute):
        root = root.value
    if isinstance(root, ast.Name):
        yield (node.lineno, node.col_offset), ("CALL", end)
    elif isinstance(node, ast.Attribute):
        yield (end[0], end[1] - len(node.attr)), ("CALL", end)
