"""The user's images ready for training: pixels in one memory-mapped file, written as the images are read.

In memory stand a few hundred bytes per image (its name, class, hash and thumbnail) and the pixels of one batch.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.errors import InputError
from engine.i18n import mark, tr
from engine.sources import _image_files, _lookalike, _minhash
from engine.sources._images import DrawnItems, Floats, augmented, normalised, test_note
from engine.sources._procedural import Items, Listed
from engine.sources._readers import OnBad
from engine.sources._spec import Skipped
from engine.sources.base import Batch, OnProgress, QualityReport

if TYPE_CHECKING:
    from engine.sources.image_folder import ImageFolderSpec

PIPELINE_VERSION = 1
"""Raised whenever equal files would no longer give equal pixels."""
PIXELS_FILE, ROWS_FILE, META_FILE = "pixels.bin", "rows.npz", "meta.json"
AT_A_TIME = 64
"""Images that are read together, and the most whose pixels are held at once."""
MIN_PER_CLASS = 2
"""Images that look different: one to train on and one to hold out."""
AUGMENT_PIXELS, AUGMENT_DEGREES = 1 / 16, 10.0
"""How far training images are shifted, as a share of their side, and turned."""
_THREADS = 4


class Meta(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in ``meta.json`` beside the pixels."""

    fingerprint: str
    classes: tuple[str, ...]
    shape: tuple[int, int, int, int]
    """Of the pixels: images, height, width, channels."""
    report: QualityReport


class PreparedImages(DrawnItems, Listed):
    """Implements ``Prepared`` and ``ImageData`` over a folder of the cache; items are rows (place, class)."""

    def __init__(self, folder: Path, meta: Meta, spec: "ImageFolderSpec", version: int) -> None:
        with np.load(folder / ROWS_FILE) as rows:
            splits: Any = {name: rows[name] for name in rows.files}
        self._pixels = np.asarray(np.memmap(folder / PIXELS_FILE, np.uint8, "r", shape=meta.shape))
        self._kept_report = meta.report
        self._shift = spec.size * AUGMENT_PIXELS if spec.augment == "light" else 0.0
        super().__init__("image-folder", version, spec, meta.classes, item_length=2, answer_length=1, splits=splits)
        self.fingerprint = meta.fingerprint

    def images(self, items: Items) -> Floats:
        """float32 (n, channels, size, size) in -1..1, read from the disk."""
        return normalised(self._pixels[items[:, 0]])

    def train_batch(self, step: int, batch_size: int, context: int, seed: int) -> Batch:
        """See ``Listed``; each image is varied anew at every step where augmentation is on."""
        batch = super().train_batch(step, batch_size, context, seed)
        if self._shift:
            batch["inputs"] = augmented(batch["inputs"], seed, step, pixels=self._shift, degrees=AUGMENT_DEGREES)
        return batch

    def _report(self) -> QualityReport:
        return self._kept_report


@dataclass(slots=True)
class Staged:
    """What is known of the images written so far, in their order in the file."""

    names: list[str] = field(default_factory=list)
    classes: list[int] = field(default_factory=list)
    hashes: list[int] = field(default_factory=list)
    thumbs: list[bytes] = field(default_factory=list)
    keys: list[bytes] = field(default_factory=list)
    sides: list[int] = field(default_factory=list)
    formats: Counter[str] = field(default_factory=Counter)
    copies: dict[str, int] = field(default_factory=dict)
    """Name of a copy -> place of the image that it is a copy of."""
    two_classes: list[str] = field(default_factory=list)
    """Copies of an image that stand in another class than it."""


@dataclass(frozen=True, slots=True)
class Split:
    """Which images are on each side, and how many are near-duplicates or were left out for being like one."""

    train: NDArray[np.bool_]
    validation: NDArray[np.bool_]
    near_duplicates: int
    n_dropped: int


def opened(folder: Path) -> Meta | None:
    """What an earlier call left complete in ``folder``, or None."""
    try:
        meta = msgspec.json.decode((folder / META_FILE).read_bytes(), type=Meta)
        whole = (folder / PIXELS_FILE).stat().st_size == int(np.prod(meta.shape)) and (folder / ROWS_FILE).is_file()
    except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError):
        return None
    return meta if whole else None


