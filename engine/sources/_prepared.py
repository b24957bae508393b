"""Tokenised text ready for training: two memory-mapped files of ids, read by step."""

import hashlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.errors import InputError
from engine.i18n import tr
from engine.sources import _labelled, _spans, _tokenizers
from engine.sources.base import Batch, QualityReport

TRAIN_FILE, VALIDATION_FILE, TOKENIZER_FILE, META_FILE = "train.bin", "val.bin", "tokenizer.json", "meta.json"
LABELS_FILE = "labels.msgpack"


class Meta(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in ``meta.json`` beside the token files."""

    fingerprint: str
    tokenizer: str
    dtype: str
    vocab_size: int
    n_train: int
    n_validation: int
    bytes_per_token: float
    report: QualityReport


class PreparedText:
    """Implements ``engine.sources.base.Prepared`` over a folder of the cache; cheap to open, read-only."""

    def __init__(self, folder: Path, meta: Meta) -> None:
        self.folder = folder
        self.fingerprint = meta.fingerprint
        self.report = meta.report
        self.bytes_per_token = meta.bytes_per_token
        self.vocab_size = meta.vocab_size
        self.kind = meta.tokenizer
        self.train = _map(folder / TRAIN_FILE, meta.dtype)
        self.validation = _map(folder / VALIDATION_FILE, meta.dtype)
        self.tokenizer_path = folder / TOKENIZER_FILE
        """A ``tokenizer.json`` that maps text to the same ids, for both kinds of tokenizer."""
        self._tokenizer: _tokenizers.Tokenizer | None = None
        self._epoch = lru_cache(maxsize=4)(self._epoch_starts)

    @classmethod
    def open(cls, folder: Path) -> "PreparedText | None":
        """What an earlier call left complete in ``folder``, or None."""
        try:
            meta = msgspec.json.decode((folder / META_FILE).read_bytes(), type=Meta)
            width = np.dtype(meta.dtype).itemsize
            whole = (folder / TRAIN_FILE).stat().st_size == meta.n_train * width
            whole &= (folder / VALIDATION_FILE).stat().st_size == meta.n_validation * width
            whole &= (folder / TOKENIZER_FILE).is_file() and (folder / LABELS_FILE).is_file()
        except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError):
            return None
        return cls(folder, meta) if whole else None

    def limited(self, unique_tokens: int | None) -> "PreparedText":
        """The same with at most that many tokens of the training split, which then come again and again.

        They are the first in the source's order, which for python-text is that of a hash: a fair sample. Validation is
        unchanged.
        """
        if unique_tokens is not None and unique_tokens < len(self.train):
            self.train = self.train[:unique_tokens]
            self.fingerprint = hashlib.sha256(f"{self.fingerprint} {unique_tokens}".encode()).hexdigest()
        return self

    def train_batch(self, step: int, batch_size: int, context: int, seed: int) -> Batch:
        """``inputs`` and ``targets``, int64 (batch_size, context): a pure function of its arguments.

        Raises ``InputError`` where the training split is shorter than one window.
        """
        n_windows = self._n_windows(context)
        window = step * batch_size
        starts = np.empty(batch_size, np.int64)
        filled = 0
        while filled < batch_size:
            epoch, place = divmod(window + filled, n_windows)
            some = self._epoch(epoch, context, seed)[place : place + batch_size - filled]
            starts[filled : filled + len(some)] = some
            filled += len(some)
        return _windows(self.train, starts, context)

    def epochs(self, n_steps: int, batch_size: int, context: int) -> float:
        """Passes over the training split in ``n_steps`` steps."""
        return n_steps * batch_size / self._n_windows(context)

    def validation_batches(self, batch_size: int, context: int, max_tokens: int) -> Iterator[Batch]:
        """Fixed held-out windows spread evenly over the split, at most ``max_tokens``; the last batch may be short.

        Raises ``InputError`` where the validation split is shorter than one window.
        """
        n_windows = (len(self.validation) - 1) // context
        if n_windows < 1:
            raise _too_short(len(self.validation), context, tr("validation"))
        n = min(n_windows, max(1, max_tokens // context))
        starts = np.arange(n, dtype=np.int64) * n_windows // n * context
        for first in range(0, n, batch_size):
            yield _windows(self.validation, starts[first : first + batch_size], context)

    def labelled(self, length: int, n_classes: int, n_train: int, n_test: int) -> _labelled.LabelledText | None:
        """Snippets by the labels of their documents; see ``_labelled.Labelled``."""
        index = _labelled.read(self.folder / LABELS_FILE)
        streams = (self.train, self.validation)
        return _labelled.labelled(index, streams, length, n_classes, (n_train, n_test)) if index else None

    def spans(self, length: int, n_train: int, n_test: int) -> tuple[_spans.SpanItems, _spans.SpanItems] | None:
        """Questions whose answer is a span of the text; see ``_spans.AsksForSpans``."""
        table = [self.decode(np.asarray([i])) for i in range(self._open_tokenizer().vocab_size)]
        return _spans.span_items((self.train, self.validation), table, length, (n_train, n_test))

    def encode(self, text: str) -> NDArray[np.int64]:
        """Ids of a text, int64 (n,), without a separator. Byte 0, which marks the end of a document, is left out."""
        return self._open_tokenizer().encode_batch([text.replace("\0", "").encode()])[0].astype(np.int64)

    def decode(self, tokens: NDArray[np.integer[Any]]) -> str:
        """Text of a token sequence; separators are shown as line breaks."""
        return self._open_tokenizer().decode(tokens)

    def tokenizer_files(self) -> dict[str, str]:
        """``tokenizer.json`` and its config by name: plain ``AutoTokenizer`` reads them and gives equal ids."""
        return {
            TOKENIZER_FILE: self.tokenizer_path.read_text(encoding="utf-8"),
            "tokenizer_config.json": _tokenizers.config(self.kind),
        }

    def _open_tokenizer(self) -> _tokenizers.Tokenizer:
        if self._tokenizer is None:
            self._tokenizer = _tokenizers.open_tokenizer(self.kind, self.folder)
        return self._tokenizer

    def _n_windows(self, context: int) -> int:
        """Windows in one epoch. One is given up so that every epoch can begin at another offset."""
        n = (len(self.train) - 1) // context
        if n < 1:
            raise _too_short(len(self.train), context, tr("training"))
        return max(1, n - 1)

    def _epoch_starts(self, epoch: int, context: int, seed: int) -> NDArray[np.int64]:
        """Where each window of an epoch begins, in the order of that epoch, int64 (n_windows,)."""
        n_windows = self._n_windows(context)
        generator = np.random.default_rng([seed, epoch, 0x7E87])
        slack = len(self.train) - 1 - n_windows * context
        offset = int(generator.integers(min(slack, context - 1) + 1))
        return generator.permutation(n_windows).astype(np.int64) * context + offset


def _map(file: Path, dtype: str) -> NDArray[Any]:
    # asarray drops the memmap subclass, whose indexing costs microseconds more per batch.
    return np.asarray(np.memmap(file, dtype, "r"))


def _windows(tokens: NDArray[Any], starts: NDArray[np.int64], context: int) -> Batch:
    window = tokens[starts[:, None] + np.arange(context + 1)].astype(np.int64)
    return {"inputs": np.ascontiguousarray(window[:, :-1]), "targets": np.ascontiguousarray(window[:, 1:])}


def _too_short(n_tokens: int, context: int, split: str) -> InputError:
    return InputError(
        tr(
            "training.context: the {split} split has {n} tokens, fewer than one window of {context}.",
            split=split,
            n=n_tokens,
            context=context,
        ),
        tr("Give more text, a larger validation share or a shorter context."),
    )
