"""The user's images with captions ready for training: pixels and tokens in memory-mapped files.

In memory stand a few hundred bytes per image (its name, hash and thumbnail) and, while they are prepared, the captions.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.errors import InputError
from engine.i18n import mark, tr
from engine.sources import _prepared_images, _readers
from engine.sources._cache import cached, entry_key
from engine.sources._caption_tokens import SPECIAL, UNKNOWN, CaptionTokens, commonest
from engine.sources._captions import PAD
from engine.sources._images import MOST_VALIDATED, normalised, to_pixels
from engine.sources._procedural import SPLITS, Items, Listed, hash_rows
from engine.sources._readers import OnBad
from engine.sources._spec import Skipped
from engine.sources.base import Batch, OnProgress, Preview, QualityReport

if TYPE_CHECKING:
    from engine.sources.image_captions import ImageCaptionsSpec

PIPELINE_VERSION = 1
"""Raised whenever equal files would no longer give equal pairs."""
PIXELS_FILE, TOKENS_FILE, ROWS_FILE, META_FILE = "pixels.bin", "tokens.npy", "rows.npz", "meta.json"
AT_A_TIME = 4_096
"""Captions that are encoded together."""


class Meta(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in ``meta.json`` beside pixels and tokens."""

    digest: str
    words: tuple[str, ...]
    n_images: int
    report: QualityReport


class Pair(NamedTuple):
    """One row of a table: where it stands, the image that it names, and what is said of it."""

    where: str
    file: str
    caption: str


class CaptionedImages(Listed):
    """Implements ``Prepared``, ``Captioned`` and ``TokenisedText``; items are rows (image, caption)."""

    def __init__(self, folder: Path, meta: Meta, spec: "ImageCaptionsSpec", name: str, version: int) -> None:
        with np.load(folder / ROWS_FILE) as rows:
            splits: Any = {"train": rows["train"], "validation": rows["validation"]}
        shape = (meta.n_images, spec.size, spec.size, spec.n_channels)
        self._pixels = np.asarray(np.memmap(folder / PIXELS_FILE, np.uint8, "r", shape=shape))
        self._tokens: NDArray[np.int32] = np.load(folder / TOKENS_FILE, mmap_mode="r")
        self._kept_report = meta.report
        self._captions = CaptionTokens(meta.words, spec.tokens, spec.caption_length)
        # Where the files lie is no part of what the data are.
        plain = msgspec.structs.replace(spec, path="")
        super().__init__(name, version, plain, meta.words, item_length=2, answer_length=1, splits=splits)
        self.fingerprint = hashlib.sha256(f"{self.fingerprint} {meta.digest}".encode()).hexdigest()

    def _report(self) -> QualityReport:
        return self._kept_report

    def batch(self, items: Items, context: int) -> Batch:
        """``images`` float32 (n, 3, size, size) and ``captions`` int64 (n, caption_length), read from the disk."""
        captions = self._tokens[items[:, 1]].astype(np.int64)
        return {"images": normalised(self._pixels[items[:, 0]]), "captions": captions}

    def validation_batches(self, batch_size: int, context: int, max_tokens: int) -> Iterator[Batch]:
        """See ``Prepared``: ``max_tokens`` pairs, ``MOST_VALIDATED`` at most."""
        yield from super().validation_batches(batch_size, context, min(max_tokens, MOST_VALIDATED))

    def held_out_pairs(self, n: int) -> Batch:
        """See ``Captioned``: no two pairs have the same image or the same tokens."""
        items = self.items("validation", self.n_items("validation"))
        items = items[_first_of_each(items[:, :1])]
        items = items[_first_of_each(self._tokens[items[:, 1]])]
        return self.batch(items[:n], 1)

    def decode(self, tokens: NDArray[np.integer[Any]]) -> str:
        """See ``Captioned``."""
        return self._captions.decode(tokens)

    def tokenizer_files(self) -> dict[str, str]:
        """See ``TokenisedText``."""
        return self._captions.files()

    def preview(self, n: int) -> list[Preview]:
        """The first ``n`` pairs of every split."""
        found: list[Preview] = []
        for split in SPLITS:
            batch = self.batch(self.items(split, n), 1)
            for image, caption in zip(to_pixels(batch["images"]), batch["captions"], strict=True):
                found.append({"origin": split, "image": image, "text": self.decode(caption)})
        return found


