"""Step 2: a labelled table, which of its columns is what, its first rows, and what the checks found."""

import html
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QGridLayout,
    QLineEdit,
    QMenu,
    QProgressBar,
    QTabWidget,
    QTextBrowser,
    QToolButton,
    QWidget,
)

from engine.errors import KnownError
from engine.i18n import mark, tr
from engine.sources import sources
from engine.study import convert
from lab_app.context import Context
from lab_app.jobs import Preparing
from lab_app.modelling.draft import SOURCE, Checked
from lab_app.quality import QualityView
from lab_app.theme import mono_font
from lab_app.widgets.basic import Elided, button, column, frame, row, scrolled, text_label
from lab_app.widgets.table import Column, RowsModel, Table

if TYPE_CHECKING:
    from engine.sources._label_columns import Columns

ROLES = {
    "text": mark("Text"),
    "label": mark("Label"),
    "text_pair": mark("Second text"),
    "split": mark("Split"),
}
"""Fields of the source that name a column -> what each is called."""
NONE = {"text_pair": mark("none"), "split": mark("split here, by class")}
ENCODINGS = ("utf-8", "gb18030", "big5", "shift_jis", "cp1252")
FILES = "*.csv *.tsv *.jsonl *.parquet"
ROWS, CHECKS, BATCH = range(3)
POLL_MS, SHOWN = 120, 100


