"""What extraction finds, and that the same catalogue gives the same bytes."""

import ast

import pytest

from tests.packaging.scripts import load

i18n = pytest.importorskip("babel") and load("i18n")


def test_literals_are_found_joined_or_chosen_between_but_not_variables() -> None:
    code = 'tr("one " "two"); mark("three"); tr("a" if x else "b"); tr(name); other("no"); tr("f {x}", x=1)'
    assert sorted(i18n.messages(ast.parse(code))) == ["a", "b", "f {x}", "one two", "three"]


def test_the_names_of_fields_are_compared_not_their_formats() -> None:
    assert i18n.fields("{a:.3g} of {b!r}") == {"a", "b"}


def test_the_same_catalogue_gives_the_same_bytes() -> None:
    assert i18n.mo_bytes(i18n.read()) == i18n.mo_bytes(i18n.read())
    assert i18n.po_bytes(i18n.read()) == i18n.po_bytes(i18n.read())
