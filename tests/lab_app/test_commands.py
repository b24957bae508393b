"""The table of commands, and what menus, toolbar, palette and help make of it."""

import gettext
import inspect
from collections import Counter
from pathlib import Path

import pytest
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QMenu

from engine.i18n import CATALOGUES, LANGUAGES, mark
from lab_app.commands import ACTIONS, MENUS
from lab_app.deeds import Deeds
from lab_app.dialogs.help import actions_as_markdown
from lab_app.theme import RESOURCES
from lab_app.widgets.palette import Palette, matches
from lab_app.window import PAGES
from tests.lab_app.desk import Desk


def test_ids_and_shortcuts_are_used_once() -> None:
    assert [name for name, n in Counter(a.id for a in ACTIONS).items() if n > 1] == []
    assert [keys for keys, n in Counter(a.shortcut for a in ACTIONS if a.shortcut).items() if n > 1] == []


def test_every_command_has_its_deed_and_every_deed_its_command() -> None:
    methods = {n for n, f in inspect.getmembers(Deeds, inspect.isfunction) if not n.startswith("_")} - {"export"}
    assert methods == {action.id for action in ACTIONS}
    for action in ACTIONS:
        assert list(inspect.signature(getattr(Deeds, action.id)).parameters) == ["self"]


def test_every_command_has_a_menu_and_its_icon_is_there() -> None:
    assert {action.menu for action in ACTIONS} | {"window"} == set(MENUS)  # Window holds the panels
    for action in ACTIONS:
        assert not action.icon or (RESOURCES / "icons" / f"{action.icon}.svg").is_file(), action.id


def test_every_text_of_the_table_is_translated() -> None:
    for language in set(LANGUAGES) - {"en"}:
        catalogue = gettext.translation("emergence_lab", CATALOGUES, [language])
        texts = {text for a in ACTIONS for text in (a.title, a.tip)} | set(MENUS.values())
        texts |= {title for title, _ in PAGES.values()}
        assert sorted(text for text in texts if catalogue.gettext(text) == text) == []


def leaves(menu: QMenu) -> list[QAction]:
    """Actions of a menu and its submenus, without lines."""
    found: list[QAction] = []
    for action in menu.actions():
        inner = action.menu()
        if isinstance(inner, QMenu):
            found += leaves(inner)
        elif not action.isSeparator():
            found.append(action)
    return found


def test_the_menus_hold_every_action_once(desk: Desk) -> None:
    table = desk.window.actions_table
    assert list(table.menus) == list(MENUS)
    in_menus = Counter(action.objectName() for menu in table.menus.values() for action in leaves(menu))
    assert in_menus == Counter(list(table.by_id))
    assert all(menu.title() and not menu.isEmpty() for menu in table.menus.values())
    for action in ACTIONS:
        assert table.by_id[action.id] in leaves(table.menus[action.menu])


def test_the_toolbar_holds_what_the_table_says_in_its_order(desk: Desk) -> None:
    shown = [action.objectName() for action in desk.window.toolbar.actions() if not action.isSeparator()]
    assert shown == [action.id for action in ACTIONS if action.toolbar]


def test_no_two_shortcuts_of_the_window_collide(desk: Desk) -> None:
    used = Counter(a.shortcut().toString() for a in desk.window.actions_table.all() if not a.shortcut().isEmpty())
    assert [keys for keys, n in used.items() if n > 1] == []
    assert {f"Ctrl+{n}" for n in range(1, len(PAGES) + 1)} <= set(used)


def test_a_tool_tip_tells_the_keys_and_what_is_done(desk: Desk) -> None:
    action = desk.window.actions_table.by_id["new_study"]
    assert action.toolTip() == "New study (Ctrl+N)\nAsk a question of a ladder of models"
    assert "&" not in desk.window.actions_table.by_id["settings"].toolTip()


@pytest.mark.parametrize(
    ("wanted", "found"),
    [("", True), ("exp fig", True), ("FIGURE exp", True), ("figures", False), ("svg", True), ("xyz", False)],
)
def test_matching_wants_every_part_in_any_order(wanted: str, found: bool) -> None:
    assert matches(wanted, "Export figure… Write it as SVG, PDF, PNG or CSV") is found


def test_the_palette_finds_by_parts_of_words_and_triggers(desk: Desk) -> None:
    desk.do("palette")
    palette = desk.dialog(Palette)
    assert palette.list.count() == len(desk.window.actions_table.all())
    palette.search.setText("monit page")
    assert [palette.list.item(i).text().split("    ")[0] for i in range(palette.list.count())] == ["Monitor"]
    palette.search.returnPressed.emit()
    assert desk.window.page_name == "monitor"
    assert palette.isHidden()


def test_the_palette_does_not_trigger_what_is_disabled(desk: Desk) -> None:
    desk.do("palette")
    palette = desk.dialog(Palette)
    palette.search.setText("duplicate")
    assert palette.list.count() == 1
    palette.search.returnPressed.emit()
    assert not palette.isHidden()
    palette.reject()


def test_help_lists_every_action_with_its_keys(desk: Desk) -> None:
    actions = desk.window.actions_table.all()
    text = actions_as_markdown(actions)
    rows = [line for line in text.split("\n") if line.startswith("| ")][1:]
    assert len(rows) == len(actions)
    assert "| New study | Ctrl+N | Ask a question of a ladder of models |" in rows


def test_a_literal_is_marked_where_it_is_defined() -> None:
    source = Path(inspect.getsourcefile(Deeds) or "").with_name("commands.py").read_text(encoding="utf-8")
    for action in ACTIONS:
        assert f"{mark.__name__}({action.title!r})".replace("'", '"') in source
