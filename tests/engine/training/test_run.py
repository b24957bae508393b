"""One run from task to outcome, with what it tells on the way."""

import gc
import math
import multiprocessing
import os
import shutil
import signal
import time
from collections import namedtuple
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch

from engine.errors import TrainingError
from engine.events import ArtifactSaved, Command, Evaluation, Facts, Log, MetricBlock, Phase, Progress, RunState, Sample
from engine.study import RunSpec
from engine.training import checkpoint as ck
from engine.training.run import run_one
from tests.engine.training import toy

CAPABILITIES = ("word-completion", "in-context-gain")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, toy.Recorder]:
    """A run that nothing disturbed, and what it told."""
    folder, recorder = tmp_path_factory.mktemp("whole"), toy.Recorder()
    task = toy.task(folder, toy.spec(capabilities=CAPABILITIES))
    assert run_one(task, recorder, toy.Commands()).state is RunState.FINISHED
    return folder, recorder


def test_learns_and_tells(finished: tuple[Path, toy.Recorder]) -> None:
    folder, recorder = finished
    losses = recorder.curve("train/loss")
    assert list(losses) == list(range(1, 121))
    assert losses[120] < losses[1] - 1
    assert list(recorder.curve("val/loss")) == [20, 40, 60, 80, 100, 120]
    validation, bits = recorder.curve("val/loss")[120], recorder.curve("val/bits_per_byte")[120]
    assert bits == pytest.approx(validation / math.log(2))
    assert len(recorder.curve("lr")) == len(recorder.curve("grad_norm")) == 120
    assert recorder.of(Progress)[-1].step == 120
    assert recorder.of(Progress)[-1].tokens_seen == 120 * 256
    samples = recorder.of(Sample)
    assert [sample.kind for sample in samples] == ["text", "image"] * 4
    pictures = [sample.content.split("\n") for sample in samples[1::2]]
    assert all(caption == "grey" and (folder / "run" / name).is_file() for name, caption in pictures)
    assert [a.path for a in recorder.of(ArtifactSaved) if a.kind == "sample"] == [name for name, _ in pictures]
    facts = recorder.of(Facts)[0].values
    assert facts["precision"] == "float32" and facts["data_fingerprint"] == "toy-0"
    assert len(recorder.of(MetricBlock)) < 60, "metrics leave in blocks"
    assert {phase.phase.value for phase in recorder.of(Phase)} >= {"preparing data", "training", "evaluating", "saving"}


def test_measures_the_finished_model(finished: tuple[Path, toy.Recorder]) -> None:
    _, recorder = finished
    found = {(e.capability, e.metric): e for e in recorder.of(Evaluation)}
    assert {name for name, _ in found} == {"language-modelling", *CAPABILITIES}
    loss = found["language-modelling", "loss"]
    assert loss.value < loss.chance and loss.stderr > 0 and loss.step is None
    assert found["word-completion", "exact_match"].n >= 30


def test_saves_weights_with_their_hash(finished: tuple[Path, toy.Recorder]) -> None:
    folder, recorder = finished
    saved = next(a for a in recorder.of(ArtifactSaved) if a.kind == "weights")
    path = folder / "run" / saved.path
    assert path.stat().st_size == saved.n_bytes and ck.sha256(path) == saved.sha256
    again = msgspec.json.decode((folder / "run" / ck.MODEL).read_bytes(), type=RunSpec)
    assert again == toy.spec(capabilities=CAPABILITIES)
    assert not list((folder / "run").glob("*.tmp"))


def test_two_runs_are_equal_bit_for_bit(finished: tuple[Path, toy.Recorder], tmp_path: Path) -> None:
    often = toy.spec(checkpoint_seconds=0.001)  # when checkpoints fall must not matter
    run_one(toy.task(tmp_path, often), toy.Recorder(), toy.Commands())
    assert toy.same_weights(finished[0], tmp_path)


