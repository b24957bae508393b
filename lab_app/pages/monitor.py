"""Monitor: every run of a study while it trains, live, on any axis."""

import time
from typing import TYPE_CHECKING

import msgspec
from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtGui import QColor, QIcon, QPainter, QPixmap
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QGridLayout,
    QSlider,
    QSpinBox,
    QSplitter,
    QTabWidget,
    QWidget,
)

from engine.events import RunState
from engine.figures.words import counts_samples, loss_words
from engine.i18n import mark, tr
from engine.study import RunSpec
from lab_app import words
from lab_app.bridge import Tick
from lab_app.context import Context
from lab_app.models.catalog import Catalog
from lab_app.models.made import Cell, media_words, read_cells
from lab_app.page import Page
from lab_app.plots.curves import X_AXES, LossLines, MetricLine, RunCurves
from lab_app.plots.plot import SYMBOLS, Plot
from lab_app.sound import Player
from lab_app.theme import mono_font
from lab_app.widgets.basic import Elided, button, clear, column, frame, row, scrolled, text_label
from lab_app.widgets.media import card
from lab_app.widgets.table import Column, RowsModel, Table

if TYPE_CHECKING:
    from engine.store.reader import Curve
    from engine.store.rows import RunRow

KEYS = ("train/loss", "val/loss", "lr", "grad_norm", "tokens_per_second")
SMALL = {
    "lr": mark("Learning rate"),
    "grad_norm": mark("Gradient norm"),
    "tokens_per_second": mark("Tokens per second"),
}
AXES = {"step": mark("Steps"), "tokens": mark("Tokens"), "flops": mark("FLOPs"), "seconds": mark("Time (s)")}
OF_SAMPLES = {"tokens": mark("Training samples"), "tokens_per_second": mark("Samples per second")}
"""What is said in place of tokens where the data are images, waves or vectors."""
MAX_POINTS = 20_000
RAW_RUNS = 24
"""Above so many runs the raw lines would only make a haze."""
REDRAW_MS = 120
REDRAW_SHARE = 12
"""The window draws at most one twelfth of its time, however slow the machine."""
DASHES = ("solid", "dashed", "dotted", "dashdot")


