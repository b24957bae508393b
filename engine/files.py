"""Files that appear whole or not at all, and the disk asked before they are written. Free of torch."""

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError

from engine.errors import ResourceError
from engine.i18n import tr

SPARE_BYTES = 32 << 20
"""Left free on the disk beyond the file itself: the store next to it must still be able to write."""


def write_text(path: Path, text: str) -> None:
    """Write a small text file atomically."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a small file atomically."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def require_space(folder: Path, n_bytes: int) -> None:
    """Raise ``ResourceError`` unless that many bytes and some to spare are free where the folder is."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise _cannot_write(folder, error) from error
    if free < n_bytes + SPARE_BYTES:
        raise ResourceError(
            tr(
                "The disk is full: {need:.1f} MB are needed and {free:.1f} MB are free.",
                need=(n_bytes + SPARE_BYTES) / 1e6,
                free=free / 1e6,
            ),
            tr("Free some space and try again; a run that was training can be resumed."),
        )


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that replaces it, once on the disk, when the block ends well."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except (OSError, SafetensorError) as error:
        raise _cannot_write(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut; Windows has no such call and does it by itself."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _cannot_write(path: Path, error: Exception) -> ResourceError:
    why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return ResourceError(
        tr("{path} cannot be written: {why}.", path=str(path), why=why),
        tr("Free some space or make the folder writable, then try again; nothing that was saved is lost."),
    )