@pytest.mark.parametrize("after", [1, 37, 119])
def test_stop_and_resume_changes_nothing(finished: tuple[Path, toy.Recorder], tmp_path: Path, after: int) -> None:
    task = toy.task(tmp_path)
    first, second = toy.Recorder(), toy.Recorder()
    assert run_one(task, first, toy.StopAfter(after)).state is RunState.INTERRUPTED
    assert run_one(task, second, toy.Commands()).state is RunState.FINISHED
    assert toy.same_weights(finished[0], tmp_path)
    both = toy.Recorder()
    both.events = first.events + second.events
    for key in ("train/loss", "lr", "grad_norm", "val/loss"):
        assert both.curve(key) == finished[1].curve(key)
    progress = [p.seconds for p in both.of(Progress)]
    assert progress == sorted(progress)


def test_a_finished_run_that_is_run_again_is_the_same(tmp_path: Path) -> None:
    task = toy.task(tmp_path)
    run_one(task, toy.Recorder(), toy.Commands())
    before, again = toy.weights(tmp_path), toy.Recorder()
    assert run_one(task, again, toy.Commands()).state is RunState.FINISHED
    assert all(np.array_equal(before[k], v) for k, v in toy.weights(tmp_path).items())
    assert again.of(Evaluation)


def _train_in_child(folder: str) -> None:
    run = toy.spec(n_steps=400, checkpoint_seconds=0.05, eval_every=50)
    toy.run_toy(toy.task(Path(folder), run), toy.Recorder(lambda _: time.sleep(0.01)), toy.Commands())


def test_sigkill_and_resume_ends_with_the_same_weights(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run = toy.spec(n_steps=400, checkpoint_seconds=60.0, eval_every=50)
    undisturbed, resumed = toy.Recorder(), toy.Recorder()
    run_one(toy.task(whole, run), undisturbed, toy.Commands())
    child = multiprocessing.get_context("spawn").Process(target=_train_in_child, args=(str(killed),))
    child.start()
    last = killed / "run" / ck.LAST
    deadline = time.monotonic() + 60
    while not last.exists() and time.monotonic() < deadline:
        time.sleep(0.002)
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    child.close()
    step = ck.load_checkpoint(last).header.state.step
    assert 0 < step < 400
    run_again = toy.spec(n_steps=400, checkpoint_seconds=0.05, eval_every=50)
    assert run_one(toy.task(killed, run_again), resumed, toy.Commands()).state is RunState.FINISHED
    assert toy.same_weights(whole, killed)
    # All of the curve is told, even if the store had written none of it before the kill.
    assert resumed.curve("train/loss").items() <= undisturbed.curve("train/loss").items()
    assert max(resumed.curve("train/loss")) == 400
    assert resumed.curve("val/loss") == undisturbed.curve("val/loss")


def test_a_run_leaves_no_tensor_behind(tmp_path: Path) -> None:
    def tensors() -> int:
        return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())

    gc.collect()
    before = tensors()
    for number in range(2):
        task = toy.task(tmp_path / str(number), toy.spec(n_steps=5))
        assert run_one(task, toy.Recorder(), toy.Commands()).state is RunState.FINISHED
    assert tensors() <= before


def test_cancel_leaves_without_a_checkpoint(tmp_path: Path) -> None:
    outcome = run_one(toy.task(tmp_path), toy.Recorder(), toy.StopAfter(10, Command.CANCEL))
    assert outcome.state is RunState.CANCELLED
    assert not (tmp_path / "run" / ck.LAST).exists()


def test_pause_holds_and_is_no_training_time(finished: tuple[Path, toy.Recorder], tmp_path: Path) -> None:
    class Pausing(toy.StopAfter):
        def wait(self, seconds: float) -> Command:
            time.sleep(0.3)
            self.left, self.command = 10**6, Command.GO
            return self.command

    recorder = toy.Recorder()
    began = time.perf_counter()
    assert run_one(toy.task(tmp_path), recorder, Pausing(30, Command.PAUSE)).state is RunState.FINISHED
    assert recorder.of(Progress)[-1].seconds < time.perf_counter() - began - 0.3
    assert toy.same_weights(finished[0], tmp_path)


def test_nan_names_step_and_cause(tmp_path: Path) -> None:
    recorder = toy.Recorder()
    with pytest.raises(TrainingError, match="step 51: training diverged") as failure:
        run_one(toy.task(tmp_path, toy.spec({"bad_from": 50})), recorder, toy.Commands())
    assert "learning_rate" in failure.value.remedy
    assert max(recorder.curve("train/loss")) <= 51 + 100
    with pytest.raises(TrainingError, match="step 1: the untrained model"):
        run_one(toy.task(tmp_path / "b", toy.spec({"bad_from": 0})), toy.Recorder(), toy.Commands())


