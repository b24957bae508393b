"""What studies cost on this machine: a first guess at once, the engine's measured plan when nothing trains."""

import json
import statistics
from collections.abc import Callable
from typing import TYPE_CHECKING

import psutil

from engine.errors import KnownError
from engine.study import StudySpec, spec_hash

if TYPE_CHECKING:
    from lab_app.context import Context

GUESS_CORES = 2
"""Cores of the machine that ``budget.cpu_seconds`` was measured on."""
PACE = "pace/"


class Costs:
    """Seconds per study, remembered in the settings by the study's hash."""

    def __init__(self, context: "Context", busy: Callable[[], bool]) -> None:
        self._context = context
        self._busy = busy
        try:
            self._known: dict[str, float] = json.loads(context.settings.text("costs", "{}"))
        except ValueError:
            self._known = {}

    def seconds(self, study: StudySpec) -> tuple[float, bool]:
        """(seconds, whether they were measured on this machine)."""
        known = self._known.get(self._key(study))
        if known is not None:
            return known, True
        return study.budget.cpu_seconds * self._pace(), False

    def measure(self, study: StudySpec, done: Callable[[], None]) -> None:
        """Have the engine plan the study in a job, unless that is known or something trains now."""
        if self._key(study) in self._known:
            return

        def work() -> float | None:
            # Calibrating beside a training run would disturb both.
            if self._busy():
                return None
            from engine.bases import settle
            from engine.planning import plan

            home = self._context.lab.home
            seconds = plan(settle(study, home), home)["seconds"]
            return None if seconds is None else float(seconds)  # None where the study does not fit here

        def keep(seconds: float | None) -> None:
            if seconds is not None:
                self._known[self._key(study)] = seconds
                self._known[PACE + study.name] = seconds / study.budget.cpu_seconds
                self._context.settings.put("costs", json.dumps(self._known))
                done()

        def failed(error: Exception) -> None:
            # Nobody asked for this: without a measurement the guess stands. The wizard's estimate says what is wrong.
            if not isinstance(error, KnownError):
                self._context.operations.report(error)

        self._context.warmth.when_warm(lambda: self._context.jobs.run(work, keep, failed))

    def _pace(self) -> float:
        """This machine's time over that of the one budgets were measured on: as measured, else by its cores."""
        paces = [pace for name, pace in self._known.items() if name.startswith(PACE)]
        if paces:
            return statistics.median(paces)
        cores = psutil.cpu_count(logical=False) or GUESS_CORES
        return GUESS_CORES / max(GUESS_CORES, min(cores, 16))

    @staticmethod
    def _key(study: StudySpec) -> str:
        return spec_hash(study)[:16]