def make(
    spec: "ImageFolderSpec",
    listing: _image_files.Listing,
    skipped: Skipped,
    on_bad: OnBad,
    folder: Path,
    on_progress: OnProgress,
) -> None:
    """Read every image, find duplicates, split, and write what ``opened`` opens into ``folder``.

    Raises ``InputError`` for an image that ``on_bad`` does not let pass and for a class with too few.
    """
    seen = hashlib.sha256(msgspec.json.encode([PIPELINE_VERSION, listing.classes]))
    staged = stage(spec, listing.root, listing.files, on_bad, folder / PIXELS_FILE, seen, on_progress)
    classes = np.asarray(staged.classes, np.int64)
    usable = _enough(listing.classes, classes, on_bad)
    on_progress(mark("finding duplicates"), 0.0)
    parts, test = _split(spec, staged, classes, usable, listing.classes)
    on_progress(mark("finding duplicates"), 1.0)
    masks = {"train": parts.train, "validation": parts.validation} | ({} if test is None else {"test": test})
    rows = {name: _rows(mask, classes) for name, mask in masks.items()}
    for part in rows.values():
        seen.update(part.tobytes())
    np.savez(folder / ROWS_FILE, **rows)  # type: ignore[arg-type]
    meta = Meta(
        fingerprint=seen.hexdigest(),
        classes=listing.classes,
        shape=(len(classes), spec.size, spec.size, spec.n_channels),
        report=_report(staged, parts, test, classes, listing, skipped, spec),
    )
    (folder / META_FILE).write_bytes(msgspec.json.encode(meta))


def read_all(
    shaping: _image_files.Shaping, root: Path, files: Iterator[tuple[str, int]]
) -> Generator[tuple[str, int, _image_files.Read | str]]:
    """(name, class, image or why not) of each file in order, a batch at a time in a few threads."""

    def one(name: str) -> _image_files.Read | str:
        try:
            return _image_files.read(root / name, shaping.size, shaping.n_channels, shaping.fit)
        except OSError as error:
            return tr("cannot be read ({why})", why=error.strerror or str(error))

    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:
        while some := list(islice(files, AT_A_TIME)):
            for (name, place), found in zip(some, pool.map(one, [name for name, _ in some]), strict=True):
                yield name, place, found


def stage(
    shaping: _image_files.Shaping,
    root: Path,
    files: list[tuple[str, int]],
    on_bad: OnBad,
    file: Path,
    seen: Any,
    on_progress: OnProgress,
) -> Staged:
    """Write the pixels of ``files``, (name, class), to ``file`` and into the hash ``seen``, without copies."""
    staged, total = Staged(), len(files)
    known: dict[bytes, int] = {}
    with file.open("wb") as stream, closing(read_all(shaping, root, iter(files))) as images:
        for number, (name, place, found) in enumerate(images):
            if number % AT_A_TIME == 0:
                on_progress(mark("reading"), number / total)
            if isinstance(found, str):
                on_bad(name, found)
                continue
            if found.digest in known:
                staged.copies[name] = known[found.digest]
                if staged.classes[known[found.digest]] != place:
                    staged.two_classes.append(name)
                continue
            known[found.digest] = len(staged.names)
            content = found.pixels.tobytes()
            stream.write(content)
            seen.update(content)
            staged.names.append(name)
            staged.classes.append(place)
            staged.hashes.append(found.look.hash)
            staged.thumbs.append(found.look.thumb)
            staged.keys.append(found.digest[:8])
            staged.sides.append(found.side)
            staged.formats[found.format] += 1
    on_progress(mark("reading"), 1.0)
    return staged


def _enough(names: tuple[str, ...], classes: NDArray[np.int64], on_bad: OnBad) -> NDArray[np.bool_]:
    """Images of classes that have enough of them; classes that have not go to ``on_bad``."""
    counts = np.bincount(classes, minlength=len(names))
    for place, n in enumerate(counts.tolist()):
        if n < MIN_PER_CLASS:
            on_bad(names[place], _too_few(n))
    if (counts >= MIN_PER_CLASS).sum() < 2:
        raise InputError(
            tr("the images cannot be told apart: fewer than two classes have {n} images or more.", n=MIN_PER_CLASS)
        )
    return (counts >= MIN_PER_CLASS)[classes]


def _too_few(n: int) -> str:
    return tr("has {n} images that can be used, and a class needs {needed}", n=n, needed=MIN_PER_CLASS)


def _split(
    spec: "ImageFolderSpec",
    staged: Staged,
    classes: NDArray[np.int64],
    usable: NDArray[np.bool_],
    names: tuple[str, ...],
) -> tuple[Split, NDArray[np.bool_] | None]:
    """Training and validation, and what is held out for results alone: that first, so that it is the same always."""
    if not spec.test_fraction:
        return split_alike(staged, classes, usable, names, spec.validation_fraction), None
    first = split_alike(staged, classes, usable, names, spec.test_fraction)
    share = spec.validation_fraction / (1 - spec.test_fraction)
    rest = split_alike(staged, classes, first.train, names, share)
    return replace(rest, n_dropped=rest.n_dropped + first.n_dropped), first.validation


