"""Import someone else's results: what was recognised, what each column is, and what will be kept."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QTimer, Signal
from PySide6.QtGui import QDragEnterEvent, QDropEvent
from PySide6.QtWidgets import QComboBox, QFileDialog, QFormLayout, QHeaderView, QLineEdit, QTabWidget, QWidget

from engine.errors import InputError
from engine.i18n import mark, tr
from lab_app import words
from lab_app.context import Context
from lab_app.dialogs.working import WorkingDialog
from lab_app.jobs import Preparing
from lab_app.widgets.basic import Elided, button, column, frame, row, scrolled, text_label
from lab_app.widgets.table import Column, RowsModel, Table

if TYPE_CHECKING:
    from engine.importing import Found, FoundRun, Kept, Look
    from engine.importing.found import Header
    from lab_app.dialogs.import_others import Other, Taken

AGAIN_MS = 250
"""Changes closer together than this are read once."""
MOST_SIZES = 40
"""Runs without a size that are asked for one by one."""
SCORE = "score"
FORMATS = {
    "table": mark("Table"),
    "lm-eval": mark("Results of lm-evaluation-harness"),
    "tensorboard": mark("TensorBoard events"),
}
MEANINGS = {
    "": mark("not used"),
    SCORE: mark("score of an ability"),
    "n_params": mark("parameters (all)"),
    "n_params_non_embedding": mark("parameters without embeddings"),
    "loss": mark("validation loss"),
    "bits_per_byte": mark("bits per byte"),
    "train_loss": mark("training loss"),
    "tokens": mark("training tokens"),
    "compute": mark("training FLOPs"),
    "step": mark("step"),
    "seed": mark("seed"),
    "run": mark("name of the run"),
    "family": mark("model family"),
    "variant": mark("variant"),
    "capability": mark("ability, one per row"),
    "metric": mark("metric, one per row"),
    "value": mark("score, one per row"),
    "stderr": mark("standard error"),
    "n": mark("number of items"),
    "chance": mark("chance level"),
}
OF_TAGS = ("", SCORE, "loss", "train_loss", "tokens")
"""What a tag of TensorBoard can be said to be; the empty one leaves it a curve."""


class ImportDialog(WorkingDialog):
    """Shows what a file would become before anything is kept; what is wrong is said where it is mended.

    Looking is stopped by looking at something else or by closing; keeping is stopped by Stop, and leaves nothing.
    """

    imported = Signal(str, bool)
    """(study id, whether it is new)."""

    def __init__(self, context: Context, paths: list[Path], parent: QWidget) -> None:
        super().__init__(context, parent)
        self.paths: list[Path] = []
        self.found: Found | None = None
        self.other: Other | None = None
        """A bundle, an adapter or results of a run of this home, where the files are that."""
        self.meanings: dict[str, QComboBox] = {}
        self.sizes: dict[str, QLineEdit] = {}
        self._automatic: dict[str, str] = {}
        self._tags = self._keeping = False
        self.setWindowTitle(tr("Import results"))
        self.setAcceptDrops(True)
        self._make_widgets()
        self._lay_out()
        self._again = QTimer(self, singleShot=True, interval=AGAIN_MS)
        self._again.timeout.connect(self._look)
        self.finished.connect(lambda _: (self._again.stop(), self._stop_looking()))
        self.open_paths(paths)

    def open_paths(self, paths: list[Path]) -> None:
        """Look at these files instead; not while others are being kept."""
        if self._keeping:
            return
        self.paths = paths
        self._automatic = {}
        for form in (self.column_form, self.size_form):
            while form.rowCount():
                form.removeRow(0)
        self.meanings.clear()
        self.sizes.clear()
        self._look()

    def reject(self) -> None:
        """Stop what is being kept; else close, whatever is being looked at."""
        if not self._keeping:
            self._stop_looking()
        super().reject()

    def ready(self) -> bool:
        return self.found is not None or self.other is not None

    # -- making it ----------------------------------------------------------------------------------------------

    def _make_widgets(self) -> None:
        self.files = Elided("heading")
        self.choose, self.choose_folder = button(), button()
        self.choose.setText(tr("Choose files…"))
        self.choose_folder.setText(tr("Choose folder…"))
        self.choose.setAutoDefault(False)  # Enter imports
        self.choose_folder.setAutoDefault(False)
        self.summary = text_label("muted", wrap=True)
        self.column_form, self.size_form = QFormLayout(), QFormLayout()
        self.runs = RowsModel()
        self.table = Table(self.runs)
        self.table.setAccessibleName(tr("Runs"))
        self.notes = text_label(wrap=True, selectable=True)
        self.tabs = QTabWidget()
        self.tabs.setDocumentMode(True)
        self.name, self.title = QLineEdit(), QLineEdit()
        self.name.setPlaceholderText(tr("from the file"))
        self.title.setPlaceholderText(tr("from the file"))
        self.base, self.out = QLineEdit(), QLineEdit()
        self.base.setPlaceholderText(tr("folder of the model that the adapter is for"))
        self.out.setPlaceholderText(tr("new folder"))
        self.act.setText(tr("Import"))

    def _lay_out(self) -> None:
        top = row(self.files, self.choose, self.choose_folder)
        top.setStretch(0, 1)
        self.column_page, self.notes_page = QWidget(), QWidget()
        self.column_page.setLayout(column(self.column_form, None, margins=(10, 10, 10, 10)))
        self.notes_page.setLayout(column(self.notes, None, margins=(10, 10, 10, 10)))
        for page in (scrolled(self.column_page), self.table, scrolled(self.notes_page)):
            self.tabs.addTab(frame("plain", column(page, margins=(1, 1, 1, 1))), "")
        self.tabs.setTabText(1, tr("Runs"))
        form = QFormLayout()
        form.addRow(tr("Title"), self.title)
        form.addRow(tr("Short name"), self.name)
        self.title.setAccessibleName(tr("Title"))
        self.name.setAccessibleName(tr("Short name"))
        inside = QWidget()
        inside.setLayout(self.size_form)
        self.size_area = scrolled(inside)
        self.size_area.setMaximumHeight(130)
        self.size_area.hide()
        self.naming, self.merging, self.blank = QWidget(), QWidget(), QWidget()
        self.naming.setLayout(form)
        self.merging.setLayout(self._merge_form())
        form.setContentsMargins(0, 0, 0, 0)
        parts = (top, self.summary, self.tabs, self.size_area, self.naming, self.merging, self.blank)
        last = (self.said, self.progress, self.buttons())
        self.setLayout(column(*parts, *last, spacing=10, margins=(16, 16, 16, 14)))
        for stretched in (2, len(parts) - 1):  # of the tabs and of what is there in their place, one is shown
            self.layout().setStretch(stretched, 1)
        self.resize(680, 620)
        self.choose.clicked.connect(lambda _: self._choose())
        self.choose_folder.clicked.connect(lambda _: self._choose_folder())
        self.act.clicked.connect(lambda _: self._import())
        self.runs.set_columns(
            [
                Column(tr("Run"), lambda run: run.name or "–"),
                Column(tr("Parameters"), _size, number=True),
                Column(tr("Seed"), lambda run: str(run.seed), number=True),
                Column(tr("Tokens"), lambda run: words.count(run.tokens), number=True),
                Column(tr("Loss"), lambda run: words.value(run.loss), number=True),
                Column(tr("Scores"), lambda run: str(len(run.scores)), number=True),
                Column(tr("Curves"), lambda run: str(len(run.curves)), number=True),
            ]
        )
        header = self.table.horizontalHeader()
        header.setStretchLastSection(False)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)

    def _merge_form(self) -> QFormLayout:
        """What an adapter needs: the model it is for, and a folder for what comes of it."""
        form = QFormLayout()
        form.setContentsMargins(0, 0, 0, 0)
        for name, field, new in ((tr("Base model"), self.base, False), (tr("Folder to write"), self.out, True)):
            browse = button()
            browse.setText(tr("Choose…"))
            browse.setAutoDefault(False)
            browse.clicked.connect(lambda _=False, field=field, new=new: self._browse(field, new))
            field.setAccessibleName(name)
            form.addRow(name, row(field, browse))
        return form

    def _browse(self, field: QLineEdit, new: bool) -> None:
        found = QFileDialog.getExistingDirectory(self, tr("Choose folder…"), self._folder())
        if found:
            field.setText(str(Path(found) / f"{self.paths[0].name}-merged") if new and self.paths else found)

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        if local_paths(event):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        event.acceptProposedAction()
        self.open_paths(local_paths(event))

    def _choose(self) -> None:
        kinds = tr("Results") + " (*.zip *.csv *.tsv *.txt *.json *.jsonl *.ndjson *.parquet *.pq *tfevents*);;* (*)"
        names, _ = QFileDialog.getOpenFileNames(self, tr("Choose files…"), self._folder(), kinds)
        self._chosen([Path(name) for name in names])

    def _choose_folder(self) -> None:
        name = QFileDialog.getExistingDirectory(self, tr("Choose folder…"), self._folder())
        self._chosen([Path(name)] if name else [])

    def _folder(self) -> str:
        return self.context.settings.text("import/folder") or str(Path.home())

    def _chosen(self, paths: list[Path]) -> None:
        if paths:
            self.context.settings.put("import/folder", str(paths[0].parent))
            self.open_paths(paths)

    # -- looking ------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        self._stop_looking()
        self.act.setEnabled(False)
        self.found = self.other = None
        self.act.setText(tr("Import"))
        self._show_forms()
        if not self.paths:
            self.files.setText(tr("No file chosen"))
            self.summary.setText(
                tr(
                    "A study bundle, a PEFT adapter, tables (CSV, TSV, JSON lines, Parquet), results of "
                    "lm-evaluation-harness or TensorBoard events. Choose files or a folder, or drop them here."
                )
            )
            self.say("")
            self._show_tabs()
            return
        self.files.setText(", ".join(path.name for path in self.paths))
        self.say(tr("Reading…"))
        paths, columns, lab = list(self.paths), self.columns(), self.context.lab
        told = self.under_way = Preparing()

        def work() -> "Look | Other":
            from engine.importing import look  # loads pyarrow
            from lab_app.dialogs.import_others import recognise

            return recognise(lab, paths, told) or look(paths, columns)

        self.context.jobs.on_close.append(told.stop)
        self._poll.start()
        self.context.jobs.run(work, lambda found: self._over(self._show, found), self._failed, slot="import")

    def _stop_looking(self) -> None:
        """What is still being looked at is of no interest any more."""
        self.context.jobs.drop("import")
        if self.under_way is not None and not self._keeping:
            self.under_way.stop()
            self._rest()

    def _show_progress(self) -> None:
        super()._show_progress()
        self.progress.setVisible(self.under_way is not None and bool(self.under_way.step))

    def _keep(self, work: Callable[[Preparing], Any], done: Callable[[Any], Any]) -> None:
        """Do what changes the home."""
        self._stop_looking()
        self._keeping = True
        self.begin(work, done)
        self.say(tr("Importing…"))

    def columns(self) -> dict[str, str]:
        """What the boxes say that was not recognised by itself: column -> header."""
        told: dict[str, str] = {}
        for header, box in self.meanings.items():
            meaning, automatic = box.currentData(), self._automatic.get(header, "")
            if meaning == automatic:
                continue
            if meaning == SCORE:
                told[f"{header.replace('/', ' ')}/{SCORE}"] = header
            elif meaning:
                told[meaning] = header
            if automatic and not self._tags:
                told.setdefault(automatic, "")
        return told

    def _show(self, looked: "Look | Other") -> None:
        from lab_app.dialogs.import_others import Other

        if isinstance(looked, Other):
            self._show_other(looked)
            return
        self.found = looked.found
        if not self.meanings:
            self._make_meanings(looked)
        self._show_summary()
        self._show_notes()
        self.runs.set_rows(self.found.runs if self.found is not None else [])
        self.table.fit()
        self._ask_sizes()
        self._show_tabs()
        self.act.setEnabled(self.found is not None)
        if self.choose.hasFocus() and self.found is not None:
            self.act.setFocus()
        self.say("" if looked.problem is None else str(looked.problem), bad=looked.problem is not None)

    def _show_other(self, other: "Other") -> None:
        """No table to look at: words, and for an adapter the two folders."""
        self.other = other
        self.summary.setText(other.summary)
        if other.base and not self.base.text():
            self.base.setText(other.base)
        self._show_tabs()
        self._show_forms()
        self.act.setText(tr("Merge") if other.is_adapter else tr("Import"))
        self.act.setEnabled(True)
        self.say("")

    def _show_forms(self) -> None:
        self.tabs.setVisible(self.other is None)
        self.naming.setVisible(self.other is None)
        self.blank.setVisible(self.other is not None)
        self.merging.setVisible(self.other is not None and self.other.is_adapter)

    def _make_meanings(self, looked: "Look") -> None:
        """A box for each column or tag, once for these files: what is recognised by itself is chosen."""
        self._tags = self.found is not None and self.found.format == "tensorboard"
        for header in looked.headers:
            box = QComboBox()
            for meaning in OF_TAGS if self._tags else MEANINGS:
                box.addItem(tr("a curve") if self._tags and not meaning else tr(MEANINGS[meaning]), meaning)
            automatic = "" if self._tags else header.read_as
            box.setCurrentIndex(max(0, box.findData(automatic)))
            box.setAccessibleName(header.name)
            box.activated.connect(lambda _: self._again.start())
            self._automatic[header.name] = automatic
            self.meanings[header.name] = box
            self.column_form.addRow(_column_label(header), box)
        if self.meanings:
            self.tabs.setCurrentIndex(0)

    def _show_summary(self) -> None:
        found = self.found
        if found is None:
            self.summary.setText("")
            return
        from engine.importing.storing import headline_words

        sizes = {run.n_params_non_embedding or run.n_params for run in found.runs}
        parts = [
            tr(FORMATS[found.format]),
            tr("{n} runs of {sizes} sizes", n=len(found.runs), sizes=len(sizes - {None})),
            tr("{n} without a size", n=len(found.without_size)) if found.without_size else "",
            headline_words(found),
        ]
        self.summary.setText(" · ".join(part for part in parts if part))

    def _show_notes(self) -> None:
        found = self.found
        lines = list(found.warnings) if found is not None else []
        if found is not None:
            lines += [
                tr("Row {row} of {file} left out: {why}", row=left.row, file=left.file, why=left.why)
                for left in found.excluded[:200]
            ]
        self.notes.setText("\n".join(lines) or tr("Nothing was left out."))

    def _show_tabs(self) -> None:
        found = self.found
        n_notes = len(found.warnings) + len(found.excluded) if found is not None else 0
        self.tabs.setTabVisible(0, bool(self.meanings))
        self.tabs.setTabVisible(1, found is not None)
        self.tabs.setTabVisible(2, found is not None)
        self.tabs.setTabText(0, tr("Tags") if self._tags else tr("Columns"))
        self.tabs.setTabText(2, tr("Left out and warnings ({n})", n=n_notes))

    def _ask_sizes(self) -> None:
        """One field for each run whose size is in no file and in no name; what was typed stays."""
        missing = self.found.without_size[:MOST_SIZES] if self.found is not None else ()
        if tuple(self.sizes) != tuple(missing):
            while self.size_form.rowCount():
                self.size_form.removeRow(0)
            self.sizes = {name: QLineEdit() for name in missing}
            for name, field in self.sizes.items():
                field.setPlaceholderText("124M")
                label = tr("Parameters of {run}", run=name) if name else tr("Parameters")
                field.setAccessibleName(label)
                self.size_form.addRow(label, field)
        self.size_area.setVisible(bool(self.sizes))

    # -- importing ----------------------------------------------------------------------------------------------

    def _import(self) -> None:
        if self.other is not None:
            self._import_other(self.other)
            return
        if self.found is None:
            return
        try:
            sizes = self._typed_sizes()
        except InputError as error:
            self.say(str(error), bad=True)
            return
        paths, columns, store = list(self.paths), self.columns(), self.context.lab.store
        name, title = self.name.text().strip(), self.title.text().strip()

        def work(told: Preparing) -> "Kept":
            from engine.importing import keep, read

            return keep(store, read(paths, columns, sizes), name, title, fit=False)

        self._keep(work, self._kept)
        self.leave.setEnabled(False)  # one transaction, which is over soon

    def _import_other(self, other: "Other") -> None:
        base, out = self.base.text().strip(), self.out.text().strip()
        if other.is_adapter and not out:
            self.out.setFocus()
            self.say(tr("Say where it is to be written."), bad=True)
            return
        self._keep(lambda told: other.take(told, base, out), self._taken)

    def _taken(self, taken: "Taken") -> None:
        if not taken.study:
            self.say(taken.said)
            return
        self.context.operations.changed.emit(taken.study)
        self.imported.emit(taken.study, taken.added)
        self.accept()

    def _typed_sizes(self) -> dict[str, int]:
        from engine.importing import parse_size

        sizes = {}
        for name, field in self.sizes.items():
            value = parse_size(field.text())
            if value is None or value < 1:
                field.setFocus()
                raise InputError(tr("How many parameters has {run}?", run=name or "–"), tr("Write it as 124M."))
            sizes[name] = round(value)
        return sizes

    def _kept(self, kept: "Kept") -> None:
        changed, store = self.context.operations.changed, self.context.lab.store
        changed.emit(kept.study_id)
        if kept.added:  # L(N, D) with its intervals takes up to a minute: the study is shown, its law comes later

            def work() -> None:
                from engine.importing import fit_law

                fit_law(store, kept.study_id)

            self.context.jobs.run(work, lambda _: changed.emit(kept.study_id), self.context.operations.report)
        self.imported.emit(kept.study_id, kept.added)
        self.accept()

    def _rest(self) -> None:
        super()._rest()
        self._keeping = False

    def say(self, sentence: str, *, bad: bool = False) -> None:
        super().say(sentence, bad=bad)
        self.said.setVisible(bool(sentence))


def local_paths(event: QDragEnterEvent | QDropEvent) -> list[Path]:
    """The files and folders that are dragged, if they lie on this machine."""
    return [Path(url.toLocalFile()) for url in event.mimeData().urls() if url.isLocalFile()]


def _column_label(header: "Header") -> QWidget:
    """A column's name over its first values."""
    name, values = text_label(), Elided("caption")
    name.setText(header.name)
    values.setText(", ".join(value for value in header.examples[:5] if value) or "–")
    holder = QWidget()
    holder.setMinimumWidth(330)
    holder.setLayout(column(name, values, spacing=0))
    return holder


def _size(run: "FoundRun") -> str:
    return words.count(run.n_params if run.n_params is not None else run.n_params_non_embedding)
