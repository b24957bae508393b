"""A run of a built-in study, cut short, stopped and resumed, ends with the weights of one that was never stopped."""

from pathlib import Path

import pytest

from engine.events import RunState
from engine.expand import expand
from engine.study import RunSpec, load_study
from engine.task import Task
from engine.training.run import run_one
from tests.engine.training import toy

STEPS = 6


def shortest(name: str, *more: str) -> RunSpec:
    """The smallest run of a study, six steps of it."""
    small = ("training.eval_tokens=256", "training.final_eval_tokens=256", "training.eval_every_fraction=0.5")
    study = load_study(name, [f"training.steps={STEPS}", "capabilities=[]", "ladder.seeds=[0]", *small, *more])
    return expand(study)[0]


@pytest.mark.parametrize(
    ("name", "more"),
    [("image-text", ()), ("recurrent-copying", ()), ("digits-cnn", ()), ("digits-vit", ()), ("masked-digits", ())],
)
def test_stopped_and_resumed_is_as_never_stopped(tmp_path: Path, name: str, more: tuple[str, ...]) -> None:
    spec, cache = shortest(name, *more), tmp_path / "cache"
    for folder, controls in (("whole", [toy.Commands()]), ("stopped", [toy.StopAfter(4), toy.Commands()])):
        run = tmp_path / folder / "run"
        run.mkdir(parents=True)
        states = [run_one(Task(1, spec, run, cache), toy.Recorder(), control).state for control in controls]
        assert states[-1] is RunState.FINISHED and len(set(states)) == len(states)
    assert toy.same_weights(tmp_path / "whole", tmp_path / "stopped")
