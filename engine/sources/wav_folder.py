"""The user's own sound: a folder of WAV files, turned into mu-law levels of one rate."""

import hashlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import msgspec
import numpy as np

from engine.errors import InputError
from engine.families.base import DataShape
from engine.i18n import mark, tr
from engine.sources import _wav_files, sources
from engine.sources._audio import LEVELS, Clips, ClipWriter, Levels, to_wave
from engine.sources._cache import cached, entry_key
from engine.sources._procedural import Split
from engine.sources._readers import stop_or_skip
from engine.sources._spec import Skipped
from engine.sources.base import OnProgress, Preview, QualityReport, Source
from engine.study import TableSpec

COPIED_AT_ONCE = 2**20
PREVIEW_SECONDS = 5


class WavFolderSpec(TableSpec, frozen=True, kw_only=True):
    """Where the sound is and how it is read."""

    path: Annotated[
        str,
        msgspec.Meta(
            title=mark("Folder"), description=mark("A folder of WAV files, read with its subfolders, or one file")
        ),
    ] = ""
    rate: Annotated[
        int,
        msgspec.Meta(
            title=mark("Rate"),
            description=mark("Samples per second that the model hears and makes"),
            ge=1_000,
            le=48_000,
        ),
    ] = 8_000
    resample: Annotated[
        bool,
        msgspec.Meta(
            title=mark("Resample"),
            description=mark("Convert files of another rate, instead of taking them for a mistake"),
        ),
    ] = False
    classes: Annotated[
        Literal["none", "folders"],
        msgspec.Meta(
            title=mark("Classes"),
            description=mark("Folders: the subfolder a file lies in is what can be asked for, such as a word"),
        ),
    ] = "none"
    validation_fraction: Annotated[
        float,
        msgspec.Meta(
            title=mark("Validation share"),
            description=mark("Share of the sound held out, whole files; a single file is cut"),
            gt=0,
            le=0.5,
        ),
    ] = 0.1
    skip_bad: Annotated[
        bool,
        msgspec.Meta(
            title=mark("Skip bad data"),
            description=mark("Leave out files that cannot be read and list them, instead of stopping"),
        ),
    ] = False


@sources.register("wav-folder")
class WavFolder(Source):
    """Your own WAV files, of any number format and number of channels; files that are the same are taken once."""

    name = "wav-folder"
    version = 1
    title = mark("WAV folder")
    Spec = WavFolderSpec
    reads = _wav_files.ENDINGS

    def shape(self, spec: WavFolderSpec) -> DataShape:
        """Levels, conditioned on the subfolder where that is asked for."""
        return DataShape("audio", vocab_size=LEVELS, n_classes=len(_listing(spec).classes))

    def prepare(self, spec: WavFolderSpec, cache: Path, on_progress: OnProgress) -> Clips:
        """Read, resample, find copies and split, one block in memory at a time; see ``Source.prepare``."""
        listing = _listing(spec)
        stats = [(name, (listing.root / name).stat()) for name in listing.names]
        key = entry_key([self.name, self.version, spec], ((name, s.st_size, s.st_mtime_ns) for name, s in stats))
        make = partial(_make, spec, listing, on_progress=on_progress)
        # A level takes at most as much as a sample of 8 bits did, twice while it is being split.
        return cached(cache, f"sound-{key}", Clips.open, make, 2 * sum(s.st_size for _, s in stats))

    def preview(self, spec: WavFolderSpec, n: int = 5) -> list[Preview]:
        """The beginnings of the first ``n`` files that can be read."""
        listing = _listing(spec)
        shown: list[Preview] = []
        for name in listing.names[: 4 * n]:
            try:
                first = next(_wav_files.read_levels(listing.root / name, spec.rate, resample=spec.resample), None)
            except _wav_files.BadWav:
                continue
            if first is not None and len(first) and len(shown) < n:
                label = {"label": listing.classes[listing.label(name)]} if listing.classes else {}
                sound = to_wave(first[: PREVIEW_SECONDS * spec.rate])
                shown.append({"origin": name, "sound": sound, "rate": spec.rate} | label)
        return shown


class _Listing(NamedTuple):
    root: Path
    names: list[str]
    classes: tuple[str, ...]

    def label(self, name: str) -> int:
        return self.classes.index(name.partition("/")[0]) if self.classes else 0


class _Staged(NamedTuple):
    """A file's levels in the staging file, and what orders files by chance."""

    digest: bytes
    start: int
    length: int
    label: int


def _listing(spec: WavFolderSpec) -> _Listing:
    root, names = _wav_files.find(spec.path)
    return _Listing(root, names, _wav_files.classes_of(names) if spec.classes == "folders" else ())


