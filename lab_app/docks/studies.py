"""The Studies panel: every study and its runs, found by a regular expression, hidden by an eye."""

from PySide6.QtCore import QModelIndex, QPoint, Qt, Signal
from PySide6.QtWidgets import QHeaderView, QLineEdit, QTreeView, QWidget

from engine.i18n import mark
from lab_app.context import Context
from lab_app.models.catalog import Catalog
from lab_app.models.studies import EYE, ID_ROLE, NAME, STATE, StudiesFilter, StudiesModel
from lab_app.widgets.basic import column

NARROWEST = 220
"""Pixels: a window made small would else squeeze the list until no name can be read, and Qt does not give it back."""


class StudiesDock(QWidget):
    """A filter over a tree. Choosing a study or run makes it the one the whole window shows."""

    title = mark("Studies")
    opened = Signal(str)
    """A study was double-clicked or Enter pressed on it."""
    menu_wanted = Signal(QPoint)

    def __init__(self, context: Context, catalog: Catalog) -> None:
        super().__init__()
        self._context = context
        self._selection = context.selection
        self.model = StudiesModel(catalog, context.selection, context.theme)
        self.proxy = StudiesFilter(self.model)
        self.filter = QLineEdit()
        self.filter.setClearButtonEnabled(True)
        self.tree = QTreeView()
        self.tree.setModel(self.proxy)
        self.tree.setUniformRowHeights(True)
        self.tree.setExpandsOnDoubleClick(False)
        self.tree.setIndentation(14)
        self.tree.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.setMinimumWidth(NARROWEST)
        self._size_columns()
        self.setLayout(column(self.filter, self.tree, spacing=5, margins=(6, 6, 6, 6)))
        say = context.language.say
        say(self, self.filter.setPlaceholderText, mark("Filter (regular expression)"))
        say(self, self.filter.setAccessibleName, mark("Filter (regular expression)"))
        say(self, self.tree.setAccessibleName, mark("Studies"))
        context.language.changed.connect(self.model.repaint)
        self.filter.textChanged.connect(self._narrow)
        self.tree.selectionModel().currentChanged.connect(self._chosen)
        self.tree.clicked.connect(self._clicked)
        self.tree.activated.connect(lambda index: self.opened.emit(index.data(ID_ROLE)[0]))
        self.tree.customContextMenuRequested.connect(
            lambda at: self.menu_wanted.emit(self.tree.viewport().mapToGlobal(at))
        )
        self.model.modelReset.connect(self._after_reset)
        self._selection.study_changed.connect(lambda _: self._show_selection())
        self._selection.run_changed.connect(lambda _: self._show_selection())

    def focus_search(self) -> None:
        """Put the cursor into the filter."""
        self.filter.setFocus(Qt.FocusReason.ShortcutFocusReason)
        self.filter.selectAll()

    def _size_columns(self) -> None:
        header = self.tree.header()
        header.setStretchLastSection(False)
        header.setMinimumSectionSize(26)
        header.setSectionResizeMode(NAME, QHeaderView.ResizeMode.Stretch)
        header.setSectionResizeMode(STATE, QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(EYE, QHeaderView.ResizeMode.Fixed)
        self.tree.setColumnWidth(EYE, 26)

    def _narrow(self, wanted: str) -> None:
        self.proxy.narrow(wanted)
        if wanted:
            self.tree.expandAll()
        self._show_selection()

    def _chosen(self, index: QModelIndex, _: QModelIndex) -> None:
        if index.isValid():
            self._selection.choose_run(*index.data(ID_ROLE))

    def _clicked(self, index: QModelIndex) -> None:
        if index.column() != EYE:
            return
        run = index.data(ID_ROLE)[1]
        source = self.proxy.mapToSource(index)
        count = self.model.rowCount(source.siblingAtColumn(0))
        runs = (
            [run] if run else [self.model.index(i, 0, source.siblingAtColumn(0)).data(ID_ROLE)[1] for i in range(count)]
        )
        self._selection.hide(frozenset(runs), not frozenset(runs) <= self._selection.hidden)

    def _after_reset(self) -> None:
        self._show_selection()

    def _show_selection(self) -> None:
        wanted = self.proxy.mapFromSource(self.model.index_of(self._selection.study, self._selection.run))
        if wanted.isValid() and wanted != self.tree.currentIndex():
            self.tree.setCurrentIndex(wanted)
            if not self._selection.run:
                self.tree.expand(wanted)
