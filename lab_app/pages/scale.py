"""Scale: loss and capabilities against size, the law with its interval, and what the law leaves over."""

from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtWidgets import QCheckBox, QComboBox, QMenu, QTabWidget, QToolButton, QVBoxLayout, QWidget

from engine.errors import KnownError
from engine.events import RunState
from engine.figures.builders import TITLES, available, build
from engine.figures.comparison import comparable
from engine.figures.ticks import format_number
from engine.figures.words import metric_title
from engine.i18n import mark, tr
from engine.study_laws import law_in_words
from lab_app import law_words, words
from lab_app.context import Context
from lab_app.models.catalog import Catalog
from lab_app.operations import ACTIVE
from lab_app.page import Page
from lab_app.plots.figure_view import FigureView
from lab_app.widgets.basic import Beside, Elided, button, clear, column, frame, row, scrolled, text_label
from lab_app.widgets.table import Column, RowsModel, Table

if TYPE_CHECKING:
    from engine.figures.model import Figure
    from engine.store import Reader
    from engine.store.rows import EvaluationRow

LOSS = ("language-modelling", "loss")
VALIDATION_LOSS = ("validation", "loss")
"""What families that are no language models record: ``LOSS`` shows it too."""
FIGURE = "figure"
"""In place of a capability: what is chosen is a figure of the whole study."""
CONVENTIONS = {"non-embedding": mark("without embeddings"), "all": mark("all parameters")}
LAW_WIDTH = 272
REBUILD_MS = 250
PATIENCE_SECONDS = 120.0
"""How long the fit of a finished study may take before the page no longer waits for it."""
RESIDUALS = 1
"""The tab of the residuals, there only where there is a law."""


class Shown:
    """What one read of the store gave."""

    def __init__(self) -> None:
        self.metric = LOSS
        self.figure: Figure | None = None
        self.residuals: Figure | None = None
        self.law: dict[str, Any] | None = None
        self.choices: list[tuple[str, str]] = []
        self.more: list[str] = []
        self.comparable: list[str] = []
        self.others: tuple[str, ...] = ()
        self.problem = ""


