"""The main window: the chain of pages in the middle, panels around it, and what is remembered of them."""

from pathlib import Path
from typing import Any

from PySide6.QtCore import QByteArray, QSize, Qt, Signal
from PySide6.QtGui import QAction, QCloseEvent, QDragEnterEvent, QDropEvent, QGuiApplication
from PySide6.QtWidgets import QAbstractButton, QDockWidget, QMainWindow, QMessageBox, QStackedWidget, QToolBar, QWidget

from engine.errors import KnownError
from engine.events import RunState
from engine.i18n import LANGUAGES, mark, tr
from engine.store.rows import RunRow, StudyRow
from engine.study import StudySpec, load_study
from lab_app.actions import Actions
from lab_app.commands import ACTIONS
from lab_app.context import Context
from lab_app.deeds import Deeds
from lab_app.docks.hardware import HardwareDock
from lab_app.docks.inspector import InspectorDock
from lab_app.docks.log import LogDock
from lab_app.docks.queue import QueueDock
from lab_app.docks.studies import StudiesDock
from lab_app.hardware import Sensors
from lab_app.models.catalog import Catalog
from lab_app.page import Page
from lab_app.pages.home import HomePage
from lab_app.status import StatusBar
from lab_app.widgets.basic import Note, column
from lab_app.widgets.nav import Nav

PAGES = {
    "home": (mark("Home"), "home"),
    "data": (mark("Data"), "data"),
    "train": (mark("Train"), "train"),
    "monitor": (mark("Monitor"), "monitor"),
    "samples": (mark("Samples"), "samples"),
    "scale": (mark("Scale"), "scale"),
    "emergence": (mark("Emergence"), "emergence"),
    "models": (mark("Models"), "models"),
}
LAYOUT_VERSION = 1
LEFT, RIGHT, BELOW = (
    Qt.DockWidgetArea.LeftDockWidgetArea,
    Qt.DockWidgetArea.RightDockWidgetArea,
    Qt.DockWidgetArea.BottomDockWidgetArea,
)


