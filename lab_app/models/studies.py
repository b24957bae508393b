"""Studies and their runs as a tree: name, state or loss, and the eye that hides a run from the plots."""

from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QAbstractItemModel, QModelIndex, QPersistentModelIndex, QSortFilterProxyModel, Qt
from PySide6.QtGui import QColor

from engine.i18n import tr
from engine.results import study_state
from lab_app import words

if TYPE_CHECKING:
    from engine.store.rows import RunRow, StudyRow
    from lab_app.context import Selection
    from lab_app.models.catalog import Catalog
    from lab_app.theme import Theme

Index = QModelIndex | QPersistentModelIndex
ROOT = QModelIndex()
NAME, STATE, EYE = range(3)
COUNTED = ("running", "paused")
"""States in which how far a run is says more than the word."""
ID_ROLE = Qt.ItemDataRole.UserRole + 1
"""(study id, run id); run id 0 for a study."""


class StudiesModel(QAbstractItemModel):
    """Two levels over the catalogue. The internal id of a run's index is its study's row + 1, of a study's 0."""

    def __init__(self, catalog: "Catalog", selection: "Selection", theme: "Theme") -> None:
        super().__init__()
        self._catalog, self._selection, self._theme = catalog, selection, theme
        self._rows: list[tuple[StudyRow, list[RunRow]]] = []
        catalog.changed.connect(self.refresh)
        selection.hidden_changed.connect(self.repaint)
        theme.changed.connect(self.repaint)
        self.refresh()

    def refresh(self) -> None:
        """Take over the catalogue; where only values changed the tree keeps its folds and selection."""
        rows = [(study, list(self._catalog.runs(study.id))) for study in self._catalog.studies]
        if self._shape(rows) == self._shape(self._rows):
            self._rows = rows
            self.repaint()
            return
        self.beginResetModel()
        self._rows = rows
        self.endResetModel()

    def repaint(self) -> None:
        """Values, language or colours changed."""
        if not self._rows:
            return
        self.dataChanged.emit(self.index(0, 0), self.index(len(self._rows) - 1, EYE))
        for number, (_, runs) in enumerate(self._rows):
            parent = self.index(number, 0)
            if runs:
                self.dataChanged.emit(self.index(0, 0, parent), self.index(len(runs) - 1, EYE, parent))

    @staticmethod
    def _shape(rows: "list[tuple[StudyRow, list[RunRow]]]") -> list[tuple[str, tuple[int, ...]]]:
        return [(study.id, tuple(run.id for run in runs)) for study, runs in rows]

    def index_of(self, study: str, run: int = 0) -> QModelIndex:
        """Where a study or run is in the tree; invalid where it is not."""
        for number, (row, runs) in enumerate(self._rows):
            if row.id == study:
                parent = self.index(number, 0)
                at = next((i for i, r in enumerate(runs) if r.id == run), None) if run else None
                return parent if at is None else self.index(at, 0, parent)
        return QModelIndex()

    def index(self, row: int, column: int, parent: Index = ROOT) -> QModelIndex:
        if not parent.isValid():
            return self.createIndex(row, column, 0) if row < len(self._rows) else QModelIndex()
        if parent.internalId() == 0 and row < len(self._rows[parent.row()][1]):
            return self.createIndex(row, column, parent.row() + 1)
        return QModelIndex()

    def parent(self, index: Index = ROOT) -> QModelIndex:  # type: ignore[override]
        if index.isValid() and index.internalId():
            return self.createIndex(index.internalId() - 1, 0, 0)
        return QModelIndex()

    def rowCount(self, parent: Index = ROOT) -> int:
        if not parent.isValid():
            return len(self._rows)
        return len(self._rows[parent.row()][1]) if parent.internalId() == 0 and parent.column() == 0 else 0

    def columnCount(self, parent: Index = ROOT) -> int:
        return 3

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if role == Qt.ItemDataRole.DisplayRole:
            return [tr("Study"), tr("State"), ""][section]
        return None

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if not index.isValid():
            return None
        if index.internalId():
            study, runs = self._rows[index.internalId() - 1]
            run = runs[index.row()]
            return (study.id, run.id) if role == ID_ROLE else self._run(run, index.column(), role)
        study, runs = self._rows[index.row()]
        return (study.id, 0) if role == ID_ROLE else self._study(study, runs, index.column(), role)

    def _study(self, study: "StudyRow", runs: "list[RunRow]", column: int, role: int) -> Any:
        state = study_state([run.state for run in runs]) if runs else "queued"
        done = sum(run.state == "finished" for run in runs)
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.AccessibleTextRole):
            if column == NAME:
                return f"{words.study_title(study)}  {' '.join(f'#{tag}' for tag in study.tags)}".strip()
            if column != STATE:
                return ""
            whole = f"{done}/{len(runs)}"
            return f"{words.state(state)} {whole}" if role == Qt.ItemDataRole.AccessibleTextRole else whole
        if role == Qt.ItemDataRole.ToolTipRole:
            standing = tr("imported") if study.imported else words.state(state)
            return f"{study.shown_title}\n{study.id}\n{standing}" + (f"\n\n{study.notes}" if study.notes else "")
        return self._decoration(state, column, role, {run.id for run in runs})

    def _run(self, run: "RunRow", column: int, role: int) -> Any:
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.AccessibleTextRole):
            if column == NAME:
                varied = "".join(f" · {k.rsplit('.', 1)[-1]} {v}" for k, v in run.variant.items())
                seed = (
                    tr("seed {seed}", seed=run.seed) if role == Qt.ItemDataRole.AccessibleTextRole else f"#{run.seed}"
                )
                return f"{words.count(run.n_params_non_embedding)}{varied} {seed}"
            return self._standing(run, role) if column == STATE else ""
        if role == Qt.ItemDataRole.ToolTipRole:
            return "\n".join(line for line in (run.label, words.run_state(run), run.error, run.remedy) if line)
        return self._decoration(run.state, column, role, {run.id})

    def _standing(self, run: "RunRow", role: int) -> str:
        """The loss of a finished run, how far one under way is, else its state in a word."""
        word = words.run_state(run)
        if run.state == "finished" and run.val_loss is not None:
            short = words.value(run.val_loss)
        elif run.state in COUNTED:
            short = f"{self._catalog.fraction(run):.0%}"
        else:
            return word
        return f"{word}, {short}" if role == Qt.ItemDataRole.AccessibleTextRole else short

    def _decoration(self, state: str, column: int, role: int, runs: set[int]) -> Any:
        if role == Qt.ItemDataRole.DecorationRole and column == STATE:
            return self._theme.pixmap(f"state-{state}", self._theme.state_color(state), 16)
        if role == Qt.ItemDataRole.DecorationRole and column == EYE and runs:
            hidden = runs <= self._selection.hidden
            colors = self._theme.colors
            return self._theme.pixmap("eye-off" if hidden else "eye", colors.faint if hidden else colors.muted, 16)
        if role == Qt.ItemDataRole.ToolTipRole and column == EYE:
            return tr("Show in plots or hide")
        if role == Qt.ItemDataRole.ForegroundRole and column == STATE:
            return QColor(self._theme.state_color(state))
        return None


class StudiesFilter(QSortFilterProxyModel):
    """Studies whose name, or one of whose runs, a regular expression finds; a broken expression is taken literally."""

    def __init__(self, source: StudiesModel) -> None:
        super().__init__()
        self.setSourceModel(source)
        self.setRecursiveFilteringEnabled(True)
        self.setAutoAcceptChildRows(True)
        self.setFilterCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)
        self.setFilterKeyColumn(NAME)

    def narrow(self, wanted: str) -> None:
        """Show only what ``wanted`` finds."""
        self.setFilterRegularExpression(wanted)
        if not self.filterRegularExpression().isValid():
            self.setFilterFixedString(wanted)
