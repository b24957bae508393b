"""Tagged sentences ready for fine-tuning: each word's tag stands at its first token, nothing at the others."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.i18n import mark, tr
from engine.sources._label_table import PARTS, Ints, Table
from engine.sources._tagged_rows import read_rows, tag_counts, tags_of
from engine.sources._token_rows import (
    NOTHING,
    TOKENIZER,
    TokenRows,
    begins_words_with_spaces,
    cut_note,
    load_fast_tokenizer,
    pad_of,
    report_of,
    save_arrays,
)
from engine.sources.base import Batch, OnProgress, QualityReport

if TYPE_CHECKING:
    from engine.sources.tagged_table import TaggedTableSpec

META, WORDS = "meta.json", "words.msgpack"
AT_A_TIME = 1_024
"""Sentences tokenised together."""


class Meta(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in ``meta.json`` beside the tokens."""

    digest: str
    names: tuple[str, ...]
    pad: int
    report: QualityReport


@dataclass(slots=True)
class TaggedItems(TokenRows):
    """Implements ``engine.sources.base.Prepared`` and ``TokenisedText``."""

    folder: Path
    fingerprint: str
    report: QualityReport
    class_names: tuple[str, ...]
    """The tags."""
    pad: int
    """The id that fills short rows."""
    tokens: NDArray[np.int32]
    """Every sentence's tokens, one sentence after another."""
    types: NDArray[np.uint8] | None
    """Kinds of tokens where the tokenizer gives them."""
    targets: NDArray[np.int32]
    """For each token the number of its word's tag where the word begins, else ``NOTHING``."""
    ends: Ints
    """(n,) where each sentence ends."""
    parts: Ints
    """(n,) index of ``PARTS``."""
    bytes_per_token: float = math.nan

    def collate(self, rows: Ints) -> Batch:
        """``inputs``, ``mask``, perhaps ``types``, and ``targets``, int64 (batch, longest)."""
        return {**self.inputs(rows), "targets": self.padded(rows, self.targets, NOTHING)}

    def shown(self, tokens: Ints, target: Any) -> Mapping[str, str]:
        """The sentence, and the tags of its words."""
        tags = " ".join(self.class_names[number] for number in target[target >= 0])
        return {"text": self.decode(tokens), "target": tags}

    def words(self, part: str = "test") -> list[tuple[str, list[str]]]:
        """(where, the words that have a target) of the rows of a held-out part, in their order."""
        kept = msgspec.msgpack.decode((self.folder / WORDS).read_bytes(), type=dict[str, list[tuple[str, list[str]]]])
        return kept[part]


class _Tokenised(NamedTuple):
    """Arrays over all tokens, the length of each sentence, what was cut, and which words a model sees."""

    arrays: dict[str, NDArray[Any]]
    lengths: Ints
    n_cut: int
    n_lost: int
    """Words without any token, as those of characters that a tokenizer drops."""
    seen: list[list[int]]


def make(spec: "TaggedTableSpec", folder: Path, on_progress: OnProgress) -> None:
    """Fill a folder of the cache: tokens, targets, split, the words of the test rows, the tokenizer and the report.

    Raises ``InputError`` where the table cannot be used or there is no tokenizer to read it with.
    """
    on_progress(mark("reading"), 0.0)
    table = read_rows(spec)
    tokenizer = load_fast_tokenizer(spec.tokenizer)
    found = _tokenised(spec, table, tokenizer, on_progress)
    held_out = [
        (row.where, [row.texts[place] for place in places])
        for row, part, places in zip(table.rows, table.parts, found.seen, strict=True)
        if part == 2
    ]
    (folder / WORDS).write_bytes(msgspec.msgpack.encode({"test": held_out}))
    tokenizer.save_pretrained(folder / TOKENIZER)
    notes = [cut_note(found.n_cut, len(found.lengths), spec.max_length)]
    if found.n_lost:
        notes.append(tr("{n:,} words have no token of the base and are left out.", n=found.n_lost))
    counts = np.sum([tag_counts(table, part) for part in range(len(PARTS))], axis=0).tolist()
    report = dataclasses.replace(
        report_of(table, found.lengths, *notes), label_counts=tuple(zip(table.names, counts, strict=True))
    )
    arrays = {**found.arrays, "ends": np.cumsum(found.lengths), "parts": table.parts}
    meta = Meta(digest=save_arrays(folder, arrays), names=table.names, pad=pad_of(spec.tokenizer), report=report)
    (folder / META).write_bytes(msgspec.json.encode(meta))


def opened(folder: Path) -> TaggedItems | None:
    """The entry of the cache, None where there is none."""
    try:
        meta = msgspec.json.decode((folder / META).read_bytes(), type=Meta)
        arrays = {name: np.load(folder / f"{name}.npy") for name in ("tokens", "targets", "ends", "parts")}
        types = np.load(folder / "types.npy") if (folder / "types.npy").is_file() else None
    except (OSError, ValueError, msgspec.DecodeError):
        return None
    return TaggedItems(folder, meta.digest, meta.report, meta.names, meta.pad, types=types, **arrays)


def _tokenised(spec: "TaggedTableSpec", table: Table, tokenizer: Any, on_progress: OnProgress) -> _Tokenised:
    numbers = {name: number for number, name in enumerate(table.names)}
    columns: dict[str, list[NDArray[Any]]] = {"tokens": [], "types": [], "targets": []}
    seen: list[list[int]] = []
    n_cut = n_lost = 0
    before = " " if begins_words_with_spaces(tokenizer) else ""
    for first in range(0, len(table.rows), AT_A_TIME):
        rows = table.rows[first : first + AT_A_TIME]
        words = [[before + word for word in row.texts] for row in rows]
        found = tokenizer(words, is_split_into_words=True, truncation=True, max_length=spec.max_length)
        for number, row in enumerate(rows):
            tokens = found["input_ids"][number] or [pad_of(spec.tokenizer)]
            word_of = found.word_ids(number) or [None] * len(tokens)
            begins = {word: place for place, word in reversed(list(enumerate(word_of))) if word is not None}
            targets = np.full(len(tokens), NOTHING, np.int32)
            tags = tags_of(row)
            for word, place in begins.items():
                targets[place] = numbers[tags[word]]
            cut = len(tokens) == spec.max_length and max(begins, default=-1) < len(tags) - 1
            n_cut += cut
            n_lost += max(begins, default=-1) + 1 - len(begins) if cut else len(tags) - len(begins)
            seen.append(sorted(begins))
            types = found["token_type_ids"][number] if "token_type_ids" in found else [0] * len(tokens)
            columns["tokens"].append(np.asarray(tokens, np.int32))
            columns["types"].append(np.asarray(types or [0], np.uint8))
            columns["targets"].append(targets)
        on_progress(mark("writing tokens"), min(1.0, (first + AT_A_TIME) / len(table.rows)))
    arrays = {name: np.concatenate(parts) for name, parts in columns.items()}
    if not arrays["types"].any():
        del arrays["types"]
    return _Tokenised(arrays, np.asarray([len(some) for some in columns["tokens"]], np.int64), n_cut, n_lost, seen)
