"""Model and ladder: the family with its own fields, the sizes, the seeds, and what they come to."""

import math
from typing import Any

from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QComboBox, QFormLayout, QGroupBox, QLineEdit, QSpinBox, QVBoxLayout

from engine.errors import KnownError
from engine.expand import expand
from engine.families import families
from engine.i18n import mark, tr
from engine.study import RunSpec
from lab_app import words
from lab_app.context import Context
from lab_app.widgets.basic import button, column, row, text_label
from lab_app.widgets.form import Form, parse_number
from lab_app.widgets.table import Column, RowsModel, Table
from lab_app.wizard import base

PREVIEW_MS = 300


def even_sizes(low: int, high: int, count: int) -> list[int]:
    """``count`` sizes from ``low`` to ``high``, even on a log axis, rounded to two digits."""
    if count < 2 or high <= low:
        return [low]
    ratio = (high / low) ** (1 / (count - 1))
    exact = [low * ratio**i for i in range(count)]
    return sorted({int(round(x, 1 - math.floor(math.log10(x)))) for x in exact})


def parse_sizes(text: str) -> list[int | str]:
    """Sizes as typed, ``2k, 5k, 1M``; what is no number stays as it is, for the study's own check to name its place."""
    parts = [part for part in text.replace("，", ",").replace(";", ",").split(",") if part.strip()]
    sizes: list[int | str] = []
    for part in parts:
        try:
            sizes.append(int(parse_number(part, whole=True)))
        except ValueError:
            sizes.append(part.strip())
    return sizes


