"""Work that must not hold the window up: done in a few threads, its result handed back in the window's thread."""

import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import Any, TypeVar

from PySide6.QtCore import QObject, Qt, Signal

T = TypeVar("T")


class Cancelled(Exception):
    """The person no longer wants what is under way."""


class Preparing:
    """One piece of work under way: what its thread says of it, and how it is told to stop."""

    def __init__(self) -> None:
        self.step, self.fraction = "", 0.0
        self._stop = threading.Event()

    @property
    def stopping(self) -> bool:
        """Whether it was told to stop."""
        return self._stop.is_set()

    def stop(self) -> None:
        """Ends it at its next sign of life."""
        self._stop.set()

    def __call__(self, step: str, fraction: float) -> None:
        self.step, self.fraction = step, fraction
        if self._stop.is_set():
            raise Cancelled


class Jobs(QObject):
    """Runs functions off the window's thread. A job in a ``slot`` makes the earlier results of that slot stale."""

    failed = Signal(object)
    """A job without a ``failed`` callback of its own raised; carries the exception."""
    _finished = Signal(object)

    def __init__(self, workers: int = 3, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="lab-read")
        self._generation: dict[str, int] = {}
        self._lock = threading.Lock()
        self._pending = 0
        self._closed = False
        self.on_close: list[Callable[[], Any]] = []
        """Called before ``close`` waits: what tells long work to stop."""
        self._finished.connect(self._deliver, Qt.ConnectionType.QueuedConnection)

    @property
    def pending(self) -> int:
        """Jobs that were given and have not delivered yet."""
        return self._pending

    def run(
        self,
        work: Callable[[], T],
        done: Callable[[T], Any] | None = None,
        failed: Callable[[Exception], Any] | None = None,
        *,
        slot: str = "",
    ) -> None:
        """Call ``work`` in a thread, then ``done(result)`` here, unless a newer job of the slot was given."""
        if self._closed:
            return
        generation = 0
        if slot:
            generation = self._generation[slot] = self._generation.get(slot, 0) + 1
        self._pending += 1
        future = self._pool.submit(work)
        future.add_done_callback(lambda f: self._announce((slot, generation, f, done, failed)))

    def drop(self, slot: str) -> None:
        """Make whatever the slot still has under way stale."""
        self._generation[slot] = self._generation.get(slot, 0) + 1

    def close(self) -> None:
        """Take no more jobs, forget those not begun, and wait for those under way."""
        self._closed = True
        for stop in self.on_close:
            stop()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _announce(self, item: tuple[Any, ...]) -> None:
        with self._lock:
            if not self._closed:
                self._finished.emit(item)

    def _deliver(self, item: tuple[str, int, Future[Any], Any, Any]) -> None:
        slot, generation, future, done, failed = item
        self._pending -= 1
        if self._closed or (slot and generation != self._generation[slot]):
            return
        try:
            result = future.result()
        except CancelledError:
            return
        except Exception as error:  # noqa: BLE001 - handed on: to the caller, or shown as a bug
            if failed is not None:
                failed(error)
            else:
                self.failed.emit(error)
            return
        if done is not None:
            done(result)
