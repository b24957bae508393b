"""Capabilities measured during training, batches of everything, and samples of tasks."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.events import Evaluation, MetricBlock, RunState, Sample
from engine.expand import expand
from engine.results import headline_by_size, headline_by_variant
from engine.study import CapabilityUse, RunSpec, canonical_json, parse_study
from engine.task import Task
from engine.training.run import run_one
from tests.engine.training import toy

CURVES = ("modular-arithmetic/exact_match", "modular-arithmetic/train_exact_match")


def run_spec(**use: Any) -> RunSpec:
    study = parse_study(
        {
            "name": "x",
            "title": "x",
            "model": {"family": "gpt", "d_model": 16, "n_layers": 1},
            "data": {"source": "modular-arithmetic", "modulus": 7},
            "ladder": {"sizes": [3_500], "seeds": [4]},
            "training": {"steps": 60, "context": 4, "batch_size": 0, "lr_rule": "fixed", "eval_every_fraction": 0.25},
            "capabilities": [{"name": "modular-arithmetic"} | use],
            "execution": {"threads": 1, "device": "cpu"},
        }
    )
    return expand(study)[0]


def finish(folder: Path, spec: RunSpec, recorder: toy.Recorder, control: Any = None) -> RunState:
    return run_one(Task(7, spec, folder / "run", folder / "cache"), recorder, control or toy.Commands()).state


def test_capabilities_become_curves_and_end_at_the_final_score(tmp_path: Path) -> None:
    spec, recorder = run_spec(during_training=True), toy.Recorder()
    assert spec.training.batch_size == 23 == spec.training.micro_batch_size  # 14 of 28 pairs, 9 of them in both orders
    assert finish(tmp_path, spec, recorder) is RunState.FINISHED
    for key in CURVES:
        assert list(recorder.curve(key)) == [15, 30, 45, 60]
    assert recorder.curve(CURVES[1])[60] > 0.9
    final = {e.metric: e.value for e in recorder.of(Evaluation) if e.capability == "modular-arithmetic"}
    assert all(recorder.curve(key)[60] == final[key.split("/")[1]] for key in CURVES)


def test_they_do_not_where_it_was_not_asked_and_training_is_the_same(tmp_path: Path) -> None:
    plain, tracked = toy.Recorder(), toy.Recorder()
    finish(tmp_path / "a", run_spec(), plain)
    finish(tmp_path / "b", run_spec(during_training=True), tracked)
    assert not [b for b in plain.of(MetricBlock) if b.key in CURVES]
    assert plain.curve("train/loss") == tracked.curve("train/loss")


def test_a_resumed_run_tells_what_it_had_measured(tmp_path: Path) -> None:
    spec, first, second = run_spec(during_training=True), toy.Recorder(), toy.Recorder()
    assert finish(tmp_path, spec, first, toy.StopAfter(40)) is RunState.INTERRUPTED
    assert finish(tmp_path, spec, second) is RunState.FINISHED
    assert list(first.curve(CURVES[0])) == [15, 30]
    assert list(second.curve(CURVES[0])) == [15, 30, 45, 60]
    assert first.curve(CURVES[0]).items() <= second.curve(CURVES[0]).items()


def test_a_sample_is_the_question_and_the_answer(tmp_path: Path) -> None:
    recorder = toy.Recorder()
    finish(tmp_path, run_spec(), recorder)
    for sample in recorder.of(Sample):
        question, answer = sample.content.split("⟶")
        assert question.split(" ")[1::2] == ["+", "="] and answer in "0123456+="


def test_a_use_that_does_not_ask_for_curves_has_the_json_it_always_had() -> None:
    assert canonical_json(CapabilityUse(name="x")) == b'{"name":"x","options":{}}'
    asked = msgspec.json.decode(b'{"name":"x","during_training":true}', type=CapabilityUse)
    assert asked.during_training is True


class Row:
    """As much of a run's row as the headline needs."""

    def __init__(self, number: int, n_params: int, variant: str) -> None:
        self.id, self.n_params, self.variant_json = number, n_params, variant
        self.state, self.val_loss = RunState.FINISHED, float(number)


def test_a_headline_is_given_by_variant_where_something_is_varied() -> None:
    rows = [Row(1, 10, '{"a":1}'), Row(2, 10, '{"a":1}'), Row(3, 10, '{"a":2}'), Row(4, 20, "{}")]
    evaluations = {row.id: [Evaluation(row.id, "skill", "score", 0.1 * row.id)] for row in rows}
    assert headline_by_size(rows, evaluations, "skill", "score") == [[20, pytest.approx(0.4), None]]
    found = headline_by_variant(rows, evaluations, "skill", "score")
    assert [cell["variant"] for cell in found] == [{"a": 1}, {"a": 2}]
    assert found[0]["by_size"] == [[10, pytest.approx(0.15), pytest.approx(0.0707, abs=1e-4)]]
    assert found[1]["by_size"] == [[10, pytest.approx(0.3), None]]
