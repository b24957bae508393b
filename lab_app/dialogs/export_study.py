"""Export a study or a model: what, which run, where; written in a thread."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtWidgets import QComboBox, QFileDialog, QFormLayout, QLineEdit, QWidget

from engine.compressing import KIND as COMPRESS
from engine.events import RunState
from engine.i18n import mark, tr
from lab_app.context import Context
from lab_app.dialogs.working import WorkingDialog
from lab_app.jobs import Preparing
from lab_app.widgets.basic import button, column, row, text_label

if TYPE_CHECKING:
    from engine.store.rows import RunRow


@dataclass(frozen=True, slots=True)
class Kind:
    """One thing that can be exported. ``ending`` empty means a folder; ``choice`` is what else is asked."""

    name: str
    title: str
    words: str
    ending: str = ""
    of_run: bool = False
    choice: str = ""


KINDS = (
    Kind(
        "bundle",
        mark("Study bundle (zip)"),
        mark("The whole study with results and figures; another Emergence Lab imports it."),
        ".zip",
        choice="weights",
    ),
    Kind(
        "hf",
        mark("Model folder (transformers)"),
        mark("Weights, tokenizer and model card, as plain transformers loads them."),
        of_run=True,
    ),
    Kind(
        "onnx",
        mark("ONNX"),
        mark("An encoder or classifier for other runtimes, compared with torch before it is kept."),
        ".onnx",
        of_run=True,
    ),
    Kind("tensorboard", mark("TensorBoard events"), mark("Curves, scores and hyperparameters, a folder for each run.")),
    Kind("csv", mark("Table (CSV)"), mark("Results, curves or runs as a table."), ".csv", choice="of"),
    Kind("parquet", mark("Table (Parquet)"), mark("Results, curves or runs as a table."), ".parquet", choice="of"),
    Kind(
        "lm-eval-task",
        mark("Tasks for lm-evaluation-harness"),
        mark("Held-out documents of a language model's study, with the command to type."),
    ),
)
FORM, DENSE = "form", "dense"
"""What is asked of a compressed run."""
CHOICES = {
    "weights": (mark("Weights"), {"none": mark("none"), "best": mark("of the best run"), "all": mark("of every run")}),
    "of": (mark("Content"), {"results": mark("results"), "curves": mark("curves"), "runs": mark("runs")}),
    FORM: (
        mark("Form"),
        {"small": mark("as small as possible"), DENSE: mark("float32, as before compression")},
    ),
}
Write = Callable[[Preparing], str]
"""Writes, and returns the sentence that says what was written."""


class ExportStudyDialog(WorkingDialog):
    """Everything that leaves as a file, but for figures, which have a dialog of their own."""

    def __init__(self, context: Context, runs: "list[RunRow]", run_id: int, parent: QWidget) -> None:
        super().__init__(context, parent)
        self._study = context.selection.study
        self.setWindowTitle(tr("Export study or model"))
        self.kind, self.run, self.choice = QComboBox(), QComboBox(), QComboBox()
        for kind in KINDS:
            self.kind.addItem(tr(kind.title), kind.name)
        finished = [row_ for row_ in runs if row_.state == RunState.FINISHED]
        self._compressed = {row_.id for row_ in finished if row_.kind == COMPRESS}
        for row_ in finished:
            self.run.addItem(f"{row_.id}: {row_.label}", row_.id)
        self.run.setCurrentIndex(max(0, self.run.findData(run_id)))
        self.path = QLineEdit()
        self.words = text_label("muted", wrap=True)
        self._lay_out()
        self._chosen()

    def _lay_out(self) -> None:
        browse = button()
        browse.setText(tr("Choose…"))
        browse.setAutoDefault(False)
        browse.clicked.connect(lambda _: self._browse())
        self.form = QFormLayout()
        self.run_label, self.choice_label, self.path_label = text_label(), text_label(), text_label()
        self.run_label.setText(tr("Run"))
        self.form.addRow(tr("What"), self.kind)
        self.form.addRow("", self.words)
        self.form.addRow(self.run_label, self.run)
        self.form.addRow(self.choice_label, self.choice)
        self.form.addRow(self.path_label, row(self.path, browse))
        for widget, name in ((self.kind, tr("What")), (self.run, tr("Run")), (self.path, tr("File"))):
            widget.setAccessibleName(name)
        self.act.setText(tr("Export"))
        self.setLayout(
            column(self.form, None, self.said, self.progress, self.buttons(), spacing=10, margins=(16, 16, 16, 14))
        )
        self.resize(580, 330)
        self.kind.currentIndexChanged.connect(lambda _: self._chosen())
        self.run.currentIndexChanged.connect(lambda _: self._chosen())
        self.act.clicked.connect(lambda _: self._export())

    def _kind(self) -> Kind:
        return KINDS[self.kind.currentIndex()]

    def ready(self) -> bool:
        return not self._kind().of_run or self.run.count() > 0

    def _chosen(self) -> None:
        kind = self._kind()
        self.words.setText(tr(kind.words))
        for widget in (self.run_label, self.run):
            widget.setVisible(kind.of_run)
        choice = FORM if kind.of_run and self.run.currentData() in self._compressed else kind.choice
        if self.choice.property("of") != choice:
            self.choice.clear()
            self.choice.setProperty("of", choice)
            if choice:
                title, values = CHOICES[choice]
                self.choice_label.setText(tr(title))
                self.choice.setAccessibleName(tr(title))
                for value, words in values.items():
                    self.choice.addItem(tr(words), value)
        for widget in (self.choice_label, self.choice):
            widget.setVisible(bool(choice))
        self.path_label.setText(tr("File") if kind.ending else tr("Folder"))
        self.path.setText(str(Path(self._folder()) / self._default_name(kind)))
        self.act.setEnabled(self.ready())
        self.say("" if self.ready() else tr("No run of this study is finished."))

    def _folder(self) -> str:
        return self.context.settings.text("export/folder") or str(Path.home())

    def _default_name(self, kind: Kind) -> str:
        of = f"run-{self.run.currentData()}" if kind.of_run else re.sub(r"[^a-z]+", "-", kind.name)
        return f"{self._study}-{of}{kind.ending}"

    def _browse(self) -> None:
        kind = self._kind()
        if kind.ending:
            named, _ = QFileDialog.getSaveFileName(self, tr("File"), self.path.text(), f"*{kind.ending}")
        else:
            folder = QFileDialog.getExistingDirectory(self, tr("Folder"), self._folder())
            named = str(Path(folder) / self._default_name(kind)) if folder else ""
        if named:
            self.path.setText(named)

    def _export(self) -> None:
        text = self.path.text().strip()
        if not text:
            self.say(tr("Say where it is to be written."), bad=True)
            return
        path = Path(text).expanduser()
        self.context.settings.put("export/folder", str(path.parent))
        work = _writer(self.context, self._kind().name, self._study, self.run.currentData(), path,
                       str(self.choice.currentData()))  # fmt: skip
        self.begin(work, self.say)


def _writer(context: Context, kind: str, study: str, run: int, path: Path, choice: str) -> Write:
    """What writes this kind of thing; everything it needs is taken before it goes to its thread."""
    reader, home = context.reader(), context.lab.home
    done = tr("Written: {files}", files=str(path))

    def write(progress: Preparing) -> str:
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == "bundle":
            from engine.bundling.writing import export_bundle

            export_bundle(reader, home, study, path, choice, progress)
        elif kind == "hf":
            from engine.exporting import export_hf

            export_hf(reader, home, run, path, dense=choice == DENSE)
        elif kind == "onnx":
            from engine.exporting.onnx import export_onnx

            files = export_onnx(reader, home, run, path, dense=choice == DENSE)
            worst = max(file.difference for file in files)
            names = ", ".join(file.path.name for file in files)
            return tr("Written: {files}; at most {difference:.1e} from torch.", files=names, difference=worst)
        elif kind == "tensorboard":
            from engine.exporting.tensorboard import export_tensorboard

            export_tensorboard(reader, study, path)
        elif kind == "lm-eval-task":
            from engine.exporting.lm_eval import export_lm_eval_task

            export_lm_eval_task(reader, home, study, path)
            return tr("Written: {files}. Its README.md holds the command to type.", files=str(path))
        else:
            from engine.tables import write_table

            write_table(reader, study, path, kind, choice)
        return done

    return write
