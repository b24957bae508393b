"""What the runner asks of a run that is at work: go, wait, stop, cancel."""

import threading

from engine.events import Command


class RunControl:
    """What the runner asks of one run; implements ``engine.events.Control``."""

    def __init__(self) -> None:
        self._command = Command.GO
        self._changed = threading.Condition()

    def poll(self) -> Command:
        return self._command

    def wait(self, seconds: float) -> Command:
        with self._changed:
            self._changed.wait_for(lambda: self._command is not Command.PAUSE, seconds)
        return self._command

    def ask(self, command: Command) -> None:
        with self._changed:
            if self._command not in (Command.STOP, Command.CANCEL):  # leaving is final
                self._command = command
            self._changed.notify_all()
