"""A form made from the fields of a msgspec struct: one editor per field, checked as one types."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import inspect
from PySide6.QtCore import Signal
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QFormLayout,
    QLineEdit,
    QMenu,
    QSpinBox,
    QToolButton,
    QWidget,
)

from engine.i18n import mark, tr
from lab_app.widgets.basic import restyle, row, text_label

PATHS = frozenset({"folder", "path", "directory", "root"})
EITHER = "path"
"""The field that takes a folder or a file; the others take a folder."""
SUFFIXES = {"k": 10**3, "m": 10**6, "b": 10**9}


def parse_number(text: str, *, whole: bool) -> int | float:
    """A number as people write it: ``20000``, ``20,000``, ``2e4``, ``20k``, ``4M``. Raises ``ValueError``."""
    cleaned = text.strip().replace(",", "").replace(" ", "").replace("_", "").lower()
    scale = SUFFIXES.get(cleaned[-1:], 1)
    if scale != 1:
        cleaned = cleaned[:-1]
    number = float(cleaned) * scale
    if not math.isfinite(number) or (whole and number != int(number)):
        raise ValueError(text)
    if not whole:
        return number
    return int(number)


class Field:
    """One field of the struct: how it is named, what is allowed, and the widget that edits it."""

    def __init__(self, field: inspect.Field, title: str = "", description: str = "") -> None:
        self.name = field.name
        self.default = None if field.default is msgspec.NODEFAULT else field.default
        self.kind, extra = _unwrap(field.type)
        self.optional = _optional(field.type)
        self.title = title or str(extra.get("title") or field.name.replace("_", " ").capitalize())
        self.description = description or str(extra.get("description") or "")
        self.widget: QWidget = QLineEdit()
        self.label = text_label()
        self.read: Callable[[], object] = lambda: None
        self.write: Callable[[Any], None] = lambda value: None
        self.browse: QToolButton | None = None
        """The button beside a path, which chooses one."""

    def build(self, changed: Callable[[], None]) -> QWidget:
        """Make the editor; ``changed`` is called after every edit."""
        match self.kind:
            case inspect.BoolType():
                return self._check(changed)
            case inspect.LiteralType():
                return self._choice([str(value) for value in self.kind.values], changed)
            case inspect.IntType() if not self.optional and self.kind.le is not None and self.kind.le <= 10**6:
                return self._spin(self.kind.ge or 0, self.kind.le, changed)
            case _:
                return self._line(changed)

    def speak(self) -> None:
        """Say name, description and choices in the language in use."""
        title, description = tr(self.title), tr(self.description) if self.description else ""
        self.label.setText(title)
        self.widget.setAccessibleName(title)
        for one in (self.label, self.widget):
            one.setToolTip(description)
        self.widget.setAccessibleDescription(description)
        if isinstance(self.widget, QComboBox):
            for number in range(self.widget.count()):
                self.widget.setItemText(number, tr(self.widget.itemData(number)))
        elif isinstance(self.widget, QLineEdit):
            self.widget.setPlaceholderText(tr("automatic") if self.optional else "")
        if self.browse is not None:
            words = tr("Choose a folder or a file") if self.name == EITHER else tr("Choose a folder")
            self.browse.setToolTip(words)
            self.browse.setAccessibleName(words)

    def _check(self, changed: Callable[[], None]) -> QWidget:
        box = QCheckBox()
        box.toggled.connect(lambda _: changed())
        self.widget, self.read, self.write = box, box.isChecked, lambda v: box.setChecked(bool(v))
        return box

    def _choice(self, values: list[str], changed: Callable[[], None]) -> QWidget:
        box = QComboBox()
        for value in values:
            box.addItem(value, value)
        box.currentIndexChanged.connect(lambda _: changed())
        self.widget, self.read = box, box.currentData
        self.write = lambda v: box.setCurrentIndex(max(0, box.findData(v)))
        return box

    def _spin(self, low: int, high: int, changed: Callable[[], None]) -> QWidget:
        box = QSpinBox()
        box.setRange(int(low), int(high))
        box.valueChanged.connect(lambda _: changed())
        self.widget, self.read, self.write = box, box.value, lambda v: box.setValue(int(v))
        return box

    def _line(self, changed: Callable[[], None]) -> QWidget:
        line = QLineEdit()
        line.textChanged.connect(lambda _: changed())
        shown: list[Any] = ["", None]

        def write(value: Any) -> None:
            shown[:] = ["" if value is None else _show(value), value]
            line.setText(shown[0])

        # A number is shown with six digits; as long as nobody edits it, it is the number that was given.
        self.widget, self.write = line, write
        self.read = lambda: shown[1] if line.text() == shown[0] else self._parse(line.text())
        if self.name not in PATHS:
            return line
        self.browse = _browser(line, files=self.name == EITHER)
        holder = QWidget()
        holder.setLayout(row(line, self.browse, spacing=4))
        return holder

    def _parse(self, text: str) -> object:
        if not text.strip() and self.optional:
            return None
        if isinstance(self.kind, inspect.IntType | inspect.FloatType):
            try:
                return parse_number(text, whole=isinstance(self.kind, inspect.IntType))
            except ValueError:
                return text  # the struct's own check says what is wrong with it
        return text


def titled_fields(struct: type[msgspec.Struct]) -> dict[str, tuple[str, object]]:
    """Name of every field -> what it is called, in English, and its default."""
    info = inspect.type_info(struct)
    assert isinstance(info, inspect.StructType)
    return {f.name: (str(_unwrap(f.type)[1].get("title") or f.name), f.default) for f in info.fields}


def _browser(line: QLineEdit, *, files: bool) -> QToolButton:
    browse = QToolButton()
    browse.setText("…")

    def take(chosen: str) -> None:
        if chosen:
            line.setText(chosen)

    def folder() -> None:
        take(QFileDialog.getExistingDirectory(line.window(), tr("Choose a folder"), line.text()))

    def file() -> None:
        take(QFileDialog.getOpenFileName(line.window(), tr("Choose a file"), line.text())[0])

    if files:
        menu = QMenu(browse)
        choices = {mark("Choose a folder"): folder, mark("Choose a file"): file}
        actions = {text: menu.addAction(tr(text)) for text in choices}
        for text, action in actions.items():
            action.triggered.connect(lambda _=False, do=choices[text]: do())
        menu.aboutToShow.connect(lambda: [action.setText(tr(text)) for text, action in actions.items()])
        browse.setMenu(menu)
        browse.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        browse.setStyleSheet("QToolButton::menu-indicator { image: none; }")
    else:
        browse.clicked.connect(folder)
    return browse


def _show(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _unwrap(kind: inspect.Type) -> tuple[inspect.Type, Mapping[str, Any]]:
    """The type below annotations and ``| None``, and the title and description found on the way."""
    extra: dict[str, Any] = {}
    while True:
        if isinstance(kind, inspect.Metadata):
            extra |= kind.extra_json_schema or {}
            kind = kind.type
        elif isinstance(kind, inspect.UnionType):
            others = [one for one in kind.types if not isinstance(one, inspect.NoneType)]
            if len(others) != 1:
                return kind, extra
            kind = others[0]
        else:
            return kind, extra


def _optional(kind: inspect.Type) -> bool:
    while isinstance(kind, inspect.Metadata):
        kind = kind.type
    return isinstance(kind, inspect.UnionType) and any(isinstance(one, inspect.NoneType) for one in kind.types)


class Form(QWidget):
    """Editors for the fields of ``struct``; ``values`` holds what differs from the defaults.

    ``titles`` gives names and descriptions for structs that carry none; ``only`` picks fields and their order.
    """

    changed = Signal()

    def __init__(
        self,
        struct: type[msgspec.Struct],
        titles: Mapping[str, tuple[str, str]] | None = None,
        only: tuple[str, ...] = (),
    ) -> None:
        super().__init__()
        self.struct = struct
        info = inspect.type_info(struct)
        assert isinstance(info, inspect.StructType)
        found = {field.name: field for field in info.fields}
        self.fields = [Field(found[name], *_titled(titles, name)) for name in (only or tuple(found))]
        self._quiet = False
        self._given: frozenset[str] = frozenset()
        layout = QFormLayout()
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setHorizontalSpacing(14)
        layout.setVerticalSpacing(7)
        layout.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        for field in self.fields:
            editor = field.build(self._edited)
            field.widget.setMaximumWidth(320)
            field.label.setBuddy(field.widget)
            layout.addRow(field.label, editor)
        self.problem = text_label("bad", wrap=True)
        self.problem.hide()
        layout.addRow(self.problem)
        self.setLayout(layout)
        self.speak()
        self.set_values({})

    def speak(self) -> None:
        """Say every field again in the language in use."""
        for field in self.fields:
            field.speak()
        self.check()

    def set_values(self, values: Mapping[str, Any]) -> None:
        """Show these values, and the defaults where there is none."""
        self._quiet = True
        self._given = frozenset(values)
        for field in self.fields:
            field.write(values.get(field.name, field.default))
        self._quiet = False
        self.check()

    def values(self) -> dict[str, Any]:
        """Field -> value, without those left at their default; what ``set_values`` was given stays spelled out."""
        found = {field.name: field.read() for field in self.fields}
        kept = [f for f in self.fields if found[f.name] != f.default or f.name in self._given]
        return {f.name: found[f.name] for f in kept if found[f.name] is not None}

    def check(self) -> bool:
        """Whether the values make a valid struct; where not, says which field and why."""
        try:
            msgspec.convert(self.values(), self.struct)
            wrong, words = "", ""
        except msgspec.ValidationError as error:
            what, _, where = str(error).partition(" - at `$.")
            wrong, words = where.rstrip("`").partition("[")[0], what.replace("`", "")
        for field in self.fields:
            restyle(field.widget, "wrong", field.name == wrong)
        title = next((tr(f.title) for f in self.fields if f.name == wrong), wrong)
        # What is missing from fields that this form does not show is checked by whoever shows them.
        shown = bool(words) and (not wrong or any(f.name == wrong for f in self.fields)) and "missing" not in words
        self.problem.setText(f"{title}: {words}" if title else words)
        self.problem.setVisible(shown)
        return not shown

    def _edited(self) -> None:
        if not self._quiet:
            self.check()
            self.changed.emit()


def _titled(titles: Mapping[str, tuple[str, str]] | None, name: str) -> tuple[str, str]:
    return (titles or {}).get(name, ("", ""))
