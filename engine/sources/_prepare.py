"""From documents to prepared data: stage, find duplicates, split, tokenise, write, cached by what went in.

Documents are staged in a file, so memory holds a few hundred bytes per document whatever the size of the text.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.errors import InputError
from engine.i18n import mark, tr
from engine.sources import _labelled, _minhash, _split, _tokenizers
from engine.sources._cache import cached, entry_key
from engine.sources._prepared import (
    LABELS_FILE,
    META_FILE,
    TOKENIZER_FILE,
    TRAIN_FILE,
    VALIDATION_FILE,
    Meta,
    PreparedText,
)
from engine.sources._spec import Document, Skipped, TextSpec, cut
from engine.sources.base import OnProgress, QualityReport

PIPELINE_VERSION = 1
"""Raised whenever equal documents would no longer give equal tokens."""
UNLABELLED = "–"
"""What the report calls documents without a class."""
PIECE = 65_536
"""Longer documents are cut into pieces of at most this many bytes."""
_ENCODE_BYTES = 2**20

Documents = Callable[[Skipped], Iterable[Document]]
"""Yields the documents of a source and records what it had to skip."""


@dataclass(slots=True)
class _Staged:
    """Documents lying one after another in ``file``; arrays are over documents."""

    file: Path
    ends: list[int] = field(default_factory=list)
    order_keys: list[int] = field(default_factory=list)
    origins: list[int] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    signatures: list[_minhash.Signatures] = field(default_factory=list)
    exact_duplicates: int = 0

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Bytes of each document, (n,)."""
        ends = np.asarray([0, *self.ends], np.int64)
        return ends[1:] - ends[:-1]

    def texts(self, mask: NDArray[np.bool_]) -> Iterator[bytes]:
        """The documents where ``mask`` holds, in order."""
        sizes = self.sizes
        with self.file.open("rb") as stream:
            for index in np.flatnonzero(mask):
                stream.seek(self.ends[index] - int(sizes[index]))
                yield stream.read(int(sizes[index]))


def cache_key(name: str, version: int, spec: TextSpec, files: Iterable[tuple[str, int, int]]) -> str:
    """Name of the cache entry: source, spec and each file's (name, bytes, modification time in ns).

    How many of the tokens are trained on is no part of it: the same files serve every limit.
    """
    fields = {k: v for k, v in msgspec.structs.asdict(spec).items() if k != "unique_tokens"}
    return entry_key([name, version, PIPELINE_VERSION, fields], files)


def prepare(
    spec: TextSpec, key: str, documents: Documents, expected_bytes: int, cache: Path, on_progress: OnProgress
) -> PreparedText:
    """Open the cache entry ``key``, or make it from ``documents`` of about ``expected_bytes``.

    Safe to call from several processes at once: the first makes it, the others wait.
    Raises ``ResourceError`` for a full or read-only disk and ``InputError`` for text that cannot be used.
    """
    made = cached(
        cache,
        f"text-{key}",
        PreparedText.open,
        lambda folder: _make(spec, documents, expected_bytes, folder, on_progress),
        expected_bytes * (2 if spec.tokenizer == "bytes" else 3),
    )
    return made.limited(spec.unique_tokens)


def _make(spec: TextSpec, documents: Documents, expected_bytes: int, folder: Path, on_progress: OnProgress) -> None:
    skipped = Skipped()
    staged = _stage(documents(skipped), expected_bytes, folder / "staged.bin", on_progress)
    if not staged.ends:
        why = f" ({skipped.listed[0][0]}: {skipped.listed[0][1]})" if skipped.listed else ""
        raise InputError(tr("there is no text in the data{why}.", why=why))
    on_progress(mark("finding duplicates"), 0.0)
    order_keys = np.asarray(staged.order_keys, np.uint64)
    origins = np.asarray(staged.origins, np.int64)
    parts = _split.split(np.stack(staged.signatures), staged.sizes, order_keys, origins, spec.validation_fraction)
    on_progress(mark("finding duplicates"), 1.0)
    if spec.tokenizer == "bytes":
        _tokenizers.write_byte_tokenizer(folder / TOKENIZER_FILE)
    else:
        on_progress(mark("training the tokenizer"), 0.0)
        _tokenizers.train_bpe(staged.texts(parts.train), spec.vocab_size, folder / TOKENIZER_FILE)
        on_progress(mark("training the tokenizer"), 1.0)
    tokenizer = _tokenizers.open_tokenizer(spec.tokenizer, folder)
    seen = hashlib.sha256(msgspec.json.encode([PIPELINE_VERSION, spec.tokenizer]))
    seen.update((folder / TOKENIZER_FILE).read_bytes())
    dtype = _tokenizers.token_dtype(spec)
    total = int(staged.sizes.sum())
    counts, lengths = [], []
    for name, mask, begun in ((TRAIN_FILE, parts.train, 0.0), (VALIDATION_FILE, parts.validation, 0.9)):
        on_progress(mark("writing tokens"), begun)
        lengths.append(_write(staged.texts(mask), tokenizer, dtype, folder / name, seen, total, on_progress))
        counts.append(int(lengths[-1].sum()))
    _labelled.write(folder / LABELS_FILE, staged.labels, origins, (parts.train, parts.validation), lengths)
    on_progress(mark("writing tokens"), 1.0)
    report = _report(staged, parts, skipped, spec.labelled)
    meta = Meta(
        fingerprint=seen.hexdigest(),
        tokenizer=spec.tokenizer,
        dtype=np.dtype(dtype).name,
        vocab_size=256 if spec.tokenizer == "bytes" else spec.vocab_size,
        n_train=counts[0],
        n_validation=counts[1],
        # A separator counts as the one byte it is in the bytes tokenizer, so that both measure the same text.
        bytes_per_token=(report.bytes_validation + report.n_validation) / counts[1],
        report=report,
    )
    staged.file.unlink()
    (folder / META_FILE).write_bytes(msgspec.json.encode(meta))


