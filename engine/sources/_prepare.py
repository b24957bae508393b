"""From documents to prepared data: stage, find duplicates, split, tokenise, write, cached by what went in.

Documents are staged in a file, so memory holds some hundred bytes per document whatever the size of the text.
"""

import hashlib
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
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
_LATEST = 65_536

Documents = Callable[[Skipped], Iterable[Document]]
"""Yields the documents of a source and records what it had to skip."""


class _Seen:
    """A set of 64-bit keys in 8 bytes each: the latest in a set, the others in one sorted array."""

    def __init__(self) -> None:
        self._latest: set[int] = set()
        self._sorted = np.empty(0, np.uint64)

    def add(self, key: int) -> bool:
        """Take the key in; False where it was there. Two texts share one with a chance of 3e-6 in ten million."""
        place = int(np.searchsorted(self._sorted, np.uint64(key)))
        if key in self._latest or (place < len(self._sorted) and int(self._sorted[place]) == key):
            return False
        self._latest.add(key)
        if len(self._latest) >= _LATEST:
            latest = np.fromiter(self._latest, np.uint64, len(self._latest))
            self._sorted = np.sort(np.concatenate([self._sorted, latest]))
            self._latest.clear()
        return True


class _Staged:
    """Distinct documents, one after another in a file, and their signatures in another; arrays are over documents."""

    def __init__(self, folder: Path) -> None:
        self.file, self._signed = folder / "staged.bin", folder / "signatures.bin"
        self._ends, self._keys, self._origins, self._labels = array("q"), array("Q"), array("q"), array("i")
        self._names: dict[str, int] = {}
        self.exact_duplicates = 0

    def __len__(self) -> int:
        return len(self._ends)

    def fill(self, documents: Iterable[Document], expected_bytes: int, on_progress: OnProgress) -> None:
        """Write every distinct piece of the documents and sign it."""
        seen = _Seen()
        end, origin, n_origins, told = 0, None, -1, 0
        with self.file.open("wb") as texts, self._signed.open("wb") as signatures:
            for document in documents:
                if document.origin != origin:
                    origin, n_origins = document.origin, n_origins + 1
                for piece in cut(clean(document.text), PIECE):
                    if not piece.strip():
                        continue
                    key = int.from_bytes(hashlib.sha256(piece).digest()[:8], "little")
                    if not seen.add(key):
                        self.exact_duplicates += 1
                        continue
                    texts.write(piece)
                    signatures.write(_minhash.signature(piece).tobytes())
                    end += len(piece)
                    self._ends.append(end)
                    self._keys.append(key)
                    self._origins.append(n_origins)
                    self._labels.append(self._names.setdefault(document.label, len(self._names)))
                if end - told > _ENCODE_BYTES:
                    told = end
                    on_progress(mark("reading"), min(1.0, end / max(1, expected_bytes)))
        on_progress(mark("reading"), 1.0)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Bytes of each document, (n,)."""
        ends = np.frombuffer(self._ends, np.int64)
        sizes: NDArray[np.int64] = ends.copy()
        sizes[1:] -= ends[:-1]
        return sizes

    @property
    def order_keys(self) -> NDArray[np.uint64]:
        """A hash of each text, (n,)."""
        return np.frombuffer(self._keys, np.uint64)

    @property
    def origins(self) -> NDArray[np.int64]:
        """Number of the file each came from, (n,)."""
        return np.frombuffer(self._origins, np.int64)

    @property
    def labels(self) -> "_Labels":
        """The class of each, empty where it has none."""
        return _Labels(tuple(self._names), self._labels)

    def signatures(self) -> _minhash.Signatures:
        """Left on the disk and mapped: at 256 bytes a document they would be the most of the memory."""
        return np.memmap(self._signed, np.uint32, "r").reshape(-1, _minhash.N_BINS)

    def texts(self, mask: NDArray[np.bool_]) -> Iterator[bytes]:
        """The documents where ``mask`` holds, in order."""
        sizes = self.sizes
        with self.file.open("rb") as stream:
            for index in np.flatnonzero(mask):
                stream.seek(self._ends[index] - int(sizes[index]))
                yield stream.read(int(sizes[index]))

    def remove(self) -> None:
        """Delete both files."""
        self.file.unlink()
        self._signed.unlink()


class _Labels(Sequence[str]):
    """Class names by document, held as numbers."""

    def __init__(self, names: tuple[str, ...], codes: "array[int]") -> None:
        self._names, self._codes = names, codes

    def __len__(self) -> int:
        return len(self._codes)

    def __getitem__(self, index: Any) -> Any:
        return self._names[self._codes[index]]


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
    staged = _Staged(folder)
    staged.fill(documents(skipped), expected_bytes, on_progress)
    if not len(staged):
        why = f" ({skipped.listed[0][0]}: {skipped.listed[0][1]})" if skipped.listed else ""
        raise InputError(tr("there is no text in the data{why}.", why=why))
    on_progress(mark("finding duplicates"), 0.0)
    parts = _split.split(staged.signatures(), staged.sizes, staged.order_keys, staged.origins, spec.validation_fraction)
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
    _labelled.write(folder / LABELS_FILE, staged.labels, staged.origins, (parts.train, parts.validation), lengths)
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
    staged.remove()
    (folder / META_FILE).write_bytes(msgspec.json.encode(meta))


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
    lengths = array("q")
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
    return np.frombuffer(lengths, np.int64)


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
