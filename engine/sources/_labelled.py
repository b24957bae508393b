"""Labelled snippets of real text: the class of a document, which a model learns from labels once it is pretrained.

Training snippets come from the training split and test snippets from the validation split, whose files and
near-duplicates are apart: nothing crosses, and no test snippet was seen in pretraining either.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import msgspec
import numpy as np
from numpy.typing import NDArray

SEPARATOR = 0
"""Pads a snippet whose document is shorter; in every text it stands between documents."""
PER_DOCUMENT = 16
"""Snippets that one document gives at most, spread evenly over it: a few long files must not stand for a class."""
MIN_FILES, MIN_SNIPPETS = 3, 16
"""Files and snippets, in each split, below which a class is not asked about."""
SALT = 0x1ABE1


@dataclass(frozen=True, slots=True)
class Snippets:
    """Pieces of text and their classes."""

    tokens: NDArray[np.int64]
    """(n, length); a shorter document is followed by separators."""
    labels: NDArray[np.int64]
    """(n,), the place of the class in ``LabelledText.classes``."""
    files: NDArray[np.int64]
    """(n,), equal for snippets of one file, which are not independent."""


@dataclass(frozen=True, slots=True)
class LabelledText:
    """As many snippets of every class in each split; no file is in both."""

    classes: tuple[str, ...]
    train: Snippets
    test: Snippets


@runtime_checkable
class Labelled(Protocol):
    """Prepared text whose documents have a class."""

    def labelled(self, length: int, n_classes: int, n_train: int, n_test: int) -> LabelledText | None:
        """At most so many classes, and training and test snippets of all of them together, ``length`` tokens each.

        The same every time. None where the text has fewer than two classes with enough of it held out.
        """
        ...


class LabelIndex(msgspec.Struct, frozen=True, kw_only=True):
    """What stands beside the token files: arrays of one entry per document of a split, in order, training first."""

    names: tuple[str, ...]
    labels: tuple[bytes, bytes]
    """int32: the place in ``names``, -1 without a label."""
    files: tuple[bytes, bytes]
    """int64: number of the file."""
    lengths: tuple[bytes, bytes]
    """int64: tokens with the separator that ends the document."""


def write(
    path: Path,
    labels: Sequence[str],
    files: NDArray[np.int64],
    splits: Sequence[NDArray[np.bool_]],
    lengths: Sequence[NDArray[np.int64]],
) -> None:
    """Write what is known of each document; an empty file where no document has a label."""
    names = sorted(set(labels) - {""})
    if not names:
        path.write_bytes(b"")
        return
    places = {"": -1} | {name: i for i, name in enumerate(names)}
    codes = np.asarray([places[label] for label in labels], np.int32)
    train, validation = splits
    index = LabelIndex(
        names=tuple(names),
        labels=(codes[train].tobytes(), codes[validation].tobytes()),
        files=(files[train].tobytes(), files[validation].tobytes()),
        lengths=(lengths[0].tobytes(), lengths[1].tobytes()),
    )
    path.write_bytes(msgspec.msgpack.encode(index))


def read(path: Path) -> LabelIndex | None:
    """What ``write`` wrote; None where no document has a label."""
    content = path.read_bytes()
    return msgspec.msgpack.decode(content, type=LabelIndex) if content else None


@dataclass(frozen=True, slots=True)
class _Places:
    """Where snippets of one split can be cut: (n,) each."""

    starts: NDArray[np.int64]
    stops: NDArray[np.int64]
    """Where the document ends, its separator left out."""
    labels: NDArray[np.int32]
    files: NDArray[np.int64]


def labelled(
    index: LabelIndex, streams: Sequence[NDArray[Any]], length: int, n_classes: int, n_items: tuple[int, int]
) -> LabelledText | None:
    """See ``Labelled``: the classes with most held-out files, a random draw from each."""
    places = [_places(index, split, len(stream), length) for split, stream in enumerate(streams)]
    n_names = len(index.names)
    counts = np.stack([np.bincount(p.labels, minlength=n_names) for p in places])
    files = np.stack([_files_of_classes(p, n_names) for p in places])
    enough = (counts.min(0) >= MIN_SNIPPETS) & (files.min(0) >= MIN_FILES)
    rich = [int(i) for i in np.lexsort((-counts[1], -files[1])) if enough[i]][:n_classes]
    if len(rich) < 2:
        return None
    parts = []
    for split, stream in enumerate(streams):
        each = min(n_items[split] // len(rich), int(counts[split, rich].min()))
        generator = np.random.default_rng((SALT, split))
        rows = [generator.permutation(np.flatnonzero(places[split].labels == label))[:each] for label in rich]
        parts.append(_cut(stream, places[split], np.concatenate(rows), np.repeat(np.arange(len(rich)), each), length))
    return LabelledText(tuple(index.names[i] for i in rich), *parts)


def _places(index: LabelIndex, split: int, n_tokens: int, length: int) -> _Places:
    """Windows side by side in every labelled document that lies whole within the first ``n_tokens``."""
    lengths = np.frombuffer(index.lengths[split], np.int64)
    labels = np.frombuffer(index.labels[split], np.int32)
    stops = np.cumsum(lengths)
    usable = (labels >= 0) & (stops <= n_tokens) & (lengths > 1)
    begins, sizes = (stops - lengths)[usable], lengths[usable] - 1
    windows = np.maximum(1, sizes // length)
    taken = np.minimum(windows, PER_DOCUMENT)
    document = np.repeat(np.arange(len(sizes)), taken)
    number = np.arange(len(document)) - np.repeat(np.cumsum(taken) - taken, taken)
    starts = begins[document] + number * windows[document] // taken[document] * length
    files = np.frombuffer(index.files[split], np.int64)
    return _Places(starts, (begins + sizes)[document], labels[usable][document], files[usable][document])


def _files_of_classes(places: _Places, n_names: int) -> NDArray[np.int64]:
    """How many files each class has, (names,)."""
    pairs = np.unique(np.stack([places.labels.astype(np.int64), places.files]), axis=1)
    return np.bincount(pairs[0], minlength=n_names)


def _cut(
    stream: NDArray[Any], places: _Places, rows: NDArray[np.int64], labels: NDArray[np.int64], length: int
) -> Snippets:
    at = places.starts[rows, None] + np.arange(length)
    inside = at < places.stops[rows, None]
    tokens = np.where(inside, stream[np.minimum(at, len(stream) - 1)], SEPARATOR).astype(np.int64)
    return Snippets(tokens, labels, places.files[rows])