class ScalePage(Page):
    """Figures are built by the engine off the window's thread; this page only draws them."""

    name = "scale"
    title = mark("Scale")
    icon = "scale"
    export_wanted = Signal(str, dict)

    def __init__(self, context: Context, catalog: Catalog) -> None:
        super().__init__(context, catalog)
        self.metric: tuple[str, str] = LOSS
        self._follows = True
        """Nothing was chosen for this study yet: its headline is shown, as soon as there is one."""
        self.convention = context.settings.text("scale/convention", "non-embedding")
        self.shown = Shown()
        self.others: tuple[str, ...] = ()
        """Studies shown beside the chosen one."""
        self._wants_capability = False
        self._awaited: set[tuple[str, int]] = set()
        self._make_widgets()
        self._lay_out()
        self._soon = QTimer(self, singleShot=True, interval=REBUILD_MS)
        self._soon.timeout.connect(self.rebuild)
        self._connect()
        self._speak()
        self.rebuild()

    def entered(self) -> None:
        self.rebuild()

    @property
    def figure_name(self) -> str:
        """The name of the figure in view, as the exporter knows it."""
        return _figure(self.metric, self.convention, self.others)[0]

    @property
    def options(self) -> dict[str, object]:
        """Its options."""
        return _figure(self.metric, self.convention, self.others)[1]

    def show_metric(self, capability: str, metric: str) -> None:
        """Show a metric of a capability."""
        self._wants_capability = self._follows = False
        self.metric = (capability, metric)
        self.others = () if capability == FIGURE else self.others
        self.rebuild()

    def show_capability(self) -> None:
        """Show the study's first ability beside its loss, as soon as it is known which there are."""
        self._wants_capability = True
        self.rebuild()

    def switch_convention(self) -> None:
        """Count parameters the other way."""
        self.convention = "all" if self.convention == "non-embedding" else "non-embedding"
        self.context.settings.put("scale/convention", self.convention)
        self.convention_box.setCurrentIndex(self.convention_box.findData(self.convention))
        self.rebuild()

    def rebuild(self) -> None:
        """Read the store and draw again."""
        study, chosen, convention = self.context.selection.study, self.metric, self.convention
        beside, follows, reader = self.others, self._follows, self.context.reader()

        def work() -> Shown:
            shown = Shown()
            shown.choices = _choices(reader.evaluations(study, final_only=True))
            shown.metric = metric = _headline(reader, study, shown.choices) if follows else chosen
            shown.more = available(reader, study)
            shown.comparable = comparable(reader, study, *metric)
            shown.others = tuple(other for other in beside if other in shown.comparable)
            name, options = _figure(metric, convention, shown.others)
            try:
                shown.figure = build(reader, name, study, **options)
                shown.law = law_in_words(reader, study) if name == "loss-vs-params" else None
                if shown.law is not None:
                    shown.residuals = build(reader, "residuals", study, convention=convention)
            except KnownError as error:
                shown.problem = str(error)
            return shown

        if study:
            self.context.jobs.run(work, self._show, slot="scale")
        else:
            self._show(Shown())

    def _make_widgets(self) -> None:
        theme = self.context.theme
        self.heading = Elided("title")
        self.metric_box, self.convention_box = QComboBox(), QComboBox()
        self.metric_box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToContents)
        self.metric_box.setMinimumContentsLength(18)
        for name in CONVENTIONS:
            self.convention_box.addItem("", name)
        self.convention_box.setCurrentIndex(max(0, self.convention_box.findData(self.convention)))
        self.log_x, self.log_y = QCheckBox(), QCheckBox()
        self.compare = QToolButton()
        self.compare.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.compare.setMenu(QMenu(self.compare))
        self.export = button(primary=True)
        self.labels = [text_label("muted") for _ in range(2)]
        self.view, self.residuals = FigureView(theme), FigureView(theme)
        self.problem = text_label("muted", wrap=True)
        self.problem.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.table_model = RowsModel()
        self.table = Table(self.table_model)
        self.law_title, self.equation = text_label("heading"), text_label("number", wrap=True, selectable=True)
        self.law_box: QVBoxLayout = column(spacing=7)
        self.caption = text_label("caption", wrap=True, selectable=True)

    def _lay_out(self) -> None:
        bar = row(
            self.labels[0],
            self.metric_box,
            self.labels[1],
            self.convention_box,
            self.log_x,
            self.log_y,
            self.compare,
            None,
            self.export,
        )
        self.tabs = QTabWidget()
        self.tabs.setDocumentMode(True)
        self.tabs.addTab(frame("plain", column(self.view, self.view.legend, self.problem, margins=(8, 8, 8, 6))), "")
        self.tabs.addTab(frame("plain", column(self.residuals, margins=(8, 8, 8, 4))), "")
        self.tabs.addTab(self.table, "")
        inside = QWidget()
        inside.setLayout(
            column(self.law_title, self.equation, self.law_box, self.caption, None, spacing=8, margins=(14, 12, 14, 12))
        )
        self.law_frame = frame("plain", column(scrolled(inside)))
        self.split = Beside(self.tabs, self.law_frame, side_width=LAW_WIDTH)
        self.setLayout(column(self.heading, bar, self.split, spacing=8, margins=(18, 12, 18, 12)))
        self.layout().setStretch(2, 1)

    def _connect(self) -> None:
        self.metric_box.activated.connect(lambda _: self.show_metric(*self.metric_box.currentData().split("/", 1)))
        self.convention_box.activated.connect(lambda _: self._choose_convention())
        for box in (self.log_x, self.log_y):
            box.toggled.connect(lambda _: self.view.set_log(self.log_x.isChecked(), self.log_y.isChecked()))
        self.view.scales_changed.connect(self.view.fit)
        self.export.clicked.connect(lambda _: self.export_wanted.emit(self.figure_name, self.options))
        self.context.selection.study_changed.connect(lambda _: self._other_study())
        self.catalog.changed.connect(lambda: self.isVisible() and self._soon.start())
        self.context.bridge.ticked.connect(lambda tick: tick.evaluations and self.isVisible() and self._soon.start())
        self.context.theme.changed.connect(self._show_law)
        self.context.language.changed.connect(self._retranslate)

    def _other_study(self) -> None:
        if self.metric[0] == FIGURE or self.metric == LOSS:
            self._follows = True
        self.others = ()
        self._soon.start()

    def _choose_convention(self) -> None:
        if self.convention_box.currentData() != self.convention:
            self.switch_convention()

    def _show(self, shown: Shown) -> None:
        wanted, self._wants_capability = self._wants_capability, False
        other = [choice for choice in shown.choices if choice[0] != LOSS[0]]
        if wanted and self.metric[0] == LOSS[0] and other:
            self.show_metric(*other[0])
            return
        self.shown, self.others, self.metric = shown, shown.others, shown.metric
        study = self.catalog.study(self.context.selection.study)
        self.heading.setText(words.study_title(study) if study is not None else tr("No study chosen"))
        self._show_choices()
        self._show_comparable()
        self.view.show_figure(shown.figure)
        self.view.setVisible(shown.figure is not None)
        self.problem.setVisible(shown.figure is None)
        self.problem.setText(shown.problem or tr("Choose a study on the left, or start one on the Home page."))
        self.export.setEnabled(shown.figure is not None)
        self.residuals.show_figure(shown.residuals)
        self.tabs.setTabVisible(RESIDUALS, shown.residuals is not None)
        for box, log in ((self.log_x, self.view.x_log), (self.log_y, self.view.y_log)):
            box.blockSignals(True)
            box.setChecked(log)
            box.blockSignals(False)
        self._show_table()
        self._show_law()
        self._await_law()

    def _await_law(self) -> None:
        """A law is fitted a moment after the last run: be told when that is over, once for every end of a study."""
        study, runner = self.context.selection.study, self.context.lab.runner
        runs = self.catalog.runs(study)
        ended = (study, sum(run.state == RunState.FINISHED for run in runs))
        coming = self.shown.law is None and self.metric == LOSS and not self.others and ended[1] > 0
        if coming and ended not in self._awaited and not any(run.state in ACTIVE for run in runs):
            self._awaited.add(ended)
            self.context.jobs.run(lambda: runner.wait(study, timeout=PATIENCE_SECONDS), lambda _: self.rebuild())

    def _show_choices(self) -> None:
        self.metric_box.clear()
        for capability, metric in [LOSS, *(c for c in self.shown.choices if c != LOSS)]:
            self.metric_box.addItem(metric_title(capability, metric), f"{capability}/{metric}")
        if self.shown.more:
            self.metric_box.insertSeparator(self.metric_box.count())
        for name in self.shown.more:
            self.metric_box.addItem(tr(TITLES[name]), f"{FIGURE}/{name}")
        self.metric_box.setCurrentIndex(max(0, self.metric_box.findData("/".join(self.metric))))

    def _show_comparable(self) -> None:
        menu = self.compare.menu()
        menu.clear()
        for identity in self.shown.comparable:
            study = self.catalog.study(identity)
            action = menu.addAction(words.study_title(study) if study is not None else identity)
            action.setCheckable(True)
            action.setChecked(identity in self.others)
            action.toggled.connect(lambda on, identity=identity: self.show_beside(identity, on))
        self.compare.setEnabled(bool(self.shown.comparable) and self.metric[0] != FIGURE)

    def show_beside(self, study: str, shown: bool) -> None:
        """Draw another study on the same axes, or no longer."""
        rest = tuple(other for other in self.others if other != study)
        self.others = (*rest, study) if shown else rest
        self.rebuild()

    def _show_table(self) -> None:
        figure = self.shown.figure
        rows = figure.table()[1] if figure is not None else []

        def cell(number: int) -> Column:
            title = (tr("Series"), figure.x.label if figure else "x", figure.y.label if figure else "y")
            head = (*title, tr("Lower"), tr("Upper"))[number]
            return Column(head, lambda r: _cell(r[number]), number=number > 0)

        self.table_model.set_columns([cell(i) for i in range(5)])
        self.table_model.set_rows(rows)
        self.table.fit()

    def _show_law(self) -> None:
        clear(self.law_box)
        figure, law = self.shown.figure, self.shown.law
        self.caption.setText(figure.caption if figure is not None else "")
        self.split.show_side(figure is not None)
        facts = figure.provenance.get("law") if figure is not None else None
        if law is None or facts is None:
            self.equation.hide()
            self.law_title.setText(tr("What is shown"))
            if figure is not None and self.metric == LOSS and not self.others:
                said = text_label("muted", wrap=True)
                said.setText(tr("A law is fitted when all runs are finished and there are at least four sizes."))
                self.law_box.addWidget(said)
            return
        # Under the other convention the figure holds a fit of its own.
        law = {**law, **facts}
        self.law_title.setText(tr("The law in words"))
        self.equation.setText(law_words.equation(law))
        self.equation.show()
        for sentence in law_words.sentences(law):
            said = text_label(wrap=True, selectable=True)
            said.setText(sentence)
            self.law_box.addWidget(said)
        for warning in law_words.warnings(law):
            self.law_box.addWidget(self._warning(warning))

    def _warning(self, text: str) -> QWidget:
        theme = self.context.theme
        sign, said = text_label(), text_label("warn", wrap=True, selectable=True)
        sign.setPixmap(theme.pixmap("warning", theme.colors.warn, 16))
        sign.setAlignment(Qt.AlignmentFlag.AlignTop)
        said.setText(text)
        holder = QWidget()
        holder.setLayout(row(sign, said, spacing=6))
        holder.layout().setStretch(1, 1)
        return holder

    def _retranslate(self) -> None:
        self._speak()
        self.rebuild()

    def _speak(self) -> None:
        self.labels[0].setText(tr("Show"))
        self.labels[1].setText(tr("against"))
        self.metric_box.setAccessibleName(tr("Metric"))
        self.convention_box.setAccessibleName(tr("How parameters are counted"))
        for number, text in enumerate(CONVENTIONS.values()):
            self.convention_box.setItemText(number, tr(text))
        self.log_x.setText(tr("log x"))
        self.log_y.setText(tr("log y"))
        self.compare.setText(tr("Compare with…"))
        self.compare.setToolTip(tr("Draw other studies on the same axes"))
        self.export.setText(tr("Export figure…"))
        self.tabs.setTabText(0, tr("Plot"))
        self.tabs.setTabText(RESIDUALS, tr("Residuals"))
        self.tabs.setTabText(2, tr("Table"))
        self.table.setAccessibleName(tr("The plotted values"))


def _figure(metric: tuple[str, str], convention: str, others: tuple[str, ...]) -> tuple[str, dict[str, object]]:
    """Name and options of the figure of a metric, alone or beside other studies."""
    if metric[0] == FIGURE:
        return metric[1], {}
    options: dict[str, object] = {"convention": convention}
    if metric != LOSS or others:
        options |= {"capability": metric[0], "metric": metric[1]}
    if others:
        return "comparison", options | {"others": ",".join(others)}
    return ("loss-vs-params" if metric == LOSS else "capability-vs-params"), options


def _headline(reader: "Reader", study: str, choices: list[tuple[str, str]]) -> tuple[str, str]:
    """What the study is about where it has been measured, else the loss."""
    headline = reader.study_spec(study).headline
    found = (headline.capability, headline.metric)
    return found if found in choices else LOSS


def _choices(rows: "list[EvaluationRow]") -> list[tuple[str, str]]:
    found = sorted({(r.capability, r.metric) for r in rows})
    return [choice for choice in found if choice != VALIDATION_LOSS]


def _cell(value: object) -> str:
    if value is None or (isinstance(value, float) and value != value):
        return ""
    return format_number(value) if isinstance(value, float) else str(value)
