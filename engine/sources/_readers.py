"""Documents of the user's files, read as a stream: plain text whole, rows of tables one by one."""

import codecs
import csv
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from engine.errors import InputError
from engine.i18n import tr
from engine.sources._spec import Document, Skipped

BLOCK = 2**20
_MAX_FIELD = 2**30
_GUESSES = ("gb18030", "shift_jis", "cp1252")
"""Encodings that a file which is not UTF-8 is tried in, the strictest first, to say what it may be."""

OnBad = Callable[[str, str], None]
"""Called with where and why; raises, or records what is skipped."""
Rows = Iterator[tuple[str, tuple[Any, ...]]]


def stop_or_skip(skip_bad: bool, skipped: Skipped) -> OnBad:
    """What becomes of bad data: an ``InputError`` that names it, or, where ``skip_bad``, a record of it."""

    def on_bad(where: str, why: str) -> None:
        if not skip_bad:
            raise InputError(
                f"{where}: {why}.", tr("Correct or remove it, or set data.skip_bad to leave bad data out.")
            )
        skipped.add(where, why)

    return on_bad


def read(
    path: Path,
    name: str,
    column: str,
    skip_bad: bool,
    skipped: Skipped,
    encoding: str = "utf-8",
    label_column: str = "",
) -> Iterator[Document]:
    """Documents of one file. A bad file or row raises ``InputError`` naming it, or is recorded where ``skip_bad``.

    Text with a byte order mark or in UTF-8 is read as such, any other as ``encoding``; what was found is counted.
    Rows of a table have the label in their ``label_column`` where one is named, and then must have one.
    """
    on_bad = stop_or_skip(skip_bad, skipped)
    try:
        found = encoding_of(path, encoding) if path.suffix.lower() in (*TEXTS, ".csv", ".tsv") else "utf-8"
        skipped.encodings[found] += 1
        if path.suffix.lower() in TEXTS:
            yield from _text(path, name, found, on_bad)
            return
        columns = (column, label_column) if label_column else (column,)
        for where, values in rows(path, name, columns, on_bad, found):
            text = as_text(values[0], where, column, on_bad)
            label = as_label(values[1]) if label_column else ""
            if label_column and not label:
                on_bad(where, tr("has no label"))
            elif text is not None:
                yield Document(where, text.encode(), label)
    except OSError as error:
        on_bad(name, tr("cannot be read ({why})", why=error.strerror or str(error)))


def encoding_of(path: Path, otherwise: str) -> str:
    """UTF-16 where a byte order mark says so, UTF-8 where it is that, else ``otherwise``."""
    with path.open("rb") as stream:
        if stream.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            return "utf-16"
    return "utf-8" if otherwise == "utf-8" or _decodes(path, "utf-8") else otherwise


def _decodes(path: Path, encoding: str) -> bool:
    return _undecodable(path, encoding) < 0


def _undecodable(path: Path, encoding: str) -> int:
    """Where in the file the first byte is that ``encoding`` cannot read; -1 where all can be read."""
    decoder = codecs.getincrementaldecoder(encoding)()
    done = 0
    with path.open("rb") as stream:
        while True:
            block = stream.read(BLOCK)
            held = len(decoder.getstate()[0])
            try:
                decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                return done - held + error.start
            done += len(block)
            if not block:
                return -1


def _text(path: Path, name: str, encoding: str, on_bad: OnBad) -> Iterator[Document]:
    decoder = codecs.getincrementaldecoder("utf-8-sig" if encoding == "utf-8" else encoding)()
    held = ""
    done = 0
    with path.open("rb") as stream:
        while True:
            block = stream.read(BLOCK)
            if b"\0" in block and encoding != "utf-16":
                place = done + block.find(b"\0")
                return on_bad(name, tr("is a binary file, not text (byte 0 at {place})", place=place))
            try:
                held += decoder.decode(block, final=not block)
            except UnicodeDecodeError:
                return on_bad(name, _not_in(encoding, path))
            done += len(block)
            # The last line may go on in the next block.
            cut = len(held) if not block else held.rfind("\n") + 1 or (len(held) if len(held) > BLOCK else 0)
            if cut:
                yield Document(name, held[:cut].encode())
                held = held[cut:]
            if not block:
                return None


def _not_in(encoding: str, path: Path) -> str:
    place = _undecodable(path, encoding)
    if encoding != "utf-8":
        return tr("is neither UTF-8 nor {encoding} text (byte {place})", encoding=encoding, place=place)
    likely = next((guess for guess in _GUESSES if _decodes(path, guess)), "")
    if likely:
        return tr(
            "is not UTF-8 text (byte {place}; it may be {encoding}, which data.encoding can say)",
            place=place,
            encoding=likely,
        )
    return tr("is not UTF-8 text (byte {place})", place=place)


def rows(
    path: Path, name: str, columns: Sequence[str], on_bad: OnBad, encoding: str = "utf-8", *, header: bool = True
) -> Rows:
    """(where, values of ``columns``) of each row of a table; the values are whatever the format holds.

    A column is given by its name or, but in .jsonl, by its number from 1 on. ``encoding`` is that of a .csv or .tsv
    that does not say it, ``header`` whether its first row holds names. A row that cannot be used goes to ``on_bad``.
    """
    if path.suffix.lower() in (".csv", ".tsv"):
        return _csv(path, name, columns, on_bad, encoding, header)
    return TABLES[path.suffix.lower()](path, name, columns, on_bad, encoding)


