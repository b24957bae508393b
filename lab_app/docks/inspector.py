"""The Inspector panel: exactly what was run, as frozen; notes and tags; the files it left."""

import json
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QEvent, QObject, Qt, QUrl
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QLineEdit, QPlainTextEdit, QTabWidget, QTreeWidget, QTreeWidgetItem, QWidget

from engine.i18n import mark, tr
from lab_app import words
from lab_app.context import Context
from lab_app.models.catalog import Catalog
from lab_app.widgets.basic import Elided, button, column, row, text_label
from lab_app.widgets.table import Column, RowsModel, Table

if TYPE_CHECKING:
    from engine.store.rows import ArtifactRow, RunRow, StudyRow


class InspectorDock(QWidget):
    """Shows the selected run, or the study where no run is selected."""

    title = mark("Inspector")

    def __init__(self, context: Context, catalog: Catalog) -> None:
        super().__init__()
        self._context, self._catalog = context, catalog
        self.heading = Elided("heading")
        self.state = text_label("muted", wrap=True, selectable=True)
        self.problem = text_label("bad", wrap=True, selectable=True)
        self.facts = _tree()
        self.notes = QPlainTextEdit()
        self.notes.setTabChangesFocus(True)
        self.tags = QLineEdit()
        self.files = RowsModel(key=lambda artifact: (artifact.path, artifact.step))
        self.file_table = Table(self.files)
        self.folder = button()
        self.folder.clicked.connect(self._open_folder)
        self.tabs = QTabWidget()
        self.tabs.setDocumentMode(True)
        self.tabs.tabBar().setUsesScrollButtons(True)
        self._notes_page, self._files_page = QWidget(), QWidget()
        self._tags_label = text_label("caption")
        self._notes_page.setLayout(column(self.notes, self._tags_label, self.tags, margins=(8, 8, 8, 8)))
        self._files_page.setLayout(column(self.file_table, row(self.folder, None), margins=(0, 0, 8, 8)))
        for page in (self.facts, self._notes_page, self._files_page):
            self.tabs.addTab(page, "")
        top = column(self.heading, self.state, self.problem, spacing=3, margins=(10, 8, 10, 2))
        self.setLayout(column(top, self.tabs, spacing=4))
        self._speak()
        context.language.changed.connect(self._retranslate)
        context.selection.study_changed.connect(lambda _: self.refresh())
        context.selection.run_changed.connect(lambda _: self.refresh())
        catalog.changed.connect(self.refresh)
        self.notes.installEventFilter(self)
        self.tags.editingFinished.connect(self._save_tags)
        self._shown: tuple[str, int, str] | None = None
        self._edited = ""
        self.refresh()

    def refresh(self) -> None:
        """Show what is selected now."""
        study = self._catalog.study(self._context.selection.study)
        run = self._catalog.run(self._context.selection.run)
        self.tabs.setEnabled(study is not None)
        if study is None:
            self.heading.setText(tr("Nothing chosen"))
            self.state.setText(tr("Choose a study or a run on the left."))
            self.problem.hide()
            self.facts.clear()
            self._shown = None
            return
        self._show_texts(study)
        self.heading.setText(run.label if run is not None else study.shown_title)
        shown = (study.id, run.id if run else 0, run.state if run else "")
        self._show_state(study, run)
        if shown == self._shown:
            return
        self._shown = shown
        self._show_facts(study, run)
        self._load_files(run)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if watched is self.notes and event.type() == QEvent.Type.FocusOut:
            self._save_notes()
        return super().eventFilter(watched, event)

    def _show_state(self, study: "StudyRow", run: "RunRow | None") -> None:
        if run is None:
            runs = self._catalog.runs(study.id)
            done = sum(r.state == "finished" for r in runs)
            text = mark("imported, {n} runs") if study.imported else mark("{done} of {n} runs finished")
            self.state.setText(tr(text, done=done, n=len(runs)))
            self.problem.hide()
            return
        loss = "" if run.val_loss is None else " · " + tr("loss {loss}", loss=words.value(run.val_loss))
        self.state.setText(words.run_state(run) + loss)
        self.problem.setText(" ".join(filter(None, (run.error, run.remedy))))
        self.problem.setVisible(bool(run.error))

    def _show_facts(self, study: "StudyRow", run: "RunRow | None") -> None:
        self.facts.clear()
        row: Any = run or study
        _fill(self.facts, {tr("Hash"): row.spec_hash, (tr("Run") if run else tr("Study")): row.id})
        if run is not None:
            results = {
                tr("Parameters"): f"{run.n_params:,}",
                tr("Non-embedding parameters"): f"{run.n_params_non_embedding:,}",
                tr("Seed"): run.seed,
                tr("Tokens seen"): f"{run.tokens_seen:,}",
                tr("Training FLOPs"): words.power(run.compute_flops),
                tr("Bits per byte"): words.value(run.val_bits_per_byte),
                tr("Time"): words.duration(run.seconds),
            }
            _fill(self.facts, results)
        if study.imported:
            _fill(self.facts, {tr("Where it comes from"): json.loads(study.spec_json)["imported"]})
        else:  # of how others trained nothing is known
            _fill(self.facts, {tr("Frozen configuration"): json.loads(row.spec_json)})
        if run is not None and run.facts:
            heading = tr("Found with it") if study.imported else tr("Machine and versions")
            _fill(self.facts, {heading: run.facts})
        if run is not None and run.traceback:
            _fill(self.facts, {tr("Traceback"): run.traceback})
        self.facts.expandToDepth(0)

    def _show_texts(self, study: "StudyRow") -> None:
        if self._edited != study.id or not self.notes.hasFocus():
            if self.notes.toPlainText() != study.notes:
                self.notes.setPlainText(study.notes)
            if not self.tags.hasFocus():
                self.tags.setText(", ".join(study.tags))
        self._edited = study.id

    def _save_notes(self) -> None:
        study = self._catalog.study(self._edited)
        if study is not None:
            self._context.operations.notes(study, self.notes.toPlainText())

    def _save_tags(self) -> None:
        study = self._catalog.study(self._edited)
        if study is not None:
            names = [part.strip() for part in self.tags.text().replace("，", ",").split(",")]
            self._context.operations.tags(study, list(dict.fromkeys(name for name in names if name)))

    def _load_files(self, run: "RunRow | None") -> None:
        self.folder.setEnabled(run is not None)
        if run is None:
            self._context.jobs.drop("artifacts")
            self.files.set_rows([])
            return
        run_id = run.id
        self._context.jobs.run(lambda: self._context.reader().artifacts(run_id), self._show_files, slot="artifacts")

    def _show_files(self, rows: "list[ArtifactRow]") -> None:
        self.files.set_rows(rows)
        self.file_table.fit()

    def _open_folder(self) -> None:
        folder = self._context.lab.store.run_folder(self._context.selection.run)
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(folder)))

    def _retranslate(self) -> None:
        self._speak()
        self._shown = None
        self.refresh()

    def _speak(self) -> None:
        for number, text in enumerate((tr("Configuration"), tr("Notes"), tr("Files"))):
            self.tabs.setTabText(number, text)
        self.tabs.setAccessibleName(tr("Inspector"))
        self.facts.setAccessibleName(tr("Configuration"))
        self.facts.setHeaderLabels([tr("Field"), tr("Value")])
        self.notes.setPlaceholderText(tr("Notes on this study"))
        self.notes.setAccessibleName(tr("Notes on this study"))
        self._tags_label.setText(tr("Tags, separated by commas"))
        self.tags.setAccessibleName(tr("Tags, separated by commas"))
        self.folder.setText(tr("Open folder"))
        self.files.set_columns(
            [
                Column(tr("Kind"), lambda a: a.kind),
                Column(tr("File"), lambda a: a.path, tip=lambda a: a.sha256),
                Column(tr("Step"), lambda a: f"{a.step:,}", number=True),
                Column(tr("Size"), lambda a: words.size(a.n_bytes), number=True),
            ]
        )


def _tree() -> QTreeWidget:
    tree = QTreeWidget()
    tree.setColumnCount(2)
    tree.setAlternatingRowColors(True)
    tree.setUniformRowHeights(True)
    tree.setIndentation(12)
    tree.setColumnWidth(0, 128)
    tree.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    tree.setTextElideMode(Qt.TextElideMode.ElideRight)
    return tree


def _fill(parent: QTreeWidget | QTreeWidgetItem, values: dict[str, Any]) -> None:
    for name, value in values.items():
        nested = isinstance(value, dict) or (isinstance(value, list) and any(isinstance(v, dict) for v in value))
        text = "" if nested else ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        item = QTreeWidgetItem(parent, [name, text])
        item.setToolTip(1, text)
        if nested:
            _fill(item, value if isinstance(value, dict) else {str(i): v for i, v in enumerate(value)})
