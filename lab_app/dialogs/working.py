"""What dialogs share that start work in a thread: its progress, a way to stop it, and how it ended, in a sentence."""

from collections.abc import Callable
from typing import Any

from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QDialog, QProgressBar, QWidget

from engine.errors import KnownError
from engine.i18n import tr
from lab_app.context import Context
from lab_app.jobs import Cancelled, Preparing
from lab_app.widgets.basic import button, restyle, row, text_label

POLL_MS = 100


class WorkingDialog(QDialog):
    """A dialog with one primary button that starts something, and one that closes the dialog or stops what is on."""

    def __init__(self, context: Context, parent: QWidget) -> None:
        super().__init__(parent)
        self.context = context
        self.under_way: Preparing | None = None
        self.said = text_label("muted", wrap=True, selectable=True)
        self.progress = QProgressBar()
        self.progress.setRange(0, 100)
        self.progress.setAccessibleName(tr("Progress"))
        self.progress.hide()
        self.act, self.leave = button(primary=True), button()
        self.act.setDefault(True)
        self.leave.setText(tr("Close"))
        self.leave.clicked.connect(lambda _: self.reject())
        self._poll = QTimer(self, interval=POLL_MS)
        self._poll.timeout.connect(self._show_progress)

    def buttons(self, *more: QWidget) -> Any:
        """The last line of the dialog."""
        return row(*more, None, self.leave, self.act)

    def begin(self, work: Callable[[Preparing], Any], done: Callable[[Any], Any]) -> None:
        """Do ``work`` in a thread; ``done`` is told its result here."""
        self.under_way = told = Preparing()
        self.context.jobs.on_close.append(told.stop)
        self.act.setEnabled(False)
        self.leave.setText(tr("Stop"))
        self.progress.setValue(0)
        self.progress.show()
        self.say(tr("Working…"))
        self._poll.start()
        self.context.jobs.run(lambda: work(told), lambda result: self._over(done, result), self._failed)

    def reject(self) -> None:
        """Stop what is under way; close where nothing is."""
        if self.under_way is None:
            super().reject()
            return
        self.under_way.stop()
        self.leave.setEnabled(False)
        self.say(tr("Stopping…"))

    def say(self, sentence: str, *, bad: bool = False) -> None:
        """A sentence above the buttons."""
        self.said.setText(sentence)
        restyle(self.said, "role", "bad" if bad else "muted")

    def ready(self) -> bool:
        """Whether the primary button may be pressed now."""
        return True

    def _show_progress(self) -> None:
        if self.under_way is not None and not self.under_way.stopping and self.under_way.step:
            self.progress.setValue(round(100 * self.under_way.fraction))
            self.say(f"{tr(self.under_way.step)} {self.under_way.fraction:.0%}")

    def _rest(self) -> None:
        if self.under_way is not None:
            self.context.jobs.on_close.remove(self.under_way.stop)
        self.under_way = None
        self._poll.stop()
        self.progress.hide()
        self.leave.setText(tr("Close"))
        self.leave.setEnabled(True)
        self.act.setEnabled(self.ready())

    def _over(self, done: Callable[[Any], Any], result: Any) -> None:
        self._rest()
        self.say("")
        done(result)

    def _failed(self, error: Exception) -> None:
        self._rest()
        if isinstance(error, Cancelled):
            self.say(tr("Stopped."))
            return
        self.say(str(error), bad=True)
        if not isinstance(error, KnownError | OSError):
            self.context.operations.report(error)
