"""Labelled texts ready for fine-tuning: tokens one after another, batches padded to their own longest text."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.errors import InputError
from engine.families._base_folder import CONFIG, pad_id
from engine.i18n import mark, tr
from engine.sources._label_table import PARTS, Ints, Table, read_table
from engine.sources.base import Batch, OnProgress, QualityReport

if TYPE_CHECKING:
    from engine.sources.labelled_table import LabelledTableSpec

META, TEXTS, TOKENIZER = "meta.json", "texts.msgpack", "tokenizer"
AT_A_TIME = 1_024
"""Texts tokenised together."""
ORDER_SALT = 0xF17E


class Meta(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in ``meta.json`` beside the tokens."""

    digest: str
    names: tuple[str, ...]
    pad: int
    n_cut: int
    report: QualityReport


@dataclass(slots=True)
class LabelledItems:
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

    def rows(self, part: str) -> Ints:
        """Numbers of the rows of ``train``, ``validation`` or ``test``."""
        return np.flatnonzero(self.parts == PARTS.index(part))

    def train_batch(self, step: int, batch_size: int, context: int, seed: int) -> Batch:
        """Every training row once per epoch, in an order set by seed and epoch; the last batch of one may be short."""
        rows = self.rows("train")
        per_epoch = -(-len(rows) // batch_size)
        epoch, place = divmod(step, per_epoch)
        order = np.random.default_rng((ORDER_SALT, seed, epoch)).permutation(rows)
        return self.collate(order[place * batch_size : (place + 1) * batch_size])

    def epochs(self, n_steps: int, batch_size: int, context: int) -> float:
        return n_steps / -(-len(self.rows("train")) // batch_size)

    def validation_batches(self, batch_size: int, context: int, max_tokens: int) -> Iterator[Batch]:
        """Rows spread evenly over the validation split, texts of like length together."""
        rows = self.rows("validation")
        n = min(len(rows), max(1, max_tokens // context))
        chosen = rows[np.linspace(0, len(rows) - 1, n).round().astype(np.int64)]
        return (batch for _, batch in self.by_length(chosen, batch_size))

    def by_length(self, rows: Ints, batch_size: int) -> Iterator[tuple[Ints, Batch]]:
        """(rows, batch) of all ``rows``, the shortest texts first: nearly nothing is padding."""
        ordered = rows[np.argsort(self._lengths(rows), kind="stable")]
        for first in range(0, len(ordered), batch_size):
            some = ordered[first : first + batch_size]
            yield some, self.collate(some)

    def collate(self, rows: Ints) -> Batch:
        """``inputs``, ``mask`` and, of pairs, ``types``, int64 (batch, longest); ``targets`` int64 (batch,)."""
        lengths = self._lengths(rows)
        shape = (len(rows), int(lengths.max()))
        inputs = np.full(shape, self.pad, np.int64)
        types = None if self.types is None else np.zeros(shape, np.int64)
        for place, (end, length) in enumerate(zip(self.ends[rows], lengths, strict=True)):
            inputs[place, :length] = self.tokens[end - length : end]
            if types is not None and self.types is not None:
                types[place, :length] = self.types[end - length : end]
        mask = (np.arange(shape[1]) < lengths[:, None]).astype(np.int64)
        batch: Batch = {"inputs": inputs, "mask": mask, "targets": self.labels[rows]}
        return batch if types is None else {**batch, "types": types}

    def decode(self, tokens: NDArray[np.integer[Any]]) -> str:
        """Text of tokens, the special ones shown."""
        return str(_load_tokenizer(str(self.folder / TOKENIZER)).decode([int(token) for token in tokens]))

    def seen(self, n: int = 8, batch_size: int = 32, seed: int = 0) -> list[Mapping[str, Any]]:
        """The first texts of the first batch as the model reads them.

        Each with ``text``, ``label``, ``n_tokens`` and ``padding``, tokens that fill it up.
        """
        batch = self.train_batch(0, batch_size, 0, seed)
        found: list[Mapping[str, Any]] = []
        for tokens, mask, target in list(zip(batch["inputs"], batch["mask"], batch["targets"], strict=True))[:n]:
            real = int(mask.sum())
            label = self.class_names[int(target)]
            found.append(
                {"text": self.decode(tokens[:real]), "label": label, "n_tokens": real, "padding": len(tokens) - real}
            )
        return found

    def texts(self, part: str = "test") -> list[tuple[str, tuple[str, ...]]]:
        """(where, texts) of the rows of a held-out part, in their order."""
        kept = msgspec.msgpack.decode((self.folder / TEXTS).read_bytes(), type=dict[str, list[tuple[str, list[str]]]])
        return [(where, tuple(texts)) for where, texts in kept[part]]

    def tokenizer_files(self) -> dict[str, str]:
        """See ``TokenisedText``."""
        folder = self.folder / TOKENIZER
        return {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.iterdir())}

    def _lengths(self, rows: Ints) -> Ints:
        before = np.where(rows > 0, self.ends[rows - 1], 0)
        return np.asarray(self.ends[rows] - before, np.int64)


def tokenizer_digest(folder: str) -> str:
    """SHA-256 of a tokenizer's files; empty for none."""
    seen = hashlib.sha256()
    names = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json", "merges.txt", "tokenizer.model",
             "spiece.model", "sentencepiece.bpe.model", "special_tokens_map.json", "config.json")  # fmt: skip
    there = [Path(folder, name) for name in names if folder and Path(folder, name).is_file()]
    for path in there:
        seen.update(path.name.encode() + path.read_bytes())
    return seen.hexdigest() if there else ""


def make(spec: "LabelledTableSpec", folder: Path, on_progress: OnProgress) -> None:
    """Fill a folder of the cache: tokens, labels, split, the texts of the test rows, the tokenizer and the report.

    Raises ``InputError`` where the table cannot be used or there is no tokenizer to read it with.
    """
    if not spec.tokenizer:
        raise InputError(
            tr("data.tokenizer: there is none to read the texts with."),
            tr("The family fine-tuned brings that of its base; else name the folder of one."),
        )
    on_progress(mark("reading"), 0.0)
    table = read_table(spec)
    tokenizer = _load_tokenizer(spec.tokenizer)
    tokens, types, lengths, n_cut = _tokenised(spec, table, tokenizer, on_progress)
    arrays: dict[str, NDArray[Any]] = {
        "tokens": tokens,
        "ends": np.cumsum(lengths),
        "labels": table.labels,
        "parts": table.parts,
    }
    if types.any():
        arrays["types"] = types
    seen = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        np.save(folder / f"{name}.npy", array)
        seen.update(array.tobytes())
    held_out = [(row.where, row.texts) for row, part in zip(table.rows, table.parts, strict=True) if part == 2]
    (folder / TEXTS).write_bytes(msgspec.msgpack.encode({"test": held_out}))
    tokenizer.save_pretrained(folder / TOKENIZER)
    meta = Meta(
        digest=seen.hexdigest(),
        names=table.names,
        pad=_pad(spec.tokenizer),
        n_cut=n_cut,
        report=_report(table, lengths, n_cut, spec.max_length),
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
    pad = _pad(spec.tokenizer)
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


def _load_tokenizer(folder: str) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, ImportError) as error:
        why = str(error).strip().partition("\n")[0].rstrip(".")
        raise InputError(tr("data.tokenizer: {path} cannot be read: {why}.", path=folder, why=why)) from None


def _pad(folder: str) -> int:
    """What fills short texts: as the model beside the tokenizer has it."""
    path = Path(folder, CONFIG)
    return pad_id(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else 0


def _report(table: Table, lengths: Ints, n_cut: int, max_length: int) -> QualityReport:
    sizes = np.asarray([sum(len(text.encode()) for text in row.texts) for row in table.rows], np.int64)
    train, validation, test = (table.parts == part for part in range(3))
    counts = np.bincount(table.labels, minlength=len(table.names)).tolist()
    notes = [
        tr("{n:,} rows are for the test that results are measured on.", n=int(test.sum())),
        tr("{n:,} of {of:,} texts are cut to {longest} tokens.", n=n_cut, of=len(lengths), longest=max_length),
        *table.notes,
    ]
    return QualityReport(
        n_documents=len(table.rows),
        n_train=int(train.sum()),
        n_validation=int(validation.sum()),
        bytes_train=int(sizes[train].sum()),
        bytes_validation=int(sizes[validation].sum()),
        exact_duplicates=table.copies,
        near_duplicates=table.near_duplicates,
        leaked=table.leaked,
        skipped=tuple(table.skipped.listed),
        n_skipped=table.skipped.n,
        length_quantiles=tuple(np.quantile(lengths, (0.05, 0.25, 0.5, 0.75, 0.95)).tolist()),
        notes=tuple(notes),
        length_unit=mark("tokens"),
        label_counts=tuple(zip(table.names, counts, strict=True)),
        encodings=tuple(sorted(table.skipped.encodings.items())),
    )