class DataStep(QWidget):
    """A file gives columns at once; ``changed`` says that table or mapping are others now."""

    changed = Signal()

    def __init__(self, context: Context) -> None:
        super().__init__()
        self.context = context
        self.path: str | None = None
        """The table; empty for documentation strings of this machine, None where nothing was chosen."""
        self.columns: Columns | None = None
        self.problem = ""
        self.checked: Checked | None = None
        self._reading, self._quiet = False, False
        self._make_widgets()
        self._lay_out()
        self._poll = QTimer(self, interval=POLL_MS)
        self._preparing: Preparing | None = None
        self._connect()
        self.speak()
        self._show()

    # -- making it ----------------------------------------------------------------------------------------------

    def _make_widgets(self) -> None:
        self.file, self.browse = QLineEdit(), QToolButton()
        self.browse.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.browse.setMenu(QMenu(self.browse))
        self.browse.setStyleSheet("QToolButton::menu-indicator { image: none; }")
        self.ask_file, self.ask_folder = (self.browse.menu().addAction("") for _ in range(2))
        self.labels = {name: text_label() for name in (*ROLES, "encoding", "file")}
        self.boxes = {name: QComboBox() for name in ROLES}
        for box in self.boxes.values():
            box.setMinimumContentsLength(8)
            box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
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
        self.table = Table(self.model)
        self.report, self.no_report = QualityView(self.context), text_label("muted", wrap=True)
        self.batch = QTextBrowser()
        self.batch.setFont(mono_font())
        self.batch.setMinimumHeight(48)
        self.batch_words = Elided("caption")
        self.tabs = QTabWidget()
        self.tabs.setDocumentMode(True)
        self.tabs.tabBar().setDrawBase(False)

    def _lay_out(self) -> None:
        line = row(self.labels["file"], self.file, self.browse)
        line.setStretch(1, 1)
        grid = QGridLayout()
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(10)
        grid.setVerticalSpacing(6)
        for place, (name, box) in enumerate(self.boxes.items()):
            grid.addWidget(self.labels[name], place // 2, 2 * (place % 2))
            grid.addWidget(box, place // 2, 2 * (place % 2) + 1)
        for number in (1, 3):
            grid.setColumnStretch(number, 1)
        more = row(self.header, self.skip_bad, None, self.labels["encoding"], self.encoding, spacing=10)
        self.mapping = QWidget()
        self.mapping.setLayout(column(grid, more, spacing=6))
        report, batch = QWidget(), QWidget()
        report.setLayout(column(self.no_report, self.report, None, margins=(0, 8, 0, 0)))
        batch.setLayout(column(self.batch_words, self.batch, margins=(0, 8, 0, 0)))
        self.tabs.addTab(self.table, "")
        self.tabs.addTab(scrolled(report), "")
        self.tabs.addTab(batch, "")
        self.found = frame("plain", column(self.tabs, margins=(10, 4, 10, 8)))
        self.nothing = frame(
            "plain", column(None, self.drop, row(None, self.example, None), None, margins=(30, 20, 30, 20), spacing=14)
        )
        self.setLayout(column(line, self.mapping, self.said, self.progress, self.found, self.nothing, spacing=8))
        for stretched in (4, 5):
            self.layout().setStretch(stretched, 1)

    def _connect(self) -> None:
        self.file.editingFinished.connect(self._typed)
        self.ask_file.triggered.connect(lambda _: self._ask_file())
        self.ask_folder.triggered.connect(lambda _: self._ask_folder())
        self.example.clicked.connect(lambda _: self.take(""))
        for box in self.boxes.values():
            box.currentIndexChanged.connect(lambda _: self._mapped())
        for check in (self.header, self.skip_bad):
            check.toggled.connect(lambda _: self._reread())
        self.encoding.currentIndexChanged.connect(lambda _: self._reread())
        self._poll.timeout.connect(self._show_progress)
        self.context.language.changed.connect(self.speak)
        self.context.theme.changed.connect(self._show_batch)

    # -- what is chosen -----------------------------------------------------------------------------------------

    def take(self, path: str) -> None:
        """Read the columns of a table, a folder or a saved dataset; the empty path means the built-in example."""
        self.path = path
        self.file.setText(path)
        self._read(guess=True)

    def values(self) -> dict[str, Any] | None:
        """The source's fields, those at their defaults left out; None where nothing was chosen or is readable."""
        if self.path is None or (self.path and self.columns is None):
            return None
        if not self.path:
            return {}
        values: dict[str, Any] = {"path": self.path, **self._reading_options()}
        values |= {name: box.currentData() for name, box in self.boxes.items() if box.currentData()}
        if self.skip_bad.isChecked():
            values["skip_bad"] = True
        return values

    @property
    def chosen_words(self) -> str:
        """What was chosen, for the bar of steps."""
        if self.path is None:
            return tr("none chosen yet")
        name = Path(self.path).name if self.path else tr("documentation strings")
        if self.checked is None:
            return name
        report = self.checked.report
        return tr("{name} · {n:,} rows, {k} classes", name=name, n=report.n_documents, k=len(report.label_counts))

    def _reading_options(self) -> dict[str, Any]:
        options: dict[str, Any] = {}
        if not self.header.isChecked():
            options["header"] = False
        if self.encoding.currentText() != ENCODINGS[0]:
            options["encoding"] = self.encoding.currentText()
        return options

    def _typed(self) -> None:
        if self.file.text().strip() and self.file.text().strip() != self.path:
            self.take(self.file.text().strip())

    def _ask_file(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, tr("Choose a table"), "", f"{tr('Tables')} ({FILES})")
        if path:
            self.take(path)

    def _ask_folder(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, tr("Choose a folder of tables or a saved dataset"))
        if folder:
            self.take(folder)

    def _reread(self) -> None:
        if self.path and not self._quiet:
            self._read(guess=False)

    def _read(self, *, guess: bool) -> None:
        self.columns, self.problem, self.checked, self._reading = None, "", None, True
        self._show()
        self.changed.emit()
        source: Any = sources[SOURCE]
        options = {"path": self.path, **self._reading_options()}

        def work() -> "tuple[Columns, Any]":
            found = source.columns(convert(options, source.Spec, "data"))
            return found, source.guess(found)

        def done(result: "tuple[Columns, Any]") -> None:
            self._show_columns(*result, guess=guess)

        self.context.jobs.run(work, done, self._failed, slot="finetune-columns")

    def _show_columns(self, found: "Columns", guessed: Any, *, guess: bool) -> None:
        before = {name: box.currentData() for name, box in self.boxes.items()}
        self.columns, self._reading = found, False
        self._quiet = True
        for name, box in self.boxes.items():
            box.clear()
            if name in NONE:
                box.addItem(tr(NONE[name]), "")
            for column_name in found.names:
                box.addItem(column_name, column_name)
            kept = before[name] if not guess and before[name] in found.names else getattr(guessed, name)
            box.setCurrentIndex(max(box.findData(kept), 0 if name in NONE else -1))
        self._quiet = False
        if not self.boxes["label"].currentData():
            self.problem = tr("No column looks like a label. Choose the one that says which class a row is of.")
        self._show()
        self.changed.emit()

    def _failed(self, error: Exception) -> None:
        self._reading = False
        self.problem = str(error) if isinstance(error, KnownError) else tr("This failed.")
        self._show()
        self.changed.emit()
        if not isinstance(error, KnownError):
            self.context.operations.report(error)

    def _mapped(self) -> None:
        if not self._quiet:
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
        there = self.path is not None
        self.nothing.setVisible(not there)
        self.found.setVisible(there)
        self.mapping.setVisible(bool(self.path))
        self.progress.setVisible(self._preparing is not None)
        self.said.setText(self.problem)
        self.said.setVisible(bool(self.problem))
        for box in self.boxes.values():
            box.setEnabled(self.columns is not None)
        self._show_rows()
        self._show_report()
        self._show_batch()

    def _show_rows(self) -> None:
        found = self.columns
        if found is None:
            self.model.set_rows(())
            return
        places = []
        for name, title in ROLES.items():
            chosen = self.boxes[name].currentData()
            if chosen in found.names:
                places.append((found.names.index(chosen), tr(title)))
        places.sort(key=lambda one: one[1] != tr(ROLES["label"]))  # the label first: texts are long
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
            self.no_report.setText(
                tr("Duplicates, leaks and classes are counted as soon as a base and both columns are chosen.")
            )

    def _show_batch(self) -> None:
        self.batch.setVisible(self.checked is not None)
        if self.checked is None:
            self.batch_words.setText(tr("How the model reads your texts is shown as soon as a base is chosen."))
            return
        colors = self.context.theme.colors
        parts = []
        for one in self.checked.seen:
            pads = f"{tr('[padding]')} × {one['padding']}" if one["padding"] else ""
            parts.append(
                f"<p style='margin:0 0 9px 0'><b style='color:{colors.accent}'>{html.escape(one['label'])}</b> "
                f"<span style='color:{colors.muted}'>{html.escape(tr('{n} tokens', n=one['n_tokens']))}</span><br>"
                f"{html.escape(one['text'])} <span style='color:{colors.faint}'>{html.escape(pads)}</span></p>"
            )
        self.batch.setHtml("".join(parts))
        self.batch_words.setText(
            tr(
                "The first {n} texts of the first batch as the model reads them: its own pieces put together again, "
                "special tokens shown, what only fills them up in grey.",
                n=len(self.checked.seen),
            )
        )

    def speak(self) -> None:
        """Say everything in the language in use."""
        self.labels["file"].setText(tr("Table"))
        self.labels["file"].setBuddy(self.file)
        self.file.setAccessibleName(tr("Table"))
        self.file.setPlaceholderText(tr("a .csv, .tsv, .jsonl or .parquet file, or a folder"))
        self.browse.setText(tr("Choose…"))
        self.ask_file.setText(tr("Choose a file"))
        self.ask_folder.setText(tr("Choose a folder"))
        for name, title in ROLES.items():
            self.labels[name].setText(tr(title))
            self.labels[name].setBuddy(self.boxes[name])
            self.boxes[name].setAccessibleName(tr("{role} column", role=tr(title)))
            if name in NONE and self.boxes[name].count():
                self.boxes[name].setItemText(0, tr(NONE[name]))
        self.header.setText(tr("First row holds names"))
        self.skip_bad.setText(tr("Leave out bad rows"))
        self.skip_bad.setToolTip(tr("Rows that cannot be read or have no label are left out and listed."))
        self.labels["encoding"].setText(tr("Encoding"))
        self.labels["encoding"].setBuddy(self.encoding)
        self.encoding.setAccessibleName(tr("Encoding"))
        self.drop.setText(
            tr(
                "Drop a table here: CSV, TSV, JSON lines, Parquet or a dataset that the datasets library saved. "
                "One column holds the texts, one the class of each. It is read on this machine and goes nowhere."
            )
        )
        self.example.setText(tr("Try it with documentation strings of this machine"))
        self.tabs.setTabText(ROWS, tr("Rows"))
        self.tabs.setTabText(CHECKS, tr("Checks"))
        self.tabs.setTabText(BATCH, tr("First batch"))
        self.table.setAccessibleName(tr("First rows"))
        self.batch.setAccessibleName(tr("First batch"))
        self.progress.setAccessibleName(tr("Progress"))
        self._show()


def _cell(place: int, title: str) -> Column:
    return Column(title, lambda r: " ".join(r[place].split()), tip=lambda r: r[place])


def readable(path: Path) -> bool:
    """Whether a dropped file is a table, by its ending."""
    return path.suffix.lower() in sources[SOURCE].reads
