"""Runs trained together: equal to apart, resumed together, one that fails leaves the others alone."""

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import torch

from engine.events import Command, Facts, RunState
from engine.families import families
from engine.families._decoder import Decoder
from engine.families._stacked import StackedDecoder
from engine.families.base import DataShape, ParamGroup, TrainingHints
from engine.study import RunSpec
from engine.task import Outcome, Task
from engine.training import compilation, stacked
from engine.training.compilation import CAPTURED, compiled_or_eager, graph_mode
from engine.training.optim import Optimizer, SharedOptimizer
from engine.training.report import Teller
from engine.training.run import run_one
from tests.engine.training import toy

SEEDS = (0, 1, 2)
RATES = (0.01, 0.0025, 0.02)
"""The peak of each seed where they are mixed; the highest is not the first."""
EQUAL = (0.01, 0.01, 0.01)


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


def tasks(folder: Path, rates: tuple[float, ...] = EQUAL, **training: object) -> list[Task]:
    specs = [spec(s, learning_rate=rate, **training) for s, rate in zip(SEEDS, rates, strict=True)]
    made = [dataclasses.replace(toy.task(folder / str(s.seed), s), run_id=10 + s.seed) for s in specs]
    return [dataclasses.replace(one, cache=folder / "cache") for one in made]


def together(
    folder: Path, control: object = None, rates: tuple[float, ...] = EQUAL, **training: object
) -> tuple[Outcome, toy.Recorder]:
    first, *others = tasks(folder, rates, **training)
    recorder = toy.Recorder()
    return run_one(dataclasses.replace(first, partners=tuple(others)), recorder, control or toy.Commands()), recorder


def weights(task: Task) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(task.folder / "weights.safetensors")


