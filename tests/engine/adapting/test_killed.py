"""SIGKILL half-way through what is done to a model: run again, it ends with the weights of one never killed."""

import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from engine.adapting.compression.codec import COMPRESSED
from engine.adapting.compression.run import run_one as compress
from engine.adapting.distillation.run import run_one as distil
from engine.compressing import KIND
from engine.events import ArtifactSaved, RunState
from engine.expand import expand
from engine.study import RunSpec, parse_study
from engine.task import Parent, Task
from engine.training import checkpoint as ck
from engine.training.run import run_one as train
from tests.engine.training import toy

STEPS, KILLED_AT = 16, 5
CASES: dict[str, dict[str, Any]] = {
    "weights cut gradually": {"compression": {"methods": [{"method": "prune-unstructured"}]}},
    "units cut gradually": {"compression": {"methods": [{"method": "prune-structured"}]}},
    "taught": {"distillation": {"weight": 0.5, "hidden_weight": 0.5}},
}

pytestmark = pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX's")


def runs(case: str) -> tuple[RunSpec, RunSpec]:
    """The run that is built upon, and the one that builds on it; a checkpoint after every step."""
    table = {
        "name": "killed",
        "title": "To be killed",
        "model": {"family": "cnn"},
        "data": {"source": "digits"},
        "ladder": {"sizes": [400, 2_000]},
        "training": {
            "steps": STEPS, "batch_size": 16, "eval_tokens": 64, "final_eval_tokens": 64, "checkpoint_seconds": 1e-6
        },
        "execution": {"device": "cpu", "precision": "float32"},
    }  # fmt: skip
    found = expand(parse_study(table | CASES[case]))
    parents = {run.size: run for run in found if run.kind == "pretrain"}
    child = found[-1]
    assert child.kind != "pretrain"
    return (parents[child.size] if child.kind == KIND else parents[2_000]), child


def task(case: str, root: Path, name: str) -> Task:
    parent, child = runs(case)
    folder = root / name
    folder.mkdir(exist_ok=True)
    return Task(2, child, folder, root / "cache", parent=Parent(parent, root / "parent"))


def do(asked: Task, recorder: toy.Recorder) -> RunState:
    return (compress if asked.spec.kind == KIND else distil)(asked, recorder, toy.Commands()).state


def do_and_die(case: str, root: str) -> None:
    """In a process of its own: killed as soon as the checkpoint of that step is written."""

    def watch(event: Any) -> None:
        if isinstance(event, ArtifactSaved) and event.kind == "checkpoint" and event.step == KILLED_AT:
            os.kill(os.getpid(), signal.SIGKILL)

    do(task(case, Path(root), "killed"), toy.Recorder(watch))


@pytest.mark.parametrize("case", CASES)
def test_killed_and_run_again_it_ends_with_the_same_weights(tmp_path: Path, case: str) -> None:
    parent, _ = runs(case)
    (tmp_path / "parent").mkdir()
    made = train(Task(1, parent, tmp_path / "parent", tmp_path / "cache"), toy.Recorder(), toy.Commands())
    assert made.state is RunState.FINISHED
    whole, resumed = toy.Recorder(), toy.Recorder()
    assert do(task(case, tmp_path, "whole"), whole) is RunState.FINISHED
    child = multiprocessing.get_context("spawn").Process(target=do_and_die, args=(case, str(tmp_path)))
    child.start()
    child.join(120)
    assert child.exitcode == -signal.SIGKILL
    child.close()
    assert ck.load_checkpoint(tmp_path / "killed" / ck.LAST).header.state.step == KILLED_AT
    assert do(task(case, tmp_path, "killed"), resumed) is RunState.FINISHED
    name = ck.WEIGHTS if case == "taught" else COMPRESSED
    assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "killed" / name).read_bytes()
    assert resumed.curve("train/loss").items() <= whole.curve("train/loss").items()
    assert max(resumed.curve("train/loss")) == STEPS
