"""Prompts and responses: read from a table, checked, and split so that equal prompts are on one side."""

import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from engine.errors import InputError
from engine.i18n import tr
from engine.sources import _docstrings, _readers
from engine.sources._label_table import (
    Row,
    Table,
    file_rows,
    files,
    listing,
    part_of,
    split_table,
    together,
    without_copies,
)
from engine.sources._spec import Skipped

if TYPE_CHECKING:
    from engine.sources.instruction_table import InstructionTableSpec

QUESTION = "Which Python package is this documentation from?"
"""Stands before a documentation string, where no file is given; the response is the package's name."""


def read_rows(spec: "InstructionTableSpec") -> Table:
    """Read and split, or give what was read before where no file has changed since; ``texts`` are prompt and response.

    Raises ``InputError`` naming file and row, or the column, for what cannot be used.
    """
    neutral = msgspec.structs.replace(spec, max_length=128, tokenizer="")
    return _read_rows(neutral, tuple(listing(spec)))


def first_rows(spec: "InstructionTableSpec", n: int) -> list[Row]:
    """The first rows of the table."""
    if not spec.path:
        return [_asked(*found) for found in _docstrings.first(n)]
    return list(islice(_rows(spec, Skipped()), n))


@lru_cache(maxsize=2)
def _read_rows(spec: "InstructionTableSpec", _files: tuple[tuple[str, int, int], ...]) -> Table:
    skipped = Skipped()
    if spec.path:
        found = list(_rows(spec, skipped))
    else:
        found = [_asked(*row) for row in _docstrings.docstrings(spec.rows // len(_docstrings.PACKAGES))]
    rows, copies, _ = without_copies(found)
    if not rows:
        raise InputError(tr("data.path: {path} has no rows that can be used.", path=spec.path))
    equal = together(row.texts[0] for row in rows)
    return split_table(spec, rows, np.zeros(len(rows), np.int64), copies, skipped, equal)


def _asked(where: str, text: str, package: str) -> Row:
    return Row(where, (f"{QUESTION}\n\n{text}", package), "", -1)


def _rows(spec: "InstructionTableSpec", skipped: Skipped) -> Iterator[Row]:
    """Every row that can be used; of texts alone the prompt is empty."""
    on_bad = _readers.stop_or_skip(spec.skip_bad, skipped)
    texts = (spec.text,) if spec.text else (spec.prompt, spec.response)
    columns = (*texts, *((spec.split,) if spec.split else ()))
    for name, path in files(spec):
        for where, values, part in file_rows(spec, name, path, columns, on_bad, skipped):
            given = [_readers.as_text(value, where, c, on_bad) for value, c in zip(values, texts, strict=False)]
            if any(text is None for text in given):
                continue
            read = [unicodedata.normalize("NFC", text.strip()) for text in given if text is not None]
            empty = next((column for column, text in zip(texts, read, strict=True) if not text), "")
            if empty:
                on_bad(where, tr("field {column!r} is empty", column=empty))
                continue
            if spec.split:
                part = part_of(values[-1], where, on_bad)
                if part < 0:
                    continue
            yield Row(where, (*([""] if spec.text else []), *read), "", part)
