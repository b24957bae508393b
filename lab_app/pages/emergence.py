"""Emergence: one ability under all its metrics by size, the verdict in words, and when it came during training."""

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtWidgets import QComboBox, QGridLayout, QTabWidget, QVBoxLayout, QWidget

from engine.analysis.abilities import judge_study, judged_capabilities, variants
from engine.capabilities import capabilities
from engine.errors import KnownError
from engine.events import RunState
from engine.figures.builders import build
from engine.figures.emergence import with_verdict
from engine.figures.ticks import format_count
from engine.figures.words import metric_name, metric_title
from engine.i18n import mark, tr
from lab_app import words
from lab_app.context import Context
from lab_app.models.catalog import Catalog
from lab_app.page import Page
from lab_app.plots.figure_view import FigureView
from lab_app.widgets.basic import Beside, Elided, button, clear, column, frame, row, scrolled, text_label
from lab_app.widgets.table import Column, RowsModel, Table

if TYPE_CHECKING:
    from engine.figures.model import Figure
    from engine.store import Reader

CONVENTIONS = {"non-embedding": mark("without embeddings"), "all": mark("all parameters")}
VERDICTS = {
    "smooth": (mark("Smooth"), "good", "check"),
    "break": (mark("A real break"), "accent", "chart"),
    "metric": (mark("Made by the metric"), "warn", "ruler"),
    "insufficient": (mark("Not enough evidence"), "muted", "help"),
}
KINDS = {"threshold": mark("threshold"), "continuous": mark("continuous")}
MOST_METRICS = 4
SIDE_WIDTH = 290
REBUILD_MS = 300
BY_SIZE, IN_TIME, SEEDS = range(3)


@dataclass
class Shown:
    """What one read of the store gave."""

    capabilities: list[str] = field(default_factory=list)
    variants: list[str] = field(default_factory=list)
    document: dict[str, Any] | None = None
    metrics: dict[str, str] = field(default_factory=dict)
    """Metric of each figure -> what kind it is, empty where it was not judged."""
    figures: list["Figure"] = field(default_factory=list)
    in_time: "list[Figure]" = field(default_factory=list)
    problem: str = ""


def read(reader: "Reader", study: str, capability: str, variant: str, convention: str) -> Shown:
    """Everything the page shows; runs off the window's thread."""
    shown = Shown(judged_capabilities(reader.evaluations(study, final_only=True)))
    runs = [run for run in reader.ladder(study) if run.state == RunState.FINISHED]
    shown.variants = variants(runs)
    headline = reader.study_spec(study).headline.capability
    if capability not in shown.capabilities:
        capability = headline if headline in shown.capabilities else next(iter(shown.capabilities), "")
    if variant not in shown.variants:
        variant = next(iter(shown.variants), "")
    if not capability:
        shown.problem = tr("No ability of this study has been measured yet. Finished runs bring the first scores.")
        return shown
    try:
        document = shown.document = judge_study(reader, study, capability, variant or None, convention)
        judged = {str(m["metric"]): str(m["kind"]) for m in document["metrics"][:MOST_METRICS]}
        shown.metrics = judged or dict.fromkeys(_measured(reader, study, capability)[:MOST_METRICS], "")
        for metric in shown.metrics:
            if judged:
                shown.figures.append(with_verdict(reader, study, document, metric, convention, variant))
            else:  # too few sizes for a verdict are no reason to hide what was measured
                options = {"capability": capability, "metric": metric, "convention": convention, "variant": variant}
                shown.figures.append(build(reader, "capability-vs-params", study, **options))
    except KnownError as error:
        shown.problem = str(error)
        return shown
    keys = {key for run in runs for key in reader.metric_keys(run.id) if key.startswith(f"{capability}/")}
    shown.in_time = [build(reader, "loss-curves", study, key=key, x="step", smooth=0.0) for key in sorted(keys)]
    return shown


def _measured(reader: "Reader", study: str, capability: str) -> list[str]:
    """Metrics that have scores, in the order in which the capability declares them where it is one of ours."""
    there = {row.metric for row in reader.evaluations(study, final_only=True) if row.capability == capability}
    declared = capabilities[capability].metrics if capability in capabilities else ()
    return [metric.name for metric in declared if metric.name in there] or sorted(there)


