"""A bounded queue of events for whoever watches live: metrics may be dropped, what happened to a run never is."""

import threading
from collections import deque

from engine.events import Event, MetricBlock, Phase, Progress

DROPPABLE = (MetricBlock, Progress, Phase)
"""A courtesy only: the store holds every value, so a slow watcher loses the oldest of these first."""


class LiveFeed:
    """Safe from any thread; ``push`` never blocks. SQLite is the truth, this is for liveliness."""

    def __init__(self, capacity: int = 20_000) -> None:
        self.capacity = capacity
        self.dropped = 0
        self._lock = threading.Lock()
        self._number = 0
        self._lifecycle: deque[tuple[int, Event]] = deque()
        self._metrics: deque[tuple[int, Event]] = deque()

    def push(self, event: Event) -> None:
        """Add an event, dropping the oldest droppable one where the feed is full."""
        with self._lock:
            self._number += 1
            if not isinstance(event, DROPPABLE):
                self._lifecycle.append((self._number, event))
                return
            if len(self._metrics) >= self.capacity:
                self._metrics.popleft()
                self.dropped += 1
            self._metrics.append((self._number, event))

    def drain(self, max_items: int = 1000) -> list[Event]:
        """Take up to ``max_items`` events, oldest first."""
        taken: list[Event] = []
        with self._lock:
            while len(taken) < max_items and (self._lifecycle or self._metrics):
                first_is_metric = not self._lifecycle or (
                    bool(self._metrics) and self._metrics[0][0] < self._lifecycle[0][0]
                )
                taken.append((self._metrics if first_is_metric else self._lifecycle).popleft()[1])
        return taken

    def __len__(self) -> int:
        with self._lock:
            return len(self._lifecycle) + len(self._metrics)
