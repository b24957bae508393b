"""Tagged sentences: read from tables and CoNLL files, checked, and split so that nothing crosses."""

import ast
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from engine.errors import InputError
from engine.i18n import mark, tr
from engine.sources import _code_roles, _conll, _readers
from engine.sources._label_table import ENDINGS as TABLES
from engine.sources._label_table import (
    MOST_CLASSES,
    Ints,
    Row,
    Table,
    file_rows,
    files,
    listing,
    part_of,
    part_of_name,
    split_table,
    together,
    without_copies,
)
from engine.sources._spec import Skipped

if TYPE_CHECKING:
    from engine.sources.tagged_table import TaggedTableSpec

PIPELINE_VERSION = 1
"""Raised whenever equal files would no longer give equal rows or another split."""
ENDINGS = (*TABLES, *_conll.ENDINGS)
BETWEEN = "\n"
"""Stands between the tags of a row, which cannot hold it."""
_SIDE_BY_SIDE = re.compile(r"""['"]\s+['"]""")
"""Strings that nothing separates, as numpy writes an array: read as Python they would be one."""
_QUOTED = re.compile(r"""\[\s*['"]""")


def read_rows(spec: "TaggedTableSpec") -> Table:
    """Read and split, or give what was read before where no file has changed since.

    Rows have their words as ``texts`` and their tags as ``label``, with ``BETWEEN`` between them; ``names`` are the
    tags. Raises ``InputError`` naming file and row or line, or the column, for what cannot be used.
    """
    neutral = msgspec.structs.replace(spec, max_length=128, tokenizer="")
    return _read_rows(neutral, tuple(listing(spec, ENDINGS)))


def tags_of(row: Row) -> list[str]:
    """The tag of each of its words."""
    return row.label.split(BETWEEN)


def tag_counts(table: Table, part: int) -> tuple[int, ...]:
    """Words of each tag in a part, in the order of the names."""
    counts = Counter(tag for row, of in zip(table.rows, table.parts, strict=True) if of == part for tag in tags_of(row))
    return tuple(counts[name] for name in table.names)


def is_table(spec: "TaggedTableSpec") -> bool:
    """Whether the first file has columns with names, as CoNLL files have none."""
    return files(spec, ENDINGS)[0][1].suffix.lower() not in _conll.ENDINGS


def first_rows(spec: "TaggedTableSpec", n: int) -> list[Row]:
    """The first rows of the table."""
    found = (_of_code(line) for line in _code_roles.first()) if not spec.path else _rows(spec, Skipped())
    return list(islice(found, n))


@lru_cache(maxsize=2)
def _read_rows(spec: "TaggedTableSpec", _files: tuple[tuple[str, int, int], ...]) -> Table:
    skipped = Skipped()
    found = list(_rows(spec, skipped)) if spec.path else [_of_code(line) for line in _code_roles.lines(spec.rows)]
    rows, copies, contradictions = without_copies(found)
    if not rows:
        raise InputError(tr("data.path: {path} has no rows that can be used.", path=spec.path))
    counts = Counter(tag for row in rows for tag in tags_of(row))
    _check_tags(counts, spec)
    names = tuple(sorted(counts, key=lambda tag: (tag != "O", tag)))
    groups = together(row.group for row in rows)
    table = split_table(spec, rows, _rarest(rows, names, counts), copies, skipped, groups)
    table = replace(table, names=names)
    return replace(table, notes=(*_notes(table, contradictions), *table.notes))


def _rarest(rows: Sequence[Row], names: tuple[str, ...], counts: Counter[str]) -> Ints:
    """(n,) the rarest tag of each row: what is split by it has rare tags on every side."""
    numbers = {name: number for number, name in enumerate(names)}
    return np.asarray([numbers[min(tags_of(row), key=lambda tag: (counts[tag], tag))] for row in rows], np.int64)


def _check_tags(counts: Counter[str], spec: "TaggedTableSpec") -> None:
    if len(counts) == 1:
        raise InputError(
            tr("data.tags: every word has the one tag {tag!r}, so there is nothing to tell.", tag=min(counts)),
            tr("Name the column that holds the tags, or add sentences with others."),
        )
    if len(counts) > MOST_CLASSES:
        raise InputError(
            tr("data.tags: column {column!r} has {n:,} different values.", column=spec.tags, n=len(counts)),
            tr("Name the column that holds the tags; at most {most:,} can be told apart.", most=MOST_CLASSES),
        )


def _notes(table: Table, contradictions: int) -> tuple[str, ...]:
    notes = []
    for part, words in (
        (0, mark("{n} tags are on no training word and cannot be learnt, among them {tag!r}.")),
        (2, mark("{n} tags are on no test word, among them {tag!r}.")),
    ):
        absent = [name for name, n in zip(table.names, tag_counts(table, part), strict=True) if not n]
        if absent:
            notes.append(tr(words, n=len(absent), tag=absent[0]))
    if contradictions:
        notes.append(tr("{n} sentences stand there with several taggings.", n=contradictions))
    return tuple(notes)


