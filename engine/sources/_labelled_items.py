"""Labelled texts ready for fine-tuning: tokens one after another, batches padded to their own longest text."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.i18n import mark
from engine.sources._label_table import Ints, Table, read_table
from engine.sources._token_rows import TOKENIZER, TokenRows, cut_note, load_tokenizer, pad_of, report_of, save_arrays
from engine.sources.base import Batch, OnProgress, QualityReport

if TYPE_CHECKING:
    from engine.sources.labelled_table import LabelledTableSpec

META, TEXTS = "meta.json", "texts.msgpack"
AT_A_TIME = 1_024
"""Texts tokenised together."""


class Meta(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in ``meta.json`` beside the tokens."""

    digest: str
    names: tuple[str, ...]
    pad: int
    n_cut: int
    report: QualityReport


@dataclass(slots=True)
class LabelledItems(TokenRows):
    """Implements ``engine.sources.base.Prepared`` and ``TokenisedText``."""

    folder: Path
    fingerprint: str
    report: QualityReport
    class_names: tuple[str, ...]
    pad: int
    """The id that fills short texts."""
    tokens: NDArray[np.int32]
    """Every text's tokens, one text after another."""
    types: NDArray[np.uint8] | None
    """0 for tokens of the first text of a pair and 1 for those of the second, where the tokenizer tells them apart."""
    ends: Ints
    """(n,) where each text ends."""
    labels: Ints
    """(n,) index of ``class_names``."""
    parts: Ints
    """(n,) index of ``PARTS``."""
    bytes_per_token: float = math.nan

    def collate(self, rows: Ints) -> Batch:
        """``inputs``, ``mask`` and, of pairs, ``types``, int64 (batch, longest); ``targets`` int64 (batch,)."""
        return {**self.inputs(rows), "targets": self.labels[rows]}

    def shown(self, tokens: Ints, target: Any) -> Mapping[str, str]:
        """The text and the name of its class."""
        return {"text": self.decode(tokens), "label": self.class_names[int(target)]}

    def texts(self, part: str = "test") -> list[tuple[str, tuple[str, ...]]]:
        """(where, texts) of the rows of a held-out part, in their order."""
        kept = msgspec.msgpack.decode((self.folder / TEXTS).read_bytes(), type=dict[str, list[tuple[str, list[str]]]])
        return [(where, tuple(texts)) for where, texts in kept[part]]


def make(spec: "LabelledTableSpec", folder: Path, on_progress: OnProgress) -> None:
    """Fill a folder of the cache: tokens, labels, split, the texts of the test rows, the tokenizer and the report.

    Raises ``InputError`` where the table cannot be used or there is no tokenizer to read it with.
    """
    on_progress(mark("reading"), 0.0)
    table = read_table(spec)
    tokenizer = load_tokenizer(spec.tokenizer)
    tokens, types, lengths, n_cut = _tokenised(spec, table, tokenizer, on_progress)
    arrays: dict[str, NDArray[Any]] = {
        "tokens": tokens,
        "ends": np.cumsum(lengths),
        "labels": table.labels,
        "parts": table.parts,
    }
    if types.any():
        arrays["types"] = types
    held_out = [(row.where, row.texts) for row, part in zip(table.rows, table.parts, strict=True) if part == 2]
    (folder / TEXTS).write_bytes(msgspec.msgpack.encode({"test": held_out}))
    tokenizer.save_pretrained(folder / TOKENIZER)
    meta = Meta(
        digest=save_arrays(folder, arrays),
        names=table.names,
        pad=pad_of(spec.tokenizer),
        n_cut=n_cut,
        report=report_of(table, lengths, cut_note(n_cut, len(lengths), spec.max_length)),
    )
    (folder / META).write_bytes(msgspec.json.encode(meta))


def opened(folder: Path) -> LabelledItems | None:
    """The entry of the cache, None where there is none."""
    try:
        meta = msgspec.json.decode((folder / META).read_bytes(), type=Meta)
        arrays = {name: np.load(folder / f"{name}.npy") for name in ("tokens", "ends", "labels", "parts")}
        types = np.load(folder / "types.npy") if (folder / "types.npy").is_file() else None
    except (OSError, ValueError, msgspec.DecodeError):
        return None
    return LabelledItems(folder, meta.digest, meta.report, meta.names, meta.pad, types=types, **arrays)


def _tokenised(
    spec: "LabelledTableSpec", table: Table, tokenizer: Any, on_progress: OnProgress
) -> tuple[NDArray[np.int32], NDArray[np.uint8], Ints, int]:
    """Tokens and types of all rows, the length of each, and how many were cut."""
    ids: list[NDArray[np.int32]] = []
    types: list[NDArray[np.uint8]] = []
    n_cut = 0
    pad = pad_of(spec.tokenizer)
    for first in range(0, len(table.rows), AT_A_TIME):
        texts = list(zip(*(row.texts for row in table.rows[first : first + AT_A_TIME]), strict=True))
        found = tokenizer(*[list(part) for part in texts], truncation=True, max_length=spec.max_length)
        for number, tokens in enumerate(found["input_ids"]):
            tokens = tokens or [pad]
            n_cut += len(tokens) == spec.max_length
            ids.append(np.asarray(tokens, np.int32))
            kinds = found["token_type_ids"][number] if "token_type_ids" in found else [0] * len(tokens)
            types.append(np.asarray(kinds or [0], np.uint8))
        on_progress(mark("writing tokens"), min(1.0, (first + AT_A_TIME) / len(table.rows)))
    return np.concatenate(ids), np.concatenate(types), np.asarray([len(some) for some in ids], np.int64), n_cut
