"""Labelled rows: read, checked, and split so that no near-duplicate crosses and every class is in every part."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.errors import InputError
from engine.i18n import tr
from engine.sources import _docstrings, _minhash, _readers, _saved_datasets
from engine.sources._spec import Skipped
from engine.sources._table_fields import SplitTable
from engine.sources.text_folder import list_files

if TYPE_CHECKING:
    from engine.sources.labelled_table import LabelledTableSpec

PIPELINE_VERSION = 1
"""Raised whenever equal files would no longer give equal rows or another split."""
ENDINGS = tuple(_readers.TABLES)
PARTS = ("train", "validation", "test")
SPLIT_WORDS = {
    **dict.fromkeys(("train", "training"), 0),
    **dict.fromkeys(("validation", "valid", "val", "dev", "eval"), 1),
    **dict.fromkeys(("test", "testing", "held-out"), 2),
}
"""What a split column may say -> index of ``PARTS``."""
MOST_CLASSES = 1_000
SPLIT_SALT = 0x5B117

Ints = NDArray[np.int64]


class Row(NamedTuple):
    """One labelled text, or two."""

    where: str
    texts: tuple[str, ...]
    label: str
    part: int
    """Index of ``PARTS``, -1 where the table does not say."""
    group: str = ""
    """What it shares with rows that are to be on its side of the split; empty where there are none."""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows without copies, and the part each is in."""

    rows: tuple[Row, ...]
    names: tuple[str, ...]
    labels: Ints
    """(n,) index of ``names``."""
    parts: Ints
    """(n,) index of ``PARTS``."""
    copies: int = 0
    near_duplicates: int = 0
    leaked: int = 0
    skipped: Skipped = field(default_factory=Skipped)
    notes: tuple[str, ...] = ()


def listing(spec: SplitTable, endings: Sequence[str] = ENDINGS) -> list[tuple[str, int, int]]:
    """(name, bytes, time of change) of every file that the table is read from, to know it again."""
    if not spec.path:
        return [(name, status.size, status.modified) for name, status in _docstrings.files()]
    return [(name, s.st_size, s.st_mtime_ns) for name, s in ((n, path.stat()) for n, path in files(spec, endings))]


