"""Rows of tokens for fine-tuning, one after another: their order in an epoch, and the tokenizer that made them."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.errors import InputError
from engine.i18n import mark, tr
from engine.model_folders import CONFIG, FolderError, pad_id
from engine.model_folders import load_tokenizer as tokenizer_in
from engine.sources._cache import cached, entry_key
from engine.sources._label_table import PARTS, Ints, Table
from engine.sources.base import Batch, QualityReport

TOKENIZER = "tokenizer"
"""Folder of the tokenizer within an entry of the cache."""
ORDER_SALT = 0xF17E
NOTHING = -100
"""Target of a place that nothing is learnt from, as transformers has it."""
TOKEN_RATIO = 6
"""Bytes of the cache that one byte of a table may take; only for the check of free disk."""
Rows = TypeVar("Rows", bound="TokenRows")


class TokenRows:
    """What prepared rows of any task share; they add ``collate`` and what else they hold of each row."""

    __slots__ = ()
    folder: Path
    pad: int
    """The id that fills short rows."""
    tokens: NDArray[np.int32]
    """Every row's tokens, one row after another."""
    parts: Ints
    """(n,) index of ``PARTS``."""
    ends: Ints
    """(n,) where the tokens of each row end."""

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
        ordered = rows[np.argsort(self.lengths(rows), kind="stable")]
        for first in range(0, len(ordered), batch_size):
            some = ordered[first : first + batch_size]
            yield some, self.collate(some)

    def collate(self, rows: Ints) -> Batch:
        """The rows as one batch."""
        raise NotImplementedError

    def seen(self, n: int = 8, batch_size: int = 32, seed: int = 0) -> list[Mapping[str, Any]]:
        """The first rows of the first batch as the model reads them.

        Each as ``shown`` has it, with ``n_tokens`` and ``padding``, tokens that fill it up.
        """
        batch = self.train_batch(0, batch_size, 0, seed)
        found: list[Mapping[str, Any]] = []
        for tokens, mask, target in list(zip(*(batch[k] for k in ("inputs", "mask", "targets")), strict=True))[:n]:
            real = int(mask.sum())
            found.append({**self.shown(tokens[:real], target), "n_tokens": real, "padding": len(tokens) - real})
        return found

    def shown(self, tokens: Ints, target: Any) -> Mapping[str, str]:
        """``text`` of a row's tokens, and ``label`` or ``target``: what is right, from its entry of ``targets``."""
        raise NotImplementedError

    def inputs(self, rows: Ints) -> Batch:
        """``inputs`` and ``mask``, and ``types`` where rows of two texts have them; int64 (batch, longest)."""
        lengths = self.lengths(rows)
        mask = (np.arange(int(lengths.max())) < lengths[:, None]).astype(np.int64)
        batch: Batch = {"inputs": self.padded(rows, self.tokens, self.pad), "mask": mask}
        types = getattr(self, "types", None)
        return batch if types is None else {**batch, "types": self.padded(rows, types, 0)}

    def padded(self, rows: Ints, values: NDArray[Any], fill: int) -> Ints:
        """What ``values`` hold for each token of the rows, int64 (batch, longest)."""
        lengths = self.lengths(rows)
        found = np.full((len(rows), int(lengths.max())), fill, np.int64)
        for place, (end, length) in enumerate(zip(self.ends[rows], lengths, strict=True)):
            found[place, :length] = values[end - length : end]
        return found

    def decode(self, tokens: NDArray[np.integer[Any]]) -> str:
        """Text of tokens, the special ones shown."""
        return str(load_tokenizer(str(self.folder / TOKENIZER)).decode([int(token) for token in tokens]))

    def tokenizer_files(self) -> dict[str, str]:
        """See ``TokenisedText``."""
        folder = self.folder / TOKENIZER
        return {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.iterdir())}

    def lengths(self, rows: Ints) -> Ints:
        """Tokens of each row."""
        before = np.where(rows > 0, self.ends[rows - 1], 0)
        return np.asarray(self.ends[rows] - before, np.int64)


