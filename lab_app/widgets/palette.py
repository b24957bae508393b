"""The command palette: every action by any part of its name, from the keyboard."""

from collections.abc import Sequence

from PySide6.QtCore import QEvent, QObject, Qt
from PySide6.QtGui import QAction, QKeyEvent, QKeySequence
from PySide6.QtWidgets import QDialog, QLineEdit, QListWidget, QListWidgetItem, QWidget

from engine.i18n import tr
from lab_app.widgets.basic import column


def matches(wanted: str, text: str) -> bool:
    """Whether all words of ``wanted`` are found in ``text``, in any order and case."""
    lowered = text.lower()
    return all(part in lowered for part in wanted.lower().split())


class Palette(QDialog):
    """A list that narrows while one types; Enter does the first action, Escape leaves."""

    def __init__(self, actions: Sequence[QAction], parent: QWidget) -> None:
        super().__init__(parent, Qt.WindowType.Dialog)
        self.setWindowTitle(tr("All actions"))
        self.resize(520, 420)
        self.search = QLineEdit()
        self.search.setPlaceholderText(tr("What do you want to do?"))
        self.search.setAccessibleName(tr("Search actions"))
        self.list = QListWidget()
        self.list.setAccessibleName(tr("Actions"))
        self.setLayout(column(self.search, self.list, margins=(12, 12, 12, 12)))
        self._actions = [action for action in actions if action.text() and not action.isSeparator()]
        self.search.textChanged.connect(self._narrow)
        self.search.returnPressed.connect(self._take)
        self.search.installEventFilter(self)
        self.list.itemActivated.connect(self._take)
        self._narrow("")
        self.search.setFocus()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        keys = (Qt.Key.Key_Up, Qt.Key.Key_Down, Qt.Key.Key_PageUp, Qt.Key.Key_PageDown)
        if isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress and event.key() in keys:
            self.list.keyPressEvent(event)
            return True
        return super().eventFilter(watched, event)

    def _narrow(self, wanted: str) -> None:
        self.list.clear()
        for action in self._actions:
            name = action.text().replace("&", "")
            if not matches(wanted, f"{name} {action.statusTip()}"):
                continue
            keys = action.shortcut().toString(QKeySequence.SequenceFormat.NativeText)
            item = QListWidgetItem(action.icon(), f"{name}    {keys}" if keys else name)
            item.setToolTip(action.statusTip())
            item.setData(Qt.ItemDataRole.UserRole, action)
            if not action.isEnabled():
                item.setFlags(item.flags() & ~Qt.ItemFlag.ItemIsEnabled)
            self.list.addItem(item)
        for number in range(self.list.count()):
            if self.list.item(number).flags() & Qt.ItemFlag.ItemIsEnabled:
                self.list.setCurrentRow(number)
                break

    def _take(self, *_: object) -> None:
        item = self.list.currentItem()
        if item is not None and item.flags() & Qt.ItemFlag.ItemIsEnabled:
            self.accept()
            item.data(Qt.ItemDataRole.UserRole).trigger()