def classes(spec: "LabelledTableSpec") -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Names of the classes in order, and training rows of each."""
    if not spec.path:  # known without reading anything: as many of each, and no two alike
        each = spec.rows // len(_docstrings.PACKAGES)
        n_train = each - sum(_wanted(each, spec))
        return _docstrings.PACKAGES, (n_train,) * len(_docstrings.PACKAGES)
    table = read_table(spec)
    counts = np.bincount(table.labels[table.parts == 0], minlength=len(table.names))
    return table.names, tuple(counts.tolist())


def first_rows(spec: "LabelledTableSpec", n: int) -> list[Row]:
    """The first rows of the table."""
    if not spec.path:
        return [Row(where, (text,), label, -1) for where, text, label in _docstrings.first(n)]
    return list(islice(_rows(spec, Skipped()), n))


def read_table(spec: "LabelledTableSpec") -> Table:
    """Read and split, or give what was read before where no file has changed since.

    Raises ``InputError`` naming file and row, or the column, for what cannot be used.
    """
    neutral = msgspec.structs.replace(spec, max_length=128, tokenizer="")
    return _read_table(neutral, tuple(listing(spec)))


@lru_cache(maxsize=2)
def _read_table(spec: "LabelledTableSpec", files: tuple[tuple[str, int, int], ...]) -> Table:
    skipped = Skipped()
    rows, copies, contradictions = without_copies(_all_rows(spec, skipped))
    names = _names(rows, spec)
    numbers = {name: number for number, name in enumerate(names)}
    labels = np.asarray([numbers[row.label] for row in rows], np.int64)
    table = split_table(spec, rows, labels, copies, skipped)
    _check_taught(names, labels, table.parts)
    notes = _notes(names, labels, table.parts, contradictions)
    return replace(table, names=names, notes=(*notes, *table.notes))


def split_table(
    spec: SplitTable, rows: Sequence[Row], labels: Ints, copies: int, skipped: Skipped, joined: Ints | None = None
) -> Table:
    """Rows (without copies) of classes ``labels`` and the part of each; pairs ``joined`` (m, 2) go together as well."""
    signatures = np.stack([_minhash.signature("\n".join(row.texts).encode()) for row in rows])
    near = _minhash.near_pairs(signatures)
    alike = len(rows) - int(_minhash.groups(len(rows), near).max(initial=-1)) - 1
    groups = _minhash.groups(len(rows), near if joined is None else np.concatenate([near, joined]))
    parts = _split(spec, labels, groups, np.asarray([row.part for row in rows], np.int64))
    _check_parts(parts)
    leaked = sum(len(_minhash.leaked(signatures, parts == part, parts == 0)) for part in (1, 2))
    notes: tuple[str, ...] = ()
    if leaked:
        notes = (tr("{n} held-out rows resemble a training row: results on them flatter the model.", n=leaked),)
    return Table(tuple(rows), (), labels, parts, copies, alike, leaked, skipped, notes)


def together(keys: Iterable[str]) -> Ints:
    """Pairs (m, 2) of places whose keys are equal: each with the first of its kind; empty keys stand for themselves."""
    first: dict[str, int] = {}
    pairs = [(first.setdefault(key, place), place) for place, key in enumerate(keys) if key]
    return np.asarray(pairs, np.int64).reshape(-1, 2)


def files(spec: SplitTable, endings: Sequence[str] = ENDINGS) -> list[tuple[str, Path]]:
    """(name, path) of every file of the table; raises ``InputError`` where there is none."""
    root = Path(spec.path).expanduser()
    if _saved_datasets.is_saved(root):
        return _saved_datasets.files(root)
    return list_files(spec.path, endings)


def _all_rows(spec: "LabelledTableSpec", skipped: Skipped) -> list[Row]:
    if spec.path:
        return list(_rows(spec, skipped))
    each = spec.rows // len(_docstrings.PACKAGES)
    return [Row(where, (text,), label, -1) for where, text, label in _docstrings.docstrings(each)]


def _rows(spec: "LabelledTableSpec", skipped: Skipped) -> Iterator[Row]:
    """Every row that can be used; bad ones raise ``InputError`` naming file and row, or are recorded."""
    on_bad = _readers.stop_or_skip(spec.skip_bad, skipped)
    texts = tuple(column for column in (spec.text, spec.text_pair) if column)
    columns = (*texts, spec.label, *((spec.split,) if spec.split else ()))
    for name, path in files(spec):
        for where, values, part in file_rows(spec, name, path, columns, on_bad, skipped, spec.label):
            given = [_readers.as_text(value, where, c, on_bad) for value, c in zip(values, texts, strict=False)]
            if any(text is None for text in given):
                continue
            read = tuple(unicodedata.normalize("NFC", text.strip()) for text in given if text is not None)
            label = _readers.as_label(values[len(texts)])
            empty = next((column for column, text in zip(texts, read, strict=True) if not text), "")
            if empty:
                on_bad(where, tr("field {column!r} is empty", column=empty))
                continue
            if not label:
                on_bad(where, tr("has no label (column {column!r})", column=spec.label))
                continue
            if spec.split:
                part = part_of(values[-1], where, on_bad)
                if part < 0:
                    continue
            yield Row(where, read, label, part)


def part_of(word: object, where: str, on_bad: _readers.OnBad) -> int:
    """Index of ``PARTS`` that a split column says; -1, and ``on_bad`` is told, where it is none."""
    part = SPLIT_WORDS.get(str(word).strip().lower(), -1)
    if part < 0:
        on_bad(where, tr("{word!r} is no split: train, validation or test", word=str(word)))
    return part


def part_of_name(path: Path, among: Sequence[object]) -> int:
    """Index of ``PARTS`` that a file's name says, as ``en-ud-dev.conllu`` does, where it is one of several; else -1."""
    words = re.split(r"[-_.]", path.stem.lower()) if len(among) > 1 else []
    return next((SPLIT_WORDS[word] for word in reversed(words) if word in SPLIT_WORDS), -1)


def file_rows(
    spec: SplitTable,
    name: str,
    path: Path,
    columns: Sequence[str],
    on_bad: _readers.OnBad,
    skipped: Skipped,
    label: str = "",
) -> Iterator[tuple[str, tuple[Any, ...], int]]:
    """(where, values, part or -1) of each row of one file; numbers in the column ``label`` may stand for names."""
    try:
        if path.suffix == _saved_datasets.ENDING:
            part = SPLIT_WORDS.get(path.parent.name.lower(), -1) if not spec.split else -1
            yield from ((w, v, part) for w, v in _saved_datasets.rows(path, name, columns, label, on_bad))
            return
        text = path.suffix.lower() in (".csv", ".tsv")
        encoding = _readers.encoding_of(path, spec.encoding) if text else "utf-8"
        skipped.encodings[encoding] += 1
        found = _readers.rows(path, name, columns, on_bad, encoding, header=spec.header)
        yield from ((where, values, -1) for where, values in found)
    except OSError as error:
        on_bad(name, tr("cannot be read ({why})", why=error.strerror or str(error)))


