"""The environment that makes itself: what counts as installed, and plain words where it cannot be."""

import importlib.metadata
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.packaging.scripts import ROOT, load


@pytest.fixture
def bootstrap() -> ModuleType:
    return load("bootstrap")


@pytest.mark.parametrize(
    ("version", "bounds", "holds"),
    [
        ("2.13.0+cpu", ">=2.11,<=2.13.0", True),
        ("2.10.1", ">=2.11,<=2.13.0", False),
        ("6.9.1", ">=6.8.3,<6.13,!=6.9.1", False),
        ("6.11.3", ">=6.8.3,<6.13,!=6.9.1", True),
        ("1", "<1", False),
    ],
)
def test_a_version_is_held_against_its_range(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, version: str, bounds: str, holds: bool
) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: version)
    assert bootstrap.satisfied("anything" + bounds) is holds


def test_what_is_not_installed_is_missing(bootstrap: ModuleType) -> None:
    assert not bootstrap.satisfied("no-such-distribution>=1")


def test_every_requirement_of_the_project_is_understood(bootstrap: ModuleType) -> None:
    assert bootstrap.missing("test") == []


def test_an_interpreter_that_has_everything_is_used_as_it_is(bootstrap: ModuleType) -> None:
    assert bootstrap.ready_python() == sys.executable


def test_a_python_that_does_not_fit_is_named(bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    class Old(tuple):  # type: ignore[type-arg]
        major, minor = 3, 10

    monkeypatch.setattr(sys, "version_info", Old((3, 10, 4, "final", 0)))
    with pytest.raises(bootstrap.SetupError, match=r"needs Python 3\.11 to 3\.13; this is 3\.10"):
        bootstrap.check_machine()


def test_a_missing_venv_module_is_named(bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ensurepip", None)
    with pytest.raises(bootstrap.SetupError, match="apt install python3-venv"):
        bootstrap.check_machine()


def test_a_full_disk_is_named(bootstrap: ModuleType) -> None:
    with pytest.raises(bootstrap.SetupError, match=r"0\.1 GB are free"):
        bootstrap.check_machine(free_bytes=10**8)


def test_an_unfinished_environment_is_not_used(bootstrap: ModuleType, tmp_path: Path) -> None:
    python = bootstrap.environment_python(tmp_path)
    python.parent.mkdir(parents=True)
    python.touch()
    assert not bootstrap.is_ready("", tmp_path)
    (tmp_path / bootstrap.STAMP).write_text(bootstrap._fingerprint(""))
    assert bootstrap.is_ready("", tmp_path)
    assert not bootstrap.is_ready("test", tmp_path)


def test_an_unknown_verb_says_how_it_is_used() -> None:
    script = str(ROOT / "packaging" / "bootstrap.py")
    done = subprocess.run([sys.executable, script, "bogus"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "bootstrap.py test" in done.stderr


def test_the_wheelhouse_asks_for_what_building_needs_too() -> None:
    wheelhouse = load("wheelhouse")
    command = wheelhouse.command("test")
    assert any(part.startswith("setuptools") for part in command)
    assert any(part.startswith("torch>=") for part in command)
    assert any(part.startswith("pytest>=") for part in command)
