"""Models: what is done to a model that is there already, and what came of it."""

from PySide6.QtCore import Signal
from PySide6.QtGui import QDragEnterEvent, QDropEvent
from PySide6.QtWidgets import QTabWidget

from engine.i18n import mark, tr
from lab_app.context import Context
from lab_app.modelling.compression import CompressionTab
from lab_app.modelling.fine_tune import FineTuneTab
from lab_app.modelling.results import ResultsTab
from lab_app.modelling.tab import Tab
from lab_app.models.catalog import Catalog
from lab_app.page import Page
from lab_app.widgets.basic import column

TABS: tuple[type[Tab], ...] = (FineTuneTab, ResultsTab, CompressionTab)
"""In order; adding one is naming it here."""


class ModelsPage(Page):
    """Hosts the tabs and passes on what they want."""

    name = "models"
    title = mark("Models")
    icon = "models"
    start_wanted = Signal(object)
    page_wanted = Signal(str)
    export_wanted = Signal(str, dict)
    compress_wanted = Signal()

    def __init__(self, context: Context, catalog: Catalog) -> None:
        super().__init__(context, catalog)
        self.tabs = QTabWidget()
        self.tabs.setDocumentMode(True)
        self.tabs.tabBar().setDrawBase(False)
        self.by_name: dict[str, Tab] = {}
        for kind in TABS:
            tab = self.by_name[kind.name] = kind(context, catalog)
            tab.start_wanted.connect(self.start_wanted)
            tab.page_wanted.connect(self.page_wanted)
            tab.export_wanted.connect(self.export_wanted)
            tab.compress_wanted.connect(self.compress_wanted)
            self.tabs.addTab(tab, "")
        self.setLayout(column(self.tabs, margins=(18, 6, 18, 12)))
        self.tabs.currentChanged.connect(lambda _: self.isVisible() and self.tab.entered())
        self.setAcceptDrops(True)
        context.language.changed.connect(self._speak)
        self._speak()

    @property
    def tab(self) -> Tab:
        """The tab in view."""
        found = self.tabs.currentWidget()
        assert isinstance(found, Tab)
        return found

    @property
    def figure_name(self) -> str:
        """The figure in view, as the exporter knows it."""
        return self.tab.figure_name

    @property
    def options(self) -> dict[str, object]:
        """Its options."""
        return self.tab.options

    def show_tab(self, name: str) -> Tab:
        """Bring a tab into view."""
        self.tabs.setCurrentWidget(self.by_name[name])
        self.tab.entered()
        return self.by_name[name]

    def entered(self) -> None:
        self.tab.entered()

    def closing(self) -> None:
        for tab in self.by_name.values():
            tab.closing()

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        # Beside the tabs too a drop is meant for them, not for the import of the window.
        self.by_name[FineTuneTab.name].dragEnterEvent(event)

    def dropEvent(self, event: QDropEvent) -> None:
        self.show_tab(FineTuneTab.name).dropEvent(event)

    def _speak(self) -> None:
        for number, tab in enumerate(self.by_name.values()):
            self.tabs.setTabText(number, tr(tab.title))
        self.tabs.tabBar().setAccessibleName(tr("What is done to a model"))
