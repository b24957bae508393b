"""The queue of runs and the one state machine they go through.

A scheduler thread hands queued runs, lowest position first, to slot threads; a slot owns one executor. Every start
goes through the queue. A run that fails keeps its traceback and never stops the others.
"""

import contextlib
import dataclasses
import logging
import sqlite3
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from engine.control import RunControl
from engine.errors import InputError, KnownError, ResourceError
from engine.events import Command, Event, Facts, RunState, StateChanged
from engine.expand import expand
from engine.grouping import outcomes, partners
from engine.i18n import tr
from engine.kinds import run_one_of
from engine.livefeed import LiveFeed
from engine.machine import Machine
from engine.parents import Parents
from engine.store import mutations
from engine.study import RunSpec, StudySpec, study_id
from engine.task import Outcome, RunOne, Task

if TYPE_CHECKING:
    from engine.executors.base import Executor
    from engine.store import Store

log = logging.getLogger(__name__)

S = RunState
TRANSITIONS: Mapping[RunState, frozenset[RunState]] = {
    S.QUEUED: frozenset({S.RUNNING, S.CANCELLED, S.INTERRUPTED}),
    S.RUNNING: frozenset({S.PAUSED, S.FINISHED, S.FAILED, S.CANCELLED, S.INTERRUPTED}),
    S.PAUSED: frozenset({S.RUNNING, S.FINISHED, S.FAILED, S.CANCELLED, S.INTERRUPTED}),
    S.INTERRUPTED: frozenset({S.QUEUED, S.CANCELLED}),
    S.FAILED: frozenset({S.QUEUED}),
    S.CANCELLED: frozenset({S.QUEUED}),
    S.FINISHED: frozenset(),
}
"""From a state to those it may be left for. A paused run may finish: it may have been past its last step."""

WAITING = frozenset({S.QUEUED, S.RUNNING, S.PAUSED})
"""States in which a run still has something to do without being asked again."""

OnDone = Callable[[str], object]
Holds = Callable[[str, RunSpec], bool]


class _Tee:
    """A run's reporter: first the store, which may block, then the live feeds."""

    def __init__(self, runner: "Runner") -> None:
        self._runner = runner

    def emit(self, event: Event) -> None:
        self._runner.store.writer.emit(event)
        self._runner.publish(event)