class LadderStep(base.Step):
    """Every edit is expanded into the very runs that would be queued."""

    title = mark("Model and ladder")
    icon = "scale"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.family = QComboBox()
        for name in families:
            self.family.addItem("", name)
        self.form: Form | None = None
        self.form_box = QVBoxLayout()
        self.sizes = QLineEdit()
        self.low, self.high, self.count = QLineEdit("2k"), QLineEdit("100k"), QSpinBox()
        self.count.setRange(2, 40)
        self.count.setValue(6)
        self.make = button()
        self.seeds = QSpinBox()
        self.seeds.setRange(1, 100)
        self.said = text_label("muted", wrap=True)
        self.preview = RowsModel()
        self.preview_table = Table(self.preview)
        self.preview_table.setMinimumHeight(150)
        self.labels = [text_label() for _ in range(4)]
        self.model_group, self.ladder_group = QGroupBox(), QGroupBox()
        self._lay_out()
        self._table: base.Table = {}
        self._drawn: base.Table | None = None
        """The law of a study that trains nothing: it has no family to choose, and is kept as it is."""
        self._quiet = True
        self._soon = QTimer(self, singleShot=True, interval=PREVIEW_MS)
        self._soon.timeout.connect(self._preview)
        self.family.currentIndexChanged.connect(lambda _: self._family_chosen())
        self.sizes.textChanged.connect(lambda _: self._edited())
        self.seeds.valueChanged.connect(lambda _: self._edited())
        self.make.clicked.connect(lambda _: self._make())
        context.language.changed.connect(self._speak)
        self._speak()

    def load(self, table: base.Table) -> None:
        self._quiet = True
        self._table = table
        model = dict(table.get("model", {}))
        self._drawn = model if table.get("kind") == "simulate" else None
        self.model_group.setVisible(self._drawn is None)
        family = model.get("family", "gpt")
        self.family.setCurrentIndex(max(0, self.family.findData(family)))
        self._make_form({} if self._drawn else {k: v for k, v in model.items() if k != "family"})
        ladder = table.get("ladder", {})
        self.sizes.setText(", ".join(words.count(size) if _exact(size) else f"{size}" for size in ladder["sizes"]))
        self.seeds.setValue(len(ladder.get("seeds", [0])))
        self._quiet = False
        self._preview()

    def store(self, table: base.Table) -> None:
        assert self.form is not None
        table["model"] = self._drawn or {"family": self.family.currentData(), **self.form.values()}
        ladder: dict[str, Any] = dict(table.get("ladder", {}))
        ladder["sizes"] = parse_sizes(self.sizes.text())
        if len(ladder.get("seeds", (0,))) != self.seeds.value():
            ladder["seeds"] = list(range(self.seeds.value()))
        table["ladder"] = ladder

    def _lay_out(self) -> None:
        self.model_group.setLayout(column(row(self.labels[0], self.family, None), self.form_box, spacing=10))
        form = QFormLayout()
        form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        form.addRow(self.labels[1], self.sizes)
        for line in (self.low, self.high):
            line.setMaximumWidth(80)
        self.between = text_label("muted")
        form.addRow(self.labels[2], row(self.low, self.between, self.high, self.count, self.make, None))
        form.addRow(self.labels[3], row(self.seeds, None))
        self.ladder_group.setLayout(column(form, self.preview_table, self.said))
        self.setLayout(column(self.ladder_group, self.model_group, None, spacing=12))

    def _family_chosen(self) -> None:
        if not self._quiet:
            self._make_form({})
            self._edited()

    def _make_form(self, values: dict[str, Any]) -> None:
        if self.form is not None:
            self.form_box.removeWidget(self.form)
            self.form.deleteLater()
        self.form = Form(families[self.family.currentData()].Spec)
        self.form.set_values(values)
        self.form.changed.connect(self._edited)
        self.form_box.addWidget(self.form)

    def _make(self) -> None:
        try:
            low = int(parse_number(self.low.text(), whole=True))
            high = int(parse_number(self.high.text(), whole=True))
        except ValueError:
            self.said.setText(tr("From and to must be whole numbers such as 2000, 2k or 1M."))
            return
        if 0 < low < high:
            self.sizes.setText(
                ", ".join(f"{size:_}".replace("_", " ") for size in even_sizes(low, high, self.count.value()))
            )

    def _edited(self) -> None:
        if not self._quiet:
            self._soon.start()
            self.changed.emit()

    def _preview(self) -> None:
        table = dict(self._table)
        self.store(table)

        def work() -> tuple[RunSpec, ...] | KnownError:
            try:
                return expand(base.study_of(table))
            except KnownError as error:
                return error

        self.context.jobs.run(work, self._show, slot="ladder-preview")

    def _show(self, found: tuple[RunSpec, ...] | KnownError) -> None:
        wrong = isinstance(found, KnownError)
        self.said.setProperty("role", "bad" if wrong else "muted")
        self.said.style().polish(self.said)
        if isinstance(found, KnownError):
            self.said.setText(str(found))
            self.preview.set_rows([])
            return
        first = {}
        for run in found:
            first.setdefault((run.size_index, str(run.variant)), run)
        self.preview.set_rows(list(first.values()))
        self.preview_table.fit()
        self.said.setText(
            tr("{n} runs; each size is trained with {seeds} seeds.", n=len(found), seeds=self.seeds.value())
        )

    def _speak(self) -> None:
        for number in range(self.family.count()):
            self.family.setItemText(number, tr(families[self.family.itemData(number)].title))
        if self.form is not None:
            self.form.speak()
            self._preview()
        self.model_group.setTitle(tr("Model"))
        self.ladder_group.setTitle(tr("Ladder"))
        texts = (tr("Family"), tr("Sizes (non-embedding parameters)"), tr("Even ladder from"), tr("Seeds"))
        for label, text, buddy in zip(self.labels, texts, (self.family, self.sizes, self.low, self.seeds), strict=True):
            label.setText(text)
            label.setBuddy(buddy)
            buddy.setAccessibleName(text)
        self.between.setText(tr("to"))
        self.high.setAccessibleName(tr("Largest size"))
        self.count.setAccessibleName(tr("Number of sizes"))
        self.count.setSuffix(tr(" sizes"))
        self.make.setText(tr("Fill in"))
        self.preview_table.setAccessibleName(tr("Models of the ladder"))
        self.preview.set_columns(
            [
                Column(tr("Asked for"), lambda r: f"{r.size:,}", number=True),
                Column(tr("Non-embedding"), lambda r: f"{r.n_params_non_embedding:,}", number=True),
                Column(tr("All parameters"), lambda r: f"{r.n_params:,}", number=True),
                Column(tr("Shape"), _shape),
                Column(tr("Learning rate"), lambda r: f"{r.training.learning_rate:.3g}", number=True),
                Column(tr("Tokens"), lambda r: words.count(r.training.tokens), number=True),
                Column(tr("FLOPs"), lambda r: words.power(r.compute_flops), number=True),
            ]
        )


def _exact(size: int) -> bool:
    try:
        return parse_number(words.count(size), whole=True) == size
    except ValueError:
        return False


def _shape(run: RunSpec) -> str:
    whole = {k: v for k, v in run.shape.items() if isinstance(v, int) and k != "vocab_size"}
    return ", ".join(f"{name} {value}" for name, value in list(whole.items())[:4])
