"""Step 2: the data of the task, which of their columns is what, the first of them, and what the checks found."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QLineEdit,
    QMenu,
    QProgressBar,
    QStackedWidget,
    QTabWidget,
    QToolButton,
    QWidget,
)

from engine.errors import KnownError
from engine.i18n import mark, tr
from engine.sources import sources
from engine.sources._saved_datasets import is_saved
from engine.study import convert
from lab_app.context import Context
from lab_app.jobs import Preparing
from lab_app.modelling.columns import ColumnBoxes
from lab_app.modelling.draft import Checked, Draft, example_title, has_field, task_named
from lab_app.modelling.first_batch import FirstBatch
from lab_app.quality import QualityView
from lab_app.widgets.basic import button, column, frame, row, scrolled, text_label
from lab_app.widgets.images import ImageGrid
from lab_app.widgets.samples import picture
from lab_app.widgets.table import Column, RowsModel, Table

if TYPE_CHECKING:
    from engine.families._base_tasks import Task
    from engine.sources._label_columns import Columns

ENCODINGS = ("utf-8", "gb18030", "big5", "shift_jis", "cp1252")
TYPED = (".jsonl", ".parquet")
"""Endings of tables that name their columns and have one encoding."""
ROWS, CHECKS, BATCH = range(3)
POLL_MS, SHOWN, PICTURES = 120, 100, 48
IMAGE_COUNTS = mark("{name} · {n:,} images, {k} classes")
ROW_COUNTS = mark("{name} · {n:,} rows, {k} classes")
PLAIN_COUNTS = mark("{name} · {n:,} rows")


class DataStep(QWidget):
    """A file gives columns at once; ``changed`` says that data or mapping are others now."""

    changed = Signal()

    def __init__(self, context: Context) -> None:
        super().__init__()
        self.context = context
        self.task: Task = task_named(Draft().task)
        self.path: str | None = None
        """The file or folder; empty for what is on this machine, None where nothing was chosen."""
        self.columns: Columns | None = None
        self.problem = ""
        self.checked: Checked | None = None
        self._make_widgets()
        self._lay_out()
        self._poll = QTimer(self, interval=POLL_MS)
        self._preparing: Preparing | None = None
        self._connect()
        self.set_task(self.task.name)

    # -- making it ----------------------------------------------------------------------------------------------

    def _make_widgets(self) -> None:
        self.file, self.browse = QLineEdit(), QToolButton()
        self.browse.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.browse.setMenu(QMenu(self.browse))
        self.browse.setStyleSheet("QToolButton::menu-indicator { image: none; }")
        self.ask_file, self.ask_folder = (self.browse.menu().addAction("") for _ in range(2))
        self.labels = {name: text_label() for name in ("encoding", "file")}
        self.mapping = ColumnBoxes()
        self.header, self.skip_bad, self.encoding = QCheckBox(), QCheckBox(), QComboBox()
        self.header.setChecked(True)
        self.encoding.addItems(list(ENCODINGS))
        self.drop, self.example = text_label("muted", wrap=True), button()
        self.drop.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.said = text_label("bad", wrap=True, selectable=True)
        self.progress = QProgressBar()
        self.progress.setTextVisible(False)
        self.progress.setFixedHeight(6)
        self.model = RowsModel()
        self.table, self.pictures, self.first = Table(self.model), ImageGrid(), QStackedWidget()
        self.report, self.no_report = QualityView(self.context), text_label("muted", wrap=True)
        self.batch = FirstBatch(self.context)
        self.tabs = QTabWidget()
        self.tabs.setDocumentMode(True)
        self.tabs.tabBar().setDrawBase(False)

    def _lay_out(self) -> None:
        line = row(self.labels["file"], self.file, self.browse)
        line.setStretch(1, 1)
        self.reading = QWidget()
        self.reading.setLayout(
            row(self.header, self.skip_bad, None, self.labels["encoding"], self.encoding, spacing=10)
        )
        for part in (self.table, self.pictures):
            self.first.addWidget(part)
        report = QWidget()
        report.setLayout(column(self.no_report, self.report, None, margins=(0, 8, 0, 0)))
        self.tabs.addTab(self.first, "")
        self.tabs.addTab(scrolled(report), "")
        self.tabs.addTab(self.batch, "")
        self.found = frame("plain", column(self.tabs, margins=(10, 4, 10, 8)))
        self.nothing = frame(
            "plain", column(None, self.drop, row(None, self.example, None), None, margins=(30, 20, 30, 20), spacing=14)
        )
        self.setLayout(
            column(line, self.mapping, self.reading, self.said, self.progress, self.found, self.nothing, spacing=8)
        )
        for stretched in (5, 6):
            self.layout().setStretch(stretched, 1)

    def _connect(self) -> None:
        self.file.editingFinished.connect(self._typed)
        self.ask_file.triggered.connect(lambda _: self._ask_file())
        self.ask_folder.triggered.connect(lambda _: self._ask_folder())
        self.example.clicked.connect(lambda _: self.take(""))
        self.mapping.changed.connect(self._mapped)
        for check in (self.header, self.skip_bad):
            check.toggled.connect(lambda _: self._reread())
        self.encoding.currentIndexChanged.connect(lambda _: self._reread())
        self._poll.timeout.connect(self._show_progress)
        self.context.language.changed.connect(self.speak)

    # -- what is chosen -----------------------------------------------------------------------------------------

    def set_task(self, task: str) -> None:
        """Other data: what was chosen for another kind of them is put away."""
        self.task = task_named(task)
        self.path, self.columns, self.problem, self.checked = None, None, "", None
        self.file.clear()
        self.mapping.set_source(sources[self.task.source])
        self.speak()

    @property
    def source(self) -> str:
        """The source that reads what was chosen."""
        return str(self.task.builtin["source"]) if self.path == "" else self.task.source

    def take(self, path: str) -> None:
        """Read the columns of a table, a folder or a saved dataset; the empty path means what is on this machine."""
        self.path = path
        self.file.setText(path)
        self._read(guess=True)

    def values(self) -> dict[str, Any] | None:
        """The study's ``data``, fields at their defaults left out; None where nothing was chosen or is readable."""
        if self.path is None or (self.path and self.columns is None and self.mapping.fields):
            return None
        if not self.path:
            return dict(self.task.builtin)
        values: dict[str, Any] = {"source": self.task.source, "path": self.path, **self._reading_options()}
        values |= self.mapping.values()
        if self.skip_bad.isChecked():
            values["skip_bad"] = True
        return values

    @property
    def chosen_words(self) -> str:
        """What was chosen, for the bar of steps."""
        if self.path is None:
            return tr("none chosen yet")
        name = Path(self.path).name if self.path else example_title(self.task)
        if self.checked is None:
            return name
        report = self.checked.report
        k = len(report.label_counts)
        text = PLAIN_COUNTS if not k else ROW_COUNTS if self.task.reads_text else IMAGE_COUNTS
        return tr(text, name=name, n=report.n_documents, k=k)

    def _reading_options(self) -> dict[str, Any]:
        options: dict[str, Any] = {}
        if not self.header.isChecked() and has_field(self.task.source, "header"):
            options["header"] = False
        if self.encoding.currentText() != ENCODINGS[0] and has_field(self.task.source, "encoding"):
            options["encoding"] = self.encoding.currentText()
        return options

    def _is_plain_text(self) -> bool:
        """Whether files of it may have another encoding, or no names; others say both themselves."""
        path = Path(self.path or "")
        return not is_saved(path) and path.suffix.lower() not in TYPED

    def _typed(self) -> None:
        if self.file.text().strip() and self.file.text().strip() != self.path:
            self.take(self.file.text().strip())

    def _ask_file(self) -> None:
        endings = " ".join(f"*{ending}" for ending in sources[self.task.source].reads)
        path, _ = QFileDialog.getOpenFileName(self, tr("Choose a table"), "", f"{tr('Tables')} ({endings})")
        if path:
            self.take(path)

    def _ask_folder(self) -> None:
        images = not self.task.reads_text
        title = tr("Choose a folder of images") if images else tr("Choose a folder of tables or a saved dataset")
        folder = QFileDialog.getExistingDirectory(self, title)
        if folder:
            self.take(folder)

    def _reread(self) -> None:
        if self.path:
            self._read(guess=False)

    def _read(self, *, guess: bool) -> None:
        self.columns, self.problem, self.checked = None, "", None
        self.model.set_rows(())
        self.pictures.clear()
        self._show()
        self.changed.emit()
        source: Any = sources[self.source]
        values = {name: value for name, value in (self.values() or {}).items() if name not in ("source", "skip_bad")}
        options = values if not self.path else {"path": self.path, **self._reading_options()}
        if not hasattr(source, "columns"):

            def look() -> Any:
                return source.preview(convert(options, source.Spec, "data"), PICTURES)

            self.context.jobs.run(look, self._show_pictures, self._failed, slot="finetune-columns")
            return

        def work() -> "tuple[Columns, Any]":
            found = source.columns(convert(options, source.Spec, "data"))
            return found, source.guess(found)

        def done(result: "tuple[Columns, Any]") -> None:
            self._show_columns(*result, guess=guess)

        self.context.jobs.run(work, done, self._failed, slot="finetune-columns")

    def _show_columns(self, found: "Columns", guessed: Any, *, guess: bool) -> None:
        self.columns = found
        self.mapping.show_columns(found.names, guessed, guess=guess)
        self.problem = self.mapping.missing()
        self._show()
        self.changed.emit()

    def _show_pictures(self, found: Any) -> None:
        self.pictures.show_pictures(map(picture, found[:PICTURES]))
        self._show()
        self.changed.emit()

    def _failed(self, error: Exception) -> None:
        self.problem = str(error) if isinstance(error, KnownError) else tr("This failed.")
        self._show()
        self.changed.emit()
        if not isinstance(error, KnownError):
            self.context.operations.report(error)

    def _mapped(self) -> None:
        self.checked, self.problem = None, ""
        self._show()
        self.changed.emit()

    # -- what the check says ------------------------------------------------------------------------------------

    def show_checking(self, task: Preparing | None) -> None:
        """Preparation is under way, or no longer."""
        self._preparing = task
        self.progress.setVisible(task is not None)
        self.progress.setValue(0)
        if task is None:
            self._poll.stop()
        else:
            self._poll.start()

    def show_checked(self, checked: Checked | None, problem: str = "") -> None:
        """What preparing it found, or why it cannot be used."""
        self.show_checking(None)
        self.checked = checked
        self.problem = problem
        self._show()

    def _show_progress(self) -> None:
        if self._preparing is not None:
            self.progress.setValue(round(100 * self._preparing.fraction))

    # -- showing it ---------------------------------------------------------------------------------------------

    def _show(self) -> None:
        there, tabular = self.path is not None, bool(self.mapping.fields)
        self.nothing.setVisible(not there)
        self.file.setPlaceholderText(self._placeholder())
        self.found.setVisible(there)
        self.mapping.setVisible(bool(self.path) and tabular)
        self.reading.setVisible(bool(self.path))
        for part in (self.header, self.encoding, self.labels["encoding"]):
            part.setVisible(tabular and self._is_plain_text())
        self.progress.setVisible(self._preparing is not None)
        self.said.setText(self.problem)
        self.said.setVisible(bool(self.problem))
        self.mapping.setEnabled(self.columns is not None)
        self.first.setCurrentWidget(self.table if self.task.reads_text else self.pictures)
        self._show_rows()
        self._show_report()
        self.batch.show_seen(self.checked.seen if self.checked is not None else ())

    def _placeholder(self) -> str:
        """What the empty line for the path says."""
        if self.path == "":
            return example_title(self.task)
        if not self.task.reads_text:
            return tr("a folder with a folder of images for each class")
        return tr("a file ({endings}) or a folder", endings=", ".join(sources[self.task.source].reads))

    def _show_rows(self) -> None:
        found = self.columns
        if found is None:
            self.model.set_rows(())
            return
        places = self.mapping.places(found.names)
        self.model.set_columns([_cell(place, title) for place, title in places])
        self.model.set_rows(found.rows[:SHOWN])
        self.table.fit()
        for number in range(len(places)):
            self.table.setColumnWidth(number, min(self.table.columnWidth(number), 320))

    def _show_report(self) -> None:
        self.report.setVisible(self.checked is not None)
        self.no_report.setVisible(self.checked is None)
        if self.checked is not None:
            self.report.show_report(self.checked.report)
        else:
            self.no_report.setText(tr("Duplicates, leaks and classes are counted as soon as base and data are chosen."))

    def speak(self) -> None:
        """Say everything in the language in use."""
        images = not self.task.reads_text
        where = tr("Folder") if images else tr("Table")
        self.labels["file"].setText(where)
        self.labels["file"].setBuddy(self.file)
        self.file.setAccessibleName(where)
        self.browse.setText(tr("Choose…"))
        self.ask_file.setText(tr("Choose a file"))
        self.ask_folder.setText(tr("Choose a folder"))
        self.ask_file.setVisible(not images)
        self.mapping.speak()
        self.header.setText(tr("First row holds names"))
        self.skip_bad.setText(tr("Leave out bad images") if images else tr("Leave out bad rows"))
        self.skip_bad.setToolTip(tr("What cannot be read, or has no label, is left out and listed."))
        self.labels["encoding"].setText(tr("Encoding"))
        self.labels["encoding"].setBuddy(self.encoding)
        self.encoding.setAccessibleName(tr("Encoding"))
        self.drop.setText(drop_words(self.task))
        self.example.setVisible(bool(self.task.builtin))
        self.example.setText(tr("Try it with what is here: {data}", data=example_title(self.task)))
        self.tabs.setTabText(ROWS, tr("Images") if images else tr("Rows"))
        self.tabs.setTabText(CHECKS, tr("Checks"))
        self.tabs.setTabText(BATCH, tr("First batch"))
        self.table.setAccessibleName(tr("First rows"))
        self.pictures.setAccessibleName(tr("First images"))
        self.progress.setAccessibleName(tr("Progress"))
        self.batch.speak()
        self._show()


def drop_words(task: "Task") -> str:
    """What may be dropped, and what it has to hold."""
    private = tr("It is read on this machine and goes nowhere.")
    if not task.reads_text:
        return f"{tr('Drop a folder here that holds a folder of images for each class.')} {private}"
    kinds = tr("Drop data here: a table, a folder of tables, or a dataset that the datasets library saved.")
    return " ".join(part for part in (kinds, tr(task.needs) if task.needs else "", private) if part)


def _cell(place: int, title: str) -> Column:
    return Column(title, lambda r: " ".join(r[place].split()), tip=lambda r: r[place])
