"""How the window looks: Fusion with our own light and dark palettes, bundled font, own icons, colours of the plots."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from string import Template
from typing import Any

from PySide6.QtCore import QByteArray, QObject, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QColor, QFont, QFontDatabase, QGuiApplication, QIcon, QPainter, QPalette, QPixmap
from PySide6.QtSvg import QSvgRenderer
from PySide6.QtWidgets import QApplication
from shiboken6 import isValid

from engine.i18n import mark

RESOURCES = Path(__file__).resolve().parent.parent / "resources"
MODES = {"system": mark("As the system"), "light": mark("Light"), "dark": mark("Dark")}


@dataclass(frozen=True, slots=True)
class Colors:
    """The colours of one scheme, by what they are for. Text on its ground has a contrast of 4.5:1 or more."""

    window: str
    surface: str
    raised: str
    sunken: str
    border: str
    text: str
    muted: str
    faint: str
    accent: str
    on_accent: str
    accent_soft: str
    good: str
    warn: str
    bad: str
    grid: str


LIGHT = Colors(
    window="#f3f5f8",
    surface="#ffffff",
    raised="#ffffff",
    sunken="#eaedf2",
    border="#d6dce5",
    text="#17202b",
    muted="#566273",
    faint="#8b96a5",
    accent="#1d6fb8",
    on_accent="#ffffff",
    accent_soft="#deebf8",
    good="#1a7f4b",
    warn="#9a5b00",
    bad="#bf2c2c",
    grid="#e3e8ef",
)
DARK = Colors(
    window="#14181f",
    surface="#1b2029",
    raised="#222833",
    sunken="#10141a",
    border="#343c4a",
    text="#e7ebf1",
    muted="#a3aebd",
    faint="#758194",
    accent="#63b0f2",
    on_accent="#0b1420",
    accent_soft="#203a55",
    good="#54c98b",
    warn="#e8b04f",
    bad="#f47b7b",
    grid="#2b323e",
)

# Viridis (van der Walt & Smith 2015, CC0) at eighths: model size is an ordered quantity.
VIRIDIS = ("#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962", "#addc30", "#fde725")
# Okabe & Ito (2008), without black, for what has no order.
CATEGORIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#f0e442")


def mix(a: str, b: str, share: float) -> str:
    """The colour ``share`` of the way from ``a`` to ``b`` in RGB."""
    x, y = QColor(a), QColor(b)
    return QColor(
        round(x.red() + (y.red() - x.red()) * share),
        round(x.green() + (y.green() - x.green()) * share),
        round(x.blue() + (y.blue() - x.blue()) * share),
    ).name()


def viridis(position: float) -> str:
    """Viridis at ``position`` in 0..1."""
    scaled = min(max(position, 0.0), 1.0) * (len(VIRIDIS) - 1)
    low = min(int(scaled), len(VIRIDIS) - 2)
    return mix(VIRIDIS[low], VIRIDIS[low + 1], scaled - low)


class Theme(QObject):
    """The scheme in use, and everything that is made from it."""

    changed = Signal()

    def __init__(self, app: QApplication, mode: str = "system") -> None:
        super().__init__()
        self._app = app
        self.mode = mode if mode in MODES else "system"
        self._icons: dict[tuple[str, str, int], QPixmap] = {}
        self._shown: list[tuple[QObject, Callable[[QIcon], Any], str, str]] = []
        app.setStyle("Fusion")
        _load_fonts(app)
        app.styleHints().colorSchemeChanged.connect(self._system_changed)
        self._apply()

    @property
    def dark(self) -> bool:
        """Whether the dark scheme is in use."""
        if self.mode == "system":
            return QGuiApplication.styleHints().colorScheme() == Qt.ColorScheme.Dark
        return self.mode == "dark"

    @property
    def colors(self) -> Colors:
        """The colours in use."""
        return DARK if self.dark else LIGHT

    def use(self, mode: str) -> None:
        """Switch to ``system``, ``light`` or ``dark``."""
        self.mode = mode if mode in MODES else "system"
        self._apply()

    def size_color(self, index: int, count: int) -> str:
        """Colour of the ``index``-th of ``count`` model sizes, kept where it stands out from the ground."""
        share = index / (count - 1) if count > 1 else 0.5
        return viridis(0.28 + 0.72 * share) if self.dark else viridis(0.86 * share)

    def state_color(self, state: str) -> str:
        """Colour of a run state; always shown beside its icon and word."""
        c = self.colors
        by_state = {"running": c.accent, "finished": c.good, "failed": c.bad, "interrupted": c.warn, "paused": c.warn}
        return by_state.get(state, c.muted)

    def pixmap(self, name: str, color: str, size: int) -> QPixmap:
        """An icon of ``resources/icons`` drawn in one colour at ``size`` logical pixels."""
        ratio = self._app.devicePixelRatio()
        key = (name, color, round(size * ratio))
        if key not in self._icons:
            svg = (RESOURCES / "icons" / f"{name}.svg").read_text(encoding="utf-8").replace("currentColor", color)
            picture = QPixmap(QSize(key[2], key[2]))
            picture.fill(Qt.GlobalColor.transparent)
            painter = QPainter(picture)
            QSvgRenderer(QByteArray(svg.encode())).render(painter, QRectF(0, 0, key[2], key[2]))
            painter.end()
            picture.setDevicePixelRatio(ratio)
            self._icons[key] = picture
        return self._icons[key]

    def icon(self, name: str, color: str = "") -> QIcon:
        """An icon for buttons and menus, pale where disabled."""
        icon = QIcon()
        for size in (16, 20, 32):
            icon.addPixmap(self.pixmap(name, color or self.colors.text, size), QIcon.Mode.Normal)
            icon.addPixmap(self.pixmap(name, self.colors.faint, size), QIcon.Mode.Disabled)
        return icon

    def show_icon(self, owner: QObject, setter: Callable[[QIcon], Any], name: str, role: str = "text") -> None:
        """Call ``setter`` with the icon now and whenever the scheme changes while ``owner`` lives."""
        self._shown.append((owner, setter, name, role))
        setter(self.icon(name, getattr(self.colors, role)))

    def _system_changed(self) -> None:
        if self.mode == "system":
            self._apply()

    def _apply(self) -> None:
        self._app.setPalette(_palette(self.colors))
        values = {f.name: getattr(self.colors, f.name) for f in fields(Colors)}
        values |= {"icons": (RESOURCES / "icons").as_posix(), "arrow": "dark" if self.dark else "light"}
        self._app.setStyleSheet(Template(STYLE).substitute(values))
        self._shown = [entry for entry in self._shown if isValid(entry[0])]
        for _, setter, name, role in self._shown:
            setter(self.icon(name, getattr(self.colors, role)))
        self.changed.emit()


def _load_fonts(app: QApplication) -> None:
    """The system's own interface font first, ours for what it lacks (Chinese on a bare machine)."""
    families = [app.font().family()]
    for path in sorted((RESOURCES / "fonts").glob("*.[ot]tf")):
        number = QFontDatabase.addApplicationFont(str(path))
        families += QFontDatabase.applicationFontFamilies(number) if number >= 0 else []
    font = QFont(app.font())
    font.setFamilies(list(dict.fromkeys(families)))
    if font.pointSizeF() < 9:
        font.setPointSizeF(9.5)
    app.setFont(font)