def without_copies(rows: Sequence[Row]) -> tuple[list[Row], int, int]:
    """Rows that differ, how many copies were dropped, and how many texts have several labels."""
    kept: dict[tuple[tuple[str, ...], str], Row] = {}
    for row in rows:
        kept.setdefault((row.texts, row.label), row)
    texts = Counter(key for key, _ in kept)
    return list(kept.values()), len(rows) - len(kept), sum(1 for n in texts.values() if n > 1)


def _names(rows: list[Row], spec: "LabelledTableSpec") -> tuple[str, ...]:
    """The classes: by number where all are whole numbers, else by name."""
    found = {row.label for row in rows}
    if not found:
        raise InputError(tr("data.path: {path} has no rows that can be used.", path=spec.path))
    if len(found) == 1:
        raise InputError(
            tr("data.label: every row is of the one class {label!r}, so there is nothing to tell.", label=min(found)),
            tr("Name the column that holds the classes, or add rows of another."),
        )
    if len(found) > MOST_CLASSES:
        raise InputError(
            tr("data.label: column {column!r} has {n:,} different values.", column=spec.label, n=len(found)),
            tr("Name the column that holds the classes; at most {most:,} can be told apart.", most=MOST_CLASSES),
        )
    if all(name.lstrip("-").isdecimal() for name in found):
        return tuple(sorted(found, key=lambda name: (int(name), name)))
    return tuple(sorted(found))


def _wanted(n: int, spec: SplitTable) -> tuple[int, int]:
    """Rows of one class, of ``n``, that go to validation and to test."""
    return round(spec.validation_fraction * n), round(spec.test_fraction * n)


def _split(spec: SplitTable, labels: Ints, groups: Ints, given: Ints) -> Ints:
    """The part of every row: as the table says, and what it leaves out taken from training, by class and by group.

    A group of near-duplicates goes where its first row goes. A group that is larger than what is wanted trains.
    """
    parts = np.where(given < 0, 0, given)
    missing = [part for part in (1, 2) if not (given == part).any()]
    free = parts == 0
    rng = np.random.default_rng((SPLIT_SALT, spec.split_seed))
    members = {int(group): np.flatnonzero(free & (groups == group)) for group in _shared(groups)}
    for label in range(int(labels.max()) + 1):
        rows = rng.permutation(np.flatnonzero(free & (labels == label)))
        wanted = dict(zip((1, 2), _wanted(len(rows), spec), strict=True))
        for part in missing:
            left = wanted[part]
            for row in rows:
                if left <= 0:
                    break
                together = members.get(int(groups[row]), np.asarray([row]))
                if parts[row] == 0 and len(together) <= left:
                    parts[together] = part
                    left -= len(together)
    return parts


def _shared(groups: Ints) -> Ints:
    """Groups of more than one row."""
    return np.flatnonzero(np.bincount(groups) > 1)


def _check_parts(parts: Ints) -> None:
    for part, name in enumerate(PARTS):
        if not (parts == part).any():
            raise InputError(
                tr("data: no row is left for {part}.", part=name),
                tr("Give more rows, or larger data.validation_fraction and data.test_fraction."),
            )


def _check_taught(names: tuple[str, ...], labels: Ints, parts: Ints) -> None:
    untaught = sorted(set(range(len(names))) - set(labels[parts == 0].tolist()))
    if untaught:
        raise InputError(
            tr("data.label: the class {label!r} has no training row.", label=names[untaught[0]]),
            tr("Add rows of it to the training split, or leave its rows out."),
        )


def _notes(names: tuple[str, ...], labels: Ints, parts: Ints, contradictions: int) -> tuple[str, ...]:
    notes = []
    untested = sorted(set(range(len(names))) - set(labels[parts == 2].tolist()))
    if untested:
        notes.append(
            tr(
                "{n} classes have too few rows to be tested, among them {label!r}.",
                n=len(untested),
                label=names[untested[0]],
            )
        )
    if contradictions:
        notes.append(tr("{n} texts stand there with several labels.", n=contradictions))
    return tuple(notes)
