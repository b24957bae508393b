"""One open home: its store, its runner and the lock that keeps two labs from writing to it at once."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

import filelock
import platformdirs

from engine.bundling.journal import sweep
from engine.errors import ResourceError
from engine.forecasting import Gate
from engine.i18n import tr
from engine.results import finish_study
from engine.runner import Runner
from engine.store import Store

if TYPE_CHECKING:
    from engine.store import Reader
    from engine.task import RunOne

LOCK = "lab.lock"
T = TypeVar("T")


def default_home() -> Path:
    """``$EMERGENCE_LAB_HOME``, or the platform's folder for a user's data."""
    named = os.environ.get("EMERGENCE_LAB_HOME")
    return Path(named).expanduser() if named else Path(platformdirs.user_data_dir("emergence-lab", appauthor=False))


class Lab:
    """A home opened for work. Use it as a context manager; ``close`` leaves what runs resumable."""

    def __init__(self, home: Path, lock: filelock.BaseFileLock, store: Store, runner: Runner) -> None:
        self.home = home
        self.store = store
        self.runner = runner
        self._lock = lock

    @classmethod
    def open(
        cls, home: Path | None = None, *, jobs: int = 0, executor: str = "auto", run_one: "RunOne | None" = None
    ) -> "Lab":
        """Open a home, making it where it is new.

        Raises:
            ResourceError: it is in use by another lab, cannot be written, or its disk is full.
        """
        home = (home or default_home()).expanduser().absolute()
        lock = _take(home)
        try:
            _on_disk(home, lambda: sweep(home))
            store = _on_disk(home, lambda: Store.open(home))
            runner = Runner(
                store,
                jobs=jobs,
                executor=executor,
                run_one=run_one,
                on_done=lambda study: finish_study(store, study),
                holds=Gate(store).holds,
            )
        except BaseException:
            lock.release()
            raise
        return cls(home, lock, store, runner)

    def reader(self) -> "Reader":
        """A read-only view of the store for the calling thread."""
        return self.store.reader()

    def close(self) -> None:
        """Checkpoint what runs, write what is buffered and give the home back."""
        self.runner.stop_all()
        self.store.close()
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _take(home: Path) -> filelock.BaseFileLock:
    def make() -> None:
        home.mkdir(parents=True, exist_ok=True)
        probe = home / f".probe-{os.getpid()}"
        probe.write_bytes(b"x")  # a lock file left by an earlier owner would hide that the folder is read-only
        probe.unlink()

    _on_disk(home, make)
    lock = filelock.FileLock(home / LOCK, thread_local=False)  # the window gives it back from another thread
    try:
        _on_disk(home, lambda: lock.acquire(timeout=0))
    except filelock.Timeout:
        raise ResourceError(
            tr("{home} is in use by another Emergence Lab.", home=str(home)),
            tr("Close it there, or give another folder with --home."),
        ) from None
    return lock


def _on_disk(home: Path, do: Callable[[], T]) -> T:
    """Do it, turning what the operating system says into a sentence and a remedy."""
    try:
        return do()
    except filelock.Timeout:
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ResourceError(
                tr("the disk of {home} is full.", home=str(home)), tr("Free some space and run it again.")
            ) from None
        raise ResourceError(
            tr("{home} cannot be written: {why}.", home=str(home), why=error.strerror or str(error)),
            tr("Give a folder you may write to with --home."),
        ) from None
