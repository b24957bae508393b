"""Anyone's results as columns: CSV, TSV, Parquet or JSON lines, read quickly and refused in one sentence.

Rows are counted from 1, below the header. Nothing is guessed about values: text in a column of numbers is an error,
an empty cell is NaN, and what to do with NaN, zeros and negatives is the caller's choice (``Columns.usable``).
"""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet
from numpy.typing import NDArray

from engine.analysis.arrays import Bools, Floats
from engine.errors import InputError
from engine.i18n import tr

NULLS = ("", "NA", "N/A", "n/a", "nan", "NaN", "-nan", "NULL", "null", "None", "none", "-")
"""What people write for "no value"."""
MAX_LISTED = 1000
"""Excluded rows named one by one; more are counted."""
_BLOCK = 8 << 20
_SNIFFED = 64 << 10
_JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")
_PARQUET_SUFFIXES = (".parquet", ".pq")


@dataclass(frozen=True)
class Column:
    """A column to look for: the program's ``name``, what others call it, and whether it can be missing."""

    name: str
    aliases: tuple[str, ...] = ()
    kind: Literal["number", "text"] = "number"
    required: bool = True


@dataclass(frozen=True, eq=False)
class Columns:
    """What was read. ``numbers`` holds (n_rows,) floats with NaN for empty cells, ``texts`` (n_rows,) of str."""

    path: Path
    n_rows: int
    numbers: dict[str, Floats]
    texts: dict[str, NDArray[Any]]
    headers: dict[str, str]
    """The header each column was found under."""
    unused: tuple[str, ...] = field(default=())
    """Headers of the file that were not asked for."""

    def __contains__(self, name: object) -> bool:
        return name in self.headers

    def __getitem__(self, name: str) -> Floats:
        return self.numbers[name]

    def usable(self, positive: Sequence[str] = (), finite: Sequence[str] = ()) -> tuple[Bools, list[dict[str, Any]]]:
        """Which rows (n_rows,) can be used, and ``[{"row", "why"}]`` for those that cannot.

        ``positive`` columns must be above zero, ``finite`` ones any number; names that were not read are passed over.
        """
        good = np.ones(self.n_rows, dtype=np.bool_)
        excluded: list[dict[str, Any]] = []
        for name in dict.fromkeys([*positive, *finite]):
            if name not in self.numbers:
                continue
            values = self.numbers[name]
            bad = ~np.isfinite(values)
            if name in positive:
                bad |= ~(values > 0)
            excluded += self._reasons(name, np.flatnonzero(bad & good))
            good &= ~bad
        excluded.sort(key=lambda entry: int(entry["row"]))
        return good, excluded

    def _reasons(self, name: str, rows: NDArray[np.intp]) -> list[dict[str, Any]]:
        values = self.numbers[name]
        listed = [{"row": int(row) + 1, "why": self._why(name, float(values[row]))} for row in rows[:MAX_LISTED]]
        if len(rows) > MAX_LISTED:
            more = tr(
                "{column} unusable in this and {n} later rows.", column=self.headers[name], n=len(rows) - MAX_LISTED
            )
            listed[-1] = {"row": listed[-1]["row"], "why": more}
        return listed

    def _why(self, name: str, value: float) -> str:
        header = self.headers[name]
        if np.isnan(value):
            return tr("{column} is empty or not a number.", column=header)
        if np.isinf(value):
            return tr("{column} is infinite.", column=header)
        if value == 0:
            return tr("{column} is zero.", column=header)
        return tr("{column} is negative ({value:g}).", column=header, value=value)


def read_columns(
    path: Path, wanted: Sequence[Column], names: Mapping[str, str] | None = None, max_rows: int | None = None
) -> Columns:
    """Read the ``wanted`` columns of a table.

    ``names`` maps a column's name to the header it has in this file and goes before its aliases. With ``max_rows``
    a longer file is refused as soon as that many rows were read. Raises ``InputError``, one sentence each, for a
    file that is missing, empty, binary or ragged, for a column that is missing, and for text among numbers.
    """
    table = open_table(Path(path))
    headers = match_headers(table.headers, wanted, dict(names or {}))
    kinds = {headers[c.name]: c.kind for c in wanted if c.name in headers}
    parts: dict[str, list[Any]] = {header: [] for header in kinds}
    n_rows = 0
    for block in table.blocks(kinds):
        for header, kind in kinds.items():
            column = block.column(block.schema.get_field_index(header))
            parts[header].append(_floats(column, header, n_rows) if kind == "number" else _strings(column))
        n_rows += block.num_rows
        if max_rows is not None and n_rows > max_rows:
            raise InputError(
                tr("{path} has more than {n:,} rows, too many points for this.", path=table.path.name, n=max_rows),
                tr("Keep one row per run (its last), or a sample of the rows."),
            )
    if not n_rows:
        raise InputError(tr("{path} has a header but no rows.", path=table.path.name))
    joined = {header: np.concatenate(arrays) for header, arrays in parts.items()}
    return Columns(
        path=table.path,
        n_rows=n_rows,
        numbers={n: joined[h] for n, h in headers.items() if kinds[h] == "number"},
        texts={n: joined[h] for n, h in headers.items() if kinds[h] == "text"},
        headers=headers,
        unused=tuple(h for h in table.headers if h not in kinds),
    )


