"""Schedule, device, checkpoint and overfitting, each on its own."""

from pathlib import Path

import msgspec
import pytest
import torch

from engine.errors import InputError, ResourceError, TrainingError
from engine.training import checkpoint as ck
from engine.training.device import place, resolve_device
from engine.training.loop import evaluation_due
from engine.training.schedule import lr_factor
from tests.engine.training import toy


def factors(**changes: object) -> list[float]:
    training = msgspec.structs.replace(toy.TRAINING, **changes)
    return [lr_factor(step, training) for step in range(training.n_steps)]


def test_wsd_rises_holds_and_falls() -> None:
    rates = factors()
    assert 0 < rates[0] < rates[4] < 1
    assert rates[5:96] == [1.0] * 91
    assert rates[96:] == sorted(rates[96:], reverse=True)
    assert 0 < rates[-1] < 0.1


def test_cosine_falls_all_the_way() -> None:
    rates = factors(schedule="cosine", final_lr_fraction=0.1)
    assert rates[5:] == sorted(rates[5:], reverse=True)
    assert rates[-1] == pytest.approx(0.1, abs=0.01)
    assert rates[62] == pytest.approx(0.55, abs=0.02)


def test_constant_and_no_warm_up() -> None:
    assert factors(schedule="constant", warmup_steps=0) == [1.0] * 120


def test_evaluations_are_not_crowded_at_the_end() -> None:
    training = msgspec.structs.replace(toy.TRAINING, n_steps=103, eval_every=10)
    assert [s for s in range(1, 104) if evaluation_due(s, training)] == [10, 20, 30, 40, 50, 60, 70, 80, 90, 103]


def test_devices_that_are_not() -> None:
    with pytest.raises(InputError, match="no device"):
        resolve_device("warp")
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="no cuda:9"):
            resolve_device("cuda:9")


def test_small_models_stay_in_float32_on_one_thread() -> None:
    placement = place(toy.spec(threads=0), width=64)
    assert (placement.precision, placement.threads, placement.compile) == ("float32", 1, False)


def test_long_runs_are_compiled_where_it_pays() -> None:
    def compiled(flops: float, **execution: str) -> bool:
        run = msgspec.structs.replace(toy.spec(**execution), compute_flops=flops)
        return place(run, width=256).compile

    assert compiled(1e14, precision="bfloat16")
    assert not compiled(1e12, precision="bfloat16")
    assert not compiled(1e14, precision="float32")
    assert not compiled(1e14, precision="bfloat16", compile="off")
    assert compiled(1e6, precision="float32", compile="on")
    long = msgspec.structs.replace(toy.spec(precision="bfloat16"), compute_flops=1e14)
    assert not place(long, width=256, lengths_vary=True).compile  # it would be anew for every length


def header() -> ck.Header:
    state = ck.TrainState(step=3)
    return ck.Header(format=ck.FORMAT, spec_hash="a", fingerprint="b", placement={"device": "cpu"}, state=state)


def test_checkpoints_come_back_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / ck.LAST
    parts = {"model": {"a.b": torch.arange(3.0)}, "rng": {"cpu": torch.get_rng_state()}}
    n_bytes = ck.save_checkpoint(path, header(), parts)
    found = ck.load_checkpoint(path)
    assert n_bytes == path.stat().st_size
    assert found.header.state.step == 3
    assert torch.equal(found.tensors["model"]["a.b"], torch.arange(3.0))
    assert torch.equal(found.tensors["rng"]["cpu"], torch.get_rng_state())


def test_a_write_that_fails_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / ck.LAST
    ck.save_checkpoint(path, header(), {"model": {"a": torch.zeros(2)}})

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ck, "save_file", full)
    with pytest.raises(ResourceError, match="No space left"):
        ck.save_checkpoint(path, header(), {"model": {"a": torch.ones(2)}})
    assert torch.equal(ck.load_checkpoint(path).tensors["model"]["a"], torch.zeros(2))
    assert [p.name for p in tmp_path.iterdir()] == [ck.LAST]


def test_a_file_that_is_no_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / ck.LAST
    path.write_bytes(b"not at all")
    with pytest.raises(TrainingError, match="cannot be read"):
        ck.load_checkpoint(path)