class EmergencePage(Page):
    """The verdict is the engine's; this page shows what it rests on."""

    name = "emergence"
    title = mark("Emergence")
    icon = "emergence"
    export_wanted = Signal(str, dict)
    figure_name = "emergence"

    def __init__(self, context: Context, catalog: Catalog) -> None:
        super().__init__(context, catalog)
        self.capability, self.variant = "", ""
        self.convention = context.settings.text("scale/convention", "non-embedding")
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
        metric = next(iter(self.shown.metrics), "")
        found = {"capability": self.capability, "metric": metric, "convention": self.convention}
        return found | ({"variant": self.variant} if len(self.shown.variants) > 1 else {})

    def rebuild(self) -> None:
        """Read the store and judge again."""
        study, capability, variant, convention = (
            self.context.selection.study,
            self.capability,
            self.variant,
            self.convention,
        )
        reader = self.context.reader()
        if study:
            self.context.jobs.run(
                lambda: read(reader, study, capability, variant, convention), self._show, slot="emergence"
            )
        else:
            self._show(Shown())

    # -- widgets ------------------------------------------------------------------------------------------------

    def _make_widgets(self) -> None:
        theme = self.context.theme
        self.heading = Elided("title")
        self.capability_box, self.variant_box, self.convention_box = QComboBox(), QComboBox(), QComboBox()
        for name in CONVENTIONS:
            self.convention_box.addItem("", name)
        self.convention_box.setCurrentIndex(max(0, self.convention_box.findData(self.convention)))
        for box in (self.capability_box, self.variant_box):
            box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToContents)
        self.labels = [text_label("muted") for _ in range(3)]
        self.export = button(primary=True)
        self.views = [FigureView(theme) for _ in range(MOST_METRICS)]
        self.titles = [Elided("caption") for _ in range(MOST_METRICS)]
        self.time_view, self.time_box = FigureView(theme), QComboBox()
        self.problem = text_label("muted", wrap=True)
        self.problem.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.seeds = RowsModel()
        self.seed_table = Table(self.seeds)
        self.sign, self.verdict = text_label(), text_label("title", wrap=True)
        self.said = text_label(wrap=True, selectable=True)
        self.facts: QVBoxLayout = column(spacing=6)

    def _lay_out(self) -> None:
        bar = row(
            self.labels[0],
            self.capability_box,
            self.labels[1],
            self.variant_box,
            self.labels[2],
            self.convention_box,
            None,
            self.export,
        )
        grid = QGridLayout()
        grid.setSpacing(8)
        grid.setContentsMargins(0, 0, 0, 0)
        self.frames = []
        for number, (title, view) in enumerate(zip(self.titles, self.views, strict=True)):
            inside = column(title, view, spacing=2, margins=(8, 6, 8, 6))
            self.frames.append(frame("plain", inside))
            grid.addWidget(self.frames[-1], number // 2, number % 2)
        for line in range(2):
            grid.setRowStretch(line, 1)
            grid.setColumnStretch(line, 1)
        by_size = QWidget()
        by_size.setLayout(column(grid, self.views[0].legend, self.problem, spacing=6))
        in_time = column(row(self.time_box, None), self.time_view, self.time_view.legend, margins=(8, 8, 8, 6))
        self.tabs = QTabWidget()
        self.tabs.setDocumentMode(True)
        for page in (by_size, frame("plain", in_time), self.seed_table):
            self.tabs.addTab(page, "")
        head = row(self.sign, self.verdict, spacing=10)
        head.setStretch(1, 1)
        inside = QWidget()
        inside.setLayout(column(head, self.said, self.facts, None, spacing=10, margins=(14, 12, 14, 12)))
        self.side = frame("plain", column(scrolled(inside)))
        self.split = Beside(self.tabs, self.side, side_width=SIDE_WIDTH)
        self.setLayout(column(self.heading, bar, self.split, spacing=8, margins=(18, 12, 18, 12)))
        self.layout().setStretch(2, 1)

    def _connect(self) -> None:
        self.capability_box.activated.connect(lambda _: self._choose("capability", self.capability_box.currentData()))
        self.variant_box.activated.connect(lambda _: self._choose("variant", self.variant_box.currentData()))
        self.convention_box.activated.connect(lambda _: self._choose("convention", self.convention_box.currentData()))
        self.time_box.activated.connect(lambda _: self._show_time())
        self.export.clicked.connect(lambda _: self.export_wanted.emit(self.figure_name, self.options))
        self.context.selection.study_changed.connect(lambda _: self._other_study())
        self.catalog.changed.connect(lambda: self.isVisible() and self._soon.start())
        self.context.bridge.ticked.connect(lambda tick: tick.evaluations and self.isVisible() and self._soon.start())
        self.context.theme.changed.connect(lambda: self._show(self.shown))
        self.context.language.changed.connect(self._retranslate)

    def _other_study(self) -> None:
        self.capability, self.variant = "", ""
        if self.isVisible():
            self._soon.start()

    def _choose(self, what: str, value: str) -> None:
        setattr(self, what, value)
        self.rebuild()

    # -- what is shown ------------------------------------------------------------------------------------------

    def _show(self, shown: Shown) -> None:
        self.shown = shown
        study = self.catalog.study(self.context.selection.study)
        self.heading.setText(study.shown_title if study is not None else tr("No study chosen"))
        if shown.document is not None:
            self.capability = str(shown.document["capability"])
        self._fill_boxes()
        self._show_figures()
        self._show_time()
        self._show_seeds()
        self._show_verdict()

    def _fill_boxes(self) -> None:
        _fill(self.capability_box, [(_title(name), name) for name in self.shown.capabilities], self.capability)
        _fill(self.variant_box, [(_variant(text), text) for text in self.shown.variants], self.variant)
        several = len(self.shown.variants) > 1
        self.variant_box.setVisible(several)
        self.labels[1].setVisible(several)

    def _show_figures(self) -> None:
        shown = self.shown
        self.problem.setVisible(not shown.figures)
        unjudged = shown.problem or (str(shown.document["words"]) if shown.document else "")
        self.problem.setText(unjudged or tr("Choose a study on the left, or start one on the Home page."))
        self.export.setEnabled(bool(shown.document and shown.document["metrics"]))
        kinds = list(shown.metrics.items())
        for number, (holder, title, view) in enumerate(zip(self.frames, self.titles, self.views, strict=True)):
            there = number < len(shown.figures)
            holder.setVisible(there)
            view.show_figure(shown.figures[number] if there else None)
            if there:
                figure = shown.figures[number]
                # The title above says what is measured.
                view.set_titles(figure.x.label, "", figure.x.kind, figure.y.kind)
                metric, kind = kinds[number]
                name = metric_name(self.capability, metric)
                title.setText(f"{name} · {tr(KINDS[kind])}" if kind in KINDS else name)

    def _show_time(self) -> None:
        figures = self.shown.in_time
        keys = [str(figure.provenance["metric"]) for figure in figures]
        _fill(self.time_box, [(metric_title(*key.split("/", 1)), key) for key in keys], self.time_box.currentData())
        chosen = max(0, self.time_box.currentIndex())
        self.time_view.show_figure(figures[chosen] if figures else None)
        self.tabs.setTabVisible(IN_TIME, bool(figures))

    def _show_seeds(self) -> None:
        rows = self.shown.document["seeds"] if self.shown.document else []
        self.seeds.set_rows(rows)
        self.seed_table.fit()
        self.tabs.setTabVisible(SEEDS, bool(rows))

    def _show_verdict(self) -> None:
        clear(self.facts)
        document = self.shown.document
        self.split.show_side(document is not None)
        if document is None:
            return
        title, role, icon = VERDICTS[document["verdict"]]
        theme = self.context.theme
        self.sign.setPixmap(theme.pixmap(icon, getattr(theme.colors, role), 28))
        self.verdict.setText(tr(title))
        self.said.setText(str(document["words"]))
        for sentence in _facts(document):
            said = text_label(wrap=True, selectable=True)
            said.setText(sentence)
            self.facts.addWidget(said)
        # The sentence may end with the first of them already.
        missing = [str(gap["words"]) for gap in document["missing"] if gap["words"] not in document["words"]]
        if missing:
            head = text_label("heading")
            head.setText(tr("What is missing"))
            self.facts.addWidget(head)
        for gap in missing:
            said = text_label("warn", wrap=True, selectable=True)
            said.setText(gap)
            self.facts.addWidget(said)

    def _retranslate(self) -> None:
        self._speak()
        self.rebuild()

    def _speak(self) -> None:
        for label, text in zip(self.labels, (tr("Ability"), tr("of"), tr("against")), strict=True):
            label.setText(text)
        self.capability_box.setAccessibleName(tr("Ability"))
        self.variant_box.setAccessibleName(tr("Which part of the study"))
        self.convention_box.setAccessibleName(tr("How parameters are counted"))
        self.time_box.setAccessibleName(tr("Metric"))
        for number, text in enumerate(CONVENTIONS.values()):
            self.convention_box.setItemText(number, tr(text))
        self.export.setText(tr("Export figure…"))
        for number, text in ((BY_SIZE, tr("By size")), (IN_TIME, tr("In time")), (SEEDS, tr("Seeds"))):
            self.tabs.setTabText(number, text)
        self.seed_table.setAccessibleName(tr("Seeds at each size"))
        self.seeds.set_columns(
            [
                Column(tr("Parameters"), lambda r: format_count(r["size"]), number=True),
                Column(tr("Seeds"), lambda r: str(r["n_seeds"]), number=True),
                Column(tr("Mean"), lambda r: words.value(r["mean"]), number=True),
                Column(tr("Spread (sd)"), lambda r: words.value(r["sd"]), number=True),
                Column(tr("Learned it"), lambda r: f"{r['learned']}/{r['n_seeds']}", number=True),
                Column(tr("95% interval of the share"), _share, number=True),
            ]
        )


def _share(seeds: dict[str, Any]) -> str:
    low, high = seeds["interval"]
    return f"{low:.2f} – {high:.2f}"


def _facts(document: dict[str, Any]) -> list[str]:
    """The numbers behind the words."""
    said = []
    percent = f"{100 * document['level']:g}"
    if document["critical_size"]:
        low, high = document["interval"]
        at = {"size": format_count(document["critical_size"]), "low": format_count(low), "high": format_count(high)}
        said.append(tr("Critical size: {size} ({percent}% interval {low} to {high}).", percent=percent, **at))
    sharp = document["sharpness"]
    if sharp:
        low, high = sharp["interval"]
        values = {
            "width": words.value(sharp["width_decades"], 3),
            "low": words.value(low, 3),
            "high": words.value(high, 3),
        }
        said.append(
            tr("From a tenth to nine tenths of its rise: {width} decades of size ({low} to {high}).", **values)
            + " "
            + tr("The sizes stand {spacing} apart.", spacing=words.value(sharp["grid_spacing"], 3))
        )
    gain = document["evidence"]["break_gain"]
    if gain is not None:
        said.append(
            tr("On left-out sizes a break predicts {gain} nats better than the best smooth curve.", gain=f"{gain:+.1f}")
        )
    return said


def _title(name: str) -> str:
    return tr(capabilities[name].title) if name in capabilities else name


def _variant(text: str) -> str:
    varied = json.loads(text or "{}")
    return ", ".join(f"{key.rsplit('.', 1)[-1]} = {value}" for key, value in varied.items()) or tr("the plain ladder")


def _fill(box: QComboBox, items: list[tuple[str, str]], chosen: str | None) -> None:
    """Other items in a box without a signal; what was chosen stays chosen where it is still there."""
    box.blockSignals(True)
    box.clear()
    for text, value in items:
        box.addItem(text, value)
    box.setCurrentIndex(max(0, box.findData(chosen)))
    box.blockSignals(False)
