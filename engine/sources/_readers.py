"""Documents of the user's files, read as a stream: plain text whole, rows of jsonl, csv and parquet one by one."""

import codecs
import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from engine.errors import InputError
from engine.i18n import tr
from engine.sources._spec import Document, Skipped

BLOCK = 2**20
_MAX_FIELD = 2**30

OnBad = Callable[[str, str], None]
"""Called with where and why; raises, or records what is skipped."""


def read(path: Path, name: str, column: str, skip_bad: bool, skipped: Skipped) -> Iterator[Document]:
    """Documents of one file. A bad file or row raises ``InputError`` naming it, or is recorded where ``skip_bad``."""

    def on_bad(where: str, why: str) -> None:
        if not skip_bad:
            raise InputError(
                f"{where}: {why}.", tr("Correct or remove it, or set data.skip_bad to leave bad data out.")
            )
        skipped.add(where, why)

    try:
        yield from READERS[path.suffix.lower()](path, name, column, on_bad)
    except OSError as error:
        on_bad(name, tr("cannot be read ({why})", why=error.strerror or str(error)))


def _text(path: Path, name: str, _column: str, on_bad: OnBad) -> Iterator[Document]:
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    held = ""
    done = 0
    with path.open("rb") as stream:
        while True:
            block = stream.read(BLOCK)
            why = tr("is a binary file, not text (byte 0 at {place})", place=done + block.find(b"\0"))
            if b"\0" in block:
                return on_bad(name, why)
            try:
                held += decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                place = max(0, done + error.start)
                return on_bad(name, tr("is not UTF-8 text (near byte {place})", place=place))
            done += len(block)
            # The last line may go on in the next block.
            cut = len(held) if not block else held.rfind("\n") + 1 or (len(held) if len(held) > BLOCK else 0)
            if cut:
                yield Document(name, held[:cut].encode())
                held = held[cut:]
            if not block:
                return None


def _jsonl(path: Path, name: str, column: str, on_bad: OnBad) -> Iterator[Document]:
    with path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            if number == 1:
                line = line.removeprefix(codecs.BOM_UTF8)
            where = tr("{file}, row {row}", file=name, row=number)
            try:
                row = msgspec.json.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError):
                on_bad(where, tr("is not valid JSON"))
                continue
            if not isinstance(row, dict):
                on_bad(where, tr("is not a JSON object"))
            elif column not in row:
                on_bad(where, tr("has no field {column!r}", column=column))
            else:
                yield from _row(row[column], where, column, on_bad)


def _csv(path: Path, name: str, column: str, on_bad: OnBad) -> Iterator[Document]:
    csv.field_size_limit(_MAX_FIELD)
    with path.open(encoding="utf-8-sig", newline="") as stream:
        rows = csv.reader(stream, strict=True)
        header = _next_row(rows, tr("{file}, row {row}", file=name, row=1), on_bad)
        if not header:
            return None if header is None else on_bad(name, tr("is empty"))
        if column not in header:
            return on_bad(name, _no_column(column, header))
        place = header.index(column)
        number = 1
        while True:
            number += 1
            where = tr("{file}, row {row}", file=name, row=number)
            row = _next_row(rows, where, on_bad)
            if row is None:
                return None
            if len(row) == len(header):
                yield from _row(row[place], where, column, on_bad)
            elif row:
                on_bad(where, tr("has {n} fields where the header has {m}", n=len(row), m=len(header)))


def _next_row(rows: Any, where: str, on_bad: OnBad) -> list[str] | None:
    """The next row, [] for an empty file, None at the end or where the rest cannot be read."""
    try:
        found: list[str] | None = next(rows, None)
    except (csv.Error, UnicodeDecodeError) as error:
        on_bad(where, tr("is not valid CSV ({why})", why=str(error)))
        return None
    return found if found is not None or rows.line_num else []


def _parquet(path: Path, name: str, column: str, on_bad: OnBad) -> Iterator[Document]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            names = list(file.schema_arrow.names)
            if column not in names:
                return on_bad(name, _no_column(column, names))
            number = 0
            for batch in file.iter_batches(batch_size=1024, columns=[column]):
                for value in batch.column(0).to_pylist():
                    number += 1
                    yield from _row(value, tr("{file}, row {row}", file=name, row=number), column, on_bad)
    except (pa.ArrowException, UnicodeDecodeError) as error:
        first = str(error).partition("\n")[0].rstrip(".")
        on_bad(name, tr("is not a valid Parquet file ({why})", why=first))


def _row(value: object, where: str, column: str, on_bad: OnBad) -> Iterator[Document]:
    if not isinstance(value, str):
        on_bad(where, tr("field {column!r} is not text", column=column))
        return
    try:
        yield Document(where, value.encode())
    except UnicodeEncodeError:  # an unpaired surrogate
        on_bad(where, tr("field {column!r} is not valid Unicode", column=column))


def _no_column(column: str, names: list[str]) -> str:
    return tr("has no column {column!r} (there are: {names})", column=column, names=", ".join(names))


Reader = Callable[[Path, str, str, OnBad], Iterator[Document]]
READERS: dict[str, Reader] = {
    ".txt": _text,
    ".md": _text,
    ".py": _text,
    ".jsonl": _jsonl,
    ".csv": _csv,
    ".parquet": _parquet,
}