def test_a_full_disk_interrupts_and_loses_nothing(
    finished: tuple[Path, toy.Recorder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = toy.task(tmp_path)
    run_one(task, toy.Recorder(), toy.StopAfter(40))
    usage = namedtuple("usage", "total used free")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, 1000))
        outcome = run_one(task, toy.Recorder(), toy.StopAfter(20))
    assert outcome.state is RunState.INTERRUPTED
    assert "disk is full" in outcome.message and outcome.remedy
    assert ck.load_checkpoint(task.folder / ck.LAST).header.state.step == 40
    assert run_one(task, toy.Recorder(), toy.Commands()).state is RunState.FINISHED
    assert toy.same_weights(finished[0], tmp_path)


def test_data_that_changed_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = toy.task(tmp_path)
    run_one(task, toy.Recorder(), toy.StopAfter(5))
    original = toy.ToyPrepared.__init__

    def changed(self: Any, spec: Any) -> None:
        original(self, spec)
        self.fingerprint = "other"

    monkeypatch.setattr(toy.ToyPrepared, "__init__", changed)
    with pytest.raises(TrainingError, match="data have changed"):
        run_one(task, toy.Recorder(), toy.Commands())


def test_accumulation_is_the_same_gradient(tmp_path: Path) -> None:
    # Dropout draws differently in micro-batches, so the loss of the first step is compared loosely.
    a, b = toy.Recorder(), toy.Recorder()
    run_one(toy.task(tmp_path / "a", toy.spec(n_steps=3)), a, toy.Commands())
    run_one(toy.task(tmp_path / "b", toy.spec(n_steps=3, micro_batch_size=2)), b, toy.Commands())
    assert a.curve("train/loss")[1] == pytest.approx(b.curve("train/loss")[1], rel=0.02)


def test_early_stopping_keeps_the_best(tmp_path: Path) -> None:
    run = toy.spec(learning_rate=3.0, early_stopping_patience=2, keep_best=True, eval_every=5)
    recorder = toy.Recorder()
    assert run_one(toy.task(tmp_path, run), recorder, toy.Commands()).state is RunState.FINISHED
    assert any("Stopped early" in log.text for log in recorder.of(Log))
    assert {a.kind for a in recorder.of(ArtifactSaved)} == {"best", "checkpoint", "weights", "sample"}
    validation = recorder.curve("val/loss")
    from safetensors.numpy import load_file

    best = load_file(tmp_path / "run" / ck.BEST)
    assert len(validation) < 24
    assert all(np.array_equal(best[k], v) for k, v in toy.weights(tmp_path).items())


@pytest.mark.parametrize("options", [{"optimizer": "muon"}, {"precision": "bfloat16"}, {"schedule": "cosine"}])
def test_other_ways_to_train_resume_too(tmp_path: Path, options: dict[str, str]) -> None:
    run = toy.spec(n_steps=40, **options)
    recorder = toy.Recorder()
    run_one(toy.task(tmp_path / "a", run), recorder, toy.Commands())
    run_one(toy.task(tmp_path / "b", run), toy.Recorder(), toy.StopAfter(17))
    run_one(toy.task(tmp_path / "b", run), toy.Recorder(), toy.Commands())
    assert toy.same_weights(tmp_path / "a", tmp_path / "b")
    assert recorder.curve("val/loss")[40] < recorder.curve("val/loss")[20]