class MonitorPage(Page):
    """History is read from the store, live points join behind its last step."""

    name = "monitor"
    title = mark("Monitor")
    icon = "monitor"
    export_wanted = Signal(str, dict)
    """(figure name, options)."""
    figure_name = "loss-curves"

    def __init__(self, context: Context, catalog: Catalog) -> None:
        super().__init__(context, catalog)
        self.study = ""
        self.curves: dict[int, RunCurves] = {}
        self.loss_lines: dict[int, LossLines] = {}
        self.metric_lines: dict[tuple[int, str], MetricLine] = {}
        self._dirty: set[int] = set()
        self._make_widgets()
        self._lay_out()
        self._redraw = QTimer(self, singleShot=True, interval=REDRAW_MS)
        self._redraw.timeout.connect(self._draw_dirty)
        self._speak()
        self._connect()
        self.show_study(context.selection.study)

    @property
    def options(self) -> dict[str, object]:
        """Options of the figure in view, as the exporter knows them."""
        return {"x": self._axis()}

    def entered(self) -> None:
        if self.study != self.context.selection.study:
            self.show_study(self.context.selection.study)
        self._draw_all()

    def show_study(self, study: str) -> None:
        """Read a study's curves and draw them."""
        self.study = study
        for line in (*self.loss_lines.values(), *self.metric_lines.values()):
            line.remove()
        self.curves.clear()
        self.loss_lines.clear()
        self.metric_lines.clear()
        self._add_runs()
        self._title_axes()
        self._load_history()
        self._refresh_list()
        self._load_samples()
        self.loss.fit()
        for plot in self.small.values():
            plot.getViewBox().enableAutoRange(axis="y")

    def _make_widgets(self) -> None:
        theme, settings = self.context.theme, self.context.settings
        self.heading = Elided("title")
        self.empty = text_label("muted", wrap=True)
        self.axis = QComboBox()
        for name in X_AXES:
            self.axis.addItem("", name)
        self.axis.setCurrentIndex(max(0, self.axis.findData(settings.text("monitor/axis", "tokens"))))
        self.log_x, self.log_y, self.raw = QCheckBox(), QCheckBox(), QCheckBox()
        self.log_x.setChecked(settings.flag("monitor/log-x", True))
        self.log_y.setChecked(settings.flag("monitor/log-y", True))
        self.raw.setChecked(settings.flag("monitor/raw", True))
        self.smooth, self.smooth_box = QSlider(Qt.Orientation.Horizontal), QSpinBox()
        for one in (self.smooth, self.smooth_box):
            one.setRange(0, 30)
            one.setValue(int(settings.number("monitor/smooth", 4)))
        self.smooth.setFixedWidth(90)
        self.smooth_box.setSuffix(" %")
        self.smooth_label, self.axis_label = text_label("muted"), text_label("muted")
        self.export = button()
        self.loss = Plot(theme)
        self.small = {key: Plot(theme) for key in SMALL}
        self.small_titles = {key: text_label("caption") for key in SMALL}
        self.runs = RowsModel(key=lambda run: run.id)
        self.table = Table(self.runs)
        self.player = Player(self)
        self.samples = column(spacing=8, margins=(4, 4, 4, 4))
        made = QWidget()
        made.setLayout(self.samples)
        self.tabs = QTabWidget()
        self.tabs.setDocumentMode(True)
        self.tabs.addTab(self.table, "")
        self.tabs.addTab(scrolled(made), "")

    def _lay_out(self) -> None:
        bar = row(
            self.axis_label,
            self.axis,
            self.log_x,
            self.log_y,
            self.raw,
            self.smooth_label,
            self.smooth,
            self.smooth_box,
            None,
            self.export,
            spacing=8,
        )
        grid = QGridLayout()
        grid.setSpacing(8)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.addWidget(frame("plain", column(self.loss, margins=(6, 6, 6, 4))), 0, 0, 1, 3)
        # Their names stand above them: beside such low plots they would not fit.
        for number, (key, plot) in enumerate(self.small.items()):
            grid.addWidget(
                frame("plain", column(self.small_titles[key], plot, spacing=0, margins=(6, 5, 6, 2))), 1, number
            )
        grid.setRowStretch(0, 5)
        grid.setRowStretch(1, 2)
        plots = QWidget()
        plots.setLayout(grid)
        self.split = QSplitter(Qt.Orientation.Horizontal)
        self.split.addWidget(plots)
        self.split.addWidget(frame("plain", column(self.tabs, margins=(4, 4, 4, 4))))
        self.split.setStretchFactor(0, 4)
        self.split.setStretchFactor(1, 1)
        self.split.setSizes([650, 280])
        self.setLayout(column(self.heading, self.empty, bar, self.split, spacing=8, margins=(18, 12, 18, 12)))
        self.layout().setStretch(3, 1)

    def _connect(self) -> None:
        self.axis.currentIndexChanged.connect(lambda _: self._changed_view(fit=True))
        for box in (self.log_x, self.log_y):
            box.toggled.connect(lambda _: self._changed_view(fit=True))
        self.raw.toggled.connect(lambda _: self._changed_view())
        self.smooth.valueChanged.connect(self.smooth_box.setValue)
        self.smooth_box.valueChanged.connect(self.smooth.setValue)
        self.smooth.valueChanged.connect(lambda _: self._changed_view())
        self.export.clicked.connect(lambda _: self.export_wanted.emit(self.figure_name, self.options))
        self.loss.getViewBox().sigXRangeChanged.connect(self._follow)
        self.table.selectionModel().selectionChanged.connect(lambda *_: self._chosen())
        selection = self.context.selection
        selection.study_changed.connect(lambda study: self.isVisible() and self.show_study(study))
        selection.hidden_changed.connect(self._draw_all)
        selection.run_changed.connect(lambda _: self._load_samples())
        self.context.bridge.ticked.connect(self._tick)
        self.catalog.changed.connect(self._catalog_changed)
        self.context.theme.changed.connect(lambda: self.show_study(self.study))
        self.context.language.changed.connect(self._speak)

    # -- what is shown ------------------------------------------------------------------------------------------

    def _axis(self) -> str:
        """The chosen axis, or steps where an imported study does not tell it: all would lie at zero."""
        chosen: str = self.axis.currentData()
        told = {"tokens": "tokens_seen", "flops": "compute_flops", "seconds": "seconds"}.get(chosen)
        runs = self.catalog.runs(self.study)
        if told is None or not runs or runs[0].kind != "import":
            return chosen
        return chosen if any(getattr(run, told) > 0 for run in runs) else "step"

    def _add_runs(self) -> None:
        runs = self.catalog.runs(self.study)
        sizes = sorted({run.size_index for run in runs})
        symbols = list(SYMBOLS.values())
        seeds = sorted({run.seed for run in runs})
        for run in runs:
            if run.id in self.curves:
                continue
            spec = msgspec.json.decode(run.spec_json, type=RunSpec)
            steps = max(1, spec.training.n_steps)
            index = sizes.index(run.size_index)
            curves = RunCurves(
                run.id,
                self.context.theme.size_color(index, len(sizes)),
                DASHES[seeds.index(run.seed) % len(DASHES)],
                symbols[index % len(symbols)],
                spec.training.tokens / steps,
                spec.compute_flops / steps,
            )
            self.curves[run.id] = curves
            self.loss_lines[run.id] = LossLines(self.loss, curves)
            for key, plot in self.small.items():
                self.metric_lines[run.id, key] = MetricLine(plot, curves, key)

    def _load_history(self) -> None:
        wanted = tuple(self.curves)
        reader = self.context.reader()

        def work() -> "dict[tuple[int, str], Curve]":
            return {(run, key): reader.curve(run, key, MAX_POINTS) for run in wanted for key in KEYS}

        if wanted:
            self.context.jobs.run(work, self._take_history, slot="monitor")

    def _take_history(self, found: "dict[tuple[int, str], Curve]") -> None:
        for (run, key), (steps, values) in found.items():
            if run in self.curves and len(steps):
                self.curves[run].buffer(key).put_before(steps, values)
        self._draw_all()
        self._refresh_list()

    def _tick(self, tick: Tick) -> None:
        for run_id, key in tick.metrics:
            curves = self.curves.get(run_id)
            points = tick.points(run_id, key)
            if curves is not None and key in KEYS and points is not None and curves.buffer(key).append(*points):
                self._dirty.add(run_id)
        if self._dirty and self.isVisible() and not self._redraw.isActive():
            self._redraw.start()
        chosen = self._sample_run()
        if any(sample.run_id == chosen for sample in tick.samples):
            self._load_samples()

    def _draw_dirty(self) -> None:
        began = time.perf_counter()
        dirty, self._dirty = self._dirty, set()
        for run_id in dirty:
            self._draw(run_id)
        spent = (time.perf_counter() - began) * 1000
        self._redraw.setInterval(max(REDRAW_MS, int(spent * REDRAW_SHARE)))
        self.table.viewport().update()

    def _draw(self, run_id: int) -> None:
        if run_id in self.context.selection.hidden or run_id not in self.loss_lines:
            return
        axis, share = self._axis(), self.smooth.value() / 100
        self.loss_lines[run_id].draw(axis, share, self.raw.isChecked() and len(self.curves) <= RAW_RUNS)
        for key in SMALL:
            self.metric_lines[run_id, key].draw(axis, 0.0 if key == "lr" else max(share, 0.01))

    def _follow(self, _: object, ends: tuple[float, float]) -> None:
        """The small plots show what the large one does; pyqtgraph's own link would align them by pixels."""
        for plot in self.small.values():
            plot.setXRange(*ends, padding=0)

    def _draw_all(self) -> None:
        self._dirty.clear()
        log_x, log_y = self.log_x.isChecked(), self.log_y.isChecked()
        self.loss.set_log(log_x, log_y)
        for plot in self.small.values():
            plot.set_log(log_x, False)
        if not self.isVisible():
            return
        for run_id, lines in self.loss_lines.items():
            visible = run_id not in self.context.selection.hidden
            lines.show(visible)
            for key in SMALL:
                self.metric_lines[run_id, key].show(visible)
            self._draw(run_id)
        self.runs.set_rows(self.runs.rows)
        self._describe()

    def _describe(self) -> None:
        overfit = [run for run, lines in self.loss_lines.items() if lines.overfits]
        text = tr("Training and validation loss of {n} runs.", n=len(self.curves))
        if overfit:
            text += " " + tr("{n} of them overfit from the mark on.", n=len(overfit))
        self.loss.setAccessibleDescription(text)

    def _changed_view(self, *, fit: bool = False) -> None:
        put = self.context.settings.put
        put("monitor/axis", self.axis.currentData())
        put("monitor/log-x", self.log_x.isChecked())
        put("monitor/log-y", self.log_y.isChecked())
        put("monitor/raw", self.raw.isChecked())
        put("monitor/smooth", self.smooth.value())
        self._title_axes()
        self._draw_all()
        if fit:
            self.loss.fit()

    # -- the list and the samples -------------------------------------------------------------------------------

    def _catalog_changed(self) -> None:
        known = {run.id for run in self.catalog.runs(self.study)}
        if known - self.curves.keys():
            self._add_runs()
            self._load_history()
        self._refresh_list()

    def _refresh_list(self) -> None:
        runs = self.catalog.runs(self.study)
        study = self.catalog.study(self.study)
        self.heading.setText(words.study_title(study) if study is not None else tr("No study chosen"))
        without = study is not None and study.imported and not self._has_points()
        choose = mark("Choose a study on the left, or start one on the Home page.")
        self.empty.setText(tr(mark("This study was imported without curves of training.") if without else choose))
        self.empty.setVisible(study is None or without)
        self.runs.set_rows(runs)
        self.table.setColumnWidth(0, 90)
        self.table.setColumnWidth(1, 70)
        self.table.setColumnWidth(2, 60)  # stretched to what is left

    def _has_points(self) -> bool:
        return any(buffer.n for curves in self.curves.values() for buffer in curves.buffers.values())

    def _chosen(self) -> None:
        numbers = self.table.chosen()
        if len(numbers) == 1:
            run = self.runs.rows[numbers[0]]
            self.context.selection.choose_run(run.study_id, run.id)

    def _sample_run(self) -> int:
        """The chosen run, else the largest one that is on its way or finished."""
        chosen = self.context.selection.run
        if chosen in self.curves:
            return chosen
        runs = [run for run in self.catalog.runs(self.study) if run.state in (RunState.RUNNING, RunState.FINISHED)]
        return runs[-1].id if runs else 0

    def _load_samples(self) -> None:
        run = self._sample_run()
        folders = {run: self.context.lab.store.run_folder(run)} if run else {}
        reader = self.context.reader()
        self.context.jobs.run(lambda: read_cells(reader, folders), self._show_samples, slot="samples")

    def _show_samples(self, cells: list[Cell]) -> None:
        clear(self.samples)
        for cell in reversed(cells):
            when = tr("step {step}", step=f"{cell.step:,}")
            self.samples.addWidget(card(when, cell.items, self.player, mono_font(), media_words()))
        if not cells:
            nothing = text_label("muted", wrap=True)
            nothing.setText(tr("No samples yet."))
            self.samples.addWidget(nothing)
        self.samples.addStretch(1)

    def _swatch(self, run: "RunRow") -> QIcon:
        curves = self.curves.get(run.id)
        picture = QPixmap(14, 14)
        picture.fill(Qt.GlobalColor.transparent)
        if curves is not None:
            painter = QPainter(picture)
            painter.setRenderHint(QPainter.RenderHint.Antialiasing)
            painter.setPen(Qt.PenStyle.NoPen)
            color = QColor(curves.color)
            color.setAlphaF(0.25 if run.id in self.context.selection.hidden else 1.0)
            painter.setBrush(color)
            painter.drawRoundedRect(1, 3, 12, 8, 2, 2)
            painter.end()
        return QIcon(picture)

    def _last(self, run: "RunRow") -> str:
        curves = self.curves.get(run.id)
        buffer = curves.buffers.get("val/loss") if curves is not None else None
        if buffer is not None and buffer.n:
            return words.value(float(buffer.values[-1]))
        return words.value(run.val_loss) if run.val_loss is not None else ""

    def _title_axes(self) -> None:
        runs = self.catalog.runs(self.study)
        of_samples = OF_SAMPLES if counts_samples(runs) else {}
        for number, name in enumerate(X_AXES):
            self.axis.setItemText(number, tr(of_samples.get(name, AXES[name])))
        label = self.axis.itemText(self.axis.findData(self._axis()))
        self.loss.set_titles(label, loss_words(runs, ""), "count")
        for key, plot in self.small.items():
            title = tr(of_samples.get(key, SMALL[key]))
            self.small_titles[key].setText(title)
            plot.setAccessibleName(title)
            plot.set_titles("", "", "count", "count" if key == "tokens_per_second" else "number")

    def _speak(self) -> None:
        theme = self.context.theme
        self.axis_label.setText(tr("Horizontal"))
        self.axis.setAccessibleName(tr("Horizontal axis"))
        self.log_x.setText(tr("log x"))
        self.log_y.setText(tr("log y"))
        self.raw.setText(tr("raw"))
        self.raw.setToolTip(tr("Show every value behind the running mean"))
        self.smooth_label.setText(tr("Smoothing"))
        self.smooth.setAccessibleName(tr("Smoothing"))
        self.smooth_box.setAccessibleName(tr("Smoothing in per cent of the run"))
        self.export.setText(tr("Export…"))
        self.tabs.setTabText(0, tr("Runs"))
        self.tabs.setTabText(1, tr("Samples"))
        self.table.setAccessibleName(tr("Runs of this study"))
        self._load_samples()
        self.loss.setAccessibleName(tr("Loss while training"))
        self.runs.set_columns(
            [
                Column(tr("Parameters"), _name, icon=self._swatch, tip=lambda run: run.label),
                Column(tr("Val. loss"), self._last, number=True),
                Column(
                    tr("State"),
                    words.run_state,
                    icon=lambda run: theme.icon(f"state-{run.state}", theme.state_color(run.state)),
                    color=lambda run: theme.state_color(run.state),
                ),
            ]
        )
        self._title_axes()
        self._refresh_list()


def _name(run: "RunRow") -> str:
    varied = "".join(f" {value}" for value in run.variant.values())
    return f"{words.count(run.n_params_non_embedding)}{varied} #{run.seed}"
