"""One home: its lock, and what is said where it cannot be written."""

from pathlib import Path

import pytest

from engine.errors import ResourceError
from engine.lab import Lab, default_home
from tests.engine.fakes import run_one, tiny_study


def test_a_home_is_for_one_lab_at_a_time(tmp_path: Path) -> None:
    with Lab.open(tmp_path) as lab:
        assert lab.home == tmp_path
        with pytest.raises(ResourceError, match="in use by another"):
            Lab.open(tmp_path)
    with Lab.open(tmp_path):
        pass


def test_a_home_that_cannot_be_a_folder_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(ResourceError, match="cannot be written"):
        Lab.open(file / "home")


def test_the_default_home_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMERGENCE_LAB_HOME", str(tmp_path))
    assert default_home() == tmp_path
    monkeypatch.delenv("EMERGENCE_LAB_HOME")
    assert default_home().name == "emergence-lab"


def test_a_finished_study_has_its_law(tmp_path: Path) -> None:
    with Lab.open(tmp_path, jobs=2, executor="thread", run_one=run_one) as lab:
        study = lab.runner.submit(tiny_study())
        assert lab.runner.wait(study, timeout=60)
        law = lab.reader().law(study)
    assert law is not None
    assert law["params"]["alpha"] == pytest.approx(0.5, abs=0.25)
    assert law["heldout"]["n_params"] > 20_000
