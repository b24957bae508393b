"""Help: the guide in the language in use, and every action with its keys, made from the table of actions."""

from collections.abc import Sequence
from pathlib import Path

from PySide6.QtCore import Qt, QUrl
from PySide6.QtGui import QAction, QKeySequence
from PySide6.QtWidgets import QDialog, QListWidget, QListWidgetItem, QSplitter, QTextBrowser, QWidget

from engine.i18n import language, tr
from lab_app.guide import GUIDE
from lab_app.widgets.basic import column

ACTIONS = "actions"


class HelpDialog(QDialog):
    """Chapters on the left, the text on the right. Reads only files that come with the program."""

    def __init__(self, actions: Sequence[QAction], parent: QWidget) -> None:
        super().__init__(parent, Qt.WindowType.Window)
        self.setWindowTitle(tr("Help"))
        self.resize(900, 640)
        self._actions = list(actions)
        self.chapters = QListWidget()
        self.chapters.setAccessibleName(tr("Chapters"))
        self.text = QTextBrowser()
        self.text.setOpenLinks(False)
        self.text.setAccessibleName(tr("Help"))
        self.text.anchorClicked.connect(self._follow)
        split = QSplitter()
        split.addWidget(self.chapters)
        split.addWidget(self.text)
        split.setSizes([210, 690])
        self.setLayout(column(split, margins=(8, 8, 8, 8)))
        self._fill()
        self.chapters.currentItemChanged.connect(lambda item, _: item is not None and self._show(item))
        self.chapters.setCurrentRow(0)

    def _fill(self) -> None:
        for path in _pages():
            item = QListWidgetItem(_title(path))
            item.setData(Qt.ItemDataRole.UserRole, str(path))
            self.chapters.addItem(item)
        keys = QListWidgetItem(tr("All actions and their keys"))
        keys.setData(Qt.ItemDataRole.UserRole, ACTIONS)
        self.chapters.addItem(keys)

    def _show(self, item: QListWidgetItem) -> None:
        where = item.data(Qt.ItemDataRole.UserRole)
        if where == ACTIONS:
            self.text.setMarkdown(actions_as_markdown(self._actions))
            return
        path = Path(where)
        self.text.setSearchPaths([str(path.parent)])
        self.text.setMarkdown(path.read_text(encoding="utf-8"))

    def _follow(self, link: QUrl) -> None:
        wanted = Path(link.path()).name
        for number in range(self.chapters.count()):
            if Path(self.chapters.item(number).data(Qt.ItemDataRole.UserRole)).name == wanted:
                self.chapters.setCurrentRow(number)
                return
        if link.hasFragment():
            self.text.scrollToAnchor(link.fragment())


def actions_as_markdown(actions: Sequence[QAction]) -> str:
    """A table of every action: name, keys, what it does."""
    lines = [
        f"# {tr('All actions and their keys')}",
        "",
        f"| {tr('Action')} | {tr('Keys')} | {tr('What it does')} |",
        "|---|---|---|",
    ]
    for action in actions:
        keys = action.shortcut().toString(QKeySequence.SequenceFormat.NativeText)
        name = action.text().replace("&", "")
        lines.append(f"| {name} | {keys.replace('|', chr(92) + '|')} | {action.statusTip()} |")
    return "\n".join(lines)


def _pages() -> list[Path]:
    folder = GUIDE / language()
    found = sorted((folder if folder.is_dir() else GUIDE / "en").glob("*.md"))
    return sorted(found, key=lambda path: (path.stem != "index", path.stem != "quickstart", path.stem))


def _title(path: Path) -> str:
    with path.open(encoding="utf-8") as file:
        first = file.readline().strip()
    return first.lstrip("# ") or path.stem
