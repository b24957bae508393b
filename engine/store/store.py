"""The store of one home folder: ``lab.db``, ``artifacts/<run id>/`` and ``cache/``."""

import contextlib
import os
import sqlite3
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

from engine.errors import InputError, ResourceError
from engine.i18n import tr
from engine.store import schema
from engine.store.faults import as_known
from engine.store.reader import Connections, Reader
from engine.store.writer import OnError, Writer


class Store:
    """One home folder, opened. At most one process may open it for writing; ``engine.lab`` holds the lock."""

    def __init__(self, home: Path, writer: Writer | None) -> None:
        self.home = home
        self.path = home / "lab.db"
        self.artifacts = home / "artifacts"
        self.cache = home / "cache"
        self._writer = writer
        self._connections = Connections(self._connect_reader, self.path)

    @classmethod
    def open(cls, home: Path, *, read_only: bool = False, on_error: OnError | None = None) -> "Store":
        """Open a home, making it where it is new and bringing its schema up to date.

        Raises:
            ResourceError: the folder cannot be written, the disk is full, or the database is damaged or too new.
            InputError: with ``read_only``, there is nothing to read.
        """
        path = home / "lab.db"
        try:
            if read_only:
                return cls._open_read_only(home, path)
            for folder in (home, home / "artifacts", home / "cache"):
                folder.mkdir(parents=True, exist_ok=True)
            return cls(home, Writer(_connect_writer(path), path, on_error))
        except (OSError, sqlite3.Error) as error:
            known = as_known(error, path)
            if known is None:
                raise
            raise known from error

    @classmethod
    def _open_read_only(cls, home: Path, path: Path) -> "Store":
        if not path.is_file():
            raise InputError(tr("there are no results in {home}.", home=str(home)))
        store = cls(home, None)
        try:
            schema.refuse_newer(store._connections.get())
        except BaseException:
            store.close()
            raise
        return store

    @property
    def read_only(self) -> bool:
        """Whether the store was opened for reading only."""
        return self._writer is None

    @property
    def writer(self) -> Writer:
        """The one writer; ``ResourceError`` where the store is open for reading only."""
        if self._writer is None:
            raise ResourceError(tr("{home} is open for reading only.", home=str(self.home)))
        return self._writer

    def reader(self) -> Reader:
        """A reader, usable from any thread; each thread gets its own read-only connection."""
        return Reader(self._connections)

    def run_folder(self, run_id: int) -> Path:
        """Where a run keeps its files; not made here."""
        return self.artifacts / str(run_id)

    def close(self) -> None:
        """Write what is queued and close every connection; raises what could not be written."""
        try:
            if self._writer is not None:
                self._writer.close()
        finally:
            self._connections.close()

    def __enter__(self) -> "Store":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _connect_reader(self) -> sqlite3.Connection:
        # A log is replayed through a shared-memory file; where the folder is read-only that file cannot be made,
        # and a database without a log can be read as it lies.
        wal = self.path.with_name("lab.db-wal")
        frozen = self.read_only and not os.access(self.home, os.W_OK) and not wal.exists()
        uri = f"file:{quote(str(self.path.absolute()))}?mode=ro" + ("&immutable=1" if frozen else "")
        connection = sqlite3.connect(uri, uri=True, check_same_thread=False, isolation_level=None, timeout=10)
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA query_only = ON")
        connection.execute(f"PRAGMA mmap_size = {256 << 20}")
        return connection


def _connect_writer(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=10)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA cache_size = -{64 << 10}")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute(f"PRAGMA journal_size_limit = {64 << 20}")
        schema.apply(connection)
        # A home on a read-only disk opens without complaint; better to hear of it now than at the first result.
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            connection.close()
        raise
    return connection
