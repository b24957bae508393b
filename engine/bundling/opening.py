"""Reading a bundle: every name, size and checksum is checked before anything is believed, and nothing is written."""

import hashlib
import stat
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import IO, Any, TypeVar

import msgspec
import pyarrow as pa
import pyarrow.parquet

from engine.bundling import contents as c
from engine.errors import InputError
from engine.families import families
from engine.i18n import mark, tr
from engine.sources import sources
from engine.sources.base import OnProgress
from engine.study import RunSpec, StudySpec, study_id

T = TypeVar("T")
MAX_FILES = 100_000
MAX_BYTES = 256 << 30
"""Of all files, unpacked."""
MAX_RATIO = 200
"""Bytes that one byte may unpack to, beyond ``FREE_RATIO_BYTES``; text of results packs 20 to 50 times."""
FREE_RATIO_BYTES = 1 << 20
MAX_DOCUMENT = 256 << 20
"""Bytes of a document, which is held in memory."""
MAX_ROWS = 200_000_000
_MAX_NAME = 240
_BLOCK = 1 << 20
_RESERVED = frozenset({"con", "prn", "aux", "nul", *(f"{n}{i}" for n in ("com", "lpt") for i in range(1, 10))})


class Counted:
    """Progress by bytes over several files: called with how many more are done."""

    def __init__(self, on_progress: OnProgress, step: str, total: int) -> None:
        self._on_progress, self._step, self._total, self._done = on_progress, step, total, 0
        on_progress(step, 0.0)

    def __call__(self, n_bytes: int) -> None:
        self._done += n_bytes
        self._on_progress(self._step, min(1.0, self._done / max(1, self._total)))


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle whose names, sizes and checksums hold, and whose documents say what they should."""

    path: Path
    manifest: c.Manifest
    study: c.StudyPart
    spec: StudySpec
    runs: tuple[c.RunPart, ...]
    specs: tuple[RunSpec, ...]
    """In the order of ``runs``."""
    laws: tuple[c.LawPart, ...]
    forecasts: tuple[c.ForecastPart, ...]
    artifacts: tuple[c.ArtifactPart, ...]

    @property
    def n_bytes(self) -> int:
        """Of everything, unpacked."""
        return sum(entry.n_bytes for entry in self.manifest.files.values())

    def run_files(self) -> dict[str, tuple[int, str]]:
        """Name in the bundle -> number of the run and path below its folder."""
        found = {}
        for name in self.manifest.files:
            folder, _, rest = name.partition("/")
            number, _, below = rest.partition("/")
            if folder == c.FILES and number.isdecimal() and below:
                found[name] = (int(number), below)
        return found

    def extract(self, name: str, target: Path, told: Callable[[int], None] = lambda n: None) -> None:
        """Write one file, checked once more as it is written; ``told`` hears of every few bytes."""
        target.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(self.path) as archive, target.open("xb") as file:
            _check_file(archive, name, self.manifest.files[name], file, told)

    def n_rows(self, name: str) -> int:
        """Of a table."""
        with zipfile.ZipFile(self.path) as archive, archive.open(name) as file:
            return int(pyarrow.parquet.ParquetFile(pa.PythonFile(file, "r")).metadata.num_rows)

    def rows(self, name: str) -> Iterator[dict[str, list[Any]]]:
        """The columns of a table, some thousand rows at a time."""
        with zipfile.ZipFile(self.path) as archive, archive.open(name) as file:
            for batch in pyarrow.parquet.ParquetFile(pa.PythonFile(file, "r")).iter_batches(50_000):
                yield batch.to_pydict()


def is_bundle(path: Path) -> bool:
    """Whether a file is a zip, by its first bytes."""
    try:
        with path.open("rb") as file:
            return file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")
    except OSError:
        return False


def open_bundle(path: Path, on_progress: OnProgress = lambda step, fraction: None) -> Bundle:
    """Check a bundle as a whole; raises ``InputError``, one sentence, for the first thing that is wrong with it."""
    try:
        with zipfile.ZipFile(path) as archive:
            manifest = _manifest(archive, path)
            _check_all(archive, manifest, on_progress)
            documents = {name: archive.read(name) for name in _DOCUMENTS}
            for name in c.SCHEMAS:
                _check_table(archive, name)
    except OSError as error:
        raise InputError(
            tr("{path} cannot be read: {why}.", path=str(path), why=error.strerror or str(error))
        ) from None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, UnicodeDecodeError) as error:
        raise InputError(tr("{path} is a damaged zip: {why}.", path=path.name, why=str(error))) from None
    return _believe(path, manifest, documents)


_DOCUMENTS: dict[str, Any] = {
    c.STUDY: c.StudyPart,
    c.RUNS: tuple[c.RunPart, ...],
    c.LAWS: tuple[c.LawPart, ...],
    c.FORECASTS: tuple[c.ForecastPart, ...],
    c.ARTIFACTS: tuple[c.ArtifactPart, ...],
}


def _manifest(archive: zipfile.ZipFile, path: Path) -> c.Manifest:
    infos = archive.infolist()
    if len(infos) > MAX_FILES:
        raise InputError(tr("{path} holds {n:,} files, more than a bundle can.", path=path.name, n=len(infos)))
    seen: set[str] = set()
    for info in infos:
        _check_name(info.orig_filename)
        _check_kind(info)
        key = unicodedata.normalize("NFC", info.filename).casefold()
        if key in seen:
            raise InputError(tr("the bundle holds {name!r} twice.", name=info.filename))
        seen.add(key)
    _check_sizes(infos)
    if c.MANIFEST not in archive.namelist():
        raise InputError(
            tr("{path} is a zip, and no study bundle: there is no {name} in it.", path=path.name, name=c.MANIFEST)
        )
    text = archive.read(c.MANIFEST)
    told = _decode(text, dict[str, Any], c.MANIFEST)
    if told.get("format") != c.FORMAT:
        raise InputError(tr("{path} is no study bundle of Emergence Lab.", path=path.name))
    if told.get("version") != c.VERSION:
        raise InputError(
            tr(
                "{path} is a bundle of version {version}, which this program does not read.",
                path=path.name,
                version=str(told.get("version")),
            ),
            tr("Update the program to open it."),
        )
    manifest: c.Manifest = _decode(text, c.Manifest, c.MANIFEST)
    listed, there = set(manifest.files) | {c.MANIFEST}, {info.filename for info in infos}
    for name in sorted(listed ^ there):
        words = tr("the manifest lists {name!r}, which is not there.", name=name)
        raise InputError(words if name in listed else tr("{name!r} is not in the manifest.", name=name))
    for name in (*_DOCUMENTS, *c.SCHEMAS):
        if name not in listed:
            raise InputError(tr("the bundle has no {name}.", name=name))
    return manifest


def _check_name(name: str) -> None:
    """Refuse every name that could lead out of the folder it is unpacked to, on any system."""
    parts = name.split("/")
    bad = (
        not name
        or len(name) > _MAX_NAME
        or any(ord(ch) < 32 or ch in '\\:*?"<>|' for ch in name)
        or PureWindowsPath(name).is_absolute()
        or any(part in ("", ".", "..") or part[-1] in ". " for part in parts)
        or any(part.partition(".")[0].lower() in _RESERVED for part in parts)
    )
    if bad:
        raise InputError(tr("the bundle holds a file with the unsafe name {name!r}.", name=name[:80]))


def _check_kind(info: zipfile.ZipInfo) -> None:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if info.is_dir() or kind not in (0, stat.S_IFREG):
        raise InputError(tr("the bundle holds {name!r}, which is a link or no plain file.", name=info.filename))
    if info.flag_bits & 1:
        raise InputError(tr("{name!r} in the bundle is encrypted.", name=info.filename))
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InputError(tr("{name!r} in the bundle is packed in a way that is not read.", name=info.filename))


def _check_sizes(infos: list[zipfile.ZipInfo]) -> None:
    total = sum(info.file_size for info in infos)
    if total > MAX_BYTES:
        raise InputError(tr("the bundle would unpack to {gb:,.0f} GB.", gb=total / 1e9))
    for info in infos:
        if info.file_size > FREE_RATIO_BYTES + MAX_RATIO * info.compress_size:
            raise InputError(
                tr(
                    "{name!r} in the bundle would unpack to {n:,} times its size.",
                    name=info.filename,
                    n=info.file_size // max(1, info.compress_size),
                )
            )
        if info.file_size > MAX_DOCUMENT and info.filename in (c.MANIFEST, *_DOCUMENTS):
            raise InputError(tr("{name!r} in the bundle is too large.", name=info.filename))


def _check_all(archive: zipfile.ZipFile, manifest: c.Manifest, on_progress: OnProgress) -> None:
    told = Counted(on_progress, mark("checking"), sum(entry.n_bytes for entry in manifest.files.values()))
    for name, entry in manifest.files.items():
        _check_file(archive, name, entry, None, told)


def _check_file(
    archive: zipfile.ZipFile, name: str, entry: c.FileEntry, target: IO[bytes] | None, told: Callable[[int], None]
) -> None:
    """Read a file to its end, or to where it becomes longer than it may be; compare, and write what was read."""
    digest, n_bytes = hashlib.sha256(), 0
    with archive.open(name) as file:
        while block := file.read(_BLOCK):
            n_bytes += len(block)
            if n_bytes > entry.n_bytes:
                break
            digest.update(block)
            if target is not None:
                target.write(block)
            told(len(block))
    if n_bytes != entry.n_bytes or digest.hexdigest() != entry.sha256:
        raise InputError(tr("{name!r} in the bundle is damaged: its checksum does not hold.", name=name))


def _check_table(archive: zipfile.ZipFile, name: str) -> None:
    try:
        with archive.open(name) as file:
            table = pyarrow.parquet.ParquetFile(pa.PythonFile(file, "r"))
            if not table.schema_arrow.equals(c.SCHEMAS[name]):
                raise InputError(tr("{name} in the bundle has other columns than it should.", name=name))
            if table.metadata.num_rows > MAX_ROWS:
                raise InputError(tr("{name!r} in the bundle is too large.", name=name))
    except (pa.ArrowException, OSError) as error:
        raise InputError(
            tr("{name} in the bundle cannot be read: {why}.", name=name, why=" ".join(str(error).split()))
        ) from None


def _believe(path: Path, manifest: c.Manifest, documents: dict[str, bytes]) -> Bundle:
    parts = {name: _decode(documents[name], kind, name) for name, kind in _DOCUMENTS.items()}
    study: c.StudyPart = parts[c.STUDY]
    runs: tuple[c.RunPart, ...] = parts[c.RUNS]
    spec = _decode(study.spec_json.encode(), StudySpec, c.STUDY)
    if study_id(spec) != manifest.study:
        raise InputError(tr("the study in the bundle is not the one that its manifest names."))
    specs = tuple(_decode(run.spec_json.encode(), RunSpec, c.RUNS) for run in runs)
    for run in specs:
        if run.kind != "import" and not (run.family in families and run.source in sources):
            raise InputError(
                tr(
                    "the bundle has models of {family} on {source}, which this program does not know.",
                    family=run.family,
                    source=run.source,
                ),
                tr("Update the program to open it."),
            )
    numbers = {run.number for run in runs}
    if len(numbers) != len(runs):
        raise InputError(tr("two runs of the bundle have the same number."))
    bundle = Bundle(path, manifest, study, spec, runs, specs, parts[c.LAWS], parts[c.FORECASTS], parts[c.ARTIFACTS])
    files = bundle.run_files()
    for name, (number, _) in files.items():
        if number not in numbers:
            raise InputError(tr("{name!r} in the bundle is of no run.", name=name))
    for part in bundle.artifacts:
        name = f"{c.FILES}/{part.number}/{part.path}"
        if name not in files or (part.sha256 and manifest.files[name].sha256 != part.sha256):
            raise InputError(tr("{name!r} in the bundle is not the file that its run names.", name=name))
    return bundle


def _decode(text: bytes, kind: type[T] | Any, name: str) -> Any:
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(
            tr("{name} in the bundle cannot be read: {why}.", name=name, why=str(error).replace("`", "")),
            tr("It may come from a newer version of the program."),
        ) from None