def cached_rows(
    cache: Path,
    name: str,
    spec: Any,
    versions: Sequence[object],
    files: Sequence[tuple[str, int, int]],
    opened: Callable[[Path], Rows | None],
    make: Callable[[Path], None],
) -> Rows:
    """The rows that ``make`` writes of a table's files, or wrote before; see ``cached``.

    An entry is known by ``versions``, all fields of ``spec`` but its paths, the files and the tokenizer's own.
    """
    settings = msgspec.structs.asdict(msgspec.structs.replace(spec, path="", tokenizer=""))
    key = entry_key([*versions, settings, tokenizer_digest(spec.tokenizer)], files)
    return cached(cache, f"{name}-{key}", opened, make, TOKEN_RATIO * sum(size for _, size, _ in files))


def tokenizer_digest(folder: str) -> str:
    """SHA-256 of a tokenizer's files; empty for none."""
    seen = hashlib.sha256()
    names = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json", "merges.txt", "tokenizer.model",
             "spiece.model", "sentencepiece.bpe.model", "special_tokens_map.json", "chat_template.jinja",
             "config.json")  # fmt: skip
    there = [Path(folder, name) for name in names if folder and Path(folder, name).is_file()]
    for path in there:
        seen.update(path.name.encode() + path.read_bytes())
    return seen.hexdigest() if there else ""


def load_tokenizer(folder: str) -> Any:
    """The tokenizer of a folder; raises ``InputError`` where there is none."""
    if not folder:
        raise InputError(
            tr("data.tokenizer: there is none to read the texts with."),
            tr("The family fine-tuned brings that of its base; else name the folder of one."),
        )
    try:
        return tokenizer_in(folder)
    except FolderError as error:
        raise InputError(tr("data.tokenizer: {path} cannot be read: {why}.", path=folder, why=str(error))) from None


def load_fast_tokenizer(folder: str) -> Any:
    """The same; raises ``InputError`` also where it cannot say which token is of which word or character."""
    tokenizer = load_tokenizer(folder)
    if not tokenizer.is_fast:
        raise InputError(
            tr("data.tokenizer: {path} has no tokenizer.json, without which no word has a known place.", path=folder),
            tr("Save it again with transformers' fast tokenizer of the same model."),
        )
    return tokenizer


def begins_words_with_spaces(tokenizer: Any) -> bool:
    """Whether to such a tokenizer the space before a word is part of it, as of RoBERTa and GPT-2 (byte-level BPE)."""
    return "ByteLevel" in json.dumps(json.loads(tokenizer.backend_tokenizer.to_str())["pre_tokenizer"])


def pad_of(folder: str) -> int:
    """What fills short texts: as the model beside the tokenizer has it."""
    path = Path(folder, CONFIG)
    return pad_id(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else 0


def save_arrays(folder: Path, arrays: Mapping[str, NDArray[Any]]) -> str:
    """Write each as ``NAME.npy``; returns the SHA-256 of them all."""
    seen = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        np.save(folder / f"{name}.npy", array)
        seen.update(array.tobytes())
    return seen.hexdigest()


def cut_note(n_cut: int, n: int, longest: int) -> str:
    """How many of ``n`` texts lost their end."""
    return tr("{n:,} of {of:,} texts are cut to {longest} tokens.", n=n_cut, of=n, longest=longest)


def report_of(table: Table, lengths: Ints, *notes: str) -> QualityReport:
    """What is known of a table whose rows have ``lengths`` tokens, and what is noted of their tokens."""
    sizes = np.asarray([sum(len(text.encode()) for text in row.texts) for row in table.rows], np.int64)
    train, validation, test = (table.parts == part for part in range(3))
    counts = np.bincount(table.labels, minlength=len(table.names)).tolist()
    tested = tr("{n:,} rows are for the test that results are measured on.", n=int(test.sum()))
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
        notes=(tested, *notes, *table.notes),
        length_unit=mark("tokens"),
        label_counts=tuple(zip(table.names, counts, strict=False)),
        encodings=tuple(sorted(table.skipped.encodings.items())),
    )