def _make(spec: WavFolderSpec, listing: _Listing, folder: Path, on_progress: OnProgress) -> None:
    skipped, staging = Skipped(), folder / "staged.u8"
    staged = _stage(spec, listing, skipped, staging, on_progress)
    distinct = list({entry.digest: entry for entry in staged}.values())
    if not distinct:
        why = f" ({skipped.listed[0][0]}: {skipped.listed[0][1]})" if skipped.listed else ""
        raise InputError(tr("there is no sound in the data{why}.", why=why))
    parts = _split(distinct, spec.validation_fraction)
    writer = ClipWriter(folder)
    try:
        on_progress(mark("writing levels"), 0.0)
        for split, entries in parts.items():
            for entry in entries:
                writer.add(split, _copied(staging, entry), entry.label)
        on_progress(mark("writing levels"), 1.0)
    finally:
        writer.close()
    staging.unlink()
    writer.finish(spec.rate, listing.classes, _report(spec, listing, distinct, parts, skipped, len(staged)))


def _stage(
    spec: WavFolderSpec, listing: _Listing, skipped: Skipped, staging: Path, on_progress: OnProgress
) -> list[_Staged]:
    """Write the levels of every file that can be read, one after another."""
    on_bad = stop_or_skip(spec.skip_bad, skipped)
    staged: list[_Staged] = []
    start = 0
    with staging.open("wb") as stream:
        for done, name in enumerate(listing.names):
            on_progress(mark("reading"), done / len(listing.names))
            seen, length = hashlib.sha256(), 0
            try:
                for block in _wav_files.read_levels(listing.root / name, spec.rate, resample=spec.resample):
                    data = block.tobytes()
                    stream.write(data)
                    seen.update(data)
                    length += len(data)
            except _wav_files.BadWav as error:
                stream.seek(start)
                stream.truncate()
                on_bad(name, str(error))
                continue
            staged.append(_Staged(seen.digest(), start, length, listing.label(name)))
            start += length
    on_progress(mark("reading"), 1.0)
    return staged


def _split(entries: list[_Staged], fraction: float) -> dict[Split, list[_Staged]]:
    """Of every class the first files by digest, until they hold that share of its samples; one at least stays.

    The end of a file that is the only one is held out, so that there is something.
    """
    parts: dict[Split, list[_Staged]] = {"train": [], "validation": []}
    if len(entries) == 1:
        (only,) = entries
        cut = only.length - max(1, round(only.length * fraction))
        parts["train"].append(only._replace(length=cut))
        parts["validation"].append(only._replace(start=only.start + cut, length=only.length - cut))
        return parts
    for label in sorted({entry.label for entry in entries}):
        own = sorted(entry for entry in entries if entry.label == label)
        wanted, held = fraction * sum(entry.length for entry in own), 0
        for entry in own[:-1]:
            split: Split = "validation" if held < wanted else "train"
            held += entry.length
            parts[split].append(entry)
        parts["train"].append(own[-1])
    return parts


def _copied(staging: Path, entry: _Staged) -> Iterator[Levels]:
    with staging.open("rb") as stream:
        stream.seek(entry.start)
        for first in range(0, entry.length, COPIED_AT_ONCE):
            yield np.frombuffer(stream.read(min(COPIED_AT_ONCE, entry.length - first)), np.uint8)


def _report(
    spec: WavFolderSpec,
    listing: _Listing,
    distinct: list[_Staged],
    parts: dict[Split, list[_Staged]],
    skipped: Skipped,
    n_read: int,
) -> QualityReport:
    lengths = [entry.length for entry in distinct]
    counts = np.bincount([entry.label for entry in distinct], minlength=len(listing.classes)).tolist()
    seconds = sum(lengths) / spec.rate
    notes = [
        tr("{seconds:,.0f} seconds of sound at {rate:,} samples per second.", seconds=seconds, rate=spec.rate),
        tr("Only files of equal sound are taken for copies; others that are alike are not looked for."),
    ]
    if len(distinct) == 1:
        notes.append(tr("There is one file, so its end is held out."))
    return QualityReport(
        n_documents=len(distinct),
        n_train=len(parts["train"]),
        n_validation=len(parts["validation"]),
        bytes_train=sum(entry.length for entry in parts["train"]),
        bytes_validation=sum(entry.length for entry in parts["validation"]),
        exact_duplicates=n_read - len(distinct),
        near_duplicates=0,
        leaked=0,
        skipped=tuple(skipped.listed),
        n_skipped=skipped.n,
        length_quantiles=tuple(float(q) for q in np.quantile(lengths, [0.05, 0.25, 0.5, 0.75, 0.95])),
        length_unit=mark("samples"),
        label_counts=tuple(zip(listing.classes, counts, strict=True)) if listing.classes else (),
        notes=tuple(notes),
    )