def split_alike(
    staged: Staged, classes: NDArray[np.int64], usable: NDArray[np.bool_], names: tuple[str, ...], fraction: float
) -> Split:
    """Hold out about ``fraction`` of every class, whole groups of near-duplicates, by a hash of the files.

    Raises ``InputError`` for a class whose images all look alike; its name is left out where it is empty.
    """
    n = len(classes)
    hashes = np.asarray(staged.hashes, np.uint64)
    thumbs = np.frombuffer(b"".join(staged.thumbs), np.uint8).reshape(n, _lookalike.CELLS)
    labels = _minhash.groups(n, _lookalike.near_pairs(hashes, thumbs))
    n_groups = int(labels.max()) + 1
    keys = np.frombuffer(b"".join(staged.keys), ">u8").astype(np.uint64)
    group_keys = np.full(n_groups, np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(group_keys, labels, keys)
    # Of each class in each group: a group may hold images of several.
    table = np.zeros((n_groups, len(names)), np.int64)
    np.add.at(table, (labels[usable], classes[usable]), 1)
    totals = table.sum(0)
    wanted = np.where(totals > 0, np.maximum(1, np.rint(fraction * totals)), 0).astype(np.int64)
    chosen = np.zeros(n_groups, np.bool_)
    taken = np.zeros(len(names), np.int64)
    for group in np.argsort(group_keys, kind="stable"):
        row = table[group]
        if row.any() and np.all((row == 0) | (taken + row <= wanted)):
            chosen[group] = True
            taken += row
    held = _some_of_each(chosen, table, names)
    validation = held[labels] & usable
    train = usable & ~held[labels]
    leaking = _lookalike.leaked(hashes, thumbs, validation, train)
    validation[leaking] = False
    return Split(train, validation, n - n_groups, len(leaking))


def _some_of_each(chosen: NDArray[np.bool_], table: NDArray[np.int64], names: tuple[str, ...]) -> NDArray[np.bool_]:
    """A class of which nothing was small enough to hold out gives its smallest group, unless that is all of it."""
    for place, name in enumerate(names):
        has = np.flatnonzero(table[:, place])
        if not len(has) or chosen[has].any():
            continue
        if len(has) == 1:
            raise InputError(
                tr("the images of class {name} cannot be split: they are near-duplicates of each other.", name=name)
                if name
                else tr("the images cannot be split: they are near-duplicates of each other."),
                tr("Add more, and more varied, images."),
            )
        chosen[has[np.argmin(table[has, place])]] = True
    return chosen


def _rows(mask: NDArray[np.bool_], classes: NDArray[np.int64]) -> Items:
    places = np.flatnonzero(mask)
    return np.stack([places, classes[places]], axis=1).astype(np.int64)


def _report(
    staged: Staged,
    parts: Split,
    test: NDArray[np.bool_] | None,
    classes: NDArray[np.int64],
    listing: _image_files.Listing,
    skipped: Skipped,
    spec: "ImageFolderSpec",
) -> QualityReport:
    n_train, n_validation = int(parts.train.sum()), int(parts.validation.sum())
    each = spec.size**2 * spec.n_channels
    kept = parts.train | parts.validation if test is None else parts.train | parts.validation | test
    counts = np.bincount(classes[kept], minlength=len(listing.classes))
    return QualityReport(
        n_documents=len(classes),
        n_train=n_train,
        n_validation=n_validation,
        bytes_train=n_train * each,
        bytes_validation=n_validation * each,
        exact_duplicates=len(staged.copies),
        near_duplicates=parts.near_duplicates,
        leaked=0,
        skipped=tuple(skipped.listed),
        n_skipped=skipped.n,
        length_quantiles=tuple(float(q) for q in np.quantile(staged.sides, [0.05, 0.25, 0.5, 0.75, 0.95])),
        length_unit=mark("pixels (shorter side)"),
        label_counts=tuple(zip(listing.classes, counts.tolist(), strict=True)),
        encodings=tuple(sorted(staged.formats.items())),
        notes=(*_notes(staged, parts, listing, spec), *test_note(0 if test is None else int(test.sum()))),
    )


def _notes(staged: Staged, parts: Split, listing: _image_files.Listing, spec: "ImageFolderSpec") -> Iterator[str]:
    if staged.two_classes:
        n, file = len(staged.two_classes), staged.two_classes[0]
        yield tr("Copies of an image of another class: {n}, such as {file}; the first is used.", n=n, file=file)
    if parts.n_dropped:
        yield tr("Left out because they resemble training images: {n}.", n=parts.n_dropped)
    if listing.others:
        n, file = len(listing.others), listing.others[0]
        yield tr("Files that are no images and were left alone: {n}, such as {file}.", n=n, file=file)
    small = sum(side < spec.size for side in staged.sides)
    if small:
        yield tr("Images smaller than {size} pixels, which were enlarged: {n}.", n=small, size=spec.size)