def parse_names(text: str | None) -> dict[str, str]:
    """``n_params=N,tokens=D`` as a mapping; raises ``InputError`` for anything else."""
    names = {}
    for part in filter(None, (p.strip() for p in (text or "").split(","))):
        name, equals, header = part.partition("=")
        if not (name.strip() and equals and header.strip()):
            raise InputError(
                tr("--columns does not understand {part!r}.", part=part), tr("Write it as n_params=N,tokens=D,loss=L.")
            )
        names[name.strip()] = header.strip()
    return names


def match_headers(headers: Sequence[str], wanted: Sequence[Column], names: dict[str, str]) -> dict[str, str]:
    """The header of every wanted column that is there: named, else an exact alias, else one that differs in case."""
    known = [c.name for c in wanted]
    for name in names:
        if name not in known:
            raise InputError(
                tr("--columns names {name!r}, which is not used here.", name=name),
                tr("Used are: {known}.", known=", ".join(known)),
            )
    found: dict[str, str] = {}
    for column in wanted:
        if column.name in names:
            if names[column.name] not in headers:
                raise _missing(names[column.name], headers, column)
            found[column.name] = names[column.name]
    for key in (str, _plain):
        for column in wanted:
            if column.name in found:
                continue
            free = {key(h): h for h in reversed(headers) if h not in found.values()}
            # A single letter counts only as it is written: N is a size, n a number of items, d a width.
            names_of_it = [a for a in (column.name, *column.aliases) if key is str or len(a) > 1]
            match = next((free[key(a)] for a in names_of_it if key(a) in free), None)
            if match is not None:
                found[column.name] = match
    for column in wanted:
        if column.required and column.name not in found:
            raise _missing(column.name, headers, column)
    for header in found.values():
        if headers.count(header) > 1:
            raise InputError(tr("There are {n} columns named {column!r}.", n=headers.count(header), column=header))
    return found


def _plain(header: str) -> str:
    return re.sub(r"[\s\-.]+", "_", header.strip()).lower()


def _missing(name: str, headers: Sequence[str], column: Column) -> InputError:
    there = ", ".join(h or '""' for h in headers[:20])
    near = difflib.get_close_matches(name, headers, n=1)
    return InputError(
        tr("There is no column {name!r} (there are: {headers}).", name=name, headers=there),
        tr("Say which it is with --columns {name}={header}.", name=column.name, header=near[0] if near else "HEADER"),
    )


