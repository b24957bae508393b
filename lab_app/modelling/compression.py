"""Compression: ability against cost, of a ladder with its pruned, quantized and distilled versions, and the answer."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Qt, QTimer
from PySide6.QtWidgets import QComboBox, QTabWidget, QVBoxLayout, QWidget

from engine.analysis.compression import COST, PRICES, groups, judge, measured, way_words
from engine.analysis.gains import with_interval
from engine.errors import KnownError
from engine.figures.compression import with_verdict
from engine.figures.ticks import format_count
from engine.figures.words import metric_title
from engine.i18n import mark, tr
from engine.store import VALIDATION_LOSSES
from lab_app import words
from lab_app.context import Context
from lab_app.modelling.tab import Tab
from lab_app.models.catalog import Catalog
from lab_app.plots.figure_view import FigureView
from lab_app.widgets.basic import Beside, Elided, button, clear, column, frame, row, scrolled, text_label
from lab_app.widgets.table import Column, RowsModel, Table

if TYPE_CHECKING:
    from engine.figures.model import Figure
    from engine.store import Reader

SIDE_WIDTH = 300
REBUILD_MS = 400
VERDICTS = {"better": mark("better"), "worse": mark("worse"), "open": mark("not told apart")}


@dataclass
class Shown:
    """What one read of the store gave."""

    metrics: list[tuple[str, str]] = field(default_factory=list)
    verdict: dict[str, Any] | None = None
    figures: "dict[str, Figure]" = field(default_factory=dict)
    models: list[dict[str, Any]] = field(default_factory=list)
    problem: str = ""


def read(reader: "Reader", study: str, wanted: tuple[str, str] | None) -> Shown:
    """Everything the tab shows; runs off the window's thread."""
    shown = Shown()
    children = {run.id for run in reader.runs(study) if run.kind == "compress"}
    seen = {
        (row.capability, row.metric) for row in reader.evaluations(study, final_only=True) if row.run_id in children
    }
    shown.metrics = sorted(pair for pair in seen if pair[0] != COST)
    headline = reader.study_spec(study).headline
    chosen = wanted if wanted in shown.metrics else (headline.capability, headline.metric)
    if chosen not in shown.metrics and shown.metrics and chosen not in VALIDATION_LOSSES:
        chosen = shown.metrics[0]
    try:
        models = measured(reader, study, *chosen)
        shown.verdict = judge(models, *chosen)
    except KnownError as error:
        shown.problem = str(error)
        return shown
    shown.figures = {price: with_verdict(reader, study, models, shown.verdict, price) for price in PRICES}
    shown.models = [
        {"way": group.way, "size": group.size, "seeds": len(group.models), "score": group.score, "ends": group.interval}
        | {price: group.price(price) for price in PRICES}
        for group in groups(models)
    ]
    return shown


