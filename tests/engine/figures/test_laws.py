"""The surface, the parabolas, the optimum and the sweep show the numbers that are stored."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from engine import events
from engine.errors import InputError
from engine.events import Control, Reporter, RunState
from engine.figures.builders import build
from engine.figures.export import export
from engine.lab import Lab
from engine.results import study_document
from engine.store import Reader
from engine.task import Outcome, Task
from tests.engine.fakes import tiny_study

Study = tuple[Reader, str]
E, A, ALPHA, B, BETA = 1.0, 60.0, 0.4, 600.0, 0.45
TOKENS = [200_000, 400_000, 800_000, 1_600_000, 3_200_000]


def on_the_surface(task: Task, reporter: Reporter, control: Control) -> Outcome:
    """The loss of a known law, with half a percent of noise; rates other than the best cost a parabola."""
    spec = task.spec
    rng = np.random.default_rng([spec.n_params, spec.training.tokens, spec.seed])
    loss = E + A / spec.n_params_non_embedding**ALPHA + B / spec.training.tokens**BETA
    if "training.learning_rate" in spec.variant:
        width = float(spec.shape["d_model"])
        best = 0.02 * (32 / width if spec.training.lr_rule == "fixed" else 1.0)
        loss += 0.05 * np.log(float(spec.variant["training.learning_rate"]) / best) ** 2
    else:
        loss *= np.exp(0.005 * rng.standard_normal())
    reporter.emit(events.Progress(task.run_id, 1, 1, spec.training.tokens, 1.0, 100.0))
    reporter.emit(events.Evaluation(task.run_id, "language-modelling", "loss", float(loss), 0.01, 100))
    return Outcome(task.run_id, RunState.FINISHED)


@pytest.fixture(scope="module")
def surface(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Study]:
    spec = tiny_study(
        ladder={"sizes": [1700, 6000, 14_000, 25_000, 57_000, 115_000], "vary": {"training.tokens": TOKENS}},
        training={"tokens": 400_000},
    )
    with Lab.open(tmp_path_factory.mktemp("home"), jobs=2, executor="thread", run_one=on_the_surface) as lab:
        study = lab.runner.submit(spec)
        assert lab.runner.wait(study, timeout=60)
        yield lab.reader(), study


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Study]:
    vary = {"training.lr_rule": ["mup", "fixed"], "training.learning_rate": [0.0025, 0.005, 0.01, 0.02, 0.04, 0.08]}
    spec = tiny_study(
        model={"family": "gpt", "n_layers": 2},
        ladder={"sizes": [6000, 25_000, 98_000, 390_000], "vary": vary},
        training={"tokens": 400_000},
    )
    with Lab.open(tmp_path_factory.mktemp("home"), jobs=2, executor="thread", run_one=on_the_surface) as lab:
        study = lab.runner.submit(spec)
        assert lab.runner.wait(study, timeout=60)
        yield lab.reader(), study


def test_the_three_estimators_stand_side_by_side(surface: Study) -> None:
    document = study_document(*surface)
    assert {law["form"] for law in document["laws"]} == {"envelope", "isoflop", "chinchilla"}
    assert document["law"]["form"] == "chinchilla"
    true_a = BETA / (ALPHA + BETA)
    for law in document["laws"]:
        a = law["optimum"]["a"]
        assert abs(a - true_a) < 0.25, law["form"]
    low, high = document["law"]["optimum"]["interval"]["a"]
    assert low <= true_a <= high
    assert document["law"]["stability"]["words"] in document["law"]["warnings"]


def test_the_surface_passes_through_its_law(surface: Study) -> None:
    reader, key = surface
    law = reader.law(key, "chinchilla")
    assert law is not None
    figure = build(reader, "loss-surface", key)
    lines = [s for s in figure.series if s.line]
    assert len(lines) == 6
    p = law["params"]
    sizes = sorted({run.n_params_non_embedding for run in reader.runs(key)})
    expected = p["E"] + p["A"] / sizes[0] ** p["alpha"] + p["B"] / lines[0].x ** p["beta"]
    np.testing.assert_allclose(lines[0].y, expected)
    assert law["stability"]["words"] in figure.caption


@pytest.mark.parametrize("name", ["loss-surface", "isoflop", "optimum-vs-compute"])
def test_they_are_drawn(surface: Study, tmp_path: Path, name: str) -> None:
    figure = build(surface[0], name, surface[1])
    assert figure.id == name and figure.provenance["study_id"] == surface[1]
    assert export(figure, tmp_path / "f.svg").stat().st_size > 5000


def test_the_optimum_has_three_lines(surface: Study) -> None:
    figure = build(surface[0], "optimum-vs-compute", surface[1])
    assert sum(s.line for s in figure.series) == 3
    assert all(np.all(band.lo <= band.hi) for band in figure.bands)


def test_the_best_rate_of_each_size(sweep: Study, tmp_path: Path) -> None:
    document = study_document(*sweep)
    by_rule = {found["variant"]["training.lr_rule"]: found for found in document["sweeps"]}
    assert by_rule["mup"]["drift"] == pytest.approx(0.0, abs=1e-6)
    assert [row["best"] for row in by_rule["mup"]["by_size"]] == pytest.approx([0.02] * 4)
    assert by_rule["fixed"]["drift"] == pytest.approx(-0.5, abs=0.02)  # width, so the square root of N
    assert by_rule["fixed"]["by_size"][-1]["regret"] == pytest.approx(0.05 * np.log(8) ** 2, rel=0.1)
    assert by_rule["mup"]["by_size"][-1]["regret"] == pytest.approx(0.0, abs=0.01)
    assert document["law"] is None
    figure = build(sweep[0], "best-setting", sweep[1])
    assert export(figure, tmp_path / "f.svg").stat().st_size > 5000


def test_a_study_of_another_kind_says_what_it_lacks(sweep: Study, surface: Study) -> None:
    with pytest.raises(InputError, match="no such law"):
        build(sweep[0], "loss-surface", sweep[1])
    with pytest.raises(InputError, match="varies no number"):
        build(surface[0], "best-setting", surface[1])  # tokens are the law's, not a setting


def test_residuals_of_a_surface_are_percent_of_it_against_tokens(surface: Study) -> None:
    reader, study = surface
    figure = build(reader, "residuals", study)
    away = np.concatenate([series.y for series in figure.series])
    assert len(figure.series) == 6 and len(away) == 6 * len(TOKENS)
    assert figure.x.label == "Training tokens"
    # Half a percent of noise was put in; a fit of five parameters takes a little of it.
    assert 0.3 < np.std(away) < 0.7 and abs(np.mean(away)) < 0.3