def _floats(column: Any, header: str, before: int) -> Floats:
    """A block as floats. Text that is no number is an ``InputError`` naming the row."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        values = [_number(text, header, before + index) for index, text in enumerate(column.to_pylist())]
        return np.array(values, dtype=np.float64)
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_null(column.type)):
        raise InputError(tr("Column {column!r} holds no numbers.", column=header))
    # fill_null first: to_numpy would make integers with gaps into objects.
    floats: Floats = column.cast(pa.float64(), safe=False).fill_null(float("nan")).to_numpy(zero_copy_only=False)
    return floats


def _number(text: str | None, header: str, index: int) -> float:
    text = (text or "").strip()
    if text in NULLS:
        return float("nan")
    try:
        return float(text)
    except ValueError:
        shown = text if len(text) <= 40 else text[:37] + "..."
        raise InputError(
            tr("Row {row}, column {column!r}: {value!r} is not a number.", row=index + 1, column=header, value=shown),
            tr("Write plain numbers, such as 1.3e9."),
        ) from None


def _strings(column: Any) -> NDArray[Any]:
    encoded = column if pa.types.is_dictionary(column.type) else column.cast(pa.string()).dictionary_encode()
    words = np.array([*encoded.dictionary.to_pylist(), ""], dtype=object)
    codes = encoded.indices.fill_null(len(words) - 1).to_numpy(zero_copy_only=False)
    strings: NDArray[Any] = words[codes]
    return strings


class _Csv:
    """A delimited text file: what its first bytes say, then blocks of record batches."""

    def __init__(self, path: Path, head: bytes) -> None:
        self.path = path
        self._encoding = "utf16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf8"
        text = head.decode(self._encoding.replace("utf8", "utf-8-sig"), errors="replace")
        lines = text.splitlines()
        self._skip = 0
        while self._skip < len(lines) and lines[self._skip].strip().startswith("#"):
            self._skip += 1
        lines = [line for line in lines[self._skip :] if line.strip()]
        if not lines:
            raise InputError(tr("{path} is empty.", path=path.name))
        self._delimiter = max("\t;,", key=lines[0].count) if re.search(r"[\t;,]", lines[0]) else ","
        european = self._delimiter == ";" and any(re.search(r"(^|;)-?\d+,\d+($|;)", line) for line in lines[1:5])
        self._decimal = "," if european else "."
        self.headers = self._header()
        if any(re.fullmatch(r"[-+]?\d+(\.\d*)?([eE][-+]?\d+)?", h) for h in self.headers):
            raise InputError(
                tr("The first line of {path} holds numbers, not the names of columns.", path=path.name),
                tr("Add a first line such as n_params,tokens,loss."),
            )

    def blocks(self, kinds: Mapping[str, str]) -> Iterator[Any]:
        types = {h: pa.float64() if k == "number" else pa.dictionary(pa.int32(), pa.string()) for h, k in kinds.items()}
        try:
            yield from self._read(types)
        except pa.ArrowInvalid as error:
            if "conversion error" in str(error):
                self._find_text_among_numbers(kinds)
            raise self._wrong(error) from None

    def _find_text_among_numbers(self, kinds: Mapping[str, str]) -> None:
        """Read again as text, up to the row and the value at fault, which the fast reader does not name."""
        before = 0
        try:
            for block in self._read(dict.fromkeys(kinds, pa.string())):
                for header, kind in kinds.items():
                    if kind == "number":
                        _floats(block.column(block.schema.get_field_index(header)), header, before)
                before += block.num_rows
        except pa.ArrowInvalid as error:
            raise self._wrong(error) from None

    def _read(self, types: Mapping[str, Any]) -> Iterator[Any]:
        options = pa.csv.ConvertOptions(
            column_types=dict(types),
            include_columns=list(types),
            null_values=list(NULLS),
            strings_can_be_null=True,
            decimal_point=self._decimal,
        )
        reader = self._reader(options)
        while (block := _next(reader)) is not None:
            yield block

    def _header(self) -> list[str]:
        try:
            return list(self._reader(pa.csv.ConvertOptions()).schema.names)
        except pa.ArrowInvalid as error:
            raise self._wrong(error) from None

    def _reader(self, convert: Any) -> Any:
        return pa.csv.open_csv(
            self.path,
            read_options=pa.csv.ReadOptions(
                use_threads=True, block_size=_BLOCK, encoding=self._encoding, skip_rows=self._skip
            ),
            parse_options=pa.csv.ParseOptions(delimiter=self._delimiter),
            convert_options=convert,
        )

    def _wrong(self, error: Exception) -> InputError:
        text = str(error)
        ragged = re.search(r"Expected (\d+) columns, got (\d+): (.*)", text)
        if ragged:
            return InputError(
                tr(
                    "{path}: a row has {got} cells where the header has {expected}: {row!r}.",
                    path=self.path.name,
                    got=ragged[2],
                    expected=ragged[1],
                    row=ragged[3][:60],
                )
            )
        if "UTF8" in text or "UTF-8" in text or "utf-8" in text:
            return InputError(tr("{path} is not UTF-8 text.", path=self.path.name), tr("Save it as UTF-8 CSV."))
        return InputError(tr("{path} cannot be read as a table: {why}", path=self.path.name, why=text.split("\n")[0]))


def _next(reader: Any) -> Any:
    try:
        return reader.read_next_batch()
    except StopIteration:
        return None


class _Parquet:
    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = pa.parquet.ParquetFile(path)
        except pa.ArrowInvalid as error:
            raise InputError(tr("{path} is not a Parquet file: {why}", path=path.name, why=str(error))) from None
        self.headers = list(self._file.schema_arrow.names)

    def blocks(self, kinds: Mapping[str, str]) -> Iterator[Any]:
        yield from self._file.iter_batches(batch_size=1 << 20, columns=list(kinds))


class _Json:
    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._table = pa.json.read_json(path)
        except pa.ArrowInvalid as error:
            raise InputError(
                tr("{path} is not JSON lines: {why}", path=path.name, why=str(error).split("\n")[0]),
                tr("Write one JSON object per line."),
            ) from None
        self.headers = list(self._table.schema.names)

    def blocks(self, kinds: Mapping[str, str]) -> Iterator[Any]:
        yield from self._table.select(list(kinds)).to_batches()


def open_table(path: Path) -> _Csv | _Parquet | _Json:
    """A table by its content and suffix: ``headers``, and ``blocks`` of record batches; raises ``InputError``."""
    try:
        with path.open("rb") as file:
            head = file.read(_SNIFFED)
    except OSError as error:
        reason = tr("no such file") if isinstance(error, FileNotFoundError) else (error.strerror or str(error))
        raise InputError(tr("{path} cannot be read: {why}.", path=str(path), why=reason)) from None
    if head[:4] == b"PAR1" or path.suffix.lower() in _PARQUET_SUFFIXES:
        return _Parquet(path)
    if not head.strip():
        raise InputError(tr("{path} is empty.", path=path.name))
    utf16 = head[:2] in (b"\xff\xfe", b"\xfe\xff")
    if b"\0" in head and not utf16:
        raise InputError(
            tr("{path} is not a text table.", path=path.name), tr("Save it as CSV, TSV, JSON lines or Parquet.")
        )
    if path.suffix.lower() in _JSON_SUFFIXES or head.lstrip()[:1] == b"{":
        return _Json(path)
    return _Csv(path, head)
