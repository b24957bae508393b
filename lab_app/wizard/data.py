"""Data: the source with its own fields, and a look at what comes out of it."""

from typing import TYPE_CHECKING, Any

from PySide6.QtWidgets import QComboBox, QGroupBox, QVBoxLayout

from engine.errors import KnownError
from engine.i18n import mark, tr
from engine.sources import sources
from engine.study import convert
from lab_app.context import Context
from lab_app.models.made import media_words
from lab_app.sound import Player
from lab_app.theme import mono_font
from lab_app.widgets.basic import button, column, row, text_label
from lab_app.widgets.form import Form
from lab_app.widgets.samples import Samples
from lab_app.wizard import base

if TYPE_CHECKING:
    from engine.sources.base import Preview

N_SHOWN = 12


class DataStep(base.Step):
    """The form is the source's; the preview reads a few documents off the window's thread."""

    title = mark("Data")
    icon = "data"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.source = QComboBox()
        for name in sources:
            self.source.addItem("", name)
        self.form: Form | None = None
        self.form_box = QVBoxLayout()
        self.label, self.said = text_label(), text_label("muted", wrap=True)
        self.look = button()
        self.preview = Samples(mono_font(), Player(self), media_words)
        self.preview.setMinimumHeight(220)
        self.group, self.preview_group = QGroupBox(), QGroupBox()
        self.group.setLayout(column(row(self.label, self.source, None), self.form_box, spacing=10))
        self.preview_group.setLayout(column(row(self.look, self.said), self.preview))
        self.setLayout(column(self.group, self.preview_group, None, spacing=12))
        self._drawn: base.Table | None = None
        """How a study that trains nothing draws its results: it has no source to choose, and is kept as it is."""
        self._quiet = True
        self.source.currentIndexChanged.connect(lambda _: self._chosen())
        self.look.clicked.connect(lambda _: self._preview())
        context.language.changed.connect(self._speak)
        self._speak()

    def load(self, table: base.Table) -> None:
        self._quiet = True
        data = dict(table.get("data", {}))
        self._drawn = data if table.get("kind") == "simulate" else None
        for group in (self.group, self.preview_group):
            group.setVisible(self._drawn is None)
        source = data.get("source", "python-text")
        self.source.setCurrentIndex(max(0, self.source.findData(source)))
        self._make_form({} if self._drawn else {k: v for k, v in data.items() if k != "source"})
        self._quiet = False

    def store(self, table: base.Table) -> None:
        assert self.form is not None
        table["data"] = self._drawn or {"source": self.source.currentData(), **self.form.values()}

    def _chosen(self) -> None:
        if not self._quiet:
            self._make_form({})
            self.preview.show_samples(())
            self.changed.emit()

    def _make_form(self, values: dict[str, Any]) -> None:
        if self.form is not None:
            self.form_box.removeWidget(self.form)
            self.form.deleteLater()
        self.form = Form(sources[self.source.currentData()].Spec)
        self.form.set_values(values)
        self.form.changed.connect(self.changed)
        self.form_box.addWidget(self.form)

    def _preview(self) -> None:
        assert self.form is not None
        source, values = sources[self.source.currentData()], self.form.values()
        self.look.setEnabled(False)
        self.said.setText(tr("Reading…"))

        def failed(error: Exception) -> None:
            self.look.setEnabled(True)
            self.said.setText(str(error))
            if not isinstance(error, KnownError):
                self.context.operations.report(error)

        self.context.jobs.run(lambda: source.preview(convert(values, source.Spec, "data"), N_SHOWN), self._show, failed)

    def _show(self, documents: "list[Preview]") -> None:
        self.look.setEnabled(True)
        self.said.setText(tr("{n} documents", n=len(documents)))
        self.preview.show_samples(documents)

    def _speak(self) -> None:
        for number in range(self.source.count()):
            self.source.setItemText(number, tr(sources[self.source.itemData(number)].title))
        if self.form is not None:
            self.form.speak()
        self.group.setTitle(tr("Source"))
        self.preview_group.setTitle(tr("Preview"))
        self.label.setText(tr("Source"))
        self.label.setBuddy(self.source)
        self.source.setAccessibleName(tr("Source"))
        self.look.setText(tr("Look at a few documents"))
        self.preview.speak()
