"""lm-evaluation-harness on an exported folder: runs as the README says, agrees with us, and its results come back."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from engine import cli
from engine.battery.runs import evaluate_runs
from engine.exporting import export_hf
from engine.exporting.lm_eval import export_lm_eval_task
from engine.lab import Lab
from engine.study import CompressionMethod, CompressionSpec
from tests.engine.exporting.homes import finished, shared, study, write_text

pytest.importorskip("lm_eval")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str], Path]:
    """The home, the tasks, and the folder with what the harness wrote when the README's command was typed."""
    folder = tmp_path_factory.mktemp("harness")
    home = finished("gpt", "cnn")
    with Lab.open(home) as lab:
        export_hf(lab.reader(), home, 1, folder / "MODEL_FOLDER")
        tasks = export_lm_eval_task(lab.reader(), home, lab.reader().run(1).study_id, folder / "task")
    harness_on(folder)
    return home, tasks, folder


def harness_on(folder: Path) -> dict[str, Any]:
    """Type the command of ``task/README.md`` there; returns what the harness found."""
    readme = (folder / "task" / "README.md").read_text(encoding="utf-8")
    (line,) = [line for line in readme.split("\n") if line.startswith("lm_eval ")]
    command = [sys.executable, "-m", "lm_eval", *shlex.split(line)[1:]]
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(folder / "hf"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=os.environ | offline, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return results(folder)


def results(folder: Path) -> dict[str, Any]:
    (file,) = folder.glob("results/**/results_*.json")
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))["results"]
    return found


def test_perplexities_agree(harness: tuple[Path, list[str], Path]) -> None:
    home, tasks, folder = harness
    theirs = results(folder)
    with Lab.open(home) as lab:
        (ours,) = evaluate_runs(lab.store, [1], ["document-perplexity"])
    scores = {score.metric: score.value for score in ours.scores}
    for metric in ("bits_per_byte", "byte_perplexity", "word_perplexity"):
        assert theirs[tasks[0]][f"{metric},none"] == pytest.approx(scores[metric], rel=2e-4)
    assert theirs[tasks[0]]["bits_per_byte,none"] == pytest.approx(scores["bits_per_byte"], rel=1e-5)
    assert 0 <= theirs[tasks[1]]["acc,none"] <= 1


def test_results_come_back_to_their_run(
    harness: tuple[Path, list[str], Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home, tasks, folder = harness
    monkeypatch.chdir(folder)  # where the harness was started: the folder of the model is a relative one
    assert cli.main(["import", "results", "--home", str(home), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["imported"]["run_ids"] == [1]
    with Lab.open(home) as lab:
        reader = lab.reader()
        study = reader.run(1).study_id
        rows = [row for row in reader.evaluations(study, final_only=True) if row.run_id == 1]
        assert len(reader.studies()) == 2
    kept = {(row.capability, row.metric): row.value for row in rows}
    theirs = results(folder)
    assert kept[tasks[0], "byte_perplexity"] == theirs[tasks[0]]["byte_perplexity,none"]
    assert kept[tasks[1], "acc"] == theirs[tasks[1]]["acc,none"]
    n = {row.n for row in rows if row.capability == tasks[0]}
    assert n == {results_lines(folder / "task" / "documents.jsonl")}


def results_lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def test_results_of_another_model_are_a_study_of_their_own(
    harness: tuple[Path, list[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home, _, folder = harness
    (file,) = folder.glob("results/**/results_*.json")
    other = tmp_path / "other"
    assert cli.main(["import", str(file), "--home", str(other), "--size", "5M", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["study"].startswith("results")
    arguments = ["import", str(file), "--home", str(home), "--run", "1"]  # said, where the folder is gone
    assert cli.main(arguments) == 0
    assert "kept with run 1" in " ".join(capsys.readouterr().out.split())
    assert cli.main([*arguments[:-1], "77"]) == 2


def test_studies_without_a_language_model_have_no_task(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = finished("gpt", "cnn")
    with Lab.open(home) as lab:
        study = lab.reader().run(2).study_id
    assert cli.main(["export", "lm-eval-task", study, "--home", str(home), "--out", str(tmp_path / "t")]) == 2
    assert "no model of what comes next" in capsys.readouterr().err


@pytest.mark.parametrize("method", ["int8-weights", "prune-structured"])
def test_it_takes_compressed_models_whose_results_come_back_to_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], method: str
) -> None:
    asked = study("gpt", write_text(shared() / "text"))
    how = CompressionMethod(method=method)  # type: ignore[arg-type]
    home = tmp_path / "home"
    with Lab.open(home, executor="thread") as lab:
        identity = lab.runner.submit(replace(asked, compression=CompressionSpec(methods=(how,))))
        assert lab.runner.wait(identity, timeout=120)
        child = lab.reader().runs(identity)[1]
        export_hf(lab.reader(), home, child.id, tmp_path / "MODEL_FOLDER")
        tasks = export_lm_eval_task(lab.reader(), home, identity, tmp_path / "task", 20)
    theirs = harness_on(tmp_path)
    with Lab.open(home, executor="thread") as lab:
        (ours,) = evaluate_runs(lab.store, [1], ["document-perplexity"], {"documents": "20"})
    whole = {score.metric: score.value for score in ours.scores}
    bits = theirs[tasks[0]]["bits_per_byte,none"]
    assert bits != pytest.approx(whole["bits_per_byte"], rel=1e-6)
    assert method == "prune-structured" or bits == pytest.approx(whole["bits_per_byte"], rel=0.05)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["import", "results", "--home", str(home), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["imported"]["run_ids"] == [child.id]
