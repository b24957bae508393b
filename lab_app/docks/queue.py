"""The Queue panel: what runs, what waits, what was stopped, and what can be done about it."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from PySide6.QtCore import QModelIndex, QPersistentModelIndex, QRectF, Qt
from PySide6.QtGui import QColor, QPainter
from PySide6.QtWidgets import QStyledItemDelegate, QStyleOptionViewItem, QToolButton, QWidget

from engine.events import RunState
from engine.i18n import mark, tr
from lab_app import words
from lab_app.context import Context
from lab_app.models.catalog import Catalog
from lab_app.operations import RESUMABLE, STOPPABLE
from lab_app.widgets.basic import column, row, text_label
from lab_app.widgets.table import Column, RowsModel, Table

if TYPE_CHECKING:
    from engine.store.rows import RunRow

PROGRESS = 3


class ProgressDelegate(QStyledItemDelegate):
    """Draws a share as a thin bar with the per cent beside it."""

    def __init__(self, model: RowsModel, catalog: Catalog, context: Context) -> None:
        super().__init__()
        self._model, self._catalog, self._theme = model, catalog, context.theme

    def paint(
        self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex
    ) -> None:
        super().paint(painter, option, index)
        run = self._model.rows[index.row()]
        colors = self._theme.colors
        area = QRectF(option.rect).adjusted(6, 0, -48, 0)
        if area.width() < 12:
            return
        bar = QRectF(area.x(), area.center().y() - 3, area.width(), 6)
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(colors.border))
        painter.drawRoundedRect(bar, 3, 3)
        bar.setWidth(bar.width() * self._catalog.fraction(run))
        painter.setBrush(QColor(self._theme.state_color(run.state)))
        painter.drawRoundedRect(bar, 3, 3)
        painter.restore()


class QueueDock(QWidget):
    """A table of runs with buttons; rows that progress are repainted one by one."""

    title = mark("Queue")

    def __init__(self, context: Context, catalog: Catalog) -> None:
        super().__init__()
        self._context, self._catalog = context, catalog
        self.model = RowsModel(key=lambda run: run.id)
        self.table = Table(self.model)
        self._delegate = ProgressDelegate(self.model, catalog, context)
        self.table.setItemDelegateForColumn(PROGRESS, self._delegate)
        self.empty = text_label("muted")
        self.buttons = [
            self._button("resume", mark("Resume or try again"), self.resume),
            self._button("pause", mark("Pause"), self.pause),
            self._button("cancel", mark("Cancel"), self.cancel),
            self._button("up", mark("Earlier in the queue"), lambda: self.shift(-1)),
            self._button("down", mark("Later in the queue"), lambda: self.shift(1)),
        ]
        # A row, not a column: an empty queue should take no more of the window than its buttons need.
        top = row(*self.buttons, self.empty, None, spacing=2)
        self.setLayout(column(top, self.table, spacing=2, margins=(6, 2, 6, 4)))
        self.table.setMinimumHeight(96)  # headings and the two rows that run side by side
        say = context.language.say
        say(self, self.table.setAccessibleName, mark("Queue of runs"))
        say(self, self.empty.setText, mark("Nothing is running or waiting."))
        context.language.changed.connect(self._speak)
        context.theme.changed.connect(self._speak)
        catalog.changed.connect(self.refresh)
        catalog.progressed.connect(self._progressed)
        self.table.selectionModel().selectionChanged.connect(lambda *_: self._selected())
        self._speak()
        for number, width in enumerate((30, 170, 180, 140, 100, 64, 84)):
            self.table.setColumnWidth(number, width)
        self.refresh()

    def refresh(self) -> None:
        """Show the catalogue's waiting runs."""
        self.model.set_rows(self._catalog.waiting())
        self.table.setVisible(bool(self.model.rows))
        self.empty.setVisible(not self.model.rows)
        self._enable()

    def chosen(self) -> list["RunRow"]:
        """The selected runs; all of them where none is selected."""
        numbers = self.table.chosen()
        return [self.model.rows[i] for i in numbers] if numbers else list(self.model.rows)

    def resume(self) -> None:
        """Go on with the chosen runs."""
        self._context.operations.resume(self.chosen())

    def pause(self) -> None:
        """Hold the chosen runs."""
        self._context.operations.pause(self.chosen())

    def cancel(self) -> None:
        """End the selected runs for good; nothing where none is selected, so that no slip empties the queue."""
        self._context.operations.cancel([self.model.rows[i] for i in self.table.chosen()])

    def shift(self, by: int) -> None:
        """Move the one selected queued run earlier or later."""
        numbers = self.table.chosen()
        queued = [run.id for run in self.model.rows if run.state == RunState.QUEUED]
        if len(numbers) == 1 and self.model.rows[numbers[0]].id in queued:
            run = self.model.rows[numbers[0]]
            self._context.operations.move(run.id, max(0, queued.index(run.id) + by))
            self._catalog.reload_soon()

    def _button(self, icon: str, text: str, do: Callable[[], None]) -> QToolButton:
        made = QToolButton()
        self._context.theme.show_icon(made, made.setIcon, icon)
        self._context.language.say(made, made.setToolTip, text)
        self._context.language.say(made, made.setAccessibleName, text)
        made.clicked.connect(lambda _: do())
        return made

    def _selected(self) -> None:
        numbers = self.table.chosen()
        if len(numbers) == 1:
            run = self.model.rows[numbers[0]]
            self._context.selection.choose_run(run.study_id, run.id)
        self._enable()

    def _enable(self) -> None:
        resume, pause, cancel, up, down = self.buttons
        runs, chosen = self.chosen(), self.table.chosen()
        resume.setEnabled(any(run.state in RESUMABLE for run in runs))
        pause.setEnabled(any(run.state == RunState.RUNNING for run in runs))
        cancel.setEnabled(any(self.model.rows[i].state in STOPPABLE for i in chosen))
        movable = len(chosen) == 1 and self.model.rows[chosen[0]].state == RunState.QUEUED
        up.setEnabled(movable)
        down.setEnabled(movable)

    def _progressed(self, runs: set[int]) -> None:
        for number, run in enumerate(self.model.rows):
            if run.id in runs:
                self.model.touch(number)

    def _speak(self) -> None:
        catalog, theme = self._catalog, self._context.theme

        def study(run: "RunRow") -> str:
            found = catalog.study(run.study_id)
            return found.shown_title if found is not None else run.study_id

        def left(run: "RunRow") -> str:
            return words.duration(catalog.live(run.id).seconds_left) if run.state == RunState.RUNNING else ""

        def state(run: "RunRow") -> str:
            phase = catalog.live(run.id).phase
            busy = run.state == RunState.RUNNING and phase is not None
            return tr(words.PHASES[phase.phase]) if busy and phase is not None else words.state(run.state)

        self.model.set_columns(
            [
                Column("#", lambda run: str(self.model.rows.index(run) + 1), number=True),
                Column(tr("Study"), study),
                Column(tr("Run"), lambda run: run.label, tip=lambda run: run.label),
                Column(tr("Progress"), lambda run: f"{catalog.fraction(run):.0%}", number=True),
                Column(
                    tr("State"),
                    state,
                    icon=lambda run: theme.icon(f"state-{run.state}", theme.state_color(run.state)),
                    color=lambda run: theme.state_color(run.state),
                    tip=lambda run: " ".join(filter(None, (run.error, run.remedy))),
                ),
                Column(tr("Left"), left, number=True),
                Column(tr("Tokens/s"), lambda run: words.count(run.tokens_per_second or None), number=True),
                Column(tr("Message"), lambda run: run.error, tip=lambda run: run.remedy),
            ]
        )
