"""Run in a spawned worker process that stays for the next task.

The worker survives neither a CUDA fault nor the system's out-of-memory killer, and that is the point: the program
does, tells in plain words what happened, and starts a new worker for the next run. Events come back over a pipe in
batches; commands go out through one shared integer, so that polling costs the training loop nothing.
"""

import contextlib
import ctypes
import multiprocessing
import os
import queue
import signal
import threading
import time
import traceback
from collections.abc import Iterator
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any, cast

from engine.events import Command, Event, RunState
from engine.executors.thread import run_guarded
from engine.i18n import language, set_language, tr
from engine.task import Outcome, RunOne, Task

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engine.events import Control, Reporter

COMMANDS = tuple(Command)
COMMAND_LATENCY = 0.05
"""Seconds between looks at the runner's command; a person does not notice."""
TERMINATION_SECONDS = 30.0
"""How long a worker that was told to terminate waits for its parent to ask for a checkpoint."""
MAX_QUEUED = 1_000
"""Events that wait in the worker before training is held up for the parent to catch up."""


class SharedControl:
    """The worker's side of ``Control``: an integer in shared memory, an index into ``COMMANDS``."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def poll(self) -> Command:
        """The command in force."""
        return COMMANDS[int(self._value.value)]

    def wait(self, seconds: float) -> Command:
        """Block until the command is no longer ``PAUSE``, or for ``seconds``."""
        deadline = time.monotonic() + seconds
        while (command := self.poll()) is Command.PAUSE and time.monotonic() < deadline:
            time.sleep(min(0.02, seconds))
        return command


class PipeReporter:
    """The worker's side of ``Reporter``: one thread pickles and sends, in batches, what training puts in a queue."""

    def __init__(self, pipe: "Connection[Any, Any]") -> None:
        self._pipe = pipe
        self._queue: queue.Queue[Event | Outcome] = queue.Queue(MAX_QUEUED)
        threading.Thread(target=self._send, name="events", daemon=True).start()

    def emit(self, event: Event) -> None:
        """Queue an event; blocks while the parent is behind."""
        self._queue.put(event)

    def finish(self, outcome: Outcome) -> None:
        """Send the outcome after every event."""
        self._queue.put(outcome)

    def _send(self) -> None:
        while True:
            batch = [self._queue.get()]
            while not self._queue.empty() and len(batch) < MAX_QUEUED:
                batch.append(self._queue.get())
            try:
                self._pipe.send(batch)
            except (BrokenPipeError, ConnectionError):
                os._exit(1)  # the parent is gone; there is nobody to train for


def _exit_with_parent() -> None:
    """A worker whose parent died, even by SIGKILL, must not write to checkpoints that a new parent resumes."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _leave_later(_number: int, _frame: object) -> None:
    """A signal to the whole group reaches the parent too, which asks for a checkpoint first."""
    timer = threading.Timer(TERMINATION_SECONDS, os._exit, (1,))
    timer.daemon = True
    timer.start()


def _work(pipe: "Connection[Any, Any]", command: Any) -> None:
    """The worker's main function: tasks in, events and outcomes out, until ``None``."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's: it asks for a checkpoint
    signal.signal(signal.SIGTERM, _leave_later)
    threading.Thread(target=_exit_with_parent, name="watchdog", daemon=True).start()
    reporter = PipeReporter(pipe)
    while True:
        try:
            message = pipe.recv()
        except (EOFError, ConnectionError):
            return
        except Exception as error:  # noqa: BLE001 - a task that cannot be unpickled is told to the parent
            reporter.finish(Outcome(0, RunState.FAILED, str(error), "", traceback.format_exc()))
            continue
        if message is None:
            return
        run_one, task, words = message
        set_language(words)
        reporter.finish(run_guarded(run_one, task, reporter, SharedControl(command)))


@contextlib.contextmanager
def _no_interrupt() -> Iterator[None]:
    """A process started inside is born deaf to Ctrl-C, which would otherwise kill it while it still imports."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Worker:
    """One worker process and both ends of its wires."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.command = context.RawValue(ctypes.c_int, 0)
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, self.command), name="run worker", daemon=True)
        with _no_interrupt():
            self.process.start()
        theirs.close()

    def close(self, *, patience: float = 2.0) -> None:
        """Ask the worker to leave and see that it does."""
        try:
            self.pipe.send(None)
        except (OSError, ValueError):
            patience = 0.0
        self.process.join(patience)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.pipe.close()
        self.process.close()


class ProcessExecutor:
    """Runs tasks in one persistent worker process, started on first use and after a crash."""

    name = "process"

    def __init__(self) -> None:
        self._worker: _Worker | None = None
        self._lock = threading.Lock()

    @property
    def pid(self) -> int | None:
        """Process id of the worker, None where there is none."""
        return self._worker.process.pid if self._worker else None

    def run(self, run_one: RunOne, task: Task, reporter: "Reporter", control: "Control") -> Outcome:
        """Run to the end in the worker and say how it ended; a crash is a failed outcome in plain words."""
        with self._lock:
            worker = self._ready_worker()
            worker.command.value = COMMANDS.index(control.poll())
            try:
                worker.pipe.send((run_one, task, language()))
                outcome = self._listen(worker, reporter, control)
            except (BrokenPipeError, ConnectionError, EOFError):
                outcome = None
            return outcome if outcome is not None else self._crashed(worker, task)

    def close(self) -> None:
        """End the worker; a task that is running is killed."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.close()

    def _ready_worker(self) -> _Worker:
        if self._worker is not None and not self._worker.process.is_alive():
            self.close()
        if self._worker is None:
            self._worker = _Worker()
        return self._worker

    def _listen(self, worker: _Worker, reporter: "Reporter", control: "Control") -> Outcome | None:
        """Pass events on and commands in until the outcome; None where the worker died."""
        while True:
            ready = wait([worker.pipe, worker.process.sentinel], timeout=COMMAND_LATENCY)
            worker.command.value = COMMANDS.index(control.poll())
            if worker.pipe in ready:
                for event in cast("Sequence[Event | Outcome]", worker.pipe.recv()):
                    if isinstance(event, Outcome):
                        return event
                    reporter.emit(event)
            elif worker.process.sentinel in ready:
                return None

    def _crashed(self, worker: _Worker, task: Task) -> Outcome:
        worker.process.join(1.0)
        code = worker.process.exitcode or 0
        self.close()
        remedy = tr("The run can be resumed from its last checkpoint; the rest of the study goes on.")
        if code == -getattr(signal, "SIGKILL", 9):
            message = tr("The system ended the run's process, most likely because memory ran out.")
        elif code < 0:
            message = tr("The run's process crashed ({signal}).", signal=signal.Signals(-code).name)
        else:
            message = tr("The run's process ended without a result (exit code {code}).", code=code)
        return Outcome(task.run_id, RunState.FAILED, message, remedy)