def _places(columns: Sequence[str], names: Sequence[str]) -> list[int]:
    """Where each column stands, by name or number; -1 where it is neither."""
    numbers = {str(number): number - 1 for number in range(1, len(names) + 1)}
    return [names.index(column) if column in names else numbers.get(column, -1) for column in columns]


def _jsonl(path: Path, name: str, columns: Sequence[str], on_bad: OnBad, _encoding: str) -> Rows:
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
                continue
            missing = [column for column in columns if column not in row]
            if missing:
                on_bad(where, tr("has no field {column!r}", column=missing[0]))
            else:
                yield where, tuple(row[column] for column in columns)


def _csv(path: Path, name: str, columns: Sequence[str], on_bad: OnBad, encoding: str, header: bool = True) -> Rows:
    csv.field_size_limit(_MAX_FIELD)
    codec = "utf-8-sig" if encoding == "utf-8" else encoding
    # What cannot be decoded is kept as surrogates, so that the row is known and those after it are read.
    with path.open(encoding=codec, errors="surrogateescape", newline="") as stream:
        if path.suffix.lower() == ".tsv":  # a tab ends a field and a quote is a letter
            reader = csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)
        else:
            reader = csv.reader(stream, strict=True)
        records = _records(reader, name, on_bad)
        where, first = next(records, ("", []))
        if reader.line_num == 0 or (where == name and not first):
            return on_bad(name, tr("is empty"))
        if where != name:
            return None  # the header was bad, and was told of
        names = first if header else [""] * len(first)
        places = _places(columns, names)
        if -1 in places:
            return on_bad(name, no_column(columns[places.index(-1)], names))
        undecoded = 0
        if not header:
            records = itertools.chain([(tr("{file}, row {row}", file=name, row=1), first)], records)
        for where, row in records:
            if len(row) != len(first):
                on_bad(where, tr("has {n} fields where the header has {m}", n=len(row), m=len(first)))
            elif any("\udc80" <= letter <= "\udcff" for letter in "".join(row[place] for place in places)):
                undecoded += 1  # looking for the encoding reads the file: once is enough
                on_bad(
                    where, tr("is not {encoding} text", encoding=encoding) if undecoded > 1 else _not_in(encoding, path)
                )
            else:
                yield where, tuple(row[place] for place in places)


def _records(reader: Any, name: str, on_bad: OnBad) -> Iterator[tuple[str, list[str]]]:
    """(where, fields) of each record, the header's under the file's name; without those that are no CSV or blank."""
    number = 0
    while True:
        number += 1
        where = tr("{file}, row {row}", file=name, row=number)
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            on_bad(where, tr("is not valid CSV ({why})", why=str(error)))
            continue
        if fields or number == 1:
            yield (where if number > 1 else name), fields


def _parquet(path: Path, name: str, columns: Sequence[str], on_bad: OnBad, _encoding: str) -> Rows:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            names = list(file.schema_arrow.names)
            places = _places(columns, names)
            if -1 in places:
                return on_bad(name, no_column(columns[places.index(-1)], names))
            columns = [names[place] for place in places]
            number = 0
            for batch in file.iter_batches(batch_size=1024, columns=list(dict.fromkeys(columns))):
                for values in zip(*(batch.column(column).to_pylist() for column in columns), strict=True):
                    number += 1
                    yield tr("{file}, row {row}", file=name, row=number), values
    except (pa.ArrowException, UnicodeDecodeError) as error:
        first = str(error).partition("\n")[0].rstrip(".")
        on_bad(name, tr("is not a valid Parquet file ({why})", why=first))


def as_text(value: object, where: str, column: str, on_bad: OnBad) -> str | None:
    """The value where it is text of valid Unicode; else None, and ``on_bad`` is told."""
    if not isinstance(value, str):
        on_bad(where, tr("field {column!r} is not text", column=column))
        return None
    try:
        value.encode()
    except UnicodeEncodeError:  # an unpaired surrogate
        on_bad(where, tr("field {column!r} is not valid Unicode", column=column))
        return None
    return value


def as_label(value: object) -> str:
    """The name of a class as a table holds it, a word or a whole number; empty where it is neither."""
    return str(value).strip() if isinstance(value, str | int) else ""


def no_column(column: str, names: list[str]) -> str:
    """Why a table without a column cannot be used."""
    if not any(names):
        return tr("has no column {column!r} (its {n} columns have numbers, not names)", column=column, n=len(names))
    return tr("has no column {column!r} (there are: {names})", column=column, names=", ".join(names))


TABLES: dict[str, Callable[[Path, str, Sequence[str], OnBad, str], Rows]] = {
    ".jsonl": _jsonl,
    ".csv": _csv,
    ".tsv": _csv,
    ".parquet": _parquet,
}
TEXTS = (".txt", ".md", ".py")
ENDINGS = (*TEXTS, *TABLES)