class CompressionTab(Tab):
    """The judgement is the engine's; this tab shows it and what it rests on."""

    name = "compression"
    title = mark("Compression")
    figure_name = "compression"

    def __init__(self, context: Context, catalog: Catalog) -> None:
        super().__init__(context, catalog)
        self.metric: tuple[str, str] | None = None
        self.price = "bytes"
        self.shown = Shown()
        self._make_widgets()
        self._lay_out()
        self._soon = QTimer(self, singleShot=True, interval=REBUILD_MS)
        self._soon.timeout.connect(self.rebuild)
        self._connect()
        self._speak()
        self._show(self.shown)

    def entered(self) -> None:
        self.rebuild()

    @property
    def options(self) -> dict[str, object]:
        """Options of the figure in view, as the exporter knows them."""
        found: dict[str, object] = {"against": self.price}
        if self.shown.verdict is not None:
            found |= {key: self.shown.verdict[key] for key in ("capability", "metric")}
        return found

    def rebuild(self) -> None:
        """Read the store and judge again."""
        study, metric, reader = self.context.selection.study, self.metric, self.context.reader()
        if study:
            self.context.jobs.run(lambda: read(reader, study, metric), self._show, slot="compression")
        else:
            self._show(Shown())

    # -- widgets ------------------------------------------------------------------------------------------------

    def _make_widgets(self) -> None:
        self.heading = Elided("title")
        self.metric_box, self.price_box = QComboBox(), QComboBox()
        self.metric_box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToContents)
        self.metric_box.setMinimumContentsLength(18)
        for price in PRICES:
            self.price_box.addItem("", price)
        self.labels = [text_label("muted") for _ in range(2)]
        self.compress, self.export = button(), button(primary=True)
        self.view = FigureView(self.context.theme)
        self.problem = text_label("muted", wrap=True)
        self.problem.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.models, self.beside = RowsModel(), RowsModel()
        self.model_table, self.beside_table = Table(self.models), Table(self.beside)
        self.answer = text_label("heading")
        self.said: QVBoxLayout = column(spacing=10)

    def _lay_out(self) -> None:
        bar = row(self.labels[0], self.metric_box, self.labels[1], self.price_box, None, self.compress, self.export)
        plot = column(self.view, self.view.legend, self.problem, margins=(8, 8, 8, 6))
        self.tabs = QTabWidget()
        self.tabs.setDocumentMode(True)
        for part in (frame("plain", plot), self.model_table, self.beside_table):
            self.tabs.addTab(part, "")
        inside = QWidget()
        inside.setLayout(column(self.answer, self.said, None, spacing=10, margins=(14, 12, 14, 12)))
        self.split = Beside(self.tabs, frame("plain", column(scrolled(inside))), side_width=SIDE_WIDTH)
        self.setLayout(column(self.heading, bar, self.split, spacing=8, margins=(0, 10, 0, 0)))
        self.layout().setStretch(2, 1)

    def _connect(self) -> None:
        self.metric_box.activated.connect(lambda _: self._choose_metric())
        self.price_box.activated.connect(lambda _: self.show_price(self.price_box.currentData()))
        self.export.clicked.connect(lambda _: self.export_wanted.emit(self.figure_name, self.options))
        self.compress.clicked.connect(lambda _: self.compress_wanted.emit())
        self.context.selection.study_changed.connect(lambda _: self._other_study())
        self.catalog.changed.connect(lambda: self.isVisible() and self._soon.start())
        self.context.bridge.ticked.connect(lambda tick: tick.evaluations and self.isVisible() and self._soon.start())
        self.context.theme.changed.connect(lambda: self._show(self.shown))
        self.context.language.changed.connect(self._retranslate)

    def _other_study(self) -> None:
        self.metric = None
        if self.isVisible():
            self._soon.start()

    def _choose_metric(self) -> None:
        capability, _, metric = str(self.metric_box.currentData()).partition("/")
        self.metric = (capability, metric)
        self.rebuild()

    def show_price(self, price: str) -> None:
        """Draw the scores against another price."""
        self.price = price
        self._show(self.shown)

    # -- what is shown ------------------------------------------------------------------------------------------

    def _show(self, shown: Shown) -> None:
        self.shown = shown
        study = self.catalog.study(self.context.selection.study)
        self.heading.setText(words.study_title(study) if study is not None else tr("No study chosen"))
        self.compress.setEnabled(study is not None)
        figure = shown.figures.get(self.price)
        self.view.show_figure(figure)
        self.view.setVisible(figure is not None)
        self.problem.setVisible(figure is None)
        self.problem.setText(shown.problem or tr("Choose a study on the left, or start one on the Home page."))
        self.export.setEnabled(figure is not None)
        chosen = (shown.verdict["capability"], shown.verdict["metric"]) if shown.verdict else self.metric
        self.metric_box.clear()
        for capability, metric in dict.fromkeys([*([chosen] if chosen else []), *shown.metrics]):
            self.metric_box.addItem(metric_title(capability, metric), f"{capability}/{metric}")
        self.models.set_rows(shown.models)
        self.model_table.fit()
        compared = shown.verdict["beside"].get(self.price, []) if shown.verdict else []
        self.beside.set_rows(compared)
        self.beside_table.fit()
        self.tabs.setTabVisible(1, bool(shown.models))
        self.tabs.setTabVisible(2, bool(compared))
        self._show_words()

    def _show_words(self) -> None:
        clear(self.said)
        self.split.show_side(self.shown.verdict is not None)
        for sentence in self.shown.verdict["words"] if self.shown.verdict else ():
            said = text_label(wrap=True, selectable=True)
            said.setText(sentence)
            self.said.addWidget(said)

    def _retranslate(self) -> None:
        self._speak()
        self.rebuild()

    def _speak(self) -> None:
        for label, text in zip(self.labels, (tr("Show"), tr("against")), strict=True):
            label.setText(text)
        self.metric_box.setAccessibleName(tr("Metric"))
        self.price_box.setAccessibleName(tr("What a model costs"))
        for number, text in enumerate(PRICES.values()):
            self.price_box.setItemText(number, tr(text))
        self.compress.setText(tr("Compress…"))
        self.compress.setToolTip(tr("Make smaller models of the chosen study or run"))
        self.export.setText(tr("Export figure…"))
        self.answer.setText(tr("The answer in words"))
        for number, text in enumerate((tr("Plot"), tr("Models"), tr("Large against small"))):
            self.tabs.setTabText(number, text)
        self.model_table.setAccessibleName(tr("Models by what was done to them"))
        self.beside_table.setAccessibleName(tr("Compressed large models beside whole small ones"))
        self.models.set_columns(_model_columns())
        self.beside.set_columns(_beside_columns())


def _model_columns() -> list[Column]:
    return [
        Column(tr("Model"), lambda r: way_words(r["way"])),
        Column(tr("Parameters"), lambda r: format_count(r["size"]), number=True),
        Column(tr("Seeds"), lambda r: str(r["seeds"]), number=True),
        Column(tr("Score"), lambda r: words.value(r["score"]), number=True),
        Column(tr("95% interval"), lambda r: _ends(r["ends"]), number=True),
        Column(tr("File"), lambda r: words.size(r["bytes"]), number=True),
        Column(tr("Memory"), lambda r: words.size(r["memory"]), number=True),
        Column(tr("1 sample (ms)"), lambda r: words.value(r["latency"], 3), number=True),
        Column(tr("32 samples (ms)"), lambda r: words.value(r["latency_batch"], 3), number=True),
    ]


def _beside_columns() -> list[Column]:
    return [
        Column(tr("Made small"), lambda r: way_words(r["way"])),
        Column(tr("Parameters"), lambda r: format_count(r["size"]), number=True),
        Column(tr("Score"), lambda r: words.value(r["score"]), number=True),
        Column(tr("Whole"), lambda r: format_count(r["small_size"]), number=True),
        Column(tr("Score"), lambda r: words.value(r["small_score"]), number=True),
        Column(tr("Difference"), lambda r: with_interval(r["difference"], r["interval"]), number=True),
        Column(tr("It is"), lambda r: tr(VERDICTS[r["verdict"]])),
    ]


def _ends(interval: tuple[float, float] | None) -> str:
    return f"{words.value(interval[0])} – {words.value(interval[1])}" if interval else ""
