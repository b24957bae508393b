"""Data that are not tokens go the same way: trained, validated, timed and measured, from a study to its evaluations."""

import math
from pathlib import Path

import pytest

from engine import planning
from engine.events import Evaluation, Facts, MetricBlock, RunState
from engine.expand import expand
from engine.study import RunSpec, parse_study
from engine.task import Task
from engine.training.run import run_one
from tests.engine.training import toy

STUDIES = {
    "gan": ({"source": "digits", "augment": "none"}, "image-generation", 1_454, 1, {"items": 100}),
    "mlp": ({"source": "sparse-parity", "subtasks": 3, "bits": 10}, "sparse-parity", 400, 1, {"items": 50}),
    "gpt-vectors": ({"source": "linear-regression", "pairs": 5}, "in-context-regression", 2_000, 9, {"items": 100}),
    "seq2seq": (
        {"source": "cldr-pairs", "items": 100, "source_length": 30, "target_length": 20},
        "translation",
        4_000,
        20,
        {"items": 50},
    ),
}


def run_spec(family: str) -> RunSpec:
    data, capability, size, _, options = STUDIES[family]
    table = {
        "name": "vectors",
        "title": "Vectors",
        "model": {"family": family},
        "data": data,
        "ladder": {"sizes": [size]},
        "training": {"steps": 12, "batch_size": 8, "eval_tokens": 200, "final_eval_tokens": 400},
        "execution": {"precision": "float32", "device": "cpu"},
        "capabilities": [{"name": capability, "during_training": True, "options": options}],
    }
    return expand(parse_study(table))[0]


@pytest.mark.parametrize("family", list(STUDIES))
def test_a_run_from_data_to_evaluations(family: str, tmp_path: Path) -> None:
    spec = run_spec(family)
    _, capability, _, context, _ = STUDIES[family]
    assert spec.training.context == context and spec.training.tokens == 12 * 8 * context
    reporter = toy.Recorder()
    outcome = run_one(Task(1, spec, tmp_path, tmp_path), reporter, toy.Commands())
    assert outcome.state is RunState.FINISHED
    found = {(e.capability, e.metric): e.value for e in reporter.of(Evaluation)}
    assert math.isfinite(found["validation", "loss"]) and ("language-modelling", "loss") not in found
    assert any(name == capability for name, _ in found)
    keys = {block.key for block in reporter.of(MetricBlock)}
    assert "val/loss" in keys and "val/bits_per_byte" not in keys and any(k.startswith(capability) for k in keys)
    assert next(iter(reporter.of(Facts))).values["device_type"] == "cpu"


@pytest.mark.parametrize("family", list(STUDIES))
def test_its_steps_are_timed(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "CALIBRATION_SECONDS", 0.02)
    step, forward = planning._time_shapes([run_spec(family)])[0]
    assert 0 < forward < step
