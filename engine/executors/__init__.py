"""Where a run runs: in a thread of this process, or in a worker process of its own."""

from collections.abc import Callable

from engine.errors import InputError
from engine.executors.base import Executor
from engine.executors.process import ProcessExecutor
from engine.executors.thread import ThreadExecutor
from engine.i18n import tr

EXECUTORS: dict[str, Callable[[], Executor]] = {
    ThreadExecutor.name: ThreadExecutor,
    ProcessExecutor.name: ProcessExecutor,
}


def make_executor(name: str) -> Executor:
    """A new executor, ``thread`` or ``process``; one serves one slot. Raises ``InputError`` for other names."""
    try:
        return EXECUTORS[name]()
    except KeyError:
        known = ", ".join(sorted(EXECUTORS))
        raise InputError(tr("unknown executor {name!r} (there are: {known}).", name=name, known=known)) from None
