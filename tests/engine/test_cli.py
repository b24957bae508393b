"""The verbs: what they print, where, and how they end."""

import json
from pathlib import Path

import pytest

from engine import cli
from engine.lab import Lab
from tests.engine import fakes

STUDY = """
name = "tiny"
title = "A tiny study"
model = { family = "gpt" }
data = { source = "python-text" }
[ladder]
sizes = [2000, 5000, 11000, 24000]
[training]
steps = 20
"""


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A study file, and a trainer that needs no torch behind ``run``."""
    file = tmp_path / "tiny.toml"
    file.write_text(STUDY)
    real = Lab.open.__func__  # type: ignore[attr-defined]
    monkeypatch.setattr(
        Lab, "open", classmethod(lambda cls, home, jobs=0: real(cls, home, jobs=1, run_one=fakes.run_one))
    )
    return str(file)


def test_studies_lists_the_built_in_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["studies", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert {"quickstart", "scaling-text"} <= {s["name"] for s in listed}
    assert all({"title", "question", "family", "sizes", "seconds_estimate"} <= s.keys() for s in listed)


def test_run_prints_one_document_and_results_the_same(
    study: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = ["--home", str(tmp_path / "home"), "--json"]
    assert cli.main(["run", study, *home]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["state"] == "finished"
    assert cli.main(["results", document["study_id"], *home]) == 0
    assert json.loads(capsys.readouterr().out) == document
    assert cli.main(["runs", *home]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 4
    assert cli.main(["run", study, *home]) == 0
    out = tmp_path / "again.toml"
    assert cli.main(["export", "study", document["study_id"], "--out", str(out), *home[:2]]) == 0
    assert out.read_text().startswith('name = "tiny"')


def test_a_failed_run_is_exit_code_1(study: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fakes.mark_home(tmp_path / "home", "fail-5000")
    assert cli.main(["run", study, "--home", str(tmp_path / "home"), "--json"]) == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out)["state"] == "failed"
    assert "Traceback" not in captured.err


def test_a_full_disk_leaves_the_study_to_be_resumed(
    study: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    sign = fakes.mark_home(home, "full")
    assert cli.main(["run", study, "--home", str(home), "--json"]) != 0
    assert "disk is full" in capsys.readouterr().err
    sign.unlink()
    assert cli.main(["run", study, "--home", str(home), "--json"]) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "quickstat"], "there is no study 'quickstat'"),
        (["run", "missing.toml"], "there is no study file missing.toml"),
        (["run", "quickstart", "--set", "training.colour=3"], "training: object contains unknown field"),
        (["run", "quickstart", "--set", "ladder.sizes=[-4]"], "ladder.sizes[0]"),
        (["run", "quickstart", "--set", "data.source=moon"], "data.source"),
        (["run", "quickstart", "--profile", "tpu"], "no profile 'tpu'"),
        (["results", "x", "--home", "nowhere"], "there are no results in nowhere"),
        (["dance"], "dance"),
        (["run", "quickstart", "--dance"], "--dance"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == 2
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""
