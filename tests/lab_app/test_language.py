"""Switching language and scheme while the window runs."""

import gettext
import re
from collections import Counter
from collections.abc import Iterator

import pytest
from PySide6.QtCore import QAbstractItemModel, QAbstractListModel, Qt
from PySide6.QtGui import QAction, QPalette
from PySide6.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QApplication,
    QComboBox,
    QDockWidget,
    QGroupBox,
    QLabel,
    QLineEdit,
    QMenu,
    QPlainTextEdit,
    QTabWidget,
    QWidget,
)

from engine.i18n import CATALOGUES, LANGUAGES
from lab_app.language import Language
from lab_app.theme import DARK, LIGHT, MODES
from lab_app.window import PAGES
from tests.lab_app.desk import Desk, flush_deletions

FIT = "they do not cover"
"""In the sentence that a law keeps about its intervals."""
FIELD = re.compile(r"\{[^{}]*\}")


@pytest.fixture
def full(desk: Desk) -> Desk:
    """Every page made and filled, nothing changing by itself."""
    desk.window.hardware.stop()
    desk.settle()
    desk.finish()
    for name in PAGES:
        desk.page(name)
        desk.settle()
    for number in range(len(desk.train.steps)):
        desk.train.list.setCurrentRow(number)
        desk.settle()
    models = desk.page("models")
    for name in models.by_name:
        models.show_tab(name)
        desk.settle()
    fine_tune = models.show_tab("fine-tune")
    for number in range(fine_tune.stack.count()):
        fine_tune.go(number)
        desk.settle()
    return desk


def texts(desk: Desk) -> dict[str, str]:
    """Everything that the window says: where -> text."""
    flush_deletions()
    found: dict[str, str] = {}
    for number, widget in enumerate([desk.window, *desk.window.findChildren(QWidget)]):
        for what, text in of_widget(widget):
            if text:
                found[f"{number} {type(widget).__name__} {what}"] = text
    for action in desk.window.findChildren(QAction):
        if action.objectName():
            for what in ("text", "toolTip", "statusTip"):
                found[f"action {action.objectName()} {what}"] = getattr(action, what)()
    return found


def of_widget(widget: QWidget) -> Iterator[tuple[str, str]]:
    yield "accessible name", widget.accessibleName()
    yield "tool tip", widget.toolTip()
    match widget:
        case QLabel() | QAbstractButton():
            yield "text", widget.text()
        case QGroupBox() | QMenu():
            yield "title", widget.title()
        case QDockWidget():
            yield "title", widget.windowTitle()
        case QLineEdit() | QPlainTextEdit():
            yield "placeholder", widget.placeholderText()
        case QComboBox():
            yield from ((f"item {i}", widget.itemText(i)) for i in range(widget.count()))
        case QTabWidget():
            yield from ((f"tab {i}", widget.tabText(i)) for i in range(widget.count()))
        case QAbstractItemView() if widget.model() is not None:
            yield from cells(widget.model())


def cells(model: QAbstractItemModel) -> Iterator[tuple[str, str]]:
    # A list's columnCount is private in C++.
    for column in range(1 if isinstance(model, QAbstractListModel) else model.columnCount()):
        yield f"heading {column}", str(model.headerData(column, Qt.Orientation.Horizontal) or "")
        for row in range(model.rowCount()):
            yield f"cell {row} {column}", str(model.index(row, column).data() or "")


def untranslated(language: str, said: dict[str, str]) -> list[str]:
    """Texts that are English although the catalogue has them in ``language``."""
    catalogue = gettext.translation("emergence_lab", CATALOGUES, [language])
    assert isinstance(catalogue, gettext.GNUTranslations)
    entries = {k: v for k, v in catalogue._catalog.items() if isinstance(k, str) and k and k != v}
    plain = {k.replace("&", "") for k in entries if not FIELD.search(k)}
    patterns = [
        re.compile(".+".join(re.escape(part) for part in FIELD.split(k)))
        for k in entries
        if FIELD.search(k) and len(re.sub(r"[^A-Za-z]", "", FIELD.sub("", k))) > 3
    ]
    wrong = []
    for where, text in said.items():
        for line in text.replace("&", "").split("\n"):
            bare = line.strip().rstrip("…")
            if bare in plain or f"{bare}…" in plain or any(p.fullmatch(line) for p in patterns):
                wrong.append(f"{where}: {line}")
    return wrong