def _stage(documents: Iterable[Document], expected_bytes: int, file: Path, on_progress: OnProgress) -> _Staged:
    """Write every distinct document to ``file`` and sign it."""
    staged = _Staged(file)
    digests: set[bytes] = set()
    end, origin, n_origins, told = 0, None, -1, 0
    with file.open("wb") as stream:
        for document in documents:
            if document.origin != origin:
                origin, n_origins = document.origin, n_origins + 1
            for piece in cut(clean(document.text), PIECE):
                if not piece.strip():
                    continue
                digest = hashlib.sha256(piece).digest()
                if digest[:16] in digests:
                    staged.exact_duplicates += 1
                    continue
                digests.add(digest[:16])
                stream.write(piece)
                end += len(piece)
                staged.ends.append(end)
                staged.order_keys.append(int.from_bytes(digest[:8], "little"))
                staged.origins.append(n_origins)
                staged.labels.append(document.label)
                staged.signatures.append(_minhash.signature(piece))
            if end - told > _ENCODE_BYTES:
                told = end
                on_progress(mark("reading"), min(1.0, end / max(1, expected_bytes)))
    on_progress(mark("reading"), 1.0)
    return staged


def clean(text: bytes) -> bytes:
    """Line ends as ``\\n``, and no byte 0, which separates documents."""
    return text.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\0", b"")


def _write(
    texts: Iterable[bytes],
    tokenizer: _tokenizers.Tokenizer,
    dtype: type[np.uint8] | type[np.uint16],
    file: Path,
    seen: Any,
    total: int,
    on_progress: OnProgress,
) -> NDArray[np.int64]:
    """Write the ids of ``texts``, a separator after each, into ``file``; returns how many each text took."""
    lengths: list[int] = []
    done = 0
    with file.open("wb") as stream:
        for batch in _batches(texts):
            parts: list[NDArray[Any]] = []
            for ids in tokenizer.encode_batch(batch):
                parts += [ids, np.asarray([_tokenizers.SEPARATOR], dtype)]
                lengths.append(len(ids) + 1)
            tokens = np.concatenate(parts).astype(dtype)
            block = tokens.astype(tokens.dtype.newbyteorder("<")).tobytes()
            stream.write(block)
            seen.update(block)
            done += sum(map(len, batch))
            if file.name == TRAIN_FILE:
                on_progress(mark("writing tokens"), 0.9 * done / total)
    seen.update(sum(lengths).to_bytes(8, "little"))
    return np.asarray(lengths, np.int64)


def _batches(texts: Iterable[bytes]) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= _ENCODE_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _report(staged: _Staged, parts: _split.Split, skipped: Skipped, labelled: bool) -> QualityReport:
    sizes = staged.sizes
    kept = np.flatnonzero(parts.train | parts.validation)
    labels = Counter(staged.labels[place] or UNLABELLED for place in kept) if labelled else Counter[str]()
    notes = []
    if parts.n_dropped:
        notes.append(tr("{n} documents were left out because they resemble training text.", n=parts.n_dropped))
    if not parts.whole_files:
        notes.append(tr("There are few files, so long ones were cut and their pieces split."))
    return QualityReport(
        n_documents=len(sizes),
        n_train=int(parts.train.sum()),
        n_validation=int(parts.validation.sum()),
        bytes_train=int(sizes[parts.train].sum()),
        bytes_validation=int(sizes[parts.validation].sum()),
        exact_duplicates=staged.exact_duplicates,
        near_duplicates=parts.near_duplicates,
        leaked=parts.n_leaked,
        skipped=tuple(skipped.listed),
        n_skipped=skipped.n,
        length_quantiles=tuple(float(q) for q in np.quantile(sizes, [0.05, 0.25, 0.5, 0.75, 0.95])),
        notes=tuple(notes),
        label_counts=tuple(sorted(labels.items())),
        encodings=tuple(sorted(skipped.encodings.items())),
    )
