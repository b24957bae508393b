"""Seeds trained together: equal to apart, resumed together, one that fails leaves the others alone."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import torch

from engine.events import Facts, RunState
from engine.families import families
from engine.families._decoder import Decoder
from engine.families._stacked import StackedDecoder
from engine.families.base import DataShape, TrainingHints
from engine.study import RunSpec
from engine.task import Outcome, Task
from engine.training import stacked
from engine.training.run import run_one
from tests.engine.training import toy

SEEDS = (0, 1, 2)


@pytest.fixture(autouse=True)
def toys() -> Iterator[None]:
    with toy.registered():
        yield


@pytest.fixture(autouse=True)
def always_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a clock says must not decide what a test sees."""
    monkeypatch.setattr(stacked, "WORTHWHILE", 0.0)


def spec(seed: int, **training: object) -> RunSpec:
    gpt = families["gpt"]
    shape = gpt.resolve(gpt.Spec(), 5_000, DataShape("tokens", toy.VOCAB), 32)
    base = toy.spec(lr_rule="mup", **{"n_steps": 40, "eval_every": 10, **training})
    return msgspec.structs.replace(base, family="gpt", family_version=gpt.version, shape=shape, seed=seed)


def tasks(folder: Path, **training: object) -> list[Task]:
    made = [dataclasses.replace(toy.task(folder / str(s), spec(s, **training)), run_id=10 + s) for s in SEEDS]
    return [dataclasses.replace(one, cache=folder / "cache") for one in made]


def together(folder: Path, control: object = None, **training: object) -> tuple[Outcome, toy.Recorder]:
    first, *others = tasks(folder, **training)
    recorder = toy.Recorder()
    return run_one(dataclasses.replace(first, partners=tuple(others)), recorder, control or toy.Commands()), recorder


def weights(task: Task) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(task.folder / "weights.safetensors")


@pytest.mark.parametrize("mlp_ratio", [8 / 3, 0.0])
def test_the_stacked_decoder_is_its_members(mlp_ratio: float) -> None:
    gpt = families["gpt"]
    options = {} if mlp_ratio else {"d_model": 16, "n_layers": 2}
    size = 5_000 if mlp_ratio else 2_000
    shape = gpt.resolve(gpt.Spec(mlp_ratio=mlp_ratio, **options), size, DataShape("tokens", 64), 16)
    models = [gpt.build(shape, seed, training=TrainingHints("mup", 32)) for seed in SEEDS]
    assert all(isinstance(model, Decoder) for model in models)
    stack = gpt.stack(models)
    assert isinstance(stack, StackedDecoder)
    tokens = torch.randint(0, 64, (3, 4, 16), generator=torch.Generator().manual_seed(0))
    targets = tokens.roll(-1, 2).clone()
    targets[1, :, :5] = -100
    apart = [gpt.loss(m, {"inputs": x, "targets": y}).loss for m, x, y in zip(models, tokens, targets, strict=True)]
    losses = stack.losses({"inputs": tokens, "targets": targets})
    assert torch.allclose(losses, torch.stack(apart), atol=1e-6)
    losses.sum().backward()
    torch.stack(apart).sum().backward()
    for name, parameter in models[1].named_parameters():
        assert torch.allclose(stack.weight(name).grad[1], parameter.grad, atol=1e-6), name


def test_norms_are_each_members_own() -> None:
    params = [torch.zeros(3, 4, 5, requires_grad=True), torch.zeros(3, 7, requires_grad=True)]
    generator = torch.Generator().manual_seed(1)
    for p in params:
        p.grad = torch.randn(p.shape, generator=generator) * torch.tensor([0.01, 1.0, 9.0]).view(
            -1, *[1] * (p.dim() - 1)
        )
    before = [p.grad.clone() for p in params]
    norms = stacked.clip_members(params, 1.0)
    for i in range(3):
        own = torch.linalg.vector_norm(torch.cat([g[i].flatten() for g in before]))
        assert norms[i].item() == pytest.approx(own.item(), rel=1e-5)
        after = torch.linalg.vector_norm(torch.cat([p.grad[i].flatten() for p in params]))
        assert after.item() == pytest.approx(min(1.0, own.item()), rel=1e-4)


def test_together_is_as_apart(tmp_path: Path) -> None:
    outcome, recorder = together(tmp_path / "together")
    assert [o.state for o in (outcome, *outcome.partners)] == [RunState.FINISHED] * 3
    assert [o.run_id for o in (outcome, *outcome.partners)] == [10, 11, 12]
    facts = {e.run_id: e.values["stacked"] for e in recorder.of(Facts)}
    assert facts == {10: 3, 11: 3, 12: 3}
    for task in tasks(tmp_path / "apart"):
        alone = toy.Recorder()
        assert run_one(task, alone, toy.Commands()).state is RunState.FINISHED
        same = toy.Recorder()
        same.events = [e for e in recorder.events if e.run_id == task.run_id]
        for key in ("train/loss", "val/loss", "grad_norm", "lr"):
            curve = alone.curve(key)
            assert curve.keys() == same.curve(key).keys()
            for step, value in curve.items():
                assert same.curve(key)[step] == pytest.approx(value, abs=1e-4, rel=1e-3), (key, step)


def test_stopped_and_resumed_together_changes_nothing(tmp_path: Path) -> None:
    whole, _ = together(tmp_path / "whole")
    assert whole.state is RunState.FINISHED
    stopped, _ = together(tmp_path / "cut", toy.StopAfter(17))
    assert [o.state for o in (stopped, *stopped.partners)] == [RunState.INTERRUPTED] * 3
    resumed, _ = together(tmp_path / "cut")
    assert resumed.state is RunState.FINISHED
    for a, b in zip(tasks(tmp_path / "whole"), tasks(tmp_path / "cut"), strict=True):
        assert all(torch.equal(x, weights(b)[name]) for name, x in weights(a).items())


def test_a_stopped_stack_goes_on_apart_too(tmp_path: Path) -> None:
    together(tmp_path, toy.StopAfter(17))
    for task in tasks(tmp_path):
        assert run_one(task, toy.Recorder(), toy.Commands()).state is RunState.FINISHED


def test_members_at_different_steps_are_left_apart(tmp_path: Path) -> None:
    run_one(tasks(tmp_path)[1], toy.Recorder(), toy.StopAfter(9))
    outcome, recorder = together(tmp_path)
    assert outcome.apart and not outcome.partners
    assert recorder.curve("train/loss") == {} or min(recorder.curve("train/loss")) >= 1


def test_where_it_is_no_gain_nothing_is_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stacked, "WORTHWHILE", 1e9)
    outcome, _ = together(tmp_path)
    assert outcome.apart
    assert not (tmp_path / "0" / "last.safetensors").exists()


def test_one_that_fails_leaves_the_others_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = StackedDecoder.losses

    def broken(self: StackedDecoder, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return losses(self, batch) * torch.tensor([1.0, float("nan"), 1.0])

    monkeypatch.setattr(StackedDecoder, "losses", broken)
    outcome, _ = together(tmp_path)
    states = [o.state for o in (outcome, *outcome.partners)]
    assert states == [RunState.INTERRUPTED, RunState.FAILED, RunState.INTERRUPTED]
    assert "finite" in outcome.partners[0].message


def test_a_family_without_a_stacked_form_stays_apart(tmp_path: Path) -> None:
    first, *others = [dataclasses.replace(toy.task(tmp_path / str(s), toy.spec(n_steps=5)), run_id=s) for s in SEEDS]
    outcome = run_one(dataclasses.replace(first, partners=tuple(others)), toy.Recorder(), toy.Commands())
    assert outcome.apart
