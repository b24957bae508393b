"""Which database errors are the machine's (known, with a remedy) and which are bugs."""

import sqlite3
from pathlib import Path

from engine.errors import ResourceError
from engine.i18n import tr

_MACHINE = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
}
_DAMAGED = ("Could not decode to UTF-8", "already exists")
"""What is said, without a code of its own, of damaged text, and where our tables stand without our migrations."""


def as_known(error: BaseException, path: Path) -> ResourceError | None:
    """The error as one sentence and a remedy, or None where it is a bug of ours."""
    where = str(path)
    if isinstance(error, ResourceError):
        return error
    if isinstance(error, OSError):
        reason = error.strerror or str(error)
        return ResourceError(tr("{path} cannot be used: {reason}.", path=where, reason=reason), _choose_another())
    if not isinstance(error, sqlite3.Error):
        return None
    code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
    if any(words in str(error) for words in _DAMAGED):
        code = sqlite3.SQLITE_CORRUPT
    if code not in _MACHINE:
        return None
    if code == sqlite3.SQLITE_FULL:
        return ResourceError(tr("the disk with {path} is full.", path=where), tr("Free some space, then resume."))
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN):
        return ResourceError(tr("{path} cannot be written to.", path=where), _choose_another())
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return ResourceError(
            tr("{path} is damaged or is not a database of Emergence Lab.", path=where),
            tr("Restore it from a copy, or choose another folder."),
        )
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return ResourceError(tr("{path} is in use by another program.", path=where), tr("Close it and try again."))
    return ResourceError(tr("{path} could not be read or written: {reason}.", path=where, reason=str(error)))


def _choose_another() -> str:
    return tr("Choose another folder with --home, or make this one writable.")
