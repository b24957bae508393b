"""The table of commands as ``QAction``s of one window."""

from collections.abc import Callable, Mapping

from PySide6.QtGui import QAction, QActionGroup, QKeySequence
from PySide6.QtWidgets import QMenu, QMenuBar, QWidget

from engine.i18n import LANGUAGES, mark, tr
from lab_app.commands import ACTIONS, MENUS, Action
from lab_app.language import Language
from lab_app.theme import MODES, Theme


class Actions:
    """The table as ``QAction``s of one window; ``deeds`` has a method for every id."""

    def __init__(self, window: QWidget, deeds: object, language: Language, theme: Theme) -> None:
        self._window, self._language, self._theme = window, language, theme
        self.by_id: dict[str, QAction] = {}
        self.menus: dict[str, QMenu] = {}
        self._keep: list[QActionGroup] = []
        for entry in ACTIONS:
            self._make(entry, getattr(deeds, entry.id))

    def all(self) -> list[QAction]:
        """Every action in the order of the table, then the pages, panels, languages and schemes."""
        return list(self.by_id.values())

    def add(
        self,
        identity: str,
        title: str,
        do: Callable[[], object],
        shortcut: str = "",
        icon: str = "",
        tip: str = "",
        checkable: bool = False,
    ) -> QAction:
        """One more action, made from something there are several of: pages, panels, languages."""
        entry = Action(identity, title, tip or title, "", shortcut, icon, checkable)
        return self._make(entry, do)

    def fill_menus(self, bar: QMenuBar, extra: Mapping[str, list[QAction | None]]) -> None:
        """Make the menus; ``extra`` are the made actions of a menu that come first, None is a line."""
        for name, title in MENUS.items():
            menu = self.menus[name] = bar.addMenu("")
            self._language.say(menu, menu.setTitle, title)
            for action in extra.get(name, ()):
                if action is None:
                    menu.addSeparator()
                else:
                    menu.addAction(action)
            for entry in (entry for entry in ACTIONS if entry.menu == name):
                if entry.line and not menu.isEmpty():
                    menu.addSeparator()
                menu.addAction(self.by_id[entry.id])

    def choices(self, menu: QMenu, kind: str, chosen: str, choose: Callable[[str], object]) -> None:
        """A submenu of languages or schemes of which one is checked."""
        titles = LANGUAGES if kind == "language" else MODES
        head = mark("Language") if kind == "language" else mark("Appearance")
        submenu = menu.addMenu("")
        self._language.say(submenu, submenu.setTitle, head)
        self._theme.show_icon(submenu, submenu.setIcon, "language" if kind == "language" else "theme")
        group = QActionGroup(submenu)
        self._keep.append(group)
        for name, title in titles.items():
            action = self.add(f"{kind}_{name}", title, lambda name=name: choose(name), checkable=True)
            action.setChecked(name == chosen)
            group.addAction(action)
            submenu.addAction(action)

    def _make(self, entry: Action, do: Callable[..., object]) -> QAction:
        action = QAction(self._window)
        action.setObjectName(entry.id)
        action.setCheckable(entry.checkable)
        if entry.shortcut:
            action.setShortcut(QKeySequence(entry.shortcut))
        if entry.icon:
            self._theme.show_icon(action, action.setIcon, entry.icon)
        self._language.say(action, action.setText, entry.title)
        self._language.say(action, action.setStatusTip, entry.tip)

        def show_tip(tip: str) -> None:
            keys = action.shortcut().toString(QKeySequence.SequenceFormat.NativeText)
            name = tr(entry.title).replace("&", "").rstrip("…")
            action.setToolTip(f"{name} ({keys})\n{tip}" if keys else f"{name}\n{tip}")

        self._language.say(action, show_tip, entry.tip)
        action.triggered.connect(lambda _=False: do())
        self._window.addAction(action)
        self.by_id[entry.id] = action
        return action
