"""The status bar: what runs now, how long it takes, how fast, memory, and that nothing leaves this machine."""

from typing import TYPE_CHECKING

from PySide6.QtWidgets import QStatusBar

from engine.events import RunState
from engine.i18n import tr
from lab_app import words
from lab_app.context import Context
from lab_app.models.catalog import Catalog
from lab_app.widgets.basic import restyle, text_label

if TYPE_CHECKING:
    from lab_app.hardware import Reading


class StatusBar(QStatusBar):
    """Words beside every sign; refreshed when runs go on, never by a timer of its own."""

    def __init__(self, context: Context, catalog: Catalog) -> None:
        super().__init__()
        self._context, self._catalog = context, catalog
        self.setSizeGripEnabled(False)
        self.setContentsMargins(10, 0, 10, 0)
        self.activity, self.left, self.speed, self.memory, self.offline, self.saved = (text_label() for _ in range(6))
        for label in (self.activity, self.left, self.speed, self.memory):
            self.addWidget(label)
        for label in (self.saved, self.offline):
            self.addPermanentWidget(label)
        self._reading: Reading | None = None
        catalog.changed.connect(self.refresh)
        catalog.progressed.connect(lambda _: self.refresh())
        context.language.changed.connect(self.refresh)
        context.theme.changed.connect(self.refresh)
        context.warmth.warmed.connect(self.refresh)
        self.refresh()

    def show_reading(self, reading: "Reading") -> None:
        """Take over what the Hardware panel measured."""
        self._reading = reading
        self._show_memory()

    def refresh(self) -> None:
        """Say what is going on now."""
        running = [run for run in self._catalog.active() if run.state == RunState.RUNNING]
        waiting = sum(run.state == RunState.QUEUED for run in self._catalog.active())
        self._show_activity([run.id for run in running], waiting)
        left = [self._catalog.live(run.id).seconds_left for run in running]
        known = [seconds for seconds in left if seconds is not None]
        self.left.setText(tr("{time} left", time=words.duration(max(known))) if known else "")
        speeds = [self._catalog.live(run.id) for run in running]
        total = sum(live.steps_per_second * _tokens_per_step(live) for live in speeds)
        self.speed.setText(tr("{n} tokens/s", n=words.count(total)) if total else "")
        for label in (self.left, self.speed):
            label.setVisible(bool(label.text()))
        self._show_memory()
        problem = self._context.lab.store.writer.problem
        self.saved.setText(tr("Not saved") if problem else tr("All saved"))
        self.saved.setToolTip(str(problem) if problem else tr("Every measured value is in the data folder."))
        restyle(self.saved, "role", "bad" if problem else "")
        self.offline.setText(tr("Offline"))
        self.offline.setToolTip(tr("The program makes no network connection."))

    def _show_activity(self, running: list[int], waiting: int) -> None:
        if not running:
            loading = "" if self._context.warmth.warm else tr("Loading the training engine…")
            self.activity.setText(tr("{n} runs waiting", n=waiting) if waiting else loading or tr("Idle"))
            return
        run = self._catalog.run(running[0])
        live = self._catalog.live(running[0])
        parts = [run.label] if run is not None else []
        if live.phase is not None:
            parts.append(tr(words.PHASES[live.phase.phase]))
        if live.progress is not None:
            parts.append(tr("step {step} of {n}", step=f"{live.progress.step:,}", n=f"{live.progress.n_steps:,}"))
        if len(running) > 1:
            parts.append(tr("and {n} more", n=len(running) - 1))
        if waiting:
            parts.append(tr("{n} runs waiting", n=waiting))
        self.activity.setText(" · ".join(parts))

    def _show_memory(self) -> None:
        reading = self._reading
        if reading is None:
            self.memory.setText("")
            return
        if reading.gpus:
            used, total = reading.gpus[0].memory_used, reading.gpus[0].memory_total
            text = tr("GPU memory {used} of {total}", used=words.size(used), total=words.size(total))
        else:
            used, total = reading.memory_used, reading.memory_total
            text = tr("memory {used} of {total}", used=words.size(used), total=words.size(total))
        self.memory.setText(text)


def _tokens_per_step(live: object) -> float:
    progress = getattr(live, "progress", None)
    return progress.tokens_seen / progress.step if progress is not None and progress.step else 0.0
