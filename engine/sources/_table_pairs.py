"""The user's pairs of texts ready for training: read as a stream, without copies, no text on both sides.

In memory stand about fifty bytes per pair; texts and tokens are in files, the tokens memory-mapped.
"""

import hashlib
import unicodedata
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.errors import InputError
from engine.i18n import mark, tr
from engine.sources import _readers
from engine.sources._pairs import PAD, SPECIAL, UNKNOWN, PairItems, Vocabulary, key_of, rows
from engine.sources._procedural import Split, hash_rows
from engine.sources._spec import Skipped
from engine.sources.base import OnProgress, QualityReport

if TYPE_CHECKING:
    from engine.sources.text_pairs import TextPairsSpec

PIPELINE_VERSION = 1
"""Raised whenever equal files would no longer give equal pairs."""
META_FILE = "meta.json"
AT_A_TIME = 4_096
"""Pairs that are encoded together."""
LARGEST_GROUP = 0.5
"""Share of all pairs from which a group of pairs with a text in common stays in training, whatever its hash."""
_SPLITS: tuple[Split, ...] = ("train", "validation")

Mask = NDArray[np.bool_]


class Meta(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in ``meta.json`` beside the tokens."""

    digest: str
    characters: tuple[str, ...] | None
    report: QualityReport


@dataclass(slots=True)
class _Staged:
    """Pairs lying one after another in a file; arrays are over pairs."""

    file: Path
    sizes: "array[int]" = field(default_factory=lambda: array("q"))
    """Bytes of source and target in turn."""
    keys: "array[int]" = field(default_factory=lambda: array("Q"))
    """Hashes of the pair, of its source and of its target in turn, the last two without case and punctuation."""

    def texts(self, mask: Mask) -> Iterator[tuple[str, str]]:
        """The pairs where ``mask`` holds, in order."""
        sizes = np.asarray(self.sizes, np.int64).reshape(-1, 2)
        with self.file.open("rb") as stream:
            for wanted, (a, b) in zip(mask, sizes.tolist(), strict=True):
                both = stream.read(a + b)
                if wanted:
                    yield both[:a].decode(), both[a:].decode()


def read_pairs(
    spec: "TextPairsSpec", files: list[tuple[str, Path]], skipped: Skipped
) -> Iterator[tuple[str, str, str]]:
    """(where, source, target) of every row; bad ones raise ``InputError`` naming file and row, or are recorded."""
    on_bad = _readers.stop_or_skip(spec.skip_bad, skipped)
    columns = (spec.source_column, spec.target_column)
    for name, path in files:
        try:
            text = path.suffix.lower() in (".csv", ".tsv")
            encoding = _readers.encoding_of(path, spec.encoding) if text else "utf-8"
            skipped.encodings[encoding] += 1
            for where, values in _readers.rows(path, name, columns, on_bad, encoding, header=spec.header):
                pair = [_readers.as_text(v, where, c, on_bad) for v, c in zip(values, columns, strict=True)]
                if pair[0] is None or pair[1] is None:
                    continue
                source, target = (unicodedata.normalize("NFC", text.strip()) for text in pair if text is not None)
                if source and target:
                    yield where, source, target
                else:
                    on_bad(where, tr("field {column!r} is empty", column=columns[1 if source else 0]))
        except OSError as error:
            on_bad(name, tr("cannot be read ({why})", why=error.strerror or str(error)))


def make(spec: "TextPairsSpec", files: list[tuple[str, Path]], folder: Path, on_progress: OnProgress) -> None:
    """Fill a folder of the cache with tokens and ``meta.json``."""
    skipped = Skipped()
    staged = _stage(spec, files, folder / "staged.bin", skipped, on_progress)
    n = len(staged.sizes) // 2
    if not n:
        why = f" ({skipped.listed[0][0]}: {skipped.listed[0][1]})" if skipped.listed else ""
        raise InputError(tr("there are no pairs in the data{why}.", why=why))
    on_progress(mark("finding duplicates"), 0.0)
    keys = np.asarray(staged.keys, np.uint64).reshape(n, 3)
    first = np.zeros(n, np.bool_)
    first[np.unique(keys[:, 0], return_index=True)[1]] = True
    held_out, alike = split_groups(keys[first, 1], keys[first, 2], spec.validation_fraction)
    masks = {name: first.copy() for name in _SPLITS}
    masks["train"][first], masks["validation"][first] = ~held_out, held_out
    if not masks["train"].any() or not masks["validation"].any():
        raise InputError(
            tr("the {n} different pairs of the data cannot be split in two.", n=int(first.sum())),
            tr("Give more pairs, or set data.validation_fraction nearer to a half."),
        )
    vocabulary, counts = _vocabulary(spec, staged, masks["train"])
    digest, unknown = _encode(spec, vocabulary, staged, masks, folder, on_progress)
    staged.file.unlink()
    report = _report(staged, masks, skipped, n - int(first.sum()), alike, _unknown_notes(spec, counts, unknown))
    meta = Meta(digest=digest, characters=vocabulary.characters, report=report)
    (folder / META_FILE).write_bytes(msgspec.json.encode(meta))


def opened(spec: "TextPairsSpec", name: str, version: int, folder: Path) -> PairItems | None:
    """The entry of the cache, None where there is none."""
    try:
        meta = msgspec.json.decode((folder / META_FILE).read_bytes(), type=Meta)
        splits: Any = {split: np.load(folder / f"{split}.npy", mmap_mode="r") for split in _SPLITS}
    except (OSError, ValueError, msgspec.DecodeError):
        return None
    vocabulary = Vocabulary(meta.characters, vocab_size(spec))
    # Where the files lie is no part of what the data are.
    spec = msgspec.structs.replace(spec, path="")
    return PairItems(
        name, version, spec, vocabulary, kinds=("pairs",), splits=splits, report=meta.report, digest=meta.digest
    )


def vocab_size(spec: "TextPairsSpec") -> int:
    """Ids that a model has, known before the data are read; 0 where bytes decide."""
    return len(SPECIAL) + spec.vocab_size if spec.tokens == "characters" else 0


def split_groups(sources: NDArray[np.uint64], targets: NDArray[np.uint64], fraction: float) -> tuple[Mask, int]:
    """Which pairs are held out, and how many share a text with another: pairs that do are always on one side.

    ``sources`` and ``targets`` are hashes of the texts. Groups are the connected parts of the graph of texts; a hash of
    the group decides.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = len(sources)
    texts, places = np.unique(np.concatenate([sources, targets ^ np.uint64(1)]), return_inverse=True)
    a, b = places[:n], places[n:]
    graph = coo_array((np.ones(n, np.int8), (a, b)), shape=(len(texts), len(texts)))
    _, labels = connected_components(graph, directed=False)
    group = labels[a]
    smallest = np.full(int(labels.max()) + 1, np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(smallest, group, sources)
    sizes = np.bincount(group, minlength=len(smallest))
    # Hashed again, since the smallest of many hashes is no even number.
    chosen = hash_rows(smallest[:, None]) < np.uint64(fraction * 2.0**64)
    held_out = chosen & (sizes <= LARGEST_GROUP * n)
    return held_out[group], int((sizes[group] > 1).sum())


def normalised(text: str) -> str:
    """Without case, punctuation, signs and spaces where anything else is left: texts that differ in nothing more."""
    kept = "".join(c for c in text.casefold() if unicodedata.category(c)[0] in "LMN")
    return kept or text


def _stage(
    spec: "TextPairsSpec", files: list[tuple[str, Path]], file: Path, skipped: Skipped, on_progress: OnProgress
) -> _Staged:
    staged, done = _Staged(file), 0
    expected = max(1, sum(path.stat().st_size for _, path in files))
    measure = len if spec.tokens == "characters" else lambda text: len(text.encode())
    with file.open("wb") as stream:
        for where, source, target in read_pairs(spec, files, skipped):
            if measure(source) >= spec.source_length or measure(target) >= spec.target_length:
                skipped.add(where, tr("is longer than data.source_length or data.target_length"))
                continue
            texts = source.encode(), target.encode()
            stream.writelines(texts)
            staged.sizes.extend(len(text) for text in texts)
            staged.keys.extend((key_of(source, target), key_of(normalised(source)), key_of(normalised(target))))
            done += len(texts[0]) + len(texts[1])
            if len(staged.sizes) % (2 * AT_A_TIME) == 0:
                on_progress(mark("reading"), min(1.0, done / expected))
    return staged


def _vocabulary(spec: "TextPairsSpec", staged: _Staged, train: Mask) -> tuple[Vocabulary, Counter[str]]:
    """The commonest characters of the training split, and how often each stands there."""
    counts: Counter[str] = Counter()
    if spec.tokens == "bytes":
        return Vocabulary(None), counts
    for both in staged.texts(train):
        for text in both:
            counts.update(text)
    commonest = sorted(counts, key=lambda c: (-counts[c], c))[: spec.vocab_size]
    return Vocabulary(sorted(commonest), vocab_size(spec)), counts


def _encode(
    spec: "TextPairsSpec",
    vocabulary: Vocabulary,
    staged: _Staged,
    masks: dict[Split, Mask],
    folder: Path,
    on_progress: OnProgress,
) -> tuple[str, float]:
    """Write the items of each split; returns their digest and the share of validation tokens that are unknown."""
    seen = hashlib.sha256()
    n_tokens = n_unknown = 0
    for split, mask in masks.items():
        n, done = int(mask.sum()), 0
        header = {"descr": "<i4", "fortran_order": False, "shape": (n, 1 + spec.source_length + spec.target_length)}
        texts = staged.texts(mask)
        # As a stream: a full disk is an error here, and would be the end of the process in a mapped file.
        with (folder / f"{split}.npy").open("wb") as stream:
            np.lib.format.write_array_header_1_0(stream, header)
            while some := [(0, *pair) for pair in islice(texts, AT_A_TIME)]:
                items = rows(spec, vocabulary, some)[0].astype("<i4")
                stream.write(items.data)
                seen.update(items.data)
                if split == "validation":
                    n_tokens += int((items[:, 1:] != PAD).sum())
                    n_unknown += int((items[:, 1:] == UNKNOWN).sum())
                done += len(items)
                on_progress(mark("writing tokens"), done / n)
    return seen.hexdigest(), n_unknown / max(1, n_tokens)


def _unknown_notes(spec: "TextPairsSpec", counts: Counter[str], unknown: float) -> tuple[str, ...]:
    if len(counts) <= spec.vocab_size:
        return ()
    return (
        tr(
            "The training split has {n:,} different characters and data.vocab_size keeps {kept:,}; "
            "{share:.2%} of the held-out tokens are unknown.",
            n=len(counts),
            kept=spec.vocab_size,
            share=unknown,
        ),
    )


def _report(
    staged: _Staged, masks: dict[Split, Mask], skipped: Skipped, copies: int, alike: int, notes: tuple[str, ...]
) -> QualityReport:
    sizes = np.asarray(staged.sizes, np.int64).reshape(-1, 2)
    keys = np.asarray(staged.keys, np.uint64).reshape(-1, 3)
    train, validation = masks["train"], masks["validation"]
    both_sides = [np.isin(keys[validation, column], keys[train, column]) for column in (1, 2)]
    return QualityReport(
        n_documents=len(sizes),
        n_train=int(train.sum()),
        n_validation=int(validation.sum()),
        bytes_train=int(sizes[train].sum()),
        bytes_validation=int(sizes[validation].sum()),
        exact_duplicates=copies,
        near_duplicates=alike,
        leaked=int((both_sides[0] | both_sides[1]).sum()),
        skipped=tuple(skipped.listed),
        n_skipped=skipped.n,
        length_quantiles=tuple(np.quantile(sizes.sum(axis=1), (0.05, 0.25, 0.5, 0.75, 0.95)).tolist()),
        notes=(tr("Pairs with a text in common, but for case and punctuation, are on one side."), *notes),
        encodings=tuple(sorted(skipped.encodings.items())),
    )
