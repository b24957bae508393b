"""One finished study for all tests of the figures."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.store import Reader

_spec = importlib.util.spec_from_file_location("figure_example", Path(__file__).with_name("example.py"))
assert _spec is not None and _spec.loader is not None
example = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(example)


@pytest.fixture(scope="session")
def example_home(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    home = tmp_path_factory.mktemp("figures")
    store, study_id = example.open_example(home)
    store.close()
    return home, study_id


@pytest.fixture
def study(example_home: tuple[Path, str]) -> Iterator[tuple[Reader, str]]:
    with example.Store.open(example_home[0], read_only=True) as store:
        yield store.reader(), example_home[1]


@pytest.fixture
def no_law(tmp_path: Path) -> Iterator[tuple[Reader, str]]:
    with example.Store.open(tmp_path / "plain") as store:
        study_id = example.make_study(store, law=False)
        yield store.reader(), study_id
