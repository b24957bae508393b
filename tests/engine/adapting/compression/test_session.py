"""One run that compresses its parent, end to end: what it leaves, what it tells, and that stopping changes nothing."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import torch

from engine.adapting.compression.codec import COMPRESSED
from engine.adapting.compression.load import load_compressed
from engine.adapting.compression.prune import PruningOptimizer, amount_at, pruned_weights, units_of
from engine.adapting.compression.run import run_one
from engine.errors import TrainingError
from engine.events import Command, Evaluation, RunState
from engine.expand import expand
from engine.families import families
from engine.families.base import build_for
from engine.study import CompressionMethod, RunSpec, parse_study
from engine.task import Outcome, Parent, Task
from engine.training.run import run_one as train
from tests.engine.training import toy

STEPS = 12


def runs(**method: object) -> tuple[RunSpec, RunSpec]:
    """A parent and its child."""
    study = {
        "name": "small",
        "title": "Small",
        "model": {"family": "cnn"},
        "data": {"source": "digits"},
        "ladder": {"sizes": [2_000]},
        "training": {"steps": STEPS, "batch_size": 16, "eval_tokens": 64, "final_eval_tokens": 64},
        "execution": {"device": "cpu", "precision": "float32"},
        "capabilities": [{"name": "image-classification"}, {"name": "cost", "options": {"seconds": 0.01}}],
        "compression": {"methods": [method]},
    }
    parent, child = expand(parse_study(study))
    return parent, child


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The parent, trained once for all methods: it is the same whatever is made of it."""
    path = tmp_path_factory.mktemp("parent") / "run"
    path.mkdir()
    outcome = train(
        Task(1, runs(method="int8-weights")[0], path, path.parent / "cache"), toy.Recorder(), toy.Commands()
    )
    assert outcome.state is RunState.FINISHED
    return path


Compress = Callable[..., Outcome]


@pytest.fixture
def compress(folder: Path, tmp_path: Path) -> Compress:
    def do(name: str, recorder: toy.Recorder, control: toy.Commands | None = None, **method: object) -> Outcome:
        parent, child = runs(**method)
        mine = tmp_path / name
        mine.mkdir(exist_ok=True)
        task = Task(2, child, mine, folder.parent / "cache", parent=Parent(parent, folder))
        return run_one(task, recorder, control or toy.Commands())

    return do


def costs(recorder: toy.Recorder) -> dict[str, float]:
    return {e.metric: e.value for e in recorder.of(Evaluation) if e.capability == "cost"}


@pytest.mark.parametrize(
    "method", ["int8-dynamic", "int8-weights", "int4-weights", "prune-unstructured", "prune-structured"]
)
def test_every_method_leaves_a_file_and_tells_what_it_costs(compress: Compress, tmp_path: Path, method: str) -> None:
    recorder = toy.Recorder()
    assert compress("run", recorder, method=method).state is RunState.FINISHED
    cost = costs(recorder)
    assert cost["bytes"] == (tmp_path / "run" / COMPRESSED).stat().st_size < cost["parent_bytes"]
    assert cost["smaller"] == pytest.approx(cost["parent_bytes"] / cost["bytes"])
    assert min(cost[name] for name in ("latency", "latency_batch", "parent_latency", "faster", "faster_batch")) > 0
    assert cost["nonzero"] <= cost["parent_nonzero"] <= 1_990
    assert ("dense_bytes" in cost) is method.startswith("prune")
    if method == "prune-unstructured":
        assert cost["sparsity"] == pytest.approx(0.5, abs=0.04) and cost["memory"] == cost["parent_memory"]
        assert cost["bytes"] < 0.6 * cost["dense_bytes"]
    if method == "prune-structured":
        assert cost["sparsity"] < 0.01 and cost["memory"] < 0.5 * cost["parent_memory"]
    assert {e.capability for e in recorder.of(Evaluation)} == {"image-classification", "validation", "cost"}
    assert not (tmp_path / "run" / "weights.safetensors").exists()


@pytest.mark.parametrize("method", ["prune-unstructured", "prune-structured"])
@pytest.mark.parametrize("schedule", ["one-shot", "gradual"])
@pytest.mark.parametrize("stop", [Command.STOP, Command.PAUSE])
def test_stopped_and_resumed_is_as_never_stopped(
    compress: Compress, tmp_path: Path, method: str, schedule: str, stop: Command
) -> None:
    settings = {"method": method, "schedule": schedule, "fine_tune": 1.0}
    assert compress("whole", toy.Recorder(), **settings).state is RunState.FINISHED
    if stop is Command.PAUSE:  # what a pause saves is what a kill leaves
        (tmp_path / "cut").mkdir()
        paused = toy.StopAfter(4, Command.CANCEL)
        assert compress("cut", toy.Recorder(), paused, **settings).state is RunState.CANCELLED
    else:
        halted = compress("cut", toy.Recorder(), toy.StopAfter(5), **settings)
        assert halted.state is RunState.INTERRUPTED
    assert compress("cut", toy.Recorder(), **settings).state is RunState.FINISHED
    assert (tmp_path / "whole" / COMPRESSED).read_bytes() == (tmp_path / "cut" / COMPRESSED).read_bytes()