class Runner:
    """Runs studies of one home. Methods are safe from any thread and return at once, save ``wait``, ``stop_all``.

    Args:
        store: an open store with a writer.
        jobs: runs at a time; 0 asks the study, and then the machine.
        executor: ``thread``, ``process`` or ``auto``, for studies that leave it at ``auto``.
        run_one: what trains one run; tests pass their own, with ``takes_partners`` where it trains several together.
        on_done: called from a thread of the runner with a study's id when none of its runs has anything left to do,
            or only such as wait for it.
        holds: whether a queued run of a study must wait for what ``on_done`` does when the others are done.
    """

    def __init__(
        self,
        store: "Store",
        *,
        jobs: int = 0,
        executor: str = "auto",
        run_one: RunOne | None = None,
        on_done: OnDone | None = None,
        holds: Holds | None = None,
        machine: Machine | None = None,
    ) -> None:
        self.store = store
        self.live = LiveFeed()
        self._jobs, self._executor = jobs, executor
        self._run_one, self._on_done, self._holds = run_one, on_done, holds
        self._machine = machine
        self._changed = threading.Condition(threading.RLock())
        self._states: dict[int, RunState] = {}
        self._specs: dict[int, RunSpec] = {}
        self._studies: dict[int, str] = {}
        self._queue: list[int] = []
        self._active: dict[int, RunControl] = {}
        self._idle: dict[str, list[Executor]] = {}
        self._slots: dict[int, threading.Thread] = {}
        self._group: dict[int, tuple[int, ...]] = {}  # a run that is active -> all that are trained with it
        self._parents = Parents(store)
        self._apart: set[int] = set()  # runs that gain nothing by being trained together
        self._leaving: set[int] = set()  # cancelled out of a group, which stops first
        self._feeds: list[LiveFeed] = []
        self._stopping = False
        self._scheduler: threading.Thread | None = None
        self._recover()

    # -- what callers ask ---------------------------------------------------------------------------------------

    def submit(self, study: StudySpec) -> str:
        """Queue what an equal study has not finished yet, all of it the first time. Returns the study's id."""
        runs = expand(study)
        ids = self.store.writer.call(lambda conn: mutations.add_study(conn, study, runs)).result()
        identity = study_id(study)
        rows = {row.id: S(row.state) for row in self.store.reader().runs(identity)}
        with self._changed:
            for run_id, spec in zip(ids, runs, strict=True):
                self._specs[run_id], self._studies[run_id] = spec, identity
                if run_id in self._active or run_id in self._queue:
                    continue
                self._states[run_id] = rows[run_id]
                if rows[run_id] in (S.INTERRUPTED, S.FAILED):
                    self._enter(run_id, S.QUEUED)
                if self._states[run_id] is S.QUEUED:
                    self._enqueue(run_id)
        self.start()
        return identity

    def start(self) -> None:
        """Start the scheduler; starting it again does nothing."""
        with self._changed:
            if self._scheduler is None and not self._stopping:
                self._scheduler = threading.Thread(target=self._schedule, name="scheduler", daemon=True)
                self._scheduler.start()
            self._changed.notify_all()

    def state(self, run_id: int) -> RunState:
        """The state of a run as the runner knows it, which the store shows a moment later."""
        with self._changed:
            return self._known(run_id)

    def pause(self, run_id: int) -> None:
        """Hold a running run at its next step, in memory, and with it those that are trained together with it."""
        with self._changed:
            for member in self._group.get(run_id, (run_id,)):
                self._enter(member, S.PAUSED)
            self._active[run_id].ask(Command.PAUSE)

    def resume(self, run_id: int) -> None:
        """Go on with a paused run at once; an interrupted, failed or cancelled one goes back to the queue."""
        with self._changed:
            if self._known(run_id) is S.PAUSED:
                for member in self._group.get(run_id, (run_id,)):
                    self._enter(member, S.RUNNING)
                self._active[run_id].ask(Command.GO)
            else:
                self._enter(run_id, S.QUEUED)
                self._enqueue(run_id)
        self.start()

    retry = resume
    """The same: a run begins where its last checkpoint is, or at the start where it has none."""

    def cancel(self, run_id: int) -> None:
        """End a run for good; a running one leaves at its next step without a checkpoint.

        Those that are trained together with it are stopped with one and go on without it.
        """
        with self._changed:
            if run_id in self._active:
                alone = len(self._group[run_id]) == 1
                if not alone:
                    self._leaving.add(run_id)
                self._active[run_id].ask(Command.CANCEL if alone else Command.STOP)
                return
            self._enter(run_id, S.CANCELLED)
            if run_id in self._queue:
                self._queue.remove(run_id)
            self._changed.notify_all()

    def move(self, run_id: int, position: int) -> None:
        """Put a queued run at ``position`` (0 is next) of the queue."""
        with self._changed:
            if run_id not in self._queue:
                raise InputError(tr("run {run} is not in the queue.", run=run_id))
            self._queue.remove(run_id)
            self._queue.insert(max(0, min(position, len(self._queue))), run_id)
            self._store_positions()

    def queue(self) -> tuple[int, ...]:
        """Run ids waiting to start, next first."""
        with self._changed:
            return tuple(self._queue)

    def stop_all(self, timeout: float = 120.0) -> None:
        """Checkpoint what runs and leave everything interrupted, to be resumed later. The runner ends here."""
        with self._changed:
            self._stopping = True
            for run_id in self._queue:
                self._enter(run_id, S.INTERRUPTED)
            self._queue.clear()
            for control in self._active.values():
                control.ask(Command.STOP)
            self._changed.notify_all()
            slots = list(self._slots.values())
        if self._scheduler is not None:
            self._scheduler.join(timeout)
        for slot in slots:
            slot.join(timeout)
        for executor in [e for idle in self._idle.values() for e in idle]:
            executor.close()
        self._idle.clear()

    def wait(
        self,
        study: str,
        on_event: Callable[[Event], None] | None = None,
        timeout: float | None = None,
        unless: threading.Event | None = None,
    ) -> bool:
        """Block until nothing of the study is left to do, showing ``on_event`` every event from now on.

        Returns False after ``timeout`` seconds or once ``unless`` is set.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        feed = LiveFeed()
        with self._changed:
            self._feeds.append(feed)
        try:
            while True:
                with self._changed:
                    done = not self._left_of(study)
                    if not done:
                        self._changed.wait(0.1)
                for event in feed.drain():
                    if on_event is not None:
                        on_event(event)
                if done:
                    return True
                if (deadline is not None and time.monotonic() > deadline) or (unless is not None and unless.is_set()):
                    return False
        finally:
            with self._changed:
                self._feeds.remove(feed)

    def publish(self, event: Event) -> None:
        """Show an event to all live feeds."""
        for feed in (self.live, *self._feeds):
            feed.push(event)

    # -- the state machine --------------------------------------------------------------------------------------

    def _known(self, run_id: int) -> RunState:
        if run_id not in self._states:
            row = self.store.reader().run(run_id)
            self._states[run_id] = S(row.state)
            self._studies[run_id] = row.study_id
        return self._states[run_id]

    def _enter(self, run_id: int, state: RunState, outcome: Outcome | None = None) -> None:
        """Move a run to a state and tell everyone; raises ``InputError`` where the table forbids it."""
        before = self._known(run_id)
        if state not in TRANSITIONS[before]:
            raise InputError(
                tr("run {run} is {before} and cannot become {after}.", run=run_id, before=tr(before), after=tr(state))
            )
        self._states[run_id] = state
        event = StateChanged(
            run_id,
            state,
            time.time(),
            message=outcome.message if outcome else "",
            remedy=outcome.remedy if outcome else "",
            traceback=outcome.traceback if outcome else "",
        )
        try:
            self.store.writer.emit(event)
        except ResourceError as error:
            # The disk is full: the queue goes on in memory, and the next start finds the run interrupted.
            log.warning("run %s is %s, which could not be stored: %s", run_id, state, error)
        self.publish(event)
        self._changed.notify_all()

    def _recover(self) -> None:
        """Nothing trains without being asked: what an earlier process left behind waits to be resumed."""
        left = [row for row in self.store.reader().runs() if S(row.state) in WAITING]
        with self._changed:
            for row in left:
                self._states[row.id], self._studies[row.id] = S(row.state), row.study_id
                self._enter(row.id, S.INTERRUPTED)
        self.store.writer.flush()

    def _left_of(self, study: str) -> Iterable[int]:
        return [
            run_id
            for run_id, identity in self._studies.items()
            if identity == study and (self._states[run_id] in WAITING or run_id in self._slots)
        ]

    def _enqueue(self, run_id: int) -> None:
        if run_id not in self._queue:
            self._queue.append(run_id)
            self._store_positions()
            self._changed.notify_all()

    def _store_positions(self) -> None:
        order = list(enumerate(self._queue))

        def write(conn: sqlite3.Connection) -> None:
            for position, run_id in order:
                mutations.set_position(conn, run_id, position)

        self.store.writer.call(write)

    # -- scheduling ---------------------------------------------------------------------------------------------

    def _schedule(self) -> None:
        while True:
            with self._changed:
                if self._stopping:
                    return
                between = self._between_acts()
                if between is None:
                    self._leave_orphans()
                    ready = next((run_id for run_id in self._queue if self._can_start(run_id)), None)
                    if ready is not None and len(self._slots) < self._limit(self._spec(ready)):
                        self._queue.remove(ready)
                        self._begin(ready)
                    else:
                        self._changed.wait(1.0)
                    continue
            self._open_act(between)

    def _can_start(self, run_id: int) -> bool:
        return not self._is_held(run_id) and self._parent_state(run_id) is S.FINISHED

    def _parent_state(self, run_id: int) -> RunState | None:
        """The state of the run that this one builds on; finished where it builds on none, None where it is not here."""
        parent = self._parents.id_of(run_id, self._studies[run_id], self._spec(run_id))
        return S.FINISHED if parent == run_id else None if parent is None else self._known(parent)

    def _leave_orphans(self) -> None:
        """Runs whose parent will not finish by itself leave the queue with the reason, to be resumed after it."""
        for run_id in [i for i in self._queue if self._parent_state(i) not in (S.FINISHED, *WAITING)]:
            self._queue.remove(run_id)
            self._enter(
                run_id, S.INTERRUPTED, Outcome(run_id, S.INTERRUPTED, *self._parents.missing(self._spec(run_id)))
            )

    def _is_held(self, run_id: int) -> bool:
        return self._holds is not None and self._holds(self._studies[run_id], self._spec(run_id))

    def _between_acts(self) -> str | None:
        """A study of which nothing runs or can start but what is held."""
        if self._holds is None:
            return None
        held = {run_id for run_id in self._queue if self._is_held(run_id)}
        busy = {self._studies[run_id] for run_id in (*self._slots, *self._queue) if run_id not in held}
        return next((self._studies[run_id] for run_id in self._queue if self._studies[run_id] not in busy), None)

    def _open_act(self, identity: str) -> None:
        """Do what the held runs of a study wait for; where that fails they are left to be resumed, with the reason."""
        error = self._finish(identity)
        with self._changed:
            for run_id in [i for i in self._queue if self._studies[i] == identity and self._is_held(i)]:
                self._queue.remove(run_id)
                why = (error.message, error.remedy) if error else (tr("the forecast could not be locked."), "")
                self._enter(run_id, S.INTERRUPTED, Outcome(run_id, S.INTERRUPTED, *why))

    def _spec(self, run_id: int) -> RunSpec:
        if run_id not in self._specs:
            self._specs[run_id] = self.store.reader().run_spec(run_id)
        return self._specs[run_id]

    def _the_machine(self) -> Machine:
        if self._machine is None:
            self._machine = Machine.measure()
        return self._machine

    def _limit(self, spec: RunSpec) -> int:
        return self._jobs or self._the_machine().jobs(spec)

    def _begin(self, run_id: int) -> None:
        spec = self._spec(run_id)
        machine, jobs = self._the_machine(), self._limit(spec)
        stacks = self._run_one is None or getattr(self._run_one, "takes_partners", False)
        waiting = [i for i in self._queue if i not in self._apart] if stacks and run_id not in self._apart else []
        device = machine.device(spec.execution)
        runs = (run_id, *partners(run_id, waiting, self._spec, jobs, device, list(self._slots)))
        self._queue = [i for i in self._queue if i not in runs]
        control = RunControl()
        for member in runs:
            self._active[member], self._group[member] = control, runs
            self._enter(member, S.RUNNING)
            self.store.writer.emit(Facts(member, machine.facts()))
        first, *others = (
            self._task(member, machine.freeze(self._spec(member), jobs, self._executor)) for member in runs
        )
        task = dataclasses.replace(first, partners=tuple(others))
        slot = threading.Thread(target=self._slot, args=(task, control), name=f"run-{run_id}", daemon=True)
        self._slots[run_id] = slot
        slot.start()

    def _task(self, run_id: int, spec: RunSpec) -> Task:
        parent = self._parents.parent(run_id, self._studies[run_id], self._spec(run_id))
        return Task(run_id, spec, self.store.run_folder(run_id), self.store.home / "cache", parent=parent)

    def _slot(self, task: Task, control: RunControl) -> None:
        run_id = task.run_id
        try:
            outcome = self._execute(task, control)
        except KnownError as error:
            # The machine, not the run, is at fault where a resource is missing: it can go on later.
            state = S.INTERRUPTED if isinstance(error, ResourceError) else S.FAILED
            outcome = Outcome(run_id, state, error.message, error.remedy)
        except Exception as error:  # noqa: BLE001 - the ladder goes on; the traceback is kept with the run
            outcome = Outcome(run_id, S.FAILED, f"{type(error).__name__}: {error}", "", traceback.format_exc())
        with self._changed:
            if self._stopping and outcome.state is S.FAILED and not outcome.traceback:
                outcome = Outcome(run_id, S.INTERRUPTED)  # its process was ended together with ours
            self._ended(self._group[run_id], outcome)
            identity = self._studies[run_id]
            last = not any(self._states[other] in WAITING for other, of in self._studies.items() if of == identity)
        if last and not self._stopping:
            self._finish(identity)
        with self._changed:
            self._slots.pop(run_id, None)
            self._changed.notify_all()

    def _ended(self, runs: tuple[int, ...], outcome: Outcome) -> None:
        """Bring every run of a group to its state; those that were only held up by another go on at once."""
        if outcome.apart:
            self._apart.update(runs)
        again: list[int] = []
        for run_id, one in zip(runs, outcomes(runs, outcome), strict=True):
            self._active.pop(run_id, None)
            self._group.pop(run_id, None)
            left = run_id in self._leaving
            self._leaving.discard(run_id)
            if left and one.state is S.INTERRUPTED:
                one = Outcome(run_id, S.CANCELLED)
            with contextlib.suppress(KnownError):
                self._enter(run_id, one.state, one)
            if len(runs) > 1 and one.state is S.INTERRUPTED and not one.message and not self._stopping:
                self._enter(run_id, S.QUEUED)
                again.append(run_id)
        self._queue[:0] = again
        if again:
            self._store_positions()

    def _finish(self, identity: str) -> KnownError | None:
        try:
            self.store.writer.flush()
            if self._on_done is not None:
                self._on_done(identity)
        except KnownError as error:
            # The writer has told it already; the law is fitted when the study is looked at again.
            log.info("after the last run of %s: %s", identity, error)
            return error
        except Exception:
            # A law that cannot be fitted must not lose the runs it was to be fitted to.
            log.exception("after the last run of %s", identity)
        return None

    def _execute(self, task: Task, control: RunControl) -> Outcome:
        run_one = self._run_one or run_one_of(task.spec.kind)
        name = task.spec.execution.executor
        with self._changed:
            idle = self._idle.setdefault(name, [])
            executor = idle.pop() if idle else None
        if executor is None:
            from engine.executors import make_executor

            executor = make_executor(name)
        try:
            outcome = executor.run(run_one, task, _Tee(self), control)
        except BaseException:
            executor.close()  # it may still be at work on this task
            raise
        with self._changed:
            self._idle[name].append(executor)
        return outcome
