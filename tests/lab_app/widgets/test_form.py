"""Forms made from structs, and numbers as people write them."""

from typing import Annotated, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PySide6.QtWidgets import QCheckBox, QComboBox, QFileDialog, QLineEdit, QSpinBox, QToolButton
from pytestqt.qtbot import QtBot

from engine.study import TableSpec
from lab_app.widgets.form import Form, parse_number


class Example(TableSpec, frozen=True, kw_only=True):
    rate: Annotated[float, msgspec.Meta(title="Rate", description="How fast.", gt=0)] = 2 / 3
    depth: Annotated[int, msgspec.Meta(title="Depth", ge=1, le=12)] = 4
    width: Annotated[int, msgspec.Meta(title="Width", ge=1)] | None = None
    kind: Literal["plain", "fancy"] = "plain"
    tied: bool = True
    folder: str = ""


@pytest.fixture
def form(qtbot: QtBot) -> Form:
    form = Form(Example)
    qtbot.addWidget(form)
    return form


def editor(form: Form, name: str) -> QLineEdit:
    found = next(field.widget for field in form.fields if field.name == name)
    assert isinstance(found, QLineEdit)
    return found


@pytest.mark.parametrize(
    ("text", "number"),
    [("20000", 20000), ("20,000", 20000), ("2e4", 20000), ("20k", 20000), ("1.5M", 1_500_000), ("2 b", 2 * 10**9)],
)
def test_whole_numbers(text: str, number: int) -> None:
    found = parse_number(text, whole=True)
    assert found == number and isinstance(found, int)


@pytest.mark.parametrize("text", ["", "k", "x", "1.5", "1e400", "nan", "inf", "-inf", "1k5", "--2"])
def test_what_is_no_whole_number(text: str) -> None:
    with pytest.raises(ValueError):
        parse_number(text, whole=True)


@given(st.integers(-(10**12), 10**12))
def test_every_integer_is_read_back_with_or_without_separators(number: int) -> None:
    for text in (str(number), f"{number:,}", f"{number:_}"):
        assert parse_number(text, whole=True) == number


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_is_read_back(number: float) -> None:
    assert parse_number(repr(number), whole=False) == number


def test_each_kind_of_field_has_its_editor(form: Form) -> None:
    kinds = {field.name: type(field.widget) for field in form.fields}
    assert kinds == {
        "rate": QLineEdit,
        "depth": QSpinBox,
        "width": QLineEdit,
        "kind": QComboBox,
        "tied": QCheckBox,
        "folder": QLineEdit,
    }
    assert [f.title for f in form.fields] == ["Rate", "Depth", "Width", "Kind", "Tied", "Folder"]
    assert editor(form, "rate").toolTip() == "How fast."
    assert editor(form, "width").placeholderText() == "automatic"
    assert all(field.widget.accessibleName() == field.title for field in form.fields)
    assert all(field.label.buddy() is field.widget for field in form.fields)


def test_defaults_are_left_out_unless_they_were_spelled_out(form: Form) -> None:
    assert form.values() == {}
    form.set_values({"rate": 2 / 3, "depth": 4, "kind": "fancy"})
    assert form.values() == {"rate": 2 / 3, "depth": 4, "kind": "fancy"}
    form.set_values({})
    assert form.values() == {}


@given(rate=st.floats(1e-9, 1e9), depth=st.integers(1, 12), width=st.none() | st.integers(1, 10**9), tied=st.booleans())
def test_what_is_set_is_what_is_read(rate: float, depth: int, width: int | None, tied: bool) -> None:
    form = Form(Example)
    given_values = {"rate": rate, "depth": depth, "tied": tied, "kind": "fancy"} | ({"width": width} if width else {})
    form.set_values(given_values)
    assert form.values() == given_values
    assert form.check()
    form.deleteLater()


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [("rate", "-1", "Rate: Expected float > 0"), ("rate", "fast", "Rate: "), ("width", "0", "Width: ")],
)
def test_a_wrong_value_is_named_and_marked(form: Form, name: str, text: str, said: str) -> None:
    form.show()
    heard: list[bool] = []
    form.changed.connect(lambda: heard.append(True))
    editor(form, name).setText(text)
    assert heard and not form.check()
    assert form.problem.isVisible() and form.problem.text().startswith(said)
    assert editor(form, name).property("wrong") is True
    editor(form, name).setText("3")
    assert form.check() and not form.problem.isVisible()
    assert editor(form, name).property("wrong") is False
    form.close()


def test_an_optional_field_can_be_emptied(form: Form) -> None:
    form.set_values({"width": 8})
    editor(form, "width").setText("")
    assert form.values() == {} and form.check()


def test_setting_values_is_no_edit(form: Form) -> None:
    heard: list[bool] = []
    form.changed.connect(lambda: heard.append(True))
    form.set_values({"depth": 7, "tied": False, "rate": 1.0})
    assert heard == []


def test_a_path_can_be_browsed_for(form: Form, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: "/chosen")
    (browse,) = form.findChildren(QToolButton)
    browse.click()
    assert form.values() == {"folder": "/chosen"}
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: "")
    browse.click()
    assert form.values() == {"folder": "/chosen"}


class Placed(TableSpec, frozen=True, kw_only=True):
    path: str = ""


def test_a_path_is_a_folder_or_a_file(qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    form = Form(Placed)
    qtbot.addWidget(form)
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: "/a/folder")
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: ("/a/file.csv", ""))
    (browse,) = form.findChildren(QToolButton)
    folder, file = browse.menu().actions()
    assert [folder.text(), file.text()] == ["Choose a folder", "Choose a file"]
    folder.trigger()
    assert form.values() == {"path": "/a/folder"}
    file.trigger()
    assert form.values() == {"path": "/a/file.csv"}
