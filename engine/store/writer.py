"""The one thread that writes. Events come in through a bounded queue and leave in one transaction per batch.

Thread-safe: ``emit``, ``call`` and ``flush`` may be used from any thread. ``emit`` blocks while the queue is full.
What cannot be written is kept and tried again, so that a disk that was full for a while loses nothing; until then
``emit``, ``call`` and ``flush`` raise the ``ResourceError`` and ``on_error`` has been told once.
"""

import contextlib
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from engine.errors import KnownError, ResourceError
from engine.events import Event, MetricBlock, Phase
from engine.i18n import tr
from engine.store.faults import as_known
from engine.store.record import Recorder

T = TypeVar("T")

MAX_PENDING_ROWS = 200_000  # about 20 MB of blocks; two seconds of work at the promised 100,000 rows/s
BATCH_ROWS = 20_000  # larger transactions gain nothing (house-style.md: 536,000 rows/s at 10,000)
BATCH_SECONDS = 0.1
RETRY_SECONDS = 1.0

OnError = Callable[[Exception], None]
Call = tuple[Callable[[sqlite3.Connection], Any], "Future[Any]"]


class Writer:
    """Owns the writing connection, which is closed by ``close``."""

    def __init__(self, connection: sqlite3.Connection, path: Path, on_error: OnError | None = None) -> None:
        self.on_error = on_error
        self._path = path
        self._connection = connection
        self._recorder = Recorder(connection)
        self._queue: deque[Event | Call] = deque()
        self._changed = threading.Condition()
        self._pending_rows = 0
        self._put = 0  # items ever queued and ever written: what flush compares
        self._done = 0
        self._hurry = 0  # callers that wait; while there are any, batches do not wait to fill up
        self._closing = False
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    @property
    def problem(self) -> KnownError | None:
        """What keeps events from being written now; None where everything is, or will be in a moment."""
        with self._changed:
            return self._error if isinstance(self._error, KnownError) else None

    def emit(self, event: Event) -> None:
        """Queue an event; blocks while too much is pending. Raises what stopped earlier events from being written."""
        if isinstance(event, Phase):
            return  # of the moment only
        rows = _rows(event)
        with self._changed:
            self._raise_error()
            while self._pending_rows + rows > MAX_PENDING_ROWS and self._pending_rows:
                self._changed.wait()
                self._raise_error()
            self._append(event, rows)

    def call(self, fn: Callable[[sqlite3.Connection], T]) -> "Future[T]":
        """Run ``fn`` on the writing connection after all earlier events, in a transaction of its own.

        What it returns or raises is in the future; a database that cannot be written gives ``ResourceError``.
        """
        future: Future[T] = Future()
        with self._changed:
            self._raise_error()
            self._append((fn, future), 1)
            self._hurry += 1
        future.add_done_callback(self._calmed)
        return future

    def flush(self, timeout: float | None = None) -> None:
        """Return when everything queued before is committed; raises ``TimeoutError`` and what went wrong."""
        if threading.current_thread() is self._thread:
            raise AssertionError("flush inside a call would wait for itself")
        with self._changed:
            target = self._put
            self._hurry += 1
            self._changed.notify_all()
            try:
                done = self._changed.wait_for(lambda: self._done >= target or self._error is not None, timeout)
                self._raise_error()
            finally:
                self._hurry -= 1
        if not done:
            raise TimeoutError("the store's writer did not keep up")

    def close(self) -> None:
        """Write what is queued, stop the thread and close the connection; raises what could not be written."""
        with self._changed:
            already = self._closing
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        if not already:
            with contextlib.suppress(sqlite3.Error):  # a full disk: the log stays and is replayed the next time
                # Readers hold the log open, and closing would leave everything in it: a copy of lab.db must be whole.
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._connection.close()
            if self._error is not None:
                raise self._error

    def _append(self, item: Event | Call, rows: int) -> None:
        if self._closing:
            raise ResourceError(tr("the store is closed."))
        self._queue.append(item)
        self._pending_rows += rows
        self._put += 1
        self._changed.notify_all()

    def _calmed(self, _future: "Future[Any]") -> None:
        with self._changed:
            self._hurry -= 1

    def _raise_error(self) -> None:
        """Raise what went wrong. A bug is told once; a resource error stands until a retry has succeeded."""
        error = self._error
        if error is None:
            return
        if not isinstance(error, KnownError):
            self._error = None
        raise error

    def _run(self) -> None:
        while True:
            batch = self._next_batch()
            if not batch:
                return
            done = self._write(batch)
            with self._changed:
                for item in batch[:done]:
                    self._queue.popleft()
                    self._pending_rows -= _rows(item)
                self._done += done
                self._changed.notify_all()
                if done < len(batch):
                    if self._closing:
                        self._abandon()
                        return
                    self._changed.wait_for(lambda: self._closing, RETRY_SECONDS)

    def _next_batch(self) -> list[Event | Call]:
        """What to write next, left in the queue until it is; empty when closing with nothing left."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closing)
            deadline = time.monotonic() + BATCH_SECONDS
            self._changed.wait_for(
                lambda: self._closing or self._hurry or self._pending_rows >= BATCH_ROWS,
                max(0.0, deadline - time.monotonic()),
            )
            batch: list[Event | Call] = []
            rows = 0
            for item in self._queue:
                if batch and (isinstance(item, tuple) or rows >= BATCH_ROWS):
                    break
                batch.append(item)
                rows += _rows(item)
                if isinstance(item, tuple):
                    break
            return batch

    def _write(self, batch: list[Event | Call]) -> int:
        """Write a batch, which is events or one call; returns how many items are dealt with."""
        first = batch[0]
        if isinstance(first, tuple):
            self._perform(*first)
            return 1
        events = [item for item in batch if not isinstance(item, tuple)]
        try:
            self._transaction(lambda: self._recorder.record(events))
        except Exception as error:  # noqa: BLE001 - told through _error and on_error
            return self._failed(error, events)
        with self._changed:
            if isinstance(self._error, KnownError):
                self._error = None
        return len(batch)

    def _failed(self, error: Exception, events: list[Event]) -> int:
        known = as_known(error, self._path)
        if known is not None:
            self._tell(known)
            return 0
        if len(events) == 1:
            # An event that cannot be stored is a bug; it must not hold up the others.
            self._tell(error)
            return 1
        for done, event in enumerate(events):
            if not self._write([event]):
                return done
        return len(events)

    def _perform(self, fn: Callable[[sqlite3.Connection], Any], future: "Future[Any]") -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            result = self._transaction(lambda: fn(self._connection))
        except Exception as error:  # noqa: BLE001 - handed to the caller
            known = as_known(error, self._path)
            if known is not None and known is not error and self.on_error is not None:
                self.on_error(known)
            future.set_exception(known or error)
        else:
            future.set_result(result)

    def _transaction(self, work: Callable[[], T]) -> T:
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            result = work()
            connection.execute("COMMIT")
        except BaseException:
            self._recorder.forget()
            if connection.in_transaction:  # SQLite has rolled back by itself where the disk was full
                connection.execute("ROLLBACK")
            raise
        return result

    def _tell(self, error: Exception) -> None:
        with self._changed:
            news = str(self._error) != str(error)
            self._error = error
            self._changed.notify_all()
        if news and self.on_error is not None:
            self.on_error(error)

    def _abandon(self) -> None:
        """Closing while the database cannot be written: whoever waits is told."""
        for item in self._queue:
            if isinstance(item, tuple) and item[1].set_running_or_notify_cancel():
                item[1].set_exception(self._error or ResourceError(tr("the store is closed.")))
        self._queue.clear()


def _rows(item: Event | Call) -> int:
    return len(item.steps) if isinstance(item, MetricBlock) else 1
