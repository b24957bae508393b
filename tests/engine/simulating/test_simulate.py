"""A study that trains nothing runs like any other, and its intervals are those that the fit gives."""

import json
from pathlib import Path
from typing import Any

import pytest

from engine.errors import StudyError
from engine.expand import expand
from engine.lab import Lab
from engine.planning import plan
from engine.results import study_document
from engine.simulating import CAPABILITY, METRICS
from engine.study import StudySpec, load_study, parse_study


def known(**over: Any) -> StudySpec:
    table: dict[str, Any] = {
        "name": "known",
        "title": "A law we know",
        "kind": "simulate",
        "model": {"family": "chinchilla"},
        "data": {"source": "simulated", "resamples": 100},
        "ladder": {"sizes": [5_000_000_000]},
        "training": {"steps": 6},
        "headline": {"capability": CAPABILITY, "metric": "alpha"},
    }
    return parse_study(table | over)


def run(home: Path, study: StudySpec) -> dict[str, Any]:
    with Lab.open(home, jobs=1, executor="thread") as lab:
        identity = lab.runner.submit(study)
        assert lab.runner.wait(identity, timeout=120)
        lab.store.writer.flush()
        return study_document(lab.reader(), identity)


def test_it_runs_and_reports_the_share_of_intervals_that_hold_the_truth(tmp_path: Path) -> None:
    document = run(tmp_path, known())
    assert document["state"] == "finished"
    (done,) = document["runs"]
    assert done["tokens_seen"] == 0
    assert done["compute_flops"] == 0.0
    found = {row["metric"]: row for row in done["evaluations"]}
    assert found.keys() == METRICS.keys()
    for name in ("alpha", "beta", "E", "optimum", "forecast"):
        assert found[name]["n"] == 6
        assert found[name]["chance"] == 0.9
        assert 0 <= found[name]["value"] <= 1
    assert found["alpha"]["value"] >= 0.5  # six intervals at 90%: fewer than three hold once in 10,000
    assert document["law"] is None
    json.dumps(document, allow_nan=False)


def test_a_wide_ladder_knows_more_than_a_narrow_one(tmp_path: Path) -> None:
    document = run(tmp_path, known(ladder={"sizes": [200_000_000, 50_000_000_000]}, training={"steps": 3}))
    widths = [next(e["value"] for e in r["evaluations"] if e["metric"] == "alpha_width") for r in document["runs"]]
    assert widths[0] > 2 * widths[1]


def test_without_noise_the_law_is_found(tmp_path: Path) -> None:
    data = {"source": "simulated", "resamples": 100, "noise": 0.00001}
    document = run(tmp_path, known(data=data, training={"steps": 2}))
    found = {row["metric"]: row["value"] for row in document["runs"][0]["evaluations"]}
    assert found["forecast_error"] < 1e-3
    assert found["alpha_width"] < 1e-2


def test_equal_seeds_draw_equal_ladders(tmp_path: Path) -> None:
    first, second = (run(tmp_path / name, known(training={"steps": 2})) for name in ("a", "b"))
    assert first["runs"][0]["evaluations"] == second["runs"][0]["evaluations"]


@pytest.mark.parametrize(
    ("over", "field"),
    [
        ({"model": {"family": "gpt"}}, "model.family"),
        ({"data": {"source": "python-text"}}, "data.source"),
        ({"model": {"family": "chinchilla", "gamma": 1.0}}, "model"),
        ({"ladder": {"sizes": [1000]}}, "ladder.sizes"),
        ({"ladder": {"sizes": [5_000_000_000], "vary": {"data.noise": [0.1, 0.2]}}}, "ladder.vary"),
        ({"training": {"tokens": 100}}, "training.steps"),
    ],
)
def test_what_is_wrong_is_said_with_its_field(over: dict[str, Any], field: str) -> None:
    with pytest.raises(StudyError, match=f"^{field}"):
        expand(known(**over))


def test_it_can_be_planned(tmp_path: Path) -> None:
    document = plan(known(), tmp_path)
    assert document["fits"], document["reasons"]
    assert 0 < document["runs"][0]["seconds"] < 120


def test_the_built_in_one_draws_two_hundred_ladders_a_size() -> None:
    runs = expand(load_study("known-law"))
    assert {sum(r.training.n_steps for r in runs if r.size == size) for size in {r.size for r in runs}} == {200}
