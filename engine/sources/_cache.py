"""Prepared data on disk: made once under a key, opened by every later call, whole or not there."""

import errno
import hashlib
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import filelock
import msgspec

from engine.errors import ResourceError
from engine.i18n import tr

SPARE_BYTES = 64 * 2**20
_FULL_OR_READ_ONLY = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}

T = TypeVar("T")


def entry_key(settings: Sequence[Any], files: Iterable[tuple[str, int, int]]) -> str:
    """A name that follows the settings and each file's (name, bytes, modification time in ns)."""
    seen = hashlib.sha256(msgspec.json.encode(settings))
    for entry in files:
        seen.update(msgspec.json.encode(entry))
    return seen.hexdigest()[:32]


def cached(
    cache: Path, name: str, opened: Callable[[Path], T | None], make: Callable[[Path], None], needed_bytes: int
) -> T:
    """What ``opened`` makes of the entry ``name``, which ``make`` has filled, now or in an earlier call.

    ``opened`` returns None for an entry that is not there or not whole. Safe to call from several processes at once:
    the first makes it, the others wait. Whatever ``make`` raises leaves nothing behind.
    Raises ``ResourceError`` where ``needed_bytes`` are not free, and for a full or read-only disk.
    """
    folder = cache / name
    ready = opened(folder)
    if ready is not None:
        return ready
    with _disk_errors(cache):
        cache.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(cache / f"{name}.lock"):
            ready = opened(folder)
            if ready is not None:
                return ready
            _check_space(cache, needed_bytes)
            partial = cache / f"{name}.partial"
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            try:
                make(partial)
                shutil.rmtree(folder, ignore_errors=True)
                partial.rename(folder)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    made = opened(folder)
    assert made is not None
    return made


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed + SPARE_BYTES:
        raise ResourceError(
            tr(
                "preparing the data needs {needed} MB in {folder}, and {free} MB are free.",
                needed=(needed + SPARE_BYTES) // 10**6,
                folder=str(folder),
                free=free // 10**6,
            ),
            tr("Free some space, or choose another home or less data."),
        )


@contextmanager
def _disk_errors(cache: Path) -> Iterator[None]:
    """What the disk refuses becomes a known error; failures of the user's own files are not turned."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL_OR_READ_ONLY:
            raise
        raise ResourceError(
            tr("{folder} cannot be written: {why}.", folder=str(cache), why=error.strerror or ""),
            tr("Free some space, or choose another home with --home."),
        ) from error
