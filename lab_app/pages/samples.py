"""Samples: what every size of a study makes, side by side, from its first steps to its last."""

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, QTimer, QUrl
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QCheckBox, QComboBox, QGridLayout, QWidget

from engine.i18n import mark, tr
from lab_app import words
from lab_app.bridge import Tick
from lab_app.context import Context
from lab_app.models.catalog import Catalog
from lab_app.models.made import Cell, media_words, read_cells
from lab_app.page import Page
from lab_app.sound import Player
from lab_app.theme import mono_font
from lab_app.widgets.basic import Elided, button, clear, column, row, scrolled, text_label
from lab_app.widgets.media import card

if TYPE_CHECKING:
    from engine.store.rows import RunRow

RELOAD_MS = 1_000
CELL_WIDTH = 172


class SamplesPage(Page):
    """One row for each size, one column for each time in training; seeds and variants are chosen above."""

    name = "samples"
    title = mark("Samples")
    icon = "samples"

    def __init__(self, context: Context, catalog: Catalog) -> None:
        super().__init__(context, catalog)
        self.player = Player(self)
        self.cells: list[Cell] = []
        self.heading = Elided("title")
        self.empty = text_label("muted", wrap=True)
        self.which_label, self.which = text_label("muted"), QComboBox()
        self.last = QCheckBox()
        self.last.setChecked(context.settings.flag("samples/last", False))
        self.folder = button()
        self.grid = QGridLayout()
        self.grid.setSpacing(10)
        inside = QWidget()
        inside.setLayout(column(self.grid, None))
        self.area = scrolled(inside)
        self.area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAsNeeded)
        bar = row(self.which_label, self.which, self.last, None, self.folder)
        self.setLayout(column(self.heading, self.empty, bar, self.area, spacing=8, margins=(18, 12, 18, 12)))
        self.layout().setStretch(3, 1)
        self._reload = QTimer(self, singleShot=True, interval=RELOAD_MS)
        self._reload.timeout.connect(self.load)
        self.which.currentIndexChanged.connect(lambda _: self.load())
        self.last.toggled.connect(self._toggled)
        self.folder.clicked.connect(lambda _: self._open_folder())
        context.selection.study_changed.connect(lambda _: self.isVisible() and self.show_study())
        context.selection.run_changed.connect(lambda _: self._enable())
        context.bridge.ticked.connect(self._tick)
        catalog.changed.connect(lambda: self.isVisible() and self._list_choices())
        context.language.changed.connect(self._speak)
        self._speak()

    def entered(self) -> None:
        self.show_study()

    def left(self) -> None:
        self.player.stop()

    def show_study(self) -> None:
        """Show the chosen study."""
        self.player.stop()
        self._list_choices()
        self.load()

    def load(self) -> None:
        """Read what the runs in view made."""
        runs, store, reader = self._runs(), self.context.lab.store, self.context.reader()
        folders = {run.id: store.run_folder(run.id) for run in runs}

        self.context.jobs.run(lambda: read_cells(reader, folders), self._show, slot="samples-page")

    def _runs(self) -> "list[RunRow]":
        """The runs of the chosen seed and variant, smallest first."""
        chosen = self.which.currentText()
        return [run for run in self.catalog.runs(self.context.selection.study) if _choice(run) == chosen]

    def _list_choices(self) -> None:
        study = self.catalog.study(self.context.selection.study)
        self.heading.setText(words.study_title(study) if study is not None else tr("No study chosen"))
        choices = list(dict.fromkeys(_choice(run) for run in self.catalog.runs(self.context.selection.study)))
        if choices != [self.which.itemText(i) for i in range(self.which.count())]:
            kept = self.which.currentText()
            self.which.blockSignals(True)
            self.which.clear()
            self.which.addItems(choices)
            self.which.setCurrentIndex(max(0, self.which.findText(kept)))
            self.which.blockSignals(False)
        self._enable()

    def _show(self, cells: list[Cell]) -> None:
        self.cells = cells
        self._draw()

    def _draw(self) -> None:
        clear(self.grid)
        runs = {run.id: run for run in self._runs()}
        rows = [run for run in runs.values() if any(cell.run_id == run.id for cell in self.cells)]
        self.empty.setText(self._nothing())
        self.empty.setVisible(not rows)
        self.area.setVisible(bool(rows))
        for at, run in enumerate(rows, 1):
            mine = [cell for cell in self.cells if cell.run_id == run.id]
            mine = mine[-1:] if self.last.isChecked() else mine
            name = text_label("heading")
            name.setText(words.count(run.n_params_non_embedding))
            name.setToolTip(run.label)
            self.grid.addWidget(name, at, 0, Qt.AlignmentFlag.AlignTop)
            for place, cell in enumerate(mine, 1):
                self.grid.addWidget(self._card(cell, run), at, place)
        corner = text_label("caption")
        corner.setText(tr("Parameters"))
        self.grid.addWidget(corner, 0, 0)
        for place in range(1, self.grid.columnCount()):
            self.grid.setColumnStretch(place, 1)
            self.grid.setColumnMinimumWidth(place, CELL_WIDTH)

    def _card(self, cell: Cell, run: "RunRow") -> QWidget:
        share = cell.step / max(1, run.n_steps)
        when = tr("step {step} · {share:.0%} of training", step=f"{cell.step:,}", share=share)
        return card(when, cell.items, self.player, mono_font(), media_words())

    def _nothing(self) -> str:
        if not self.context.selection.study:
            return tr("Choose a study on the left, or start one on the Home page.")
        runs = self.catalog.runs(self.context.selection.study)
        if runs and all(run.kind == "finetune" for run in runs):
            return tr("A classifier makes no samples: what it told of every test item is on Models, under Results.")
        return tr("No samples yet.") + " " + tr("A model shows what it makes four times while it trains.")

    def _tick(self, tick: Tick) -> None:
        if not tick.samples or not self.isVisible() or self._reload.isActive():
            return
        shown = {run.id for run in self._runs()}
        if any(sample.run_id in shown for sample in tick.samples):
            self._reload.start()

    def _toggled(self, last: bool) -> None:
        self.context.settings.put("samples/last", last)
        self._draw()

    def _folder(self) -> str:
        run = self.context.selection.run or next((run.id for run in reversed(self._runs())), 0)
        return str(self.context.lab.store.run_folder(run)) if run else ""

    def _open_folder(self) -> None:
        QDesktopServices.openUrl(QUrl.fromLocalFile(self._folder()))

    def _enable(self) -> None:
        self.folder.setEnabled(bool(self._folder()))

    def _speak(self) -> None:
        self.which_label.setText(tr("Seed"))
        self.which.setAccessibleName(tr("Seed and variant"))
        self.last.setText(tr("Only the last"))
        self.last.setToolTip(tr("Show what each size makes at the end, without the steps before"))
        self.folder.setText(tr("Open folder"))
        self.folder.setToolTip(tr("Open the folder of the chosen run, where images and sounds are files"))
        self._list_choices()
        self._draw()


def _choice(run: "RunRow") -> str:
    """Seed and variant in one line."""
    varied = " · ".join(f"{name.rsplit('.', 1)[-1]} {value}" for name, value in run.variant.items())
    return f"{run.seed} · {varied}" if varied else str(run.seed)