def mono_font() -> QFont:
    """The system's fixed-width font, with the bundled one for Chinese."""
    font = QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont)
    font.setFamilies([font.family(), *QApplication.font().families()])
    font.setPointSizeF(max(9.0, QApplication.font().pointSizeF() - 0.5))
    return font


def _palette(c: Colors) -> QPalette:
    palette = QPalette()
    role = QPalette.ColorRole
    for which, color in {
        role.Window: c.window,
        role.WindowText: c.text,
        role.Base: c.surface,
        role.AlternateBase: mix(c.surface, c.window, 0.6),
        role.Text: c.text,
        role.Button: c.raised,
        role.ButtonText: c.text,
        role.BrightText: c.bad,
        role.ToolTipBase: c.raised,
        role.ToolTipText: c.text,
        role.PlaceholderText: c.faint,
        role.Highlight: c.accent,
        role.HighlightedText: c.on_accent,
        role.Link: c.accent,
        role.LinkVisited: c.accent,
        role.Accent: c.accent,
        role.Light: mix(c.raised, c.text, 0.04),
        role.Midlight: c.border,
        role.Mid: c.border,
        role.Dark: mix(c.border, c.text, 0.2),
        role.Shadow: c.sunken,
    }.items():
        palette.setColor(which, QColor(color))
    for which in (role.WindowText, role.Text, role.ButtonText, role.HighlightedText):
        palette.setColor(QPalette.ColorGroup.Disabled, which, QColor(c.faint))
    palette.setColor(QPalette.ColorGroup.Disabled, role.Highlight, QColor(c.border))
    return palette


