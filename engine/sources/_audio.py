"""Sound as mu-law levels: clips lying one after another in a file of each split, and windows of them."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.errors import InputError
from engine.i18n import tr
from engine.sources._procedural import HELD_OUT_SALT, IGNORED, SPLITS, TRAIN_SALT, Split
from engine.sources.base import Batch, Preview, QualityReport

LEVELS = 256
MU = LEVELS - 1
SILENCE = LEVELS // 2
"""The level of a wave at rest, and what stands before every clip."""
META_FILE = "meta.json"

Floats = NDArray[np.float32]
Levels = NDArray[np.uint8]


def to_levels(wave: NDArray[np.floating[Any]]) -> Levels:
    """Mu-law levels 0..255 (ITU-T G.711's curve with mu = 255, evenly quantised) of a wave in -1..1; beyond is cut."""
    companded = np.sign(wave) * np.log1p(MU * np.minimum(np.abs(wave), 1)) / np.log1p(MU)
    return np.asarray(np.floor((companded + 1) / 2 * MU + 0.5), np.uint8)


def to_wave(levels: NDArray[np.integer[Any]]) -> Floats:
    """The wave float32 in -1..1 of levels."""
    return np.asarray(_WAVE[levels], np.float32)


_COMPANDED = 2 * np.arange(LEVELS) / MU - 1
_WAVE = (np.sign(_COMPANDED) * np.expm1(np.abs(_COMPANDED) * np.log1p(MU)) / MU).astype(np.float32)


class Meta(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in ``meta.json`` beside the levels."""

    fingerprint: str
    rate: int
    class_names: tuple[str, ...]
    report: QualityReport


@dataclass(frozen=True, slots=True)
class ClipFile:
    """The clips of one split: ``levels`` of all, mapped from the disk; where each begins and ends, and its class."""

    levels: Levels
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    labels: NDArray[np.int64]

    def clip(self, number: int) -> Levels:
        """The levels of one clip."""
        start = int(self.starts[number])
        return self.levels[start : start + int(self.lengths[number])]


class Clips:
    """Implements ``engine.sources.base.Prepared`` over a folder of the cache; memory stays flat at any length.

    A batch is ``inputs`` and ``targets``, levels int64 (batch, context), and, where clips have classes, ``condition``,
    int64 (batch,). Windows begin anywhere, each place as likely as any other; one that would begin up to half a window
    before its clip begins with it, so that beginnings are learned too. What is beyond a clip's end is not scored.
    """

    bytes_per_token = float("nan")

    def __init__(self, folder: Path, meta: Meta) -> None:
        self.meta = meta
        self.fingerprint = meta.fingerprint
        self.report = meta.report
        self.rate = meta.rate
        self.class_names = meta.class_names
        """What each condition is called."""
        self.splits: dict[Split, ClipFile] = {split: _open_split(folder, split) for split in SPLITS}
        self._places = lru_cache(maxsize=8)(self._count_places)

    @classmethod
    def open(cls, folder: Path) -> "Clips | None":
        """What an earlier call left in ``folder``, or None."""
        try:
            return cls(folder, msgspec.json.decode((folder / META_FILE).read_bytes(), type=Meta))
        except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError, ValueError):
            return None

    def train_batch(self, step: int, batch_size: int, context: int, seed: int) -> Batch:
        """See ``Prepared``; windows are drawn with replacement."""
        return self.windows("train", np.random.default_rng((seed, step, TRAIN_SALT)), batch_size, context)

    def epochs(self, n_steps: int, batch_size: int, context: int) -> float:
        """Samples seen over samples there are."""
        return n_steps * batch_size * context / max(1, len(self.splits["train"].levels))

    def validation_batches(self, batch_size: int, context: int, max_tokens: int) -> Iterator[Batch]:
        """See ``Prepared``: windows of held-out clips drawn once, the same every time."""
        yield from self.held_out_batches("validation", batch_size, context, max_tokens)

    def held_out_batches(self, split: Split, batch_size: int, context: int, max_tokens: int) -> Iterator[Batch]:
        """The same of any split; nothing where it has no clips."""
        if not len(self.splits[split].starts):
            return
        n = max(1, max_tokens // context)
        batch = self.windows(split, np.random.default_rng((HELD_OUT_SALT, len(split))), n, context)
        for first in range(0, n, batch_size):
            yield {name: array[first : first + batch_size] for name, array in batch.items()}

    def windows(self, split: Split, rng: np.random.Generator, n: int, context: int) -> Batch:
        """``n`` windows of a split at random. Raises ``InputError`` where the split has no clips."""
        file, places = self.splits[split], self._places(split, context)
        if not len(places):
            raise InputError(tr("data: there are no clips for {split}.", split=split))
        drawn = rng.integers(0, places[-1], n)
        clip = np.searchsorted(places, drawn, side="right")
        within = drawn - np.where(clip, places[clip - 1], 0)
        offset = np.maximum(0, within - context // 2)[:, None] + np.arange(context + 1)
        beyond = offset >= file.lengths[clip, None]
        where = file.starts[clip, None] + np.minimum(offset, file.lengths[clip, None] - 1)
        levels = np.where(beyond, SILENCE, file.levels[where]).astype(np.int64)
        targets = np.where(beyond[:, 1:], IGNORED, levels[:, 1:])
        batch = {"inputs": np.ascontiguousarray(levels[:, :-1]), "targets": targets}
        return batch | {"condition": file.labels[clip]} if self.class_names else batch

    def decode(self, tokens: NDArray[np.integer[Any]]) -> str:
        """Raises ``TypeError``: sound is not text."""
        raise TypeError("sound is not text")

    def waves(self, split: Split, label: int | None, n: int, seconds: float) -> list[Floats]:
        """The beginnings of the first ``n`` clips of a class (of any, for None) that are as long as that."""
        file, length = self.splits[split], round(seconds * self.rate)
        fits = file.lengths >= length
        chosen = np.flatnonzero(fits if label is None else fits & (file.labels == label))[:n]
        return [to_wave(file.clip(int(i))[:length]) for i in chosen]

    def preview(self, n: int) -> list[Preview]:
        """The first ``n`` clips of every split, at most five seconds of each."""
        found: list[Preview] = []
        for split in SPLITS:
            file = self.splits[split]
            for i in range(min(n, len(file.starts))):
                label = {"label": self.class_names[file.labels[i]]} if self.class_names else {}
                sound = to_wave(file.clip(i)[: 5 * self.rate])
                found.append({"origin": split, "sound": sound, "rate": self.rate} | label)
        return found

    def _count_places(self, split: Split, context: int) -> NDArray[np.int64]:
        """Running sum over clips of the places where a window may begin."""
        lengths = self.splits[split].lengths
        return np.cumsum(np.maximum(1, lengths - context + context // 2))


class ClipWriter:
    """Writes the clips of the splits into a folder as they come; ``finish`` makes it a folder that ``Clips`` opens."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = {split: (folder / f"{split}.u8").open("wb") for split in SPLITS}
        self._rows: dict[Split, list[tuple[int, int]]] = {split: [] for split in SPLITS}
        self._seen = hashlib.sha256()

    def add(self, split: Split, blocks: Iterator[Levels] | Sequence[Levels], label: int = 0) -> None:
        """One clip, in one or several blocks."""
        length = 0
        for block in blocks:
            data = block.tobytes()
            self._files[split].write(data)
            self._seen.update(data)
            length += len(data)
        self._rows[split].append((length, label))

    def finish(self, rate: int, class_names: tuple[str, ...], report: QualityReport) -> None:
        """Write where clips lie and what is known of them."""
        for split, file in self._files.items():
            file.close()
            rows = np.asarray(self._rows[split], "<i8").reshape(-1, 2)
            np.save(self._folder / f"{split}.npy", rows)
            self._seen.update(rows.tobytes())
        self._seen.update(msgspec.json.encode([rate, class_names]))
        meta = Meta(fingerprint=self._seen.hexdigest(), rate=rate, class_names=class_names, report=report)
        (self._folder / META_FILE).write_bytes(msgspec.json.encode(meta))

    def close(self) -> None:
        """Let the files go, finished or not."""
        for file in self._files.values():
            file.close()


def _open_split(folder: Path, split: Split) -> ClipFile:
    rows = np.load(folder / f"{split}.npy").astype(np.int64)
    lengths, labels = np.ascontiguousarray(rows[:, 0]), np.ascontiguousarray(rows[:, 1])
    starts = np.cumsum(lengths) - lengths
    path = folder / f"{split}.u8"
    if path.stat().st_size != lengths.sum():
        raise ValueError("not whole")
    levels = np.asarray(np.memmap(path, np.uint8, "r")) if len(rows) else np.zeros(0, np.uint8)
    return ClipFile(levels, starts, lengths, labels)
