"""The Log panel: what happened to the chosen run, or to all of them, as it happens."""

import time

from PySide6.QtWidgets import QCheckBox, QPlainTextEdit, QWidget

from engine.i18n import mark
from engine.store.rows import EventRow
from lab_app import words
from lab_app.bridge import Tick
from lab_app.context import Context
from lab_app.models.catalog import Catalog
from lab_app.theme import mono_font
from lab_app.widgets.basic import column, row

MAX_LINES = 3000


class LogDock(QWidget):
    """Lines with time, run and text; only the newest few thousand are kept on screen, the store keeps all."""

    title = mark("Log")

    def __init__(self, context: Context, catalog: Catalog) -> None:
        super().__init__()
        self._context, self._catalog = context, catalog
        self.view = QPlainTextEdit()
        self.view.setReadOnly(True)
        self.view.setMaximumBlockCount(MAX_LINES)
        self.view.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self.view.setFont(mono_font())
        self.only = QCheckBox()
        self.only.toggled.connect(lambda _: self.reload())
        self.setLayout(column(row(self.only, None), self.view, spacing=4, margins=(6, 4, 6, 6)))
        say = context.language.say
        say(self, self.only.setText, mark("Only the chosen run"))
        say(self, self.view.setAccessibleName, mark("Log"))
        context.selection.run_changed.connect(lambda _: self._chosen())
        context.bridge.ticked.connect(self._tick)

    def reload(self) -> None:
        """Read the log of the chosen run from the store, or start afresh for all."""
        run = self._context.selection.run
        self.view.clear()
        if self.only.isChecked() and run:
            self._context.jobs.run(lambda: self._context.reader().log(run), self._show, slot="log")

    def write(self, when: float, run: int, level: str, text: str) -> None:
        """Add a line; ``when`` is seconds since the epoch, run 0 is the program itself."""
        self.view.appendPlainText(self._line(when, run, level, text))

    def _chosen(self) -> None:
        if self.only.isChecked():
            self.reload()

    def _show(self, events: list[EventRow]) -> None:
        lines = [self._line(e.time, e.run_id, e.level, e.text) for e in events if e.kind != "sample"]
        self.view.setPlainText("\n".join(lines[-MAX_LINES:]))
        self.view.verticalScrollBar().setValue(self.view.verticalScrollBar().maximum())

    def _tick(self, tick: Tick) -> None:
        run, only = self._context.selection.run, self.only.isChecked()
        for log in tick.logs:
            if not only or log.run_id == run:
                self.write(log.time, log.run_id, log.level, log.text)
        for event in tick.states:
            if not only or event.run_id == run:
                self.write(event.time, event.run_id, event.state, " ".join((event.message, event.remedy)).strip())

    def _line(self, when: float, run: int, level: str, text: str) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(when))
        row = self._catalog.run(run)
        who = row.label if row is not None else f"{run}" if run else "–"
        said = words.state(level) if level in words.STATES else "" if level == "info" else level
        return "  ".join(part for part in (clock, who, said, text) if part)
