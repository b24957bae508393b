"""Estimate and review: what the study will cost here, whether it fits, and exactly what will be stored."""

from typing import Any

from PySide6.QtWidgets import QApplication, QPlainTextEdit

from engine.errors import KnownError
from engine.i18n import mark, tr
from engine.study import StudySpec, spec_hash, to_toml_table
from engine.tables import to_toml
from lab_app import words
from lab_app.context import Context
from lab_app.theme import mono_font
from lab_app.widgets.basic import button, column, restyle, row, text_label
from lab_app.widgets.table import Column, RowsModel, Table
from lab_app.wizard import base


class EstimateStep(base.Step):
    """Runs the engine's plan, which measures this machine for a few seconds the first time."""

    title = mark("Estimate")
    icon = "ruler"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.verdict = text_label("heading", wrap=True)
        self.reason = text_label("muted", wrap=True, selectable=True)
        self.model = RowsModel()
        self.table = Table(self.model)
        self.table.setMinimumHeight(260)
        self.again = button()
        self.setLayout(column(self.verdict, self.reason, self.table, row(self.again, None)))
        self._for, self._measuring = "", False
        self._study: StudySpec | None = None
        self._document: dict[str, Any] | None = None
        self.again.clicked.connect(lambda _: self._measure())
        context.language.changed.connect(self._speak)
        self._speak()

    def entered(self, table: base.Table) -> None:
        try:
            study = base.study_of(table)
        except KnownError as error:
            self._failed(error)
            return
        if spec_hash(study) != self._for:
            self._study = study
            self._measure()

    def _measure(self) -> None:
        study = self._study
        if study is None:
            return
        self._for = spec_hash(study)
        self._document = None
        self._measuring = True
        self.model.set_rows([])
        self.again.setEnabled(False)
        restyle(self.verdict, "role", "heading")
        self._say_measuring()
        home = self.context.lab.home

        def work() -> dict[str, Any]:
            from engine.bases import settle
            from engine.planning import plan  # loads torch

            return plan(settle(study, home), home)

        run = lambda: self.context.jobs.run(work, self._show, self._failed, slot="plan")  # noqa: E731
        self.context.warmth.when_warm(run)

    def _say_measuring(self) -> None:
        self.verdict.setText(tr("Measuring this machine…"))
        self.reason.setText(tr("A few steps of the smallest and the largest model are timed."))

    def _failed(self, error: Exception) -> None:
        self._for, self._measuring = "", False
        self.again.setEnabled(self._study is not None)
        restyle(self.verdict, "role", "bad")
        self.verdict.setText(tr("This study cannot run as it is."))
        self.reason.setText(str(error))
        if not isinstance(error, KnownError):
            self.context.operations.report(error)

    def _show(self, document: dict[str, Any]) -> None:
        self._document, self._measuring = document, False
        self.again.setEnabled(True)
        fits = bool(document.get("fits", True))
        restyle(self.verdict, "role", "good" if fits else "bad")
        self.verdict.setText(
            tr("It fits, and takes about {time}.", time=words.duration(document["seconds"]))
            if fits
            else tr("It does not fit on this machine.")
        )
        said = []
        largest = max((run["memory_bytes"] for run in document["runs"]), default=0)
        said.append(tr("Largest model needs {memory} of memory.", memory=words.size(largest)))
        disk = document.get("disk_bytes")
        if disk:
            said.append(tr("Checkpoints and results take {disk}.", disk=words.size(disk)))
        reasons = document.get("reasons") or []
        said += [str(reason) for reason in ([reasons] if isinstance(reasons, str) else reasons)]
        if document.get("suggestion"):
            said.append(str(document["suggestion"]))
        self.reason.setText(" ".join(said))
        self.model.set_rows(document["runs"])
        self.table.fit()

    def _speak(self) -> None:
        self.again.setText(tr("Measure again"))
        self.table.setAccessibleName(tr("Cost of every run"))
        self.model.set_columns(
            [
                Column(tr("Parameters"), lambda r: f"{r['n_params']:,}", number=True),
                Column(tr("Tokens"), lambda r: words.count(r["tokens"]), number=True),
                Column(tr("FLOPs"), lambda r: words.power(r["compute_flops"]), number=True),
                Column(tr("Memory"), lambda r: words.size(r["memory_bytes"]), number=True),
                Column(tr("Time"), lambda r: words.duration(r["seconds"]), number=True),
            ]
        )
        if self._document is not None:
            self._show(self._document)
        elif self._measuring:
            self._say_measuring()


class ReviewStep(base.Step):
    """The study as the file that would be saved."""

    title = mark("Review")
    icon = "review"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.said = text_label("muted", wrap=True)
        self.text = QPlainTextEdit()
        self.text.setReadOnly(True)
        self.text.setFont(mono_font())
        self.text.setMinimumHeight(320)
        self.copy = button()
        self.copy.clicked.connect(lambda _: QApplication.clipboard().setText(self.text.toPlainText()))
        self.setLayout(column(self.said, self.text, row(self.copy, None)))
        say = context.language.say
        say(self, self.said.setText, mark("This is the whole study. Start it, or save the file and share it."))
        say(self, self.copy.setText, mark("Copy"))
        say(self, self.text.setAccessibleName, mark("Study as TOML"))

    def entered(self, table: base.Table) -> None:
        try:
            self.text.setPlainText(to_toml(to_toml_table(base.study_of(table))))
        except KnownError as error:
            self.text.setPlainText(str(error))