def _first_of_each(rows: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """Where each different row stands first, in order."""
    return np.sort(np.unique(hash_rows(rows), return_index=True)[1]).astype(np.int64)


def find_table(given: str) -> Path:
    """The table, or the one table of a folder. Raises ``InputError`` where there is none or more than one."""
    if not given:
        raise InputError(tr("data.path: choose a table of images and captions."))
    path = Path(given).expanduser()
    if path.is_file() and path.suffix.lower() in _readers.TABLES:
        return path
    tables = sorted(p for p in path.iterdir() if p.suffix.lower() in _readers.TABLES) if path.is_dir() else []
    if len(tables) != 1:
        raise InputError(
            tr("data.path: {path} is no table and no folder with one table in it.", path=given),
            tr("Files that are read: {endings}.", endings=", ".join(_readers.TABLES)),
        )
    return tables[0]


def read_table(spec: "ImageCaptionsSpec", table: Path, skipped: Skipped, on_bad: OnBad) -> Iterator[Pair]:
    """Every row whose image is there and whose caption is not empty; the others go to ``on_bad``."""
    columns = (spec.image_column, spec.caption_column)
    there: dict[Path, bool] = {}
    try:
        plain = table.suffix.lower() in (".csv", ".tsv")
        encoding = _readers.encoding_of(table, spec.encoding) if plain else "utf-8"
        skipped.encodings[encoding] += 1
        for where, values in _readers.rows(table, table.name, columns, on_bad, encoding, header=spec.header):
            texts = [_readers.as_text(v, where, c, on_bad) for v, c in zip(values, columns, strict=True)]
            if texts[0] is None or texts[1] is None:
                continue
            file, caption = (text.strip() for text in texts if text is not None)
            if not file or not caption:
                on_bad(where, tr("field {column!r} is empty", column=columns[1 if file else 0]))
            elif not _is_there(table.parent / file, there):
                on_bad(where, tr("names {file}, which is not there", file=file))
            else:
                yield Pair(where, file, caption)
    except OSError as error:
        on_bad(table.name, tr("cannot be read ({why})", why=error.strerror or str(error)))


def _is_there(path: Path, known: dict[Path, bool]) -> bool:
    if path not in known:
        try:
            known[path] = path.is_file()
        except OSError:  # a name that no file can have
            known[path] = False
    return known[path]


def prepared(
    spec: "ImageCaptionsSpec", name: str, version: int, cache: Path, on_progress: OnProgress
) -> CaptionedImages:
    """What the cache holds of these files, made now where it holds nothing."""
    skipped = Skipped()
    on_bad = _readers.stop_or_skip(spec.skip_bad, skipped)
    table = find_table(spec.path)
    pairs = list(read_table(spec, table, skipped, on_bad))
    files = {pair.file: None for pair in pairs}
    stats = [(file, (table.parent / file).stat()) for file in (table.name, *files)]
    settings = [name, version, PIPELINE_VERSION, msgspec.structs.asdict(msgspec.structs.replace(spec, path=""))]
    key = f"captions-{entry_key(settings, ((file, s.st_size, s.st_mtime_ns) for file, s in stats))}"
    needed = len(files) * spec.size**2 * spec.n_channels + 4 * spec.caption_length * len(pairs)

    def make(folder: Path) -> None:
        _make(spec, table.parent, pairs, skipped, on_bad, folder, on_progress)

    meta = cached(cache, key, _opened, make, needed)
    return CaptionedImages(cache / key, meta, spec, name, version)


def _opened(folder: Path) -> Meta | None:
    try:
        meta = msgspec.json.decode((folder / META_FILE).read_bytes(), type=Meta)
    except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError):
        return None
    return meta if all((folder / name).is_file() for name in (PIXELS_FILE, TOKENS_FILE, ROWS_FILE)) else None


@dataclass(slots=True)
class _Found:
    """Pairs that can be used: of each its image's place and its caption, and the images behind them."""

    staged: _prepared_images.Staged
    places: NDArray[np.int64]
    captions: list[str]
    copies: int


def _make(
    spec: "ImageCaptionsSpec",
    root: Path,
    pairs: Sequence[Pair],
    skipped: Skipped,
    on_bad: OnBad,
    folder: Path,
    on_progress: OnProgress,
) -> None:
    seen = hashlib.sha256()
    found = _read(spec, root, pairs, skipped, on_bad, folder / PIXELS_FILE, seen, on_progress)
    n_images = len(found.staged.names)
    on_progress(mark("finding duplicates"), 0.0)
    same, all_of_them = np.zeros(n_images, np.int64), np.ones(n_images, np.bool_)
    parts = _prepared_images.split_alike(found.staged, same, all_of_them, ("",), spec.validation_fraction)
    masks = {"train": parts.train[found.places], "validation": parts.validation[found.places]}
    training = (caption for caption, wanted in zip(found.captions, masks["train"], strict=True) if wanted)
    words, n_words = commonest(training, spec.tokens, spec.vocab_size)
    tokens = CaptionTokens((*SPECIAL, *words), spec.tokens, spec.caption_length)
    ids, n_cut = _encode(tokens, found.captions, folder / TOKENS_FILE, on_progress)
    rows = {split: np.stack([found.places[m], np.flatnonzero(m)], axis=1) for split, m in masks.items()}
    for array in (ids, *rows.values()):
        seen.update(np.ascontiguousarray(array).data)
    np.savez(folder / ROWS_FILE, **rows)  # type: ignore[arg-type]
    notes = _notes(spec, found, parts.n_dropped, n_words, n_cut, ids, rows)
    report = _report(spec, found, parts, skipped, ids, rows, tuple(notes))
    meta = Meta(digest=seen.hexdigest(), words=tokens.words, n_images=n_images, report=report)
    (folder / META_FILE).write_bytes(msgspec.json.encode(meta))


