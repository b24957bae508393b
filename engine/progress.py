"""What ``run`` shows on standard error while a study trains: one bar per run at work, one for the ladder."""

from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from engine import events
from engine.events import RunState
from engine.i18n import tr

ENDED = frozenset({RunState.FINISHED, RunState.FAILED, RunState.CANCELLED, RunState.INTERRUPTED})


class StudyProgress:
    """Feed it events of one study; a context manager that owns the terminal's lines.

    Args:
        labels: run id -> the run's name.
        flops: run id -> what the run costs; the ladder's bar moves by cost, so that it ends when it says.
        done: runs that were finished before.
    """

    def __init__(
        self, labels: Mapping[int, str], flops: Mapping[int, float], done: frozenset[int] = frozenset()
    ) -> None:
        self.console = Console(stderr=True)
        self._labels, self._flops = labels, flops
        self._seen: dict[int, float] = dict.fromkeys(done, 1.0)
        self._phase: dict[int, str] = {}
        self._bars: dict[int, TaskID] = {}
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self._all = self._progress.add_task(tr("all runs"), total=1.0, note="")

    def __enter__(self) -> Self:
        self._progress.start()
        self._draw_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, event: events.Event) -> None:
        """Draw one event; events of runs that are not of this study are passed over."""
        if event.run_id not in self._labels:
            return
        match event:
            case events.StateChanged():
                self._state(event)
            case events.Phase():
                self._phase[event.run_id] = tr(event.phase)
                self._progress.update(self._bar(event.run_id), note=tr(event.phase))
            case events.Progress():
                self._step(event)
            case events.Log() if event.level == "warning":
                self.console.print(f"{self._labels[event.run_id]}: {event.text}", markup=False, highlight=False)
            case _:
                pass

    def _bar(self, run_id: int) -> TaskID:
        if run_id not in self._bars:
            self._bars[run_id] = self._progress.add_task(self._labels[run_id], total=1.0, note="")
        return self._bars[run_id]

    def _step(self, event: events.Progress) -> None:
        fraction = event.step / max(1, event.n_steps)
        self._seen[event.run_id] = fraction
        note = f"{event.tokens_per_second:,.0f} tok/s {self._phase.get(event.run_id, '')}"
        self._progress.update(self._bar(event.run_id), completed=fraction, note=note)
        self._draw_all()

    def _state(self, event: events.StateChanged) -> None:
        if event.state not in ENDED:
            return
        bar = self._bars.pop(event.run_id, None)
        if bar is not None:
            self._progress.remove_task(bar)
        if event.state is RunState.FINISHED:
            self._seen[event.run_id] = 1.0
        words = f"{self._labels[event.run_id]}: {tr(event.state)} {event.message} {event.remedy}".rstrip()
        self.console.print(words, markup=False, highlight=False)
        self._draw_all()

    def _draw_all(self) -> None:
        total = sum(self._flops.values()) or 1.0
        done = sum(self._flops[run_id] * part for run_id, part in self._seen.items() if run_id in self._flops)
        self._progress.update(self._all, completed=done / total)
