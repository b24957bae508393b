"""Costs before anything is trained."""

from pathlib import Path

import pytest

from engine import planning
from engine.expand import expand
from engine.machine import Machine
from tests.engine.fakes import tiny_study

RATES = {1e4: (1e-5, 4e-6), 1e6: (1e-3, 4e-4)}


def test_a_plan_covers_every_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "_calibrate", lambda *args: RATES)
    document = planning.plan(tiny_study(), tmp_path / "home")
    assert document["fits"]
    assert len(document["runs"]) == 8
    assert document["seconds"] > max(r["seconds"] for r in document["runs"])
    assert not (tmp_path / "home").exists()


def test_what_does_not_fit_is_refused_with_what_would(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = expand(tiny_study())
    memory = (runs[2].memory_bytes + planning.PROCESS_BYTES) / planning.SHARE_OF_MEMORY + 10
    monkeypatch.setattr(Machine, "measure", classmethod(lambda cls: Machine(2, int(memory))))
    document = planning.plan(tiny_study(), tmp_path)
    assert not document["fits"]
    assert f"Sizes up to {runs[2].size:,} fit." in document["reasons"][0]


def test_learning_a_tokenizer_takes_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "_calibrate", lambda *args: RATES)
    seconds = [
        planning.plan(tiny_study(data={"source": "python-text", "tokenizer": kind}), tmp_path)["seconds"]
        for kind in ("bytes", "bpe")
    ]
    assert seconds[1] - seconds[0] >= planning.BPE_SECONDS * 0.99


def test_between_measured_shapes_it_is_a_power_law() -> None:
    assert planning._interpolate({1.0: 1.0, 100.0: 100.0}, 10.0) == pytest.approx(10.0)
    assert planning._interpolate({1.0: 1.0, 100.0: 100.0}, 1000.0) == 100.0


def test_steps_of_a_small_model_are_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "CALIBRATION_SECONDS", 0.05)
    step, forward = planning._time_shapes(expand(tiny_study())[:1])[0]
    assert 0 < forward < step < 0.1