def test_what_is_cut_stays_cut_through_the_fine_tuning(compress: Compress, tmp_path: Path, folder: Path) -> None:
    at_once = {"method": "prune-unstructured", "schedule": "one-shot"}
    assert compress("none", toy.Recorder(), fine_tune=0, **at_once).state is RunState.FINISHED
    assert compress("tuned", toy.Recorder(), fine_tune=1.0, **at_once).state is RunState.FINISHED
    spec = runs(method="prune-unstructured")[1]
    none, tuned = (
        load_compressed(build_for(families[spec.family], spec), tmp_path / name / COMPRESSED)
        for name in ("none", "tuned")
    )
    moved = False
    for (name, before), after in zip(pruned_weights(none).items(), pruned_weights(tuned).values(), strict=True):
        assert torch.equal(before == 0, after == 0), name
        moved |= not torch.equal(before, after)
    assert moved


def test_a_gradual_pruning_cuts_ever_more_and_all_of_it_by_half_time() -> None:
    method = CompressionMethod(method="prune-unstructured", amount=0.8, schedule="gradual")
    cuts = [amount_at(method, step, 200) for step in range(200)]
    due = {step: amount for step, amount in enumerate(cuts) if amount is not None}
    assert list(due) == list(range(0, 101, 10))
    assert sorted(due.values()) == list(due.values()) and due[0] == 0 and due[100] == pytest.approx(0.8)
    once = CompressionMethod(method="prune-unstructured", amount=0.8, schedule="one-shot")
    assert [amount_at(once, step, 200) for step in (0, 1)] == [0.8, None]


def test_silenced_units_stay_silent(folder: Path) -> None:
    parent, child = runs(method="prune-structured")
    family = families[parent.family]
    model = build_for(family, parent)
    method = CompressionMethod(method="prune-structured", schedule="one-shot")
    groups = family.param_groups(model, parent.shape, "mup", 8)
    optimizer = PruningOptimizer(model, groups, child.training, method)
    optimizer.cut_if_due()
    silent = [(units.norms() == 0).tolist() for units in units_of(model)]
    assert any(any(of) for of in silent)
    optimizer.set_lr(0.1)
    for _ in range(3):
        torch.nn.functional.cross_entropy(model(torch.randn(8, 1, 8, 8)), torch.zeros(8, dtype=torch.long)).backward()
        optimizer.step()
    assert [(units.norms() == 0).tolist() for units in units_of(model)] == silent


@pytest.mark.parametrize("damage", ["gone", "truncated", "other"])
def test_a_parent_whose_weights_cannot_be_read_is_a_sentence(tmp_path: Path, folder: Path, damage: str) -> None:
    parent, child = runs(method="int8-weights")
    broken = tmp_path / "broken"
    broken.mkdir()
    content = (folder / "weights.safetensors").read_bytes()
    if damage == "truncated":
        (broken / "weights.safetensors").write_bytes(content[:200])
    elif damage == "other":
        from safetensors.torch import save_file

        save_file({"a": torch.ones(3)}, broken / "weights.safetensors")
    mine = tmp_path / "run"
    mine.mkdir()
    with pytest.raises(TrainingError, match=r"The weights .* cannot be read") as error:
        run_one(Task(2, child, mine, tmp_path, parent=Parent(parent, broken)), toy.Recorder(), toy.Commands())
    assert "\n" not in error.value.remedy and list(mine.iterdir()) == []


def test_a_run_without_its_parent_says_so(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="builds on is not here"):
        run_one(Task(2, runs(method="int8-weights")[1], tmp_path, tmp_path), toy.Recorder(), toy.Commands())


def test_a_capability_that_cannot_be_measured_on_integers_is_told_and_skipped(
    compress: Compress, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.capabilities import capabilities

    def fail(*_: object) -> None:
        raise NotImplementedError("no gradient through integers")

    monkeypatch.setattr(type(capabilities["image-classification"]), "evaluate", fail)
    recorder = toy.Recorder()
    assert compress("run", recorder, method="int8-dynamic").state is RunState.FINISHED
    assert {e.capability for e in recorder.of(Evaluation)} == {"validation", "cost"}


def test_equal_specs_give_equal_files(compress: Compress, tmp_path: Path) -> None:
    for name in ("a", "b"):
        compress(name, toy.Recorder(), method="prune-structured", schedule="gradual")
    assert (tmp_path / "a" / COMPRESSED).read_bytes() == (tmp_path / "b" / COMPRESSED).read_bytes()


def test_the_description_beside_the_file_builds_the_model_again(compress: Compress, tmp_path: Path) -> None:
    compress("run", toy.Recorder(), method="int8-weights")
    spec = msgspec.json.decode((tmp_path / "run" / "model.json").read_bytes(), type=RunSpec)
    model = load_compressed(build_for(families[spec.family], spec), tmp_path / "run" / COMPRESSED)
    assert model(torch.zeros(1, 1, 8, 8)).shape == (1, 10)
