"""Sentences of CoNLL files: a word and its tag on each line, an empty line between sentences."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from engine.i18n import tr
from engine.sources import _readers

UNIVERSAL = ".conllu"
ENDINGS = (".conll", UNIVERSAL, ".bio", ".iob", ".iob2")
DOCUMENT = "-DOCSTART-"
"""Word of a line that begins a document (Tjong Kim Sang 2003)."""
_COMMENT = re.compile(r"#\s*(id\s|[\w.:]+\s*=)")
_NO_WORD = re.compile(r"\d+[-.]\d+")
"""Ids of CoNLL-U for what is written as one and read as several words, and for words that are not written."""


class Sentence(NamedTuple):
    """Words and tags as they stand there."""

    where: str
    words: list[str]
    tags: list[str]
    document: str
    """Which document of the file it is of."""


def sentences(
    path: Path, name: str, columns: tuple[str, str], on_bad: _readers.OnBad, encoding: str
) -> Iterator[Sentence]:
    """Every whole sentence. Columns are numbers from 1 on; what is none is the first and last, of CoNLL-U 2 and 4.

    A sentence with a bad line is left out, after ``on_bad`` was told of the line.
    """
    universal = path.suffix.lower() == UNIVERSAL
    columns = _numbers(columns, ("2", "4") if universal else ("1", ""))
    words: list[str] = []
    tags: list[str] = []
    begins, whole, document = 0, True, 0
    codec = "utf-8-sig" if encoding == "utf-8" else encoding
    with path.open(encoding=codec, errors="surrogateescape") as stream:
        for number, line in enumerate((*stream, ""), 1):
            line = line.rstrip("\r\n")
            comment = line.startswith("#") if universal else not words and _COMMENT.match(line)
            if not line.strip() or line.startswith(DOCUMENT):
                if words and whole:
                    where = tr("{file}, line {line}", file=name, line=begins)
                    yield Sentence(where, words, tags, f"{name} {document}")
                words, tags, whole = [], [], True
                document += line.startswith(DOCUMENT)
                continue
            fields = line.split("\t" if "\t" in line else None)
            if comment or (universal and _NO_WORD.fullmatch(fields[0])):
                continue
            begins = begins if words else number
            word, tag, why = _read(fields, line, columns, encoding)
            if why:
                on_bad(tr("{file}, line {line}", file=name, line=number), why)
                whole = False
            words.append(word)
            tags.append(tag)


def _numbers(given: tuple[str, str], otherwise: tuple[str, str]) -> tuple[str, str]:
    word, tag = (one if one.isdecimal() else other for one, other in zip(given, otherwise, strict=True))
    return word, tag


def _read(fields: list[str], line: str, columns: tuple[str, str], encoding: str) -> tuple[str, str, str]:
    """(word, tag, what is wrong) of a line."""
    if any("\udc80" <= letter <= "\udcff" for letter in line):
        return "", "", tr("is not {encoding} text", encoding=encoding)
    places = [int(column) - 1 if column else len(fields) - 1 for column in columns]
    if len(fields) < 2:
        return "", "", tr("has a word and no tag ({line!r})", line=line[:40])
    if max(places) >= len(fields) or min(places) < 0:
        return "", "", tr("has {n} columns, and column {column} is asked for", n=len(fields), column=max(places) + 1)
    word, tag = (fields[place].strip() for place in places)
    if not word or not tag:
        return "", "", tr("has a word and no tag ({line!r})", line=line[:40])
    return word, tag, ""