def _read(
    spec: "ImageCaptionsSpec",
    root: Path,
    pairs: Sequence[Pair],
    skipped: Skipped,
    on_bad: OnBad,
    file: Path,
    seen: Any,
    on_progress: OnProgress,
) -> _Found:
    """Pixels of every image once, and the pairs of those that could be read, without copies."""
    first = {pair.file: pair.where for pair in reversed(pairs)}
    bad: set[str] = set()

    def bad_image(name: str, why: str) -> None:
        bad.add(name)
        on_bad(tr("{where}, image {file}", where=first[name], file=name), why)

    files = [(name, 0) for name in dict.fromkeys(pair.file for pair in pairs)]
    staged = _prepared_images.stage(spec, root, files, bad_image, file, seen, on_progress)
    place_of = {name: place for place, name in enumerate(staged.names)} | staged.copies
    kept: dict[tuple[int, str], None] = {}
    copies = 0
    for pair in pairs:
        if pair.file in bad:
            if pair.where != first[pair.file]:
                skipped.add(pair.where, tr("names {file}, which cannot be read", file=pair.file))
            continue
        key = (place_of[pair.file], " ".join(pair.caption.split()))
        copies += key in kept
        kept[key] = None
    if len(staged.names) < 2:
        why = f" ({skipped.listed[0][0]}: {skipped.listed[0][1]})" if skipped.listed else ""
        raise InputError(tr("there are not two different images with captions in the data{why}.", why=why))
    places = np.asarray([place for place, _ in kept], np.int64)
    return _Found(staged, places, [caption for _, caption in kept], copies)


def _encode(
    tokens: CaptionTokens, captions: Sequence[str], file: Path, on_progress: OnProgress
) -> tuple[NDArray[np.int32], int]:
    """Write the ids of every caption; returns them, memory-mapped, and how many captions were cut."""
    header = {"descr": "<i4", "fortran_order": False, "shape": (len(captions), tokens.length)}
    n_cut = 0
    # As a stream: a full disk is an error here, and would be the end of the process in a mapped file.
    with file.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        for start in range(0, len(captions), AT_A_TIME):
            ids, cut = tokens.encode(captions[start : start + AT_A_TIME])
            stream.write(ids.astype("<i4").data)
            n_cut += cut
            on_progress(mark("writing tokens"), min(1.0, (start + AT_A_TIME) / len(captions)))
    return np.load(file, mmap_mode="r"), n_cut


def _notes(
    spec: "ImageCaptionsSpec",
    found: _Found,
    n_dropped: int,
    n_words: int,
    n_cut: int,
    ids: NDArray[np.int32],
    rows: dict[str, Items],
) -> Iterator[str]:
    """What the counts do not say."""
    held_out = ids[rows["validation"][:, 1]]
    if n_words > spec.vocab_size:
        yield tr(
            "The training split has {n:,} different words and data.vocab_size keeps {kept:,}; "
            "{share:.2%} of the held-out tokens are unknown.",
            n=n_words,
            kept=spec.vocab_size,
            share=float((held_out == UNKNOWN).sum() / max(1, (held_out != PAD).sum())),
        )
    if n_cut:
        yield tr("Captions longer than data.caption_length, which were cut: {n}.", n=n_cut)
    if found.staged.copies:
        name = next(iter(found.staged.copies))
        n = len(found.staged.copies)
        yield tr("Copies of an image under another name: {n}, such as {file}; they count as one image.", n=n, file=name)
    if n_dropped:
        yield tr("Left out because they resemble training images: {n}.", n=n_dropped)
    shared = np.isin(hash_rows(held_out), hash_rows(ids[rows["train"][:, 1]])).sum()
    if shared:
        yield tr("Held-out captions that are also said of a training image: {n}; their images are not.", n=int(shared))


def _report(
    spec: "ImageCaptionsSpec",
    found: _Found,
    parts: _prepared_images.Split,
    skipped: Skipped,
    ids: NDArray[np.int32],
    rows: dict[str, Items],
    notes: tuple[str, ...],
) -> QualityReport:
    each = spec.size**2 * spec.n_channels
    lengths = (np.asarray(ids) != PAD).sum(axis=1)
    return QualityReport(
        n_documents=len(found.captions),
        n_train=len(rows["train"]),
        n_validation=len(rows["validation"]),
        bytes_train=int(parts.train.sum()) * each,
        bytes_validation=int(parts.validation.sum()) * each,
        exact_duplicates=found.copies,
        near_duplicates=parts.near_duplicates,
        leaked=len(set(rows["train"][:, 0].tolist()) & set(rows["validation"][:, 0].tolist())),
        skipped=tuple(skipped.listed),
        n_skipped=skipped.n,
        length_quantiles=tuple(float(q) for q in np.quantile(lengths, [0.05, 0.25, 0.5, 0.75, 0.95])),
        length_unit=mark("tokens of a caption"),
        encodings=tuple(sorted((skipped.encodings + found.staged.formats).items())),
        notes=notes,
    )
