"""Data: every source with its fields, a look at what comes out of it, and what a quality check says of it."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QTimer, Signal
from PySide6.QtGui import QDragEnterEvent, QDropEvent, QStandardItemModel
from PySide6.QtWidgets import QComboBox, QFormLayout, QProgressBar, QTabWidget, QWidget

from engine.errors import InputError, KnownError
from engine.families.fine_tuned import tuning_tasks
from engine.i18n import mark, tr
from engine.sources import sources
from engine.study import TableSpec, convert
from lab_app.context import Context
from lab_app.guide import about_source
from lab_app.jobs import Preparing
from lab_app.models.catalog import Catalog
from lab_app.models.made import media_words
from lab_app.page import Page
from lab_app.quality import QualityView
from lab_app.sound import Player
from lab_app.theme import mono_font
from lab_app.widgets.basic import button, column, frame, restyle, row, scrolled, text_label
from lab_app.widgets.form import PATHS, Form
from lab_app.widgets.samples import Samples

if TYPE_CHECKING:
    from engine.sources.base import Preview, QualityReport, Source

SOON_MS = 500
"""An edit is looked at when nothing more is typed for so long."""
POLL_MS = 100
N_SHOWN, N_OF_SPLIT = 24, 8
"""Samples looked at of the user's files, and of each split of data that comes with its splits."""
SIDE_WIDTH = 330
FILES_LOOKED_AT = 400
"""Of a folder that is dropped, to see what it holds."""
KINDS = {
    "own": (mark("Your own files"), mark("Your own files. They are read on this machine and go nowhere."), "folder"),
    "real": (mark("Real data"), mark("Real data that is on this machine; nothing is downloaded."), "data"),
    "made": (mark("Made by a program"), mark("Procedural: made by a program, not recorded in the world."), "command"),
}
PREVIEW, REPORT = range(2)


def kind_of(source: "Source") -> str:
    """``own`` where it reads the user's files, ``made`` where a program makes it, else ``real``."""
    if source.procedural:
        return "made"
    return "own" if path_field(source) else "real"


def path_field(source: "Source") -> str:
    """The field that says where the user's files are; empty where there is none."""
    return next((name for name in source.Spec.__struct_fields__ if name in PATHS), "")