def _of_code(line: _code_roles.Line) -> Row:
    return Row(line.where, line.words, BETWEEN.join(line.tags), -1, line.file)


def _rows(spec: "TaggedTableSpec", skipped: Skipped) -> Iterator[Row]:
    """Every row that can be used; bad ones raise ``InputError`` naming file and row, or are recorded."""
    on_bad = _readers.stop_or_skip(spec.skip_bad, skipped)
    found = files(spec, ENDINGS)
    for name, path in found:
        conll = path.suffix.lower() in _conll.ENDINGS
        for where, words, tags, part, group in (_of_conll if conll else _of_table)(spec, name, path, on_bad, skipped):
            row = _checked(spec, where, words, tags, on_bad)
            if row is not None:
                yield row._replace(part=part_of_name(path, found) if conll else part, group=group)


Given = Iterator[tuple[str, Any, Any, int, str]]
"""(where, words, tags, part or -1, group) of each sentence."""


def _of_conll(spec: "TaggedTableSpec", name: str, path: Path, on_bad: _readers.OnBad, skipped: Skipped) -> Given:
    try:
        encoding = _readers.encoding_of(path, spec.encoding)
        skipped.encodings[encoding] += 1
        for found in _conll.sentences(path, name, (spec.words, spec.tags), on_bad, encoding):
            yield found.where, found.words, found.tags, -1, found.document if spec.group else ""
    except (OSError, UnicodeError) as error:
        on_bad(name, tr("cannot be read ({why})", why=getattr(error, "strerror", None) or str(error)))


def _of_table(spec: "TaggedTableSpec", name: str, path: Path, on_bad: _readers.OnBad, skipped: Skipped) -> Given:
    more = [column for column in (spec.group, spec.split) if column]
    columns = (spec.words, spec.tags, *more)
    for where, values, part in file_rows(spec, name, path, columns, on_bad, skipped, spec.tags):
        if spec.split:
            part = part_of(values[-1], where, on_bad)
            if part < 0:
                continue
        yield where, values[0], values[1], part, str(values[2]) if spec.group else ""


def _checked(spec: "TaggedTableSpec", where: str, words: Any, tags: Any, on_bad: _readers.OnBad) -> Row | None:
    """A row with a tag for every word; None, and ``on_bad`` is told, where it is none."""
    listed = [as_list(value, where, column, on_bad) for value, column in ((words, spec.words), (tags, spec.tags))]
    if listed[0] is None or listed[1] is None:
        return None
    texts = [_readers.as_text(word, where, spec.words, on_bad) for word in listed[0]]
    if any(text is None for text in texts):
        return None
    read = tuple(unicodedata.normalize("NFC", text.strip()) for text in texts if text is not None)
    labels = [_readers.as_label(tag) for tag in listed[1]]
    why = _wrong(read, labels, spec)
    if why:
        on_bad(where, why)
        return None
    return Row(where, read, BETWEEN.join(labels), -1)


def _wrong(words: tuple[str, ...], tags: list[str], spec: "TaggedTableSpec") -> str:
    """Why words and tags do not go together; empty where they do."""
    if not words:
        return tr("field {column!r} is empty", column=spec.words)
    if len(words) != len(tags):
        return tr(
            "has {n} words (column {words!r}) and {m} tags (column {tags!r})",
            n=len(words),
            m=len(tags),
            words=spec.words,
            tags=spec.tags,
        )
    if not all(words):
        return tr("word {number} is empty", number=words.index("") + 1)
    bad = next((place for place, tag in enumerate(tags) if not tag or BETWEEN in tag), -1)
    if bad >= 0:
        return tr("word {number} ({word!r}) has no tag", number=bad + 1, word=words[bad])
    return ""


def as_list(value: object, where: str, column: str, on_bad: _readers.OnBad) -> list[Any] | None:
    """A list as it is, one written as JSON or as Python does, or words with spaces between; else None."""
    if isinstance(value, list):
        return value
    if not isinstance(value, str):
        on_bad(where, tr("field {column!r} is no list", column=column))
        return None
    text = value.strip()
    if not (text.startswith("[") and text.endswith("]")):
        return text.split()
    for read in (msgspec.json.decode, ast.literal_eval):
        try:
            found = read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError, msgspec.DecodeError):
            continue
        if isinstance(found, list) and (read is msgspec.json.decode or not _SIDE_BY_SIDE.search(text)):
            return found
    if _QUOTED.match(text):
        on_bad(where, tr("field {column!r} is no list that can be read (write it as JSON)", column=column))
        return None
    return text.split()