class MainWindow(QMainWindow):
    """Pages are made when first shown: what draws loads pyqtgraph, which Home does without."""

    closing = Signal()
    """The user wants to leave; whoever owns the lab saves and then quits."""

    def __init__(self, context: Context, catalog: Catalog, sensors: Sensors) -> None:
        super().__init__()
        self.context, self.catalog = context, catalog
        self.setObjectName("main")
        self.setWindowTitle("Emergence Lab")
        self.setDockNestingEnabled(True)
        self.setAcceptDrops(True)
        self.pages: dict[str, Page] = {}
        self.stack = QStackedWidget()
        self.nav = Nav()
        self.note = Note("bad")
        self.note.hide()
        context.language.say(self.note, self.note.closer.setAccessibleName, mark("Close"))
        middle = QWidget()
        middle.setLayout(column(self.nav, self.note, self.stack, spacing=0))
        self.setCentralWidget(middle)
        self.studies = StudiesDock(context, catalog)
        self.queue = QueueDock(context, catalog)
        self.log = LogDock(context, catalog)
        self.inspector = InspectorDock(context, catalog)
        self.hardware = HardwareDock(context, sensors)
        self.status = StatusBar(context, catalog)
        self.setStatusBar(self.status)
        self.deeds = Deeds(self, context)
        self.actions_table = Actions(self, self.deeds, context.language, context.theme)
        self.docks = self._make_docks()
        self._make_menus()
        self._make_toolbar()
        self._connect()
        self._first_layout = QByteArray()
        self._leaving = False
        self._restore()
        self._enable()

    # -- making it ----------------------------------------------------------------------------------------------

    def _make_docks(self) -> dict[str, QDockWidget]:
        places = {
            "studies": (self.studies, LEFT),
            "inspector": (self.inspector, RIGHT),
            "hardware": (self.hardware, RIGHT),
            "queue": (self.queue, BELOW),
            "log": (self.log, BELOW),
        }
        docks = {}
        for name, (inside, area) in places.items():
            dock = QDockWidget()
            dock.setObjectName(f"dock-{name}")
            self.context.language.say(dock, dock.setWindowTitle, inside.title)
            dock.setWidget(inside)
            # Qt names the buttons of a panel in the language of the start.
            for part, text in (("closebutton", mark("Close")), ("floatbutton", mark("Float"))):
                made = dock.findChild(QAbstractButton, f"qt_dockwidget_{part}")
                self.context.language.say(made, made.setAccessibleName, text)
            self.addDockWidget(area, dock)
            docks[name] = dock
        self.tabifyDockWidget(docks["queue"], docks["log"])
        docks["queue"].raise_()
        self.setCorner(Qt.Corner.BottomLeftCorner, LEFT)
        self.setCorner(Qt.Corner.BottomRightCorner, RIGHT)
        return docks

    def _size_docks(self) -> None:
        """Sizes of the panels at first; Qt heeds them only once the window has its own."""
        docks = self.docks
        self.resizeDocks([docks["studies"], docks["inspector"]], [244, 260], Qt.Orientation.Horizontal)
        self.resizeDocks([docks["inspector"], docks["hardware"]], [420, 230], Qt.Orientation.Vertical)
        self.resizeDocks([docks["queue"]], [120], Qt.Orientation.Vertical)

    def _make_menus(self) -> None:
        table, language, theme = self.actions_table, self.context.language, self.context.theme
        pages: list[QAction | None] = []
        for number, (name, (title, icon)) in enumerate(PAGES.items(), 1):
            tip = mark("Go to this page")
            show = lambda name=name: self.show_page(name)  # noqa: E731
            action = table.add(f"page_{name}", title, show, f"Ctrl+{number}", icon, tip, checkable=True)
            pages.append(action)
            made = self.nav.add(name)
            theme.show_icon(made, made.setIcon, icon)
            language.say(made, made.setText, title)
            language.say(made, made.setToolTip, title)
        panels: list[QAction | None] = []
        for name, dock in self.docks.items():
            toggle = lambda dock=dock: self._toggle(dock)  # noqa: E731
            tip = mark("Show or hide this panel")
            action = table.add(f"dock_{name}", dock.widget().title, toggle, "", name, tip, checkable=True)
            dock.visibilityChanged.connect(lambda _, a=action, d=dock: a.setChecked(not d.isHidden()))
            panels.append(action)
        table.fill_menus(self.menuBar(), {"view": [*pages, None], "window": panels})
        view = table.menus["view"]
        table.choices(view, "language", language.name, self.use_language)
        table.choices(view, "theme", theme.mode, self.use_theme)

    def _make_toolbar(self) -> None:
        bar = QToolBar()
        bar.setObjectName("toolbar")
        bar.setMovable(False)
        bar.setIconSize(QSize(18, 18))
        bar.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.context.language.say(bar, bar.setWindowTitle, mark("Toolbar"))
        for entry in ACTIONS:
            if entry.toolbar:
                if entry.id in ("start", "export_figure"):
                    bar.addSeparator()
                bar.addAction(self.actions_table.by_id[entry.id])
        self.addToolBar(bar)
        self.toolbar = bar

    def _connect(self) -> None:
        context = self.context
        self.nav.chosen.connect(self.show_page)
        self.context.language.changed.connect(self.nav.fit)
        self.studies.opened.connect(self._open_study)
        self.studies.menu_wanted.connect(lambda at: self.actions_table.menus["run"].popup(at))
        self.hardware.measured.connect(self.status.show_reading)
        context.bridge.ticked.connect(self.catalog.take)
        context.operations.changed.connect(lambda _: self.catalog.reload_soon())
        context.operations.refused.connect(self.show_error)
        context.selection.study_changed.connect(lambda _: self._enable())
        context.selection.run_changed.connect(lambda _: self._enable())
        self.catalog.changed.connect(self._enable)
        stack = context.operations.undo_stack
        stack.canUndoChanged.connect(lambda _: self._enable())
        stack.canRedoChanged.connect(lambda _: self._enable())
        context.theme.changed.connect(self._note_icon)

    def _page(self, name: str) -> Page:
        if name in self.pages:
            return self.pages[name]
        page = self._make_page(name)
        self.pages[name] = page
        self.stack.addWidget(page)
        return page

    def _make_page(self, name: str) -> Page:
        page: Any
        match name:
            case "home":
                page = HomePage(self.context, self.catalog)
                page.start_wanted.connect(self.start_study)
                page.edit_wanted.connect(self.edit_study)
                page.open_wanted.connect(self._open_study)
            case "data":
                from lab_app.pages.data import DataPage

                page = DataPage(self.context, self.catalog)
                page.use_wanted.connect(self.use_data)
            case "train":
                from lab_app.pages.train import TrainPage

                page = TrainPage(self.context, self.catalog)
                page.start_wanted.connect(self.start_study)
            case "monitor":
                from lab_app.pages.monitor import MonitorPage

                page = MonitorPage(self.context, self.catalog)
                page.export_wanted.connect(self.deeds.export)
            case "samples":
                from lab_app.pages.samples import SamplesPage

                page = SamplesPage(self.context, self.catalog)
            case "emergence":
                from lab_app.pages.emergence import EmergencePage

                page = EmergencePage(self.context, self.catalog)
                page.export_wanted.connect(self.deeds.export)
            case "models":
                from lab_app.pages.models import ModelsPage

                page = ModelsPage(self.context, self.catalog)
                page.compress_wanted.connect(self.deeds.compress)
                page.start_wanted.connect(self.start_study)
                page.page_wanted.connect(self.show_page)
                page.export_wanted.connect(self.deeds.export)
            case _:
                from lab_app.pages.scale import ScalePage

                page = ScalePage(self.context, self.catalog)
                page.export_wanted.connect(self.deeds.export)
        return page

    # -- what it remembers --------------------------------------------------------------------------------------

    def _restore(self) -> None:
        settings = self.context.settings
        if not self.restoreGeometry(settings.data("window/geometry")):
            room = QGuiApplication.primaryScreen().availableGeometry()
            self.resize(min(1440, round(room.width() * 0.95)), min(900, round(room.height() * 0.95)))
        self._size_docks()
        self._first_layout = self.saveState(LAYOUT_VERSION)
        self.restoreState(settings.data("window/state"), LAYOUT_VERSION)
        self.context.selection.choose_study(settings.text("last/study"))
        page = settings.text("last/page", "home")
        self.show_page(page if page in PAGES else "home")

    def reset_layout(self) -> None:
        """Put all panels back where they were at first."""
        self.restoreState(self._first_layout, LAYOUT_VERSION)

    def remember(self) -> None:
        """Put what the next start wants into the settings."""
        settings = self.context.settings
        if not self.isFullScreen():
            settings.put("window/geometry", self.saveGeometry())
            settings.put("window/state", self.saveState(LAYOUT_VERSION))
        settings.put("last/study", self.context.selection.study)
        settings.put("last/page", self.page_name)
        settings.sync()

    @property
    def page_name(self) -> str:
        """The page in view."""
        return next((name for name, page in self.pages.items() if page is self.stack.currentWidget()), "home")

    def show_page(self, name: str) -> Page:
        """Bring a page into view."""
        page = self._page(name)
        before = self.stack.currentWidget()
        if isinstance(before, Page) and before is not page:
            before.left()
        self.stack.setCurrentWidget(page)
        self.nav.check(name)
        for other in PAGES:
            self.actions_table.by_id[f"page_{other}"].setChecked(other == name)
        page.entered()
        return page

    def use_language(self, language: str) -> None:
        """Switch every text of the window."""
        self.context.language.use(language)
        self.context.settings.put("language", language)
        for name in LANGUAGES:
            self.actions_table.by_id[f"language_{name}"].setChecked(name == language)

    def use_theme(self, mode: str) -> None:
        """Switch the scheme."""
        self.context.theme.use(mode)
        self.context.settings.put("theme", mode)
        self.actions_table.by_id[f"theme_{mode}"].setChecked(True)

    def show_error(self, error: KnownError) -> None:
        """Say a known error and its remedy above the page."""
        self.note.say(str(error))
        self._note_icon()

    def closeEvent(self, event: QCloseEvent) -> None:
        if self._leaving:
            event.accept()
            return
        event.ignore()
        running = [run for run in self.catalog.active() if run.state in (RunState.RUNNING, RunState.PAUSED)]
        if running and not self._sure_to_leave(len(running)):
            return
        self.leave()

    def leave(self) -> None:
        """Close without asking: runs are saved by whoever owns the lab."""
        if not self._leaving:
            self._leaving = True
            for page in self.pages.values():
                page.closing()
            self.remember()
            self.closing.emit()

    def _sure_to_leave(self, n: int) -> bool:
        box = QMessageBox(self)
        box.setWindowTitle(tr("Quit"))
        box.setText(tr("{n} runs are in progress.", n=n))
        box.setInformativeText(tr("They are saved now and can be resumed at the next start."))
        leave = box.addButton(tr("Save and quit"), QMessageBox.ButtonRole.AcceptRole)
        box.addButton(tr("Stay"), QMessageBox.ButtonRole.RejectRole)
        box.exec()
        return box.clickedButton() is leave

    def _toggle(self, dock: QDockWidget) -> None:
        dock.setVisible(dock.isHidden())
        if not dock.isHidden():
            dock.raise_()

    def _note_icon(self) -> None:
        theme = self.context.theme
        self.note.icon.setPixmap(theme.pixmap("warning", theme.colors.bad, 18))

    # -- what is chosen -----------------------------------------------------------------------------------------

    def study(self) -> StudyRow | None:
        return self.catalog.study(self.context.selection.study)

    def runs(self) -> list[RunRow]:
        """The runs an action is about: the chosen run, else all of the chosen study."""
        run = self.catalog.run(self.context.selection.run)
        return [run] if run is not None else self.catalog.runs(self.context.selection.study)

    def _enable(self) -> None:
        by_id = self.actions_table.by_id
        study, runs = self.study(), self.runs()
        for name in (
            "duplicate_study save_study rename_study edit_notes trash_study copy_command export_figure export_results"
            " export_study evaluate show_loss show_capability show_emergence switch_convention export_curves compress"
        ).split():
            by_id[name].setEnabled(study is not None)
        for name in ("duplicate_study", "save_study", "copy_command", "compress", "evaluate"):
            by_id[name].setEnabled(study is not None and not study.imported)
        states = {run.state for run in runs}
        by_id["start"].setEnabled(bool(states & {"paused", "interrupted", "failed", "cancelled"}))
        by_id["pause"].setEnabled(RunState.RUNNING in states)
        by_id["cancel"].setEnabled(bool(states & {"queued", "running", "paused", "interrupted"}))
        active = {run.state for run in self.catalog.active()}
        by_id["pause_all"].setEnabled(RunState.RUNNING in active)
        waiting = {run.state for run in self.catalog.waiting()}
        by_id["resume_all"].setEnabled(bool(waiting & {"paused", "interrupted"}))
        by_id["undo"].setEnabled(self.context.operations.undo_stack.canUndo())
        by_id["redo"].setEnabled(self.context.operations.undo_stack.canRedo())
        by_id["open_trash"].setEnabled(bool(self.catalog.trashed))

    def start_study(self, study: StudySpec) -> None:
        """Queue a study and go and watch it."""

        def queued(study_id: str) -> None:
            self.catalog.load_now()
            self.context.selection.choose_study(study_id)
            self.show_page("monitor")

        self.context.operations.submit(study, queued)

    def show_imported(self, study: str, added: bool) -> None:
        """Go to what was just imported."""
        self.catalog.load_now()
        self.context.selection.choose_study(study)
        reader = self.context.reader()
        if reader.evaluations(study, final_only=True):
            page: Any = self.show_page("scale")
            headline = reader.study_spec(study).headline
            page.show_metric(headline.capability, headline.metric)
        else:
            self.show_page("monitor")
        if not added:
            self.status.showMessage(tr("These results are here already; nothing was added."), 8000)

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        if any(url.isLocalFile() for url in event.mimeData().urls()):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        from lab_app.dialogs.import_results import local_paths

        event.acceptProposedAction()
        self.take_files(local_paths(event))

    def take_files(self, paths: list[Path]) -> None:
        """What was dropped on the window: a study file is opened, anything else is looked at for import."""
        if len(paths) == 1 and paths[0].suffix == ".toml":
            self.open_study_file(paths[0])
        elif paths:
            self.import_files(paths)

    def import_files(self, paths: list[Path]) -> None:
        """Show what these files would become, and import them when asked to."""
        from lab_app.dialogs.import_results import ImportDialog

        dialog = ImportDialog(self.context, paths, self)
        dialog.imported.connect(self.show_imported)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.open()

    def open_study_file(self, path: Path) -> None:
        """Edit a study from a TOML file; what is wrong with it is said above the page."""
        try:
            self.edit_study(load_study(str(path)))
        except KnownError as error:
            self.show_error(error)

    def edit_study(self, study: StudySpec) -> None:
        """Open a copy of a study in the wizard."""
        page: Any = self.show_page("train")
        page.edit(study)

    def use_data(self, data: dict[str, Any]) -> None:
        """Open the wizard with a study of this data."""
        from lab_app.wizard.beginning import table_for

        try:
            table = table_for(data)
        except KnownError as error:
            self.show_error(error)
            return
        page: Any = self.show_page("train")
        page.begin(table)

    def _open_study(self, study: str, page: str = "") -> None:
        self.context.selection.choose_study(study)
        if not page:
            runs = self.catalog.runs(study)
            done = bool(runs) and all(run.state == RunState.FINISHED for run in runs)
            page = "scale" if done else "monitor"
        self.show_page(page)
