"""Starting must not pay for a library that is only installed beside."""

import importlib
import sys

import pytest

from engine.store.light import without


def test_a_library_is_not_to_be_had_inside_and_is_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    with without("colorsys"), pytest.raises(ImportError):
        importlib.import_module("colorsys")
    assert importlib.import_module("colorsys").rgb_to_hsv(0, 0, 0) == (0.0, 0.0, 0)


def test_one_that_is_loaded_stays() -> None:
    with without("sys"):
        assert importlib.import_module("sys") is sys