class DataPage(Page):
    """What is chosen here is looked at at once, prepared on demand, and handed to the wizard."""

    name = "data"
    title = mark("Data")
    icon = "data"
    use_wanted = Signal(object)
    """The ``data`` table of a study: the source and its fields."""

    def __init__(self, context: Context, catalog: Catalog) -> None:
        super().__init__(context, catalog)
        self.form: Form | None = None
        self.preparing: Preparing | None = None
        self._problem: Exception | None = None
        self._kept: dict[str, dict[str, Any]] = {}
        """What was entered for each source, for when one comes back to it."""
        self._looked_at = False
        self.player = Player(self)
        self._make_widgets()
        self._lay_out()
        self._soon = QTimer(self, singleShot=True, interval=SOON_MS)
        self._poll = QTimer(self, interval=POLL_MS)
        self.setAcceptDrops(True)
        self._connect()
        self._speak()
        self.choose(context.settings.text("data/source", "text-folder"))

    # -- making it ----------------------------------------------------------------------------------------------

    def _make_widgets(self) -> None:
        self.heading = text_label("title")
        self.label, self.source = text_label(), QComboBox()
        self._heads: dict[int, str] = {}
        for kind, (title, _, _) in KINDS.items():
            self._heads[self.source.count()] = title
            self.source.addItem("", None)
            for name in sources:
                if kind_of(sources[name]) == kind:
                    self.source.addItem("", name)
        model = self.source.model()
        assert isinstance(model, QStandardItemModel)
        bold = self.font()
        bold.setBold(True)
        for number in self._heads:
            model.item(number).setEnabled(False)
            model.item(number).setFont(bold)
        self.source.setMaxVisibleItems(40)
        self.kind_icon, self.kind = text_label(), text_label(wrap=True)
        self.about = text_label("muted", wrap=True)
        self.form_box = column()
        self.prepare_button, self.use = button(primary=True), button()
        self.cancel = button()
        self.progress = QProgressBar()
        self.progress.setTextVisible(False)
        self.said = text_label("muted", wrap=True, selectable=True)
        self.samples = Samples(mono_font(), self.player, media_words)
        self.looked = text_label("muted", wrap=True, selectable=True)
        self.report = QualityView(self.context)
        self.no_report = text_label("muted", wrap=True)
        self.tabs = QTabWidget()
        self.tabs.setDocumentMode(True)
        self.tabs.tabBar().setDrawBase(False)

    def _lay_out(self) -> None:
        kind = row(self.kind_icon, self.kind, spacing=6)
        kind.setStretch(1, 1)
        inside = QWidget()
        fields = column(self.form_box, None, margins=(2, 2, 10, 2))
        inside.setLayout(fields)
        self.working = QWidget()
        bar = row(self.progress, self.cancel)
        bar.setStretch(0, 1)
        self.working.setLayout(column(bar, spacing=4))
        side = QWidget()
        parts = column(self.label, self.source, kind, self.about, spacing=6)
        doing = column(self.said, self.working, row(self.prepare_button, self.use, None), spacing=6)
        side.setLayout(column(parts, scrolled(inside), doing, spacing=8))
        side.layout().setStretch(1, 1)
        preview, report = QWidget(), QWidget()
        preview.setLayout(column(self.looked, self.samples, None, spacing=6, margins=(0, 8, 0, 0)))
        preview.layout().setStretch(1, 1000)
        report.setLayout(column(self.no_report, self.report, None, margins=(0, 8, 0, 0)))
        self.tabs.addTab(preview, "")
        self.tabs.addTab(scrolled(report), "")
        main = frame("plain", column(self.tabs, margins=(12, 4, 12, 10)))
        side.setFixedWidth(SIDE_WIDTH)
        both = row(side, main, spacing=16)
        both.setStretch(1, 1)
        self.setLayout(column(self.heading, both, spacing=10, margins=(22, 14, 22, 14)))
        self.layout().setStretch(1, 1)

    def _connect(self) -> None:
        self.source.currentIndexChanged.connect(lambda _: self._chosen())
        self._soon.timeout.connect(self.look)
        self._poll.timeout.connect(self._show_progress)
        self.prepare_button.clicked.connect(lambda _: self.prepare())
        self.cancel.clicked.connect(lambda _: self.stop())
        self.use.clicked.connect(lambda _: self.use_wanted.emit(self.table()))
        self.context.language.changed.connect(self._speak)
        self.context.theme.changed.connect(self._show_kind)

    # -- what is chosen -----------------------------------------------------------------------------------------

    def entered(self) -> None:
        if not self._looked_at:
            self.look()

    def left(self) -> None:
        self.player.stop()

    def closing(self) -> None:
        self.stop()

    def choose(self, name: str, **values: Any) -> None:
        """Show a source, with these fields where they are given."""
        self._kept[name] = self._kept.get(name, {}) | values
        place = self.source.findData(name)
        if place >= 0 and place != self.source.currentIndex():
            self.source.setCurrentIndex(place)
        elif values or self.form is None:
            self._chosen()

    def table(self) -> dict[str, Any]:
        """The source and its fields, as a study has them."""
        assert self.form is not None
        return {"source": self.source.currentData(), **self.form.values()}

    def _chosen(self) -> None:
        name = self.source.currentData()
        if name is None:  # a heading
            self.source.setCurrentIndex(self.source.currentIndex() + 1)
            return
        self.stop()
        self.context.settings.put("data/source", name)
        if self.form is not None:
            self.form_box.removeWidget(self.form)
            self.form.deleteLater()
        fields = sources[name].Spec.__struct_fields__
        self.form = Form(sources[name].Spec, only=tuple(sorted(fields, key=lambda field: field not in PATHS)))
        self.form.layout().setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        self.form.set_values(self._kept.get(name, {}))
        self.form.changed.connect(self._edited)
        self.form_box.addWidget(self.form)
        self._show_kind()
        self._forget()
        self.look()

    def _edited(self) -> None:
        assert self.form is not None
        self._kept[self.source.currentData()] = self.form.values()
        self._forget()
        self._soon.start()

    def _forget(self) -> None:
        """What was found of other data is not shown beside this."""
        self.stop()
        self._looked_at, self._problem = False, None
        self.samples.show_samples(())
        self.samples.hide()
        self.report.hide()
        self.no_report.show()
        self._say_state()

    def _spec(self) -> "tuple[Source, TableSpec]":
        assert self.form is not None
        source = sources[self.source.currentData()]
        return source, convert(self.form.values(), source.Spec, "data")

    # -- looking ------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Read a few samples, off the window's thread."""
        assert self.form is not None
        source, values = sources[self.source.currentData()], self.form.values()
        field = path_field(source)
        n = N_SHOWN if field else N_OF_SPLIT
        if field and not values.get(field):
            self.looked.setText(tr("Choose a folder or a file on the left, or drop it here."))
            return
        if not self.isVisible():
            return
        self._soon.stop()
        self._looked_at = True
        self.looked.setText(tr("Reading…"))

        def work() -> "list[Preview]":
            return source.preview(convert(values, source.Spec, "data"), n)

        self.context.jobs.run(work, self._show_samples, self._not_looked, slot="data-preview")

    def _show_samples(self, samples: "list[Preview]") -> None:
        self.looked.setText(tr("The first {n} of them, as they are read:", n=len(samples)))
        restyle(self.looked, "role", "muted")
        self.samples.show_samples(samples)
        self.samples.show()

    def _not_looked(self, error: Exception) -> None:
        restyle(self.looked, "role", "bad" if isinstance(error, KnownError) else "muted")
        if isinstance(error, NotImplementedError):
            self.looked.setText(tr("This source has no preview."))
        elif isinstance(error, KnownError):
            self.looked.setText(str(error))
        else:
            self.looked.setText(tr("The preview failed."))
            self.context.operations.report(error)

    # -- preparing ----------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Load, check and split the data into the home's cache, where a study will find it."""
        self.stop()
        try:
            source, spec = self._spec()
        except KnownError as error:
            self._failed(error)
            return
        task = self.preparing = Preparing()
        cache = self.context.lab.store.cache
        self._problem = None

        def work() -> "QualityReport":
            return source.prepare(spec, cache, task).report

        def failed(error: Exception) -> None:
            if self.preparing is task:
                self._failed(error)

        def done(report: "QualityReport") -> None:
            if self.preparing is task:
                self._done(report)

        self.context.jobs.run(work, done, failed)
        self._poll.start()
        self._say_state()

    def stop(self) -> None:
        """End what is being prepared; nothing half made is left."""
        if self.preparing is not None:
            self.preparing.stop()
            self.preparing = None
            self._poll.stop()
            self._say_state()

    def _done(self, report: "QualityReport") -> None:
        self.preparing = None
        self._poll.stop()
        self.report.show_report(report)
        self.report.show()
        self.no_report.hide()
        self.tabs.setCurrentIndex(REPORT)
        self._say_state()

    def _failed(self, error: Exception) -> None:
        self.preparing = None
        self._poll.stop()
        self._problem = error
        self._say_state()
        if not isinstance(error, KnownError):
            self.context.operations.report(error)

    def _show_progress(self) -> None:
        task = self.preparing
        if task is not None and task.step:
            self.progress.setValue(round(100 * task.fraction))
            self.said.setText(tr("{step}: {share:.0%}", step=tr(task.step).capitalize(), share=task.fraction))

    def _say_state(self) -> None:
        busy = self.preparing is not None
        self.working.setVisible(busy)
        self.prepare_button.setEnabled(not busy)
        wrong = isinstance(self._problem, KnownError)
        restyle(self.said, "role", "bad" if wrong else "muted")
        if busy:
            self.progress.setValue(0)
            self.said.setText(tr("Reading…"))
        elif self._problem is not None:
            self.said.setText(str(self._problem) if wrong else tr("This failed."))
        else:
            self.said.setText("")
        self.said.setVisible(bool(self.said.text()))

    # -- what is dropped ----------------------------------------------------------------------------------------

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        if any(url.isLocalFile() for url in event.mimeData().urls()):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        event.acceptProposedAction()
        paths = [Path(url.toLocalFile()) for url in event.mimeData().urls() if url.isLocalFile()]
        self.take(paths[0])

    def take(self, path: Path) -> None:
        """Show a folder or file by the source that reads what is in it, the chosen one first."""
        found = list(_endings(path))
        able = [name for name in sources if path_field(sources[name]) and set(found) & set(sources[name].reads)]
        if not able:
            self._failed(InputError(tr("No source reads what is in {path}.", path=path.name)))
            return
        chosen = self.source.currentData()

        tuned = {task.source for task in tuning_tasks() if task.reads_text}

        def fits(name: str) -> tuple[int, bool, int]:
            """Files that it reads, then kinds that it reads: tables of something, as for tuning, are chosen by hand."""
            return sum(e in sources[name].reads for e in found), name not in tuned, len(sources[name].reads)

        best = chosen if chosen in able else max(able, key=fits)
        self.choose(best, **{path_field(sources[best]): str(path)})

    # -- words --------------------------------------------------------------------------------------------------

    def _show_kind(self) -> None:
        name = self.source.currentData()
        if name is None:
            return
        _, said, icon = KINDS[kind_of(sources[name])]
        self.kind.setText(tr(said))
        self.kind_icon.setPixmap(self.context.theme.pixmap(icon, self.context.theme.colors.accent, 18))
        self.about.setText(about_source(name))

    def _speak(self) -> None:
        self.heading.setText(tr("Data"))
        for number in range(self.source.count()):
            name = self.source.itemData(number)
            self.source.setItemText(number, tr(self._heads[number] if name is None else sources[name].title))
        self.label.setText(tr("Where it comes from"))
        self.label.setBuddy(self.source)
        self.source.setAccessibleName(tr("Where it comes from"))
        self.prepare_button.setText(tr("Check and prepare"))
        self.use.setText(tr("Use in a new study"))
        self.cancel.setText(tr("Cancel"))
        self.progress.setAccessibleName(tr("Progress"))
        self.no_report.setText(
            tr("Check the data to see duplicates, leaks, classes and sizes here. A study then finds it ready.")
        )
        self.tabs.setTabText(PREVIEW, tr("Preview"))
        self.tabs.setTabText(REPORT, tr("Quality"))
        self._show_kind()
        if self.form is not None:
            self.form.speak()
            self.samples.speak()
            self._say_state()
            self.look()


def _endings(path: Path) -> Iterator[str]:
    """The endings of a file, or of the first files of a folder."""
    if path.is_file():
        yield path.suffix.lower()
        return
    n = 0
    for _, _, names in os.walk(path):
        for name in names:
            n += 1
            if n > FILES_LOOKED_AT:
                return
            yield Path(name).suffix.lower()