STYLE = """
QToolTip { background: $raised; color: $text; border: 1px solid $border; padding: 4px 6px; }
QMainWindow::separator { background: $window; width: 5px; height: 5px; }
QMainWindow::separator:hover { background: $accent_soft; }
QMenuBar { background: $window; border-bottom: 1px solid $border; padding: 1px 4px; }
QMenuBar::item { padding: 4px 9px; border-radius: 5px; background: transparent; }
QMenuBar::item:selected { background: $accent_soft; color: $text; }
QMenu { background: $raised; border: 1px solid $border; padding: 5px; }
QMenu::item { padding: 5px 26px 5px 10px; border-radius: 5px; }
QMenu::item:selected { background: $accent_soft; color: $text; }
QMenu::item:disabled { color: $faint; }
QMenu::separator { height: 1px; background: $border; margin: 5px 8px; }
QMenu::icon { padding-left: 8px; }
QToolBar { background: $window; border: none; border-bottom: 1px solid $border; padding: 4px 6px; spacing: 3px; }
QToolBar::separator { background: $border; width: 1px; margin: 5px 5px; }
QToolBar QToolButton { padding: 4px 8px; border-radius: 6px; border: 1px solid transparent; }
QToolButton { border-radius: 6px; padding: 4px; border: 1px solid transparent; }
QToolButton:hover { background: $accent_soft; }
QToolButton:checked { background: $accent_soft; border-color: $accent; }
QToolButton:focus { border-color: $accent; }
QStatusBar { background: $window; border-top: 1px solid $border; color: $muted; }
QStatusBar::item { border: none; }
QDockWidget { color: $muted; font-weight: 600; }
QDockWidget::title { background: $window; padding: 6px 9px; border-bottom: 1px solid $border; text-align: left; }
QPushButton { background: $raised; border: 1px solid $border; border-radius: 6px; padding: 5px 14px; min-height: 18px; }
QPushButton:hover { border-color: $accent; }
QPushButton:focus { border: 1px solid $accent; }
QPushButton:pressed { background: $accent_soft; }
QPushButton:disabled { color: $faint; background: $window; }
QPushButton[primary="true"] { background: $accent; color: $on_accent; border-color: $accent; font-weight: 600; }
QPushButton[primary="true"]:hover { border-color: $text; }
QPushButton[primary="true"]:focus { border: 2px solid $text; padding: 4px 13px; }
QPushButton[primary="true"]:disabled { background: $border; color: $faint; border-color: $border; }
QPushButton[step="true"] { text-align: left; padding: 0; border-radius: 8px; background: $surface; }
QPushButton[step="true"]:checked { border: 2px solid $accent; background: $accent_soft; }
QPushButton[step="true"]:focus { border-color: $text; }
QLineEdit, QPlainTextEdit, QTextBrowser, QTextEdit, QAbstractSpinBox, QComboBox {
  background: $surface; border: 1px solid $border; border-radius: 6px; padding: 3px 7px; min-height: 18px;
  selection-background-color: $accent; selection-color: $on_accent; }
QLineEdit:focus, QPlainTextEdit:focus, QAbstractSpinBox:focus, QComboBox:focus, QTextBrowser:focus {
  border-color: $accent; }
QLineEdit[wrong="true"], QAbstractSpinBox[wrong="true"] { border-color: $bad; }
QComboBox::drop-down { border: none; width: 20px; }
QComboBox::down-arrow { image: url($icons/drop-$arrow.svg); width: 12px; height: 12px; }
QComboBox QAbstractItemView { background: $raised; border: 1px solid $border; padding: 3px; outline: none; }
QAbstractSpinBox::up-button, QAbstractSpinBox::down-button { border: none; background: transparent; width: 16px; }
QAbstractSpinBox::up-arrow { image: url($icons/rise-$arrow.svg); width: 9px; height: 9px; }
QAbstractSpinBox::down-arrow { image: url($icons/drop-$arrow.svg); width: 9px; height: 9px; }
QAbstractItemView { background: $surface; alternate-background-color: $window; border: none; outline: none;
  selection-background-color: $accent_soft; selection-color: $text; }
QAbstractItemView::item { padding: 3px 4px; }
QAbstractItemView::item:selected { background: $accent_soft; color: $text; }
QTreeView::item:focus, QTableView::item:focus, QListView::item:focus { border: 1px solid $accent; }
QHeaderView { background: $window; }
QHeaderView::section { background: $window; color: $muted; border: none; border-bottom: 1px solid $border;
  padding: 5px 7px; font-weight: 600; }
QTabBar::tab { padding: 6px 13px; color: $muted; border: none; border-bottom: 2px solid transparent; }
QTabBar::tab:selected { color: $text; border-bottom-color: $accent; font-weight: 600; }
QTabBar::tab:hover { color: $text; }
QTabBar::tab:focus { color: $accent; }
QTabWidget::pane { border: none; border-top: 1px solid $border; }
QScrollBar:vertical { background: transparent; width: 11px; margin: 0; }
QScrollBar:horizontal { background: transparent; height: 11px; margin: 0; }
QScrollBar::handle { background: $border; border-radius: 4px; margin: 2px; min-height: 28px; min-width: 28px; }
QScrollBar::handle:hover { background: $faint; }
QScrollBar::add-line, QScrollBar::sub-line { width: 0; height: 0; }
QScrollBar::add-page, QScrollBar::sub-page { background: transparent; }
QProgressBar { background: $sunken; border: none; border-radius: 4px; text-align: center; color: $text;
  min-height: 8px; }
QProgressBar::chunk { background: $accent; border-radius: 4px; }
QSlider::groove:horizontal { height: 4px; background: $border; border-radius: 2px; }
QSlider::sub-page:horizontal { background: $accent; border-radius: 2px; }
QSlider::handle:horizontal { background: $raised; border: 2px solid $accent; width: 12px; margin: -6px 0;
  border-radius: 8px; }
QSlider::handle:horizontal:focus { background: $accent; }
QCheckBox::indicator, QListView::indicator { width: 14px; height: 14px; border: 1px solid $faint; border-radius: 4px;
  background: $surface; }
QListView::indicator:checked, QCheckBox::indicator:checked { background: $accent; border-color: $accent;
  image: url($icons/tick-$arrow.svg); }
QCheckBox::indicator:hover, QCheckBox::indicator:focus { border-color: $accent; }
QCheckBox::indicator:disabled { border-color: $border; background: $window; }
QGroupBox { border: 1px solid $border; border-radius: 8px; margin-top: 10px; padding: 10px 8px 8px 8px; }
QGroupBox::title { subcontrol-origin: margin; left: 10px; padding: 0 4px; color: $muted; font-weight: 600; }
QSplitter::handle { background: $window; }
QScrollArea { border: none; background: transparent; }
QFrame[card="true"] { background: $surface; border: 1px solid $border; border-radius: 10px; }
QFrame[card="true"]:hover { border-color: $faint; }
QFrame[page="true"], QWidget[page="true"] { background: $window; }
QFrame[bar="true"] { background: $surface; border: none; border-bottom: 1px solid $border; }
QFrame[plain="true"] { background: $surface; border: 1px solid $border; border-radius: 8px; }
QFrame[note="info"] { background: $accent_soft; border: none; border-radius: 8px; }
QFrame[note="warn"] { background: $surface; border: 1px solid $warn; border-radius: 8px; }
QFrame[note="bad"] { background: $surface; border: 1px solid $bad; border-radius: 8px; }
QLabel { background: transparent; }
QLabel[role="title"] { font-size: 20px; font-weight: 700; }
QLabel[role="heading"] { font-size: 14px; font-weight: 700; }
QLabel[role="muted"] { color: $muted; }
QLabel[role="caption"] { color: $muted; font-size: 12px; }
QLabel[role="number"] { font-size: 17px; font-weight: 700; }
QLabel[role="bad"] { color: $bad; }
QLabel[role="warn"] { color: $warn; }
QLabel[role="good"] { color: $good; }
QToolButton[nav="true"] { padding: 7px 14px; border-radius: 7px; color: $muted; font-weight: 600; }
QToolButton[nav="true"]:checked { background: $accent_soft; color: $text; border-color: transparent; }
QToolButton[nav="true"]:focus { border-color: $accent; }
QListWidget[steps="true"] { background: transparent; border: none; }
QListWidget[steps="true"]::item { padding: 9px 8px; border-radius: 7px; margin: 1px 0; }
"""
