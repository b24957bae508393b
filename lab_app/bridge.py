"""The only place that drains the engine's events: one timer, a time budget per tick, one signal per tick."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QObject, QTimer, Signal

from engine.events import (
    ArtifactSaved,
    Evaluation,
    Event,
    Facts,
    Log,
    MetricBlock,
    Phase,
    Progress,
    Sample,
    StateChanged,
)

INTERVAL_MS = 40
BUDGET_SECONDS = 0.006
CHUNK = 256

Points = tuple[NDArray[np.int64], NDArray[np.float64]]


class Feed(Protocol):
    """What the runner offers: the newest events, oldest first."""

    def drain(self, max_items: int) -> list[Event]: ...


@dataclass(slots=True)
class Tick:
    """All that arrived since the last tick, sorted by kind. Of progress and phase only the newest per run."""

    metrics: dict[tuple[int, str], list[Points]] = field(default_factory=dict)
    progress: dict[int, Progress] = field(default_factory=dict)
    phases: dict[int, Phase] = field(default_factory=dict)
    states: list[StateChanged] = field(default_factory=list)
    evaluations: list[Evaluation] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    artifacts: list[ArtifactSaved] = field(default_factory=list)
    logs: list[Log] = field(default_factory=list)
    facts: list[Facts] = field(default_factory=list)

    def add(self, event: Event) -> None:
        """Sort one event in."""
        match event:
            case MetricBlock():
                self.metrics.setdefault((event.run_id, event.key), []).append((event.steps, event.values))
            case Progress():
                self.progress[event.run_id] = event
            case Phase():
                self.phases[event.run_id] = event
            case StateChanged():
                self.states.append(event)
            case Evaluation():
                self.evaluations.append(event)
            case Sample():
                self.samples.append(event)
            case ArtifactSaved():
                self.artifacts.append(event)
            case Log():
                self.logs.append(event)
            case Facts():
                self.facts.append(event)

    def points(self, run_id: int, key: str) -> Points | None:
        """The new points of one curve as two arrays, or None."""
        blocks = self.metrics.get((run_id, key))
        if not blocks:
            return None
        if len(blocks) == 1:
            return blocks[0]
        return np.concatenate([s for s, _ in blocks]), np.concatenate([v for _, v in blocks])


class Bridge(QObject):
    """Drains ``feed`` every 40 ms for at most 6 ms; what is left waits for the next tick."""

    ticked = Signal(object)

    def __init__(self, feed: Feed, parent: QObject | None = None, clock: Callable[[], float] = time.perf_counter):
        super().__init__(parent)
        self._feed = feed
        self._clock = clock
        self._timer = QTimer(self)
        self._timer.setInterval(INTERVAL_MS)
        self._timer.timeout.connect(self.drain)

    def start(self) -> None:
        """Begin to drain."""
        self._timer.start()

    def stop(self) -> None:
        """Stop draining; events wait in the feed."""
        self._timer.stop()

    def drain(self) -> None:
        """Take what the budget allows and emit it as one ``Tick``; emits nothing where nothing came."""
        until = self._clock() + BUDGET_SECONDS
        tick = Tick()
        taken = 0
        while True:
            events = self._feed.drain(CHUNK)
            for event in events:
                tick.add(event)
            taken += len(events)
            if len(events) < CHUNK or self._clock() >= until:
                break
        if taken:
            self.ticked.emit(tick)
