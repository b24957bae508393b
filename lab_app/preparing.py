"""The preparation of data in a thread, and how the window ends one that it no longer wants."""

import threading


class Cancelled(Exception):
    """The person no longer wants the data prepared."""


class Preparing:
    """One preparation under way: what the thread says of it, and how it is told to stop."""

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
