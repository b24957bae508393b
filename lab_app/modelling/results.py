"""Results: what came of a fine-tuned study, in words, in scores, and item by item."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, QTimer, QUrl
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QComboBox, QFileDialog, QTabWidget, QWidget

from engine.errors import KnownError
from engine.events import RunState
from engine.i18n import mark, tr
from lab_app import words
from lab_app.context import Context
from lab_app.modelling import verdicts
from lab_app.modelling.answers_view import AnswersView
from lab_app.modelling.confusion_view import ConfusionView
from lab_app.modelling.examples_view import ExamplesView
from lab_app.modelling.saving import saved_folder
from lab_app.modelling.tab import Tab
from lab_app.models.catalog import Catalog
from lab_app.plots.figure_view import FigureView
from lab_app.widgets.basic import Elided, Note, button, clear, column, frame, row, scrolled, text_label
from lab_app.widgets.table import Column, RowsModel, Table

if TYPE_CHECKING:
    from engine.analysis.answers import Answers
    from engine.analysis.predictions import ClassRow, Predictions
    from engine.figures.model import Figure
    from engine.store.rows import EvaluationRow

SOON_MS = 300
SCORES, CONFUSION, CLASSES, CONFIDENCE, LEARNING, EXAMPLES, ANSWERS = range(7)
OF_CLASSES = (CONFUSION, CLASSES, CONFIDENCE, EXAMPLES)
"""What there is only of a model that tells classes apart."""
TITLES = (
    mark("Scores"),
    mark("Confusion matrix"),
    mark("Classes"),
    mark("Confidence"),
    mark("Learning"),
    mark("Examples"),
    mark("Answers"),
)
FIGURES = {CONFUSION: "confusion-matrix", CONFIDENCE: "reliability", LEARNING: "learning-curves"}


@dataclass(frozen=True, slots=True)
class OfRun:
    """What one run kept: nothing of it may be there yet."""

    predictions: "Predictions | None" = None
    classes: "tuple[ClassRow, ...]" = ()
    reliability: "Figure | None" = None
    learning: "Figure | None" = None
    answers: "Answers | None" = None
    problem: str = ""


class ResultsTab(Tab):
    """Follows the chosen study; a run of it is chosen above the views."""

    name = "results"
    title = mark("Results")

    def __init__(self, context: Context, catalog: Catalog) -> None:
        super().__init__(context, catalog)
        self.lines: list[verdicts.Line] = []
        self.of_run = OfRun()
        self._make_widgets()
        self._lay_out()
        self._soon = QTimer(self, singleShot=True, interval=SOON_MS)
        self._connect()
        self._speak()

    def _make_widgets(self) -> None:
        theme = self.context.theme
        self.heading, self.run_label, self.run_box = Elided("title"), text_label("muted"), QComboBox()
        self.run_box.setMinimumContentsLength(18)
        self.save, self.export = button(primary=True), button()
        self.note = Note("info")
        self.note.hide()
        self.state, self.watch = text_label("muted", wrap=True), button()
        self.empty = text_label("muted", wrap=True)
        self.empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.sentences = column(spacing=6)
        self.score_model, self.class_model = RowsModel(), RowsModel()
        self.scores, self.classes = Table(self.score_model), Table(self.class_model)
        for table in (self.scores, self.classes):
            table.horizontalHeader().setStretchLastSection(False)
        self.score_note, self.to_scale = text_label("caption", wrap=True), button()
        self.confusion, self.examples = ConfusionView(self.context), ExamplesView(self.context)
        self.answers = AnswersView(self.context)
        self.reliability, self.learning = FigureView(theme), FigureView(theme)
        self.captions = {CONFIDENCE: text_label("caption", wrap=True), LEARNING: text_label("caption", wrap=True)}
        self.to_monitor = button()
        self.tabs = QTabWidget()
        self.tabs.setDocumentMode(True)
        self.tabs.tabBar().setDrawBase(False)

    def _lay_out(self) -> None:
        bar = row(self.heading, self.run_label, self.run_box, self.export, self.save)
        bar.setStretch(0, 1)
        scores, inside = QWidget(), QWidget()
        inside.setLayout(
            column(self.sentences, self.scores, self.score_note, row(self.to_scale, None), None, spacing=10)
        )
        scores.setLayout(column(scrolled(inside), margins=(4, 10, 4, 4)))
        confidence = column(
            self.reliability, self.reliability.legend, self.captions[CONFIDENCE], margins=(8, 8, 8, 6), spacing=6
        )
        learning = column(
            self.learning,
            self.learning.legend,
            self.captions[LEARNING],
            row(self.to_monitor, None),
            margins=(8, 8, 8, 6),
            spacing=6,
        )
        for part in (
            scores,
            self.confusion,
            frame("plain", column(self.classes, margins=(8, 8, 8, 8))),
            frame("plain", confidence),
            frame("plain", learning),
            self.examples,
            self.answers,
        ):
            self.tabs.addTab(part, "")
        waiting = row(self.state, self.watch)
        waiting.setStretch(0, 1)
        self.setLayout(column(bar, waiting, self.note, self.tabs, self.empty, spacing=8, margins=(0, 10, 0, 0)))
        self.layout().setStretch(3, 1)
        self.layout().setStretch(4, 1)

    def _connect(self) -> None:
        self._soon.timeout.connect(self.rebuild)
        self.run_box.activated.connect(lambda _: self._choose_run())
        self.save.clicked.connect(lambda _: self._ask_folder())
        self.export.clicked.connect(lambda _: self.export_wanted.emit(self.figure_name, self.options))
        self.watch.clicked.connect(lambda _: self.page_wanted.emit("monitor"))
        self.to_monitor.clicked.connect(lambda _: self.page_wanted.emit("monitor"))
        self.to_scale.clicked.connect(lambda _: self.page_wanted.emit("scale"))
        self.tabs.currentChanged.connect(lambda _: self._enable())
        self.context.selection.study_changed.connect(lambda _: self._if_visible())
        self.context.selection.run_changed.connect(lambda _: self._if_visible())
        self.catalog.changed.connect(self._if_visible)
        self.context.language.changed.connect(self._speak)
        self.context.theme.changed.connect(self._show)

    @property
    def run(self) -> int:
        """The run in view; 0 where there is none."""
        found = self.run_box.currentData()
        return int(found) if found else 0

    @property
    def figure_name(self) -> str:
        usual = "confusion-matrix" if self.of_run.answers is None else FIGURES[LEARNING]
        return FIGURES.get(self.tabs.currentIndex(), usual) if self.run else ""

    @property
    def options(self) -> dict[str, object]:
        return {"run": self.run} if self.run else {}

    def entered(self) -> None:
        self.rebuild()

    def closing(self) -> None:
        self._soon.stop()

    def _if_visible(self) -> None:
        if self.isVisible():
            self._soon.start()

    # -- reading ------------------------------------------------------------------------------------------------

    def rebuild(self) -> None:
        """Read the chosen study's scores and the chosen run's predictions."""
        self._fill_runs()
        study, run, reader = self.context.selection.study, self.run, self.context.reader()
        runs = self.catalog.runs(study)

        def work() -> "tuple[list[EvaluationRow], OfRun]":
            rows = reader.evaluations(study, final_only=True) if study else []
            return rows, read_run(reader, study, run) if run else OfRun()

        def done(found: "tuple[list[EvaluationRow], OfRun]") -> None:
            rows, self.of_run = found
            self.lines = verdicts.lines(runs, rows)
            self._show()

        self.context.jobs.run(work, done, slot="models-results")

    def _fill_runs(self) -> None:
        """Finished runs of the study that learned classes; the chosen run of the window is shown where it is one."""
        runs = [r for r in self.catalog.runs(self.context.selection.study) if r.state == RunState.FINISHED]
        runs = [r for r in runs if r.kind == "finetune"]
        sizes = len({run.size for run in runs})
        largest = max((run.size for run in runs), default=0)
        runs.sort(key=lambda r: (-r.size, _order(verdicts.method_of(r)), r.seed))
        before, chosen = self.run, self.context.selection.run
        wanted = chosen if chosen in {run.id for run in runs} and chosen != self._followed else before
        self._followed = chosen
        self.run_box.blockSignals(True)
        self.run_box.clear()
        for run in runs:
            self.run_box.addItem(verdicts.run_words(run, sizes), run.id)
        self.run_box.setCurrentIndex(max(0, self.run_box.findData(wanted)) if runs else -1)
        self.run_box.blockSignals(False)
        self.to_scale.setVisible(sizes > 1 and largest > 0)

    _followed = 0

    def _choose_run(self) -> None:
        if self.run:
            self.context.selection.choose_run(self.context.selection.study, self.run)
        self.rebuild()

    # -- showing ------------------------------------------------------------------------------------------------

    def _show(self) -> None:
        study = self.catalog.study(self.context.selection.study)
        runs = self.catalog.runs(self.context.selection.study)
        self.heading.setText(words.study_title(study) if study is not None else tr("No study chosen"))
        learns = any(run.kind == "finetune" for run in runs)
        done = sum(run.state == RunState.FINISHED for run in runs)
        self.empty.setText(_nothing(study is not None, learns, done))
        self.empty.setVisible(not self.run)
        self.tabs.setVisible(bool(self.run))
        waiting = learns and done < len(runs)
        self.state.setText(tr("{done} of {n} runs are finished.", done=done, n=len(runs)) if waiting else "")
        for part in (self.state, self.watch):
            part.setVisible(waiting)
        for part in (self.run_label, self.run_box, self.save, self.export):
            part.setVisible(bool(self.run))
        self._show_scores()
        self._show_run()
        self._enable()

    def _show_scores(self) -> None:
        headline = self.lines[0].headline if self.lines else verdicts.HEADLINE
        clear(self.sentences)
        for text in verdicts.sentences(self.lines):
            said = text_label(wrap=True, selectable=True)
            said.setText(text)
            self.sentences.addWidget(said)
        seeded = any(not score.over_items for line in self.lines for score in line.scores.values())
        note = (
            tr("Means over seeds with their 95% interval.")
            if seeded
            else tr("One seed: intervals are over test items.")
        )
        self.score_note.setText(
            f"{note} {tr('F1 over all items (micro) equals the accuracy; F1 is the mean over classes.')}"
            if headline == verdicts.HEADLINE
            else note
        )
        sizes = len({line.size for line in self.lines})
        columns = [Column(tr("What was trained"), lambda one: verdicts.method_words(one.method))]
        if sizes > 1:
            columns.append(Column(tr("Parameters"), lambda one: words.count(one.n_params), number=True))
        for metric in verdicts.columns_of(self.lines):
            title = verdicts.metric_words((headline[0], metric))
            short = SHORT[metric]() if headline[0] == verdicts.CLASSIFICATION else title
            columns.append(Column(short, _of(metric), number=True, tip=lambda _, title=title: title))
        self.score_model.set_columns(columns)
        self.score_model.set_rows(self.lines)
        self.scores.fit()
        self.scores.setFixedHeight(36 + 26 * min(12, max(1, len(self.lines))) + 12)

    def _show_run(self) -> None:
        found = self.of_run
        self.confusion.show_predictions(found.predictions, found.problem)
        self.examples.show_predictions(found.predictions)
        self.answers.show_answers(found.answers)
        for number in OF_CLASSES:
            self.tabs.setTabVisible(number, found.answers is None)
        self.tabs.setTabVisible(ANSWERS, found.answers is not None)
        self.class_model.set_rows(found.classes)
        self.classes.fit()
        for number, view, figure in (
            (CONFIDENCE, self.reliability, found.reliability),
            (LEARNING, self.learning, found.learning),
        ):
            view.show_figure(figure)
            self.captions[number].setText(figure.caption if figure is not None else found.problem)

    def _enable(self) -> None:
        self.export.setEnabled(bool(self.run) and bool(self.of_run.predictions or self.of_run.learning))

    # -- saving -------------------------------------------------------------------------------------------------

    def _ask_folder(self) -> None:
        place = self.context.settings.text("models/saved-in") or str(Path.home())
        folder = QFileDialog.getExistingDirectory(self, tr("Where to save the model"), place)
        if folder:
            self.context.settings.put("models/saved-in", folder)
            self.save_into(Path(folder))

    def save_into(self, parent: Path) -> None:
        """Write the run's model as a new folder in ``parent``, off the window's thread."""
        run, home, reader = self.catalog.run(self.run), self.context.lab.home, self.context.reader()
        if run is None:
            return
        self.save.setEnabled(False)
        self._say("info", tr("Saving…"))

        def done(folder: Path) -> None:
            self.save.setEnabled(True)
            text = tr("Saved in {folder}. Plain transformers loads it with from_pretrained.", folder=str(folder))
            self._say(
                "info", text, tr("Open folder"), lambda: QDesktopServices.openUrl(QUrl.fromLocalFile(str(folder)))
            )

        def failed(error: Exception) -> None:
            self.save.setEnabled(True)
            self._say("bad", str(error) if isinstance(error, KnownError) else tr("This failed."))
            if not isinstance(error, KnownError):
                self.context.operations.report(error)

        self.context.jobs.run(lambda: saved_folder(reader, home, run, parent), done, failed)

    def _say(self, kind: str, text: str, action: str = "", do: Callable[[], object] | None = None) -> None:
        theme = self.context.theme
        self.note.set_kind(kind)
        icon, color = ("warning", theme.colors.bad) if kind == "bad" else ("save", theme.colors.accent)
        self.note.icon.setPixmap(theme.pixmap(icon, color, 18))
        self.note.say(text, action, do)

    def _speak(self) -> None:
        self.run_label.setText(tr("Model"))
        self.run_label.setBuddy(self.run_box)
        self.run_box.setAccessibleName(tr("Model"))
        self.save.setText(tr("Save model…"))
        self.save.setToolTip(tr("Write the model, its tokenizer and a card as a folder that plain transformers loads"))
        self.export.setText(tr("Export figure…"))
        self.watch.setText(tr("Watch on Monitor"))
        self.to_monitor.setText(tr("All runs on Monitor"))
        self.to_scale.setText(tr("Score against parameters"))
        self.note.closer.setAccessibleName(tr("Close"))
        for number, title in enumerate(TITLES):
            self.tabs.setTabText(number, tr(title))
        self.tabs.tabBar().setAccessibleName(tr("Results"))
        self.scores.setAccessibleName(tr("Scores"))
        self.classes.setAccessibleName(tr("Scores of every class"))
        self.class_model.set_columns(class_columns())
        self._show()
        self._if_visible()


SHORT: dict[str, Callable[[], str]] = {
    "accuracy": lambda: tr("Accuracy"),
    "precision": lambda: tr("Precision"),
    "recall": lambda: tr("Recall"),
    "f1": lambda: "F1",
    "log_likelihood": lambda: tr("Log-likelihood"),
    "ece": lambda: tr("Calibration error"),
}


def read_run(reader: object, study: str, run: int) -> OfRun:
    """What a run kept; what is wrong with it is said, not raised."""
    from engine.analysis.answers import answers_of
    from engine.analysis.predictions import by_class
    from engine.figures.builders import build
    from engine.figures.predictions import predictions_of

    learning = answers = None
    try:
        learning = build(reader, "learning-curves", study, run=run)  # type: ignore[arg-type]
        answers = answers_of(reader, run)  # type: ignore[arg-type]
        if answers is not None:
            return OfRun(learning=learning, answers=answers)
        _, predictions = predictions_of(reader, study, run)  # type: ignore[arg-type]
        reliability = build(reader, "reliability", study, run=run)  # type: ignore[arg-type]
        return OfRun(predictions, tuple(by_class(predictions)), reliability, learning)
    except KnownError as error:
        return OfRun(learning=learning, answers=answers, problem=str(error))


def class_columns() -> list[Column]:
    """The table by class: each metric with its interval."""

    def between(value: float, ends: Sequence[float]) -> str:
        return f"{value:.3f}  [{ends[0]:.3f}, {ends[1]:.3f}]"

    return [
        Column(tr("Class"), lambda c: c.name),
        Column(tr("Items"), lambda c: f"{c.n:,}", number=True),
        Column(tr("Named so"), lambda c: f"{c.n_predicted:,}", number=True),
        Column(
            tr("Precision"),
            lambda c: between(c.precision, c.precision_interval) if c.n_predicted else "–",
            number=True,
        ),
        Column(tr("Recall"), lambda c: between(c.recall, c.recall_interval), number=True),
        Column("F1", lambda c: between(c.f1, c.f1_interval), number=True),
    ]


def _of(metric: str) -> Callable[[verdicts.Line], str]:
    return lambda line: verdicts.cell(line, metric)


def _order(method: str) -> int:
    order = list(verdicts.METHODS)
    return order.index(method) if method in order else len(order)


def _nothing(chosen: bool, learns: bool, done: int) -> str:
    if not chosen:
        return tr("Choose a study on the left, or start one under Fine-tune.")
    if not learns:
        return tr("This study fine-tunes nothing. Its results are on Scale and Emergence.")
    return "" if done else tr("No model of this study is finished yet.")