def gpt_spec(**changes: Any) -> RunSpec:
    """A gpt of five thousand parameters on the toy text."""
    from engine.families import families
    from engine.families.base import DataShape

    gpt = families["gpt"]
    shape = gpt.resolve(gpt.Spec(), 5_000, DataShape("tokens", toy.VOCAB), 32)
    base = toy.spec(lr_rule="mup", **changes)
    return msgspec.structs.replace(base, family="gpt", family_version=gpt.version, shape=shape)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_gpt_resumes_bit_for_bit(tmp_path: Path, precision: str) -> None:
    run = gpt_spec(n_steps=30, precision=precision, eval_every=10)
    recorder = toy.Recorder()
    assert run_one(toy.task(tmp_path / "a", run), recorder, toy.Commands()).state is RunState.FINISHED
    assert run_one(toy.task(tmp_path / "b", run), toy.Recorder(), toy.StopAfter(13)).state is RunState.INTERRUPTED
    assert run_one(toy.task(tmp_path / "b", run), toy.Recorder(), toy.Commands()).state is RunState.FINISHED
    assert toy.same_weights(tmp_path / "a", tmp_path / "b")
    assert recorder.of(Facts)[0].values["precision"] == precision
    assert recorder.curve("val/loss")[30] < recorder.curve("train/loss")[1] - 0.5


def _compiled_runs_in_child(folder: str) -> None:
    """One run undisturbed, and the same stopped and resumed; how many were compiled is left in a file."""
    run = gpt_spec(n_steps=24, precision="bfloat16", compile="on", eval_every=12)
    recorder = toy.Recorder()
    toy.run_toy(toy.task(Path(folder, "a"), run), recorder, toy.Commands())
    toy.run_toy(toy.task(Path(folder, "b"), run), recorder, toy.StopAfter(11))
    toy.run_toy(toy.task(Path(folder, "b"), run), recorder, toy.Commands())
    Path(folder, "compiled").write_text(str(sum(bool(f.values["compiled"]) for f in recorder.of(Facts))))


@pytest.mark.slow
def test_a_compiled_run_resumes_bit_for_bit(tmp_path: Path) -> None:
    """In a process of its own: the compiler's threads stay for as long as it lives."""
    child = multiprocessing.get_context("spawn").Process(target=_compiled_runs_in_child, args=(str(tmp_path),))
    child.start()
    child.join()
    child.close()
    if (tmp_path / "compiled").read_text() != "3":
        pytest.skip("no compiler on this machine")
    assert toy.same_weights(tmp_path / "a", tmp_path / "b")


def test_accumulated_gradients_are_those_of_the_whole_batch(tmp_path: Path) -> None:
    whole, parts = toy.Recorder(), toy.Recorder()
    for micro, recorder in ((8, whole), (2, parts)):
        run = gpt_spec(n_steps=12, precision="float32", eval_every=12, micro_batch_size=micro)
        assert run_one(toy.task(tmp_path / str(micro), run), recorder, toy.Commands()).state is RunState.FINISHED
    for key in ("train/loss", "grad_norm"):
        one, other = whole.curve(key), parts.curve(key)
        assert list(other.values()) == pytest.approx(list(one.values()), rel=2e-4)
    assert whole.curve("train/loss")[1] != whole.curve("train/loss")[12]


def test_overfitting_is_marked_once_where_it_began(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from engine.training.evaluate import Validation

    told = iter([3.0, 2.5, 2.6, 2.7, 2.8, 2.9])
    monkeypatch.setattr(Validation, "loss", lambda self, model: (next(told), None, {}))
    recorder = toy.Recorder()
    assert run_one(toy.task(tmp_path), recorder, toy.Commands()).state is RunState.FINISHED
    assert recorder.curve("overfitting") == {40: 2.5}
    assert sum("Overfitting since step 40" in log.text for log in recorder.of(Log)) == 1


def test_compilation_that_fails_falls_back(
    finished: tuple[Path, toy.Recorder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    def broken(*_: object, **__: object) -> Any:
        def call(_: object) -> Any:
            raise RuntimeError("no compiler here")

        return call

    monkeypatch.setattr(torch, "compile", broken)
    recorder = toy.Recorder()
    assert run_one(toy.task(tmp_path, toy.spec(compile="on")), recorder, toy.Commands()).state is RunState.FINISHED
    assert any("no compiler here" in log.text and log.level == "warning" for log in recorder.of(Log))
    assert toy.same_weights(finished[0], tmp_path)


def test_settings_of_the_process_are_put_back(tmp_path: Path) -> None:
    import torch

    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    run_one(toy.task(tmp_path, toy.spec(n_steps=2, threads=2)), toy.Recorder(), toy.Commands())
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before
