"""Keyboard and screen reader: everything one can use has a name and is reached by Tab."""

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSlider,
    QAbstractSpinBox,
    QComboBox,
    QHeaderView,
    QLabel,
    QLineEdit,
    QPlainTextEdit,
    QScrollBar,
    QTabBar,
    QWidget,
)
from shiboken6 import getCppPointer

from lab_app.theme import Theme
from lab_app.widgets.basic import Flow
from lab_app.window import PAGES
from tests.lab_app.desk import Desk

INTERACTIVE = (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSlider,
    QAbstractSpinBox,
    QComboBox,
    QLineEdit,
    QPlainTextEdit,
)
INNER = ("qt_spinbox_lineedit", "qt_toolbar_ext_button", "ScrollLeftButton", "ScrollRightButton")


@pytest.fixture
def full(desk: Desk) -> Desk:
    desk.finish()
    for name in PAGES:
        desk.page(name)
        desk.settle()
    return desk


def interactive(inside: QWidget) -> list[QWidget]:
    """What a person can use of a widget that is in view, without the parts that Qt's own widgets are made of."""
    found = []
    for widget in inside.findChildren(QWidget):
        inner = widget.objectName() in INNER or isinstance(widget, QScrollBar | QHeaderView) or widget.isWindow()
        held = isinstance(widget.parent(), QComboBox | QAbstractSpinBox) or (
            isinstance(widget, QAbstractButton) and isinstance(widget.parent(), QAbstractItemView | QLineEdit | QTabBar)
        )
        popup = any(isinstance(p, QWidget) and p.isWindow() for p in parents(widget, inside))
        if isinstance(widget, INTERACTIVE) and widget.isVisible() and not (inner or held or popup):
            found.append(widget)
    return found


def address(widget: QWidget) -> int:
    """What tells widgets apart: Python's wrapper of one may come and go."""
    return int(getCppPointer(widget)[0])


def parents(widget: QWidget, up_to: QWidget) -> list[QWidget]:
    found, parent = [], widget.parentWidget()
    while parent is not None and parent is not up_to:
        found.append(parent)
        parent = parent.parentWidget()
    return found


def is_named(widget: QWidget, buddies: set[int]) -> bool:
    text = widget.text() if isinstance(widget, QAbstractButton) else ""
    spoken = any(c.isalnum() for c in text)
    return bool(widget.accessibleName()) or spoken or address(widget) in buddies


@pytest.mark.parametrize("name", PAGES)
def test_everything_has_a_name_and_is_reached_by_tab(full: Desk, name: str) -> None:
    page = full.page(name)
    full.settle()
    steps = range(page.list.count()) if name == "train" else (0,)
    for step in steps:
        if name == "train":
            page.list.setCurrentRow(step)
            full.settle()
        used = interactive(page)
        assert len(used) > 2
        buddies = {address(label.buddy()) for label in page.findChildren(QLabel) if label.buddy() is not None}
        nameless = [w for w in used if not is_named(w, buddies)]
        assert nameless == [], f"{name} {step}: {[(type(w).__name__, parents(w, page)[:3]) for w in nameless]}"
        reached = tab_chain(full)
        missed = [w for w in used if w.isEnabled() and address(w) not in reached]
        assert missed == [], f"{name} {step}: {[(type(w).__name__, w.accessibleName()) for w in missed]}"


def tab_chain(desk: Desk) -> set[int]:
    """Widgets that pressing Tab comes to, from the navigation until it is back there."""
    reached: set[int] = set()
    first = desk.window.nav.buttons["home"]
    first.setFocus()
    widget = first
    for _ in range(300):
        reached.add(address(widget))
        desk.qtbot.keyClick(widget, Qt.Key.Key_Tab)
        widget = desk.window.focusWidget()
        if widget is first:
            return reached
    raise AssertionError(f"Tab does not get away from {widget}")


def test_panels_and_bars_have_names_too(full: Desk) -> None:
    for dock in full.window.docks.values():
        dock.show()
        dock.raise_()
        full.qtbot.wait(10)
        nameless = [w for w in interactive(dock) if not is_named(w, set())]
        assert nameless == [], f"{dock.windowTitle()}: {nameless}"
    for button in full.window.nav.buttons.values():
        assert button.text()


def test_the_note_can_be_closed_by_name(desk: Desk) -> None:
    assert desk.window.note.closer.accessibleName()


def test_tab_really_moves_through_home(desk: Desk) -> None:
    home = desk.page("home")
    card = home.cards[home.studies[0].name]
    card.primary.setFocus()
    desk.qtbot.keyClick(card.primary, Qt.Key.Key_Tab)
    assert desk.window.focusWidget() is card.second
    desk.qtbot.keyClick(card.second, Qt.Key.Key_Tab, Qt.KeyboardModifier.ShiftModifier)
    assert desk.window.focusWidget() is card.primary


def test_every_plot_says_what_it_shows(full: Desk) -> None:
    monitor, scale = full.monitor, full.scale
    full.settle()
    for plot in (monitor.loss, *monitor.small.values(), scale.view, scale.residuals):
        assert plot.accessibleName() and plot.focusPolicy() & Qt.FocusPolicy.TabFocus
    assert "4 runs" in monitor.loss.accessibleDescription()


def contrast(a: str, b: str) -> float:
    def luminance(color: str) -> float:
        parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_text_stands_out_from_its_ground(qapp: object, mode: str) -> None:
    theme = Theme(qapp, mode)  # type: ignore[arg-type]
    c = theme.colors
    for text in (c.text, c.muted, c.accent, c.good, c.warn, c.bad):
        assert contrast(text, c.surface) >= 4.5
        assert contrast(text, c.window) >= 4.2
    assert contrast(c.on_accent, c.accent) >= 4.5
    assert contrast(c.text, c.accent_soft) >= 4.5
    for index in range(8):
        assert contrast(theme.size_color(index, 8), c.surface) >= 1.6


def test_cards_lie_side_by_side_where_there_is_room(qtbot: object) -> None:
    holder, flow = QWidget(), Flow(minimum=100, spacing=10)
    for _ in range(3):
        label = QLabel("x")
        flow.addWidget(label)
    holder.setLayout(flow)
    holder.resize(330, 100)
    flow.setGeometry(holder.rect())
    assert len({flow.itemAt(i).geometry().y() for i in range(3)}) == 1
    holder.resize(220, 100)
    flow.setGeometry(holder.rect())
    assert [flow.itemAt(i).geometry().y() > 0 for i in range(3)] == [False, False, True]
    holder.deleteLater()