def test_every_text_follows_the_language_and_comes_back(full: Desk) -> None:
    english = texts(full)
    assert len(english) > 300
    full.window.use_language("zh_CN")
    full.settle()
    chinese = texts(full)
    stored = full.scale.shown.law["warnings"]  # the law keeps its warnings in the language of its fit
    said = {where: text for where, text in chinese.items() if not any(w in text for w in stored) and FIT not in text}
    left = untranslated("zh_CN", said)
    assert left == [], "\n".join(left)
    assert sum("一" <= c <= "鿿" for c in "".join(chinese.values())) > 1500
    full.window.use_language("en")
    full.settle()
    # Rows and laws are made anew, so that texts are counted, not compared place by place.
    before, after = (Counter(text for text in said.values() if "GiB" not in text) for said in (english, texts(full)))
    assert (before - after, after - before) == (Counter(), Counter())


def test_the_language_is_kept_for_the_next_start(desk: Desk, open_desk: type[Desk]) -> None:
    desk.window.use_language("zh_CN")
    desk.close()
    again = open_desk()  # type: ignore[call-arg]
    assert again.context.language.name == "zh_CN"
    assert again.window.actions_table.by_id["new_study"].text() == "新建研究"
    assert again.window.actions_table.by_id["language_zh_CN"].isChecked()


def test_qts_own_texts_follow_too(qapp: QApplication) -> None:
    language = Language()
    language.use("zh_CN")
    assert QApplication.translate("QPlatformTheme", "Cancel") == "取消"
    language.use("en")
    assert QApplication.translate("QPlatformTheme", "Cancel") == "Cancel"


def test_what_is_deleted_is_not_spoken_to(qapp: QApplication) -> None:
    language = Language()
    label = QLabel()
    language.say(label, label.setText, "Home")
    label.deleteLater()
    del label
    flush_deletions()
    language.use("zh_CN")
    assert language._said == []
    language.use("en")


def test_an_unknown_language_is_refused(qapp: QApplication) -> None:
    with pytest.raises(ValueError, match="klingon"):
        Language().use("klingon")


def test_the_scheme_changes_everything_and_comes_back(full: Desk, qapp: QApplication) -> None:
    full.window.use_theme("light")
    before = full.window.grab().toImage()
    role = QPalette.ColorRole.Window
    assert qapp.palette().color(role).name() == LIGHT.window
    for name in PAGES:
        full.window.use_theme("dark")
        full.page(name)
        full.settle()
        assert qapp.palette().color(role).name() == DARK.window
        picture = full.window.grab().toImage()
        corner = picture.pixelColor(picture.width() - 3, picture.height() - 3)
        assert corner.lightness() < 60, name
        full.window.use_theme("light")
        full.settle()
    assert full.monitor.loss.backgroundBrush().color().name() == LIGHT.surface
    full.page("scale")
    full.settle()
    assert full.window.grab().toImage().size() == before.size()


def test_every_scheme_and_language_has_its_action(desk: Desk) -> None:
    for mode in MODES:
        desk.do(f"theme_{mode}")
        assert desk.context.theme.mode == mode
        assert [m for m in MODES if desk.window.actions_table.by_id[f"theme_{m}"].isChecked()] == [mode]
    for name in LANGUAGES:
        desk.do(f"language_{name}")
        assert desk.context.language.name == name
        assert [n for n in LANGUAGES if desk.window.actions_table.by_id[f"language_{n}"].isChecked()] == [name]