@pytest.mark.parametrize("by_rows_below", [0, 1_000])
@pytest.mark.parametrize("mlp_ratio", [8 / 3, 0.0])
def test_the_stacked_decoder_is_its_members(
    mlp_ratio: float, by_rows_below: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.families._stacked.ROTATED_BY_ROWS_BELOW", by_rows_below)
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


@pytest.mark.parametrize("rates", [EQUAL, RATES])
def test_together_is_as_apart(tmp_path: Path, rates: tuple[float, ...]) -> None:
    outcome, recorder = together(tmp_path / "together", rates=rates)
    assert [o.state for o in (outcome, *outcome.partners)] == [RunState.FINISHED] * 3
    assert [o.run_id for o in (outcome, *outcome.partners)] == [10, 11, 12]
    facts = {e.run_id: e.values["stacked"] for e in recorder.of(Facts)}
    assert facts == {10: 3, 11: 3, 12: 3}
    for task in tasks(tmp_path / "apart", rates):
        alone = toy.Recorder()
        assert run_one(task, alone, toy.Commands()).state is RunState.FINISHED
        same = toy.Recorder()
        same.events = [e for e in recorder.events if e.run_id == task.run_id]
        assert alone.curve("lr") == same.curve("lr")
        assert max(alone.curve("lr").values()) == task.spec.training.learning_rate
        for key in ("train/loss", "val/loss", "grad_norm"):
            curve = alone.curve(key)
            assert curve.keys() == same.curve(key).keys()
            for step, value in curve.items():
                assert same.curve(key)[step] == pytest.approx(value, abs=1e-4, rel=1e-3), (key, step)


@pytest.mark.parametrize("rates", [EQUAL, RATES])
def test_stopped_and_resumed_together_changes_nothing(tmp_path: Path, rates: tuple[float, ...]) -> None:
    whole, _ = together(tmp_path / "whole", rates=rates)
    assert whole.state is RunState.FINISHED
    stopped, _ = together(tmp_path / "cut", toy.StopAfter(17), rates)
    assert [o.state for o in (stopped, *stopped.partners)] == [RunState.INTERRUPTED] * 3
    resumed, _ = together(tmp_path / "cut", rates=rates)
    assert resumed.state is RunState.FINISHED
    for a, b in zip(tasks(tmp_path / "whole"), tasks(tmp_path / "cut"), strict=True):
        assert all(torch.equal(x, weights(b)[name]) for name, x in weights(a).items())


class Killed(BaseException):
    """What no code of ours handles, as nothing handles a kill."""


class KillAfter(toy.Commands):
    """Ends the process, as far as the run can tell, after so many steps."""

    def __init__(self, polls: int) -> None:
        super().__init__()
        self.left = polls

    def poll(self) -> Command:
        self.left -= 1
        if self.left < 0:
            raise Killed
        return Command.GO


def test_killed_and_resumed_with_mixed_rates_changes_nothing(tmp_path: Path) -> None:
    together(tmp_path / "whole", rates=RATES, checkpoint_seconds=0.0)
    with pytest.raises(Killed):
        together(tmp_path / "cut", KillAfter(23), RATES, checkpoint_seconds=0.0)
    assert not (tmp_path / "cut" / "0" / "run" / "weights.safetensors").exists()
    resumed, _ = together(tmp_path / "cut", rates=RATES, checkpoint_seconds=0.0)
    assert resumed.state is RunState.FINISHED
    for a, b in zip(tasks(tmp_path / "whole"), tasks(tmp_path / "cut"), strict=True):
        assert all(torch.equal(x, weights(b)[name]) for name, x in weights(a).items())


@pytest.mark.parametrize("rates", [EQUAL, RATES])
def test_a_stopped_stack_goes_on_apart_too(tmp_path: Path, rates: tuple[float, ...]) -> None:
    together(tmp_path, toy.StopAfter(17), rates)
    for task in tasks(tmp_path, rates):
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


def test_those_that_did_not_diverge_go_on_from_where_they_stood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At step 20 an evaluation is due: it is not lost with the member that fails there."""
    _, expected = together(tmp_path / "whole", rates=RATES)
    losses, calls = StackedDecoder.losses, iter(range(10_000))
    monkeypatch.setattr(stacked, "_gain", lambda *_: 9.0)

    def broken(self: StackedDecoder, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        factor = torch.tensor([1.0, 1.0, math.nan if next(calls) >= 19 else 1.0])
        return losses(self, batch) * factor

    with monkeypatch.context() as patch:
        patch.setattr(StackedDecoder, "losses", broken)
        # Blocks must not leave by the clock, or the failure is seen at another step.
        patch.setattr("engine.training.report.BLOCK_SECONDS", 1e9)
        outcome, told = together(tmp_path / "cut", rates=RATES)
    states = [o.state for o in (outcome, *outcome.partners)]
    assert states == [RunState.INTERRUPTED, RunState.INTERRUPTED, RunState.FAILED]
    first, second, failed = tasks(tmp_path / "cut", RATES)
    assert not (failed.folder / "last.safetensors").exists()
    run_one(dataclasses.replace(first, partners=(second,)), told, toy.Commands())
    for run in (10, 11):
        curves = []
        for recorder in (expected, told):
            own = toy.Recorder()
            own.events = [e for e in recorder.events if getattr(e, "run_id", None) == run]
            curves.append(own.curve("val/loss"))
        assert curves[1].keys() == curves[0].keys()
        assert all(curves[1][step] == pytest.approx(value, abs=1e-4) for step, value in curves[0].items())


def test_what_does_not_fit_together_is_trained_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> float:
        raise torch.cuda.OutOfMemoryError("out of memory")

    monkeypatch.setattr(stacked, "_gain", full)
    outcome, _ = together(tmp_path)
    assert outcome.apart and outcome.state is RunState.INTERRUPTED


def test_each_member_steps_at_its_own_rate_as_adamw_does() -> None:
    training = toy.spec(weight_decay=0.1).training
    shares = torch.tensor([1.0, 0.5, 1 / 32, 0.003, 0.0], dtype=torch.float64)
    rng = torch.Generator().manual_seed(2)
    start = {"a": torch.randn(5, 6, 7, generator=rng), "b": torch.randn(5, 9, generator=rng)}

    def holder(values: dict[str, torch.Tensor]) -> tuple[torch.nn.Module, list[ParamGroup]]:
        module = torch.nn.ParameterDict({k: torch.nn.Parameter(v.clone()) for k, v in values.items()})
        return module, [ParamGroup([module["a"]], 0.25), ParamGroup([module["b"]], decay=False)]

    module, groups = holder(start)
    stack = SharedOptimizer(module, groups, training, shares)
    alone = []
    for index in range(len(shares)):
        own, of = holder({k: v[index] for k, v in start.items()})
        alone.append((own, Optimizer(own, of, training)))
    for step in range(20):
        rate = 0.08 / (step + 1)
        grads = {k: torch.randn(v.shape, generator=rng) for k, v in start.items()}
        stack.set_lr(rate)
        for k, grad in grads.items():
            module[k].grad = grad.clone()
        stack.step()
        for index, (own, optimizer) in enumerate(alone):
            optimizer.set_lr(rate * float(shares[index]))
            for k, grad in grads.items():
                own[k].grad = grad[index].clone()
            optimizer.step()
    for index, (own, optimizer) in enumerate(alone):
        for k in start:
            torch.testing.assert_close(module[k][index], own[k], atol=1e-6, rtol=1e-6)
        for name, value in optimizer.state_tensors().items():
            kept = stack.state_tensors()[name]
            torch.testing.assert_close(kept if kept.dim() == 0 else kept[index], value, atol=1e-7, rtol=1e-6)
    assert torch.equal(module["a"][4], start["a"][4])


@pytest.mark.parametrize("rates", [EQUAL, RATES])
def test_equal_rates_keep_torchs_own_step(tmp_path: Path, rates: tuple[float, ...]) -> None:
    made: list[type] = []
    with pytest.MonkeyPatch.context() as patch:
        for name in ("Optimizer", "SharedOptimizer"):
            kind = getattr(stacked, name)
            patch.setattr(stacked, name, lambda *args, kind=kind: made.append(kind) or kind(*args))
        together(tmp_path, toy.StopAfter(0), rates)
    assert made == [SharedOptimizer if rates is RATES else Optimizer]


class Compiler:
    """Stands in for ``torch.compile``: remembers the mode and fails at a call of the compiled loss."""

    def __init__(self, fails_at: int = 0) -> None:
        self.modes: list[str | None] = []
        self.calls, self.fails_at = 0, fails_at

    def __call__(self, eager: object, *, dynamic: bool, mode: str | None) -> object:
        self.modes.append(mode)

        def compiled(batch: object) -> torch.Tensor:
            self.calls += 1
            if self.calls == self.fails_at:
                raise RuntimeError("cannot be captured")
            return eager(batch)  # type: ignore[operator]

        return compiled


def test_graphs_are_captured_on_cuda_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [graph_mode(device) for device in ("cuda", "cpu", "mps")] == [CAPTURED, None, None]
    compiler = Compiler()
    monkeypatch.setattr(compilation.torch, "compile", compiler)
    together(tmp_path / "cpu", toy.StopAfter(2), compile="on")
    monkeypatch.setattr(stacked, "graph_mode", lambda device: graph_mode("cuda"))
    outcome, _ = together(tmp_path / "cuda", compile="on")
    assert compiler.modes == [None, CAPTURED]
    assert compiler.calls > 40, "the captured loss, not the eager one, has trained all steps"
    assert outcome.state is RunState.FINISHED


@pytest.mark.parametrize("fails_at", [0, 1, 2, 3])
def test_a_graph_is_tried_until_it_has_been_replayed(monkeypatch: pytest.MonkeyPatch, fails_at: int) -> None:
    model, recorder = torch.nn.Linear(2, 1), toy.Recorder()
    compiler = Compiler(fails_at)
    monkeypatch.setattr(compilation.torch, "compile", compiler)

    def eager(batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return model(batch["x"]).square().mean()

    batch = {"x": torch.ones(3, 2)}
    loss, works = compiled_or_eager(eager, model, batch, Teller(1, recorder), CAPTURED)
    assert works == (fails_at == 0)
    assert (loss is eager) == (fails_at > 0)
    assert model.weight.grad is None
    assert len(recorder.events) == (fails_at > 0)
    assert compiler.calls == (fails_at or compilation.TRIES)


def test_losses_of_a_graph_outlast_its_next_call() -> None:
    slot = torch.zeros(3)

    def replay(batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return slot.copy_(batch["x"])

    loss = compilation._kept(replay)
    first = loss({"x": torch.ones(3)})
    loss({"x": torch.full((3,), 2.0)})
    assert torch.equal(first, torch.ones(3))


def test_a_family_without_a_stacked_form_stays_apart(tmp_path: Path) -> None:
    first, *others = [dataclasses.replace(toy.task(tmp_path / str(s), toy.spec(n_steps=5)), run_id=s) for s in SEEDS]
    outcome = run_one(dataclasses.replace(first, partners=tuple(others)), toy.Recorder(), toy.Commands())
    assert outcome.apart
