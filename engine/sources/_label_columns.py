"""Columns of a table before one has said which is which: their names, their first rows, and a guess."""

import csv
from collections import abc
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import msgspec

from engine.errors import InputError
from engine.i18n import tr
from engine.sources import _label_table, _readers, _saved_datasets
from engine.sources._spec import Skipped
from engine.sources._table_fields import SplitTable

TEXT_NAMES = ("text", "sentence", "sentence1", "content", "review", "question", "premise", "body", "message", "title")
PAIR_NAMES = ("text_pair", "sentence2", "text2", "hypothesis", "question2", "text_b", "answer")
LABEL_NAMES = ("label", "labels", "class", "category", "target", "sentiment", "topic", "intent", "y")
MOST_LABELS = 50
"""Different values of a column up to which it may be the label where its name does not say so."""


class Columns(NamedTuple):
    """Names as ``LabelledTableSpec`` takes them, and the first rows as text."""

    names: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


class Mapping(NamedTuple):
    """Which column is what; empty where none is."""

    text: str
    label: str
    text_pair: str = ""
    split: str = ""


def columns(spec: SplitTable, n: int) -> Columns:
    """The columns of the first file; raises ``InputError`` where there is none or it cannot be read."""
    name, path = _label_table.files(spec)[0]
    on_bad = _readers.stop_or_skip(False, Skipped())
    try:
        names = _names(path, name, spec)
        if not names:
            raise InputError(f"{name}: {tr('is empty')}.")
        found = islice(_rows(path, name, names, spec, on_bad), n)
        return Columns(names, tuple(tuple("" if v is None else str(v) for v in values) for _, values in found))
    except OSError as error:
        raise InputError(f"{name}: {tr('cannot be read ({why})', why=error.strerror or str(error))}.") from None


def guess(found: Columns) -> Mapping:
    """Which column is likely what: by its name, else the longest texts and the fewest different values."""
    values = {name: [row[place] for row in found.rows] for place, name in enumerate(found.names)}
    split = next((name for name, some in values.items() if some and {v.lower() for v in some} <= SPLITS), "")
    left = [name for name in found.names if name != split]
    label = _named(left, LABEL_NAMES) or _fewest(left, values)
    left = [name for name in left if name != label]
    longest = max(left, key=lambda name: fmean(map(len, values[name] or [""])), default="")
    text = _named(left, TEXT_NAMES) or longest
    pair = _named([name for name in left if name != text], PAIR_NAMES)
    return Mapping(text, label, pair, split)


def guess_named(found: Columns, wanted: abc.Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Field -> the first of its likely names that there is, and the column of the split; empty where there is none."""
    return {"split": guess(found).split, **{field: _named(found.names, names) for field, names in wanted.items()}}


SPLITS = frozenset(_label_table.SPLIT_WORDS)


def _named(names: Sequence[str], wanted: Sequence[str]) -> str:
    by_name = {name.strip().lower(): name for name in names}
    return next((by_name[name] for name in wanted if name in by_name), "")


def _fewest(names: Sequence[str], values: dict[str, list[str]]) -> str:
    """The column with the fewest different values that repeat."""
    counts = {name: len(set(values[name])) for name in names}
    able = [name for name in names if 2 <= counts[name] <= min(MOST_LABELS, max(2, len(values[name]) // 2))]
    return min(able, key=lambda name: counts[name], default="")


def _names(path: Path, name: str, spec: SplitTable) -> tuple[str, ...]:
    kind = path.suffix.lower()
    if kind == _saved_datasets.ENDING:
        return _saved_datasets.names(path, name)
    if kind == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            return tuple(pq.read_schema(path).names)
        except pa.ArrowException as error:
            why = str(error).partition("\n")[0].rstrip(".")
            raise InputError(f"{name}: {tr('is not a valid Parquet file ({why})', why=why)}.") from None
    if kind == ".jsonl":
        return _keys(path)
    with path.open(encoding=_codec(path, spec), errors="surrogateescape", newline="") as stream:
        tabs = kind == ".tsv"
        reader = csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_NONE) if tabs else csv.reader(stream)
        first = next(reader, [])
    return tuple(first) if spec.header else tuple(str(number) for number in range(1, len(first) + 1))


def _keys(path: Path) -> tuple[str, ...]:
    """Fields of the first object of a .jsonl; what follows is checked when it is read."""
    with path.open("rb") as stream:
        line = next((line for line in stream if line.strip()), b"{}")
    try:
        found = msgspec.json.decode(line.removeprefix(b"\xef\xbb\xbf"))
    except msgspec.DecodeError:
        found = None
    if not isinstance(found, dict):
        raise InputError(tr("{file}, row {row}", file=path.name, row=1) + f": {tr('is not a JSON object')}.")
    return tuple(found)


def _codec(path: Path, spec: SplitTable) -> str:
    encoding = _readers.encoding_of(path, spec.encoding)
    return "utf-8-sig" if encoding == "utf-8" else encoding


def _rows(path: Path, name: str, names: tuple[str, ...], spec: SplitTable, on_bad: _readers.OnBad) -> Any:
    if path.suffix == _saved_datasets.ENDING:
        return _saved_datasets.rows(path, name, names, "", on_bad)
    text = path.suffix.lower() in (".csv", ".tsv")
    encoding = _readers.encoding_of(path, spec.encoding) if text else "utf-8"
    return _readers.rows(path, name, names, on_bad, encoding, header=spec.header)
