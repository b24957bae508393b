"""Distilled less alone: paired by seed, an interval that means something, and what is left out of a ladder."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.analysis.distillation import Pair, compare, judge_distillation
from engine.errors import InputError
from engine.events import Evaluation, RunState, StateChanged
from engine.expand import expand
from engine.figures.builders import available, build
from engine.forecasting import observations
from engine.results import study_document
from engine.store import Store, mutations
from engine.study import StudySpec, study_id
from tests.engine.test_distilling import digits, taught


def pairs(changes: list[float], size: int = 100) -> list[Pair]:
    return [Pair(size, size, seed, {}, 1.0 + seed, 1.0 + seed + change) for seed, change in enumerate(changes)]


@pytest.mark.parametrize(
    ("changes", "higher", "verdict"),
    [
        ([-0.2, -0.21, -0.19], False, "gain"),
        ([-0.2, -0.21, -0.19], True, "loss"),
        ([0.2, 0.21, 0.19], True, "gain"),
        ([-0.2, 0.21, -0.19], False, "none"),
        ([-5.0], False, "seeds"),
        ([-0.2, -0.2, -0.2], False, "seeds"),  # to the last item alike: what they would spread is not known
    ],
)
def test_a_gain_is_one_beyond_the_spread_of_paired_seeds(changes: list[float], higher: bool, verdict: str) -> None:
    (row,) = compare(pairs(changes), higher)
    assert row["verdict"] == verdict
    assert row["difference"] == pytest.approx(sum(changes) / len(changes))


def test_the_interval_is_students() -> None:
    (row,) = compare(pairs([0.1, 0.3]), True)
    assert row["interval"] == pytest.approx((0.2 - 12.7062 * 0.1, 0.2 + 12.7062 * 0.1), abs=1e-3)


def test_sizes_are_judged_one_by_one_and_ascending() -> None:
    rows = compare([*pairs([0.1, 0.101], 2_000), *pairs([-0.1, -0.101], 300)], True)
    assert [(row["size"], row["verdict"]) for row in rows] == [(300, "loss"), (2_000, "gain")]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path) as store:
        yield store


def fill(store: Store, study: StudySpec, gain: float = 0.5) -> str:
    """Every run finished: losses fall with size, and by ``gain`` for who was taught."""
    runs = expand(study)
    ids = store.writer.call(lambda c: mutations.add_study(c, study, runs)).result(10)
    for run_id, run in zip(ids, runs, strict=True):
        store.writer.emit(StateChanged(run_id, RunState.RUNNING, 1.0))
        loss = 3.0 - run.size_index - (gain + 0.01 * run.seed if run.kind == "distil" else 0.0)
        store.writer.emit(Evaluation(run_id, "validation", "loss", loss))
        store.writer.emit(StateChanged(run_id, RunState.FINISHED, 2.0))
    store.writer.flush()
    return study_id(study)


HEADLINE = {"capability": "validation", "metric": "loss"}


def test_a_stored_study_is_judged_drawn_and_told(store: Store) -> None:
    study = fill(store, taught(headline=HEADLINE))
    document = judge_distillation(store.reader(), study)
    assert [(row["alone"], row["verdict"]) for row in document["sizes"]] == [(3.0, "gain"), (2.0, "gain")]
    assert document["teacher"] == 1.0
    assert "the teacher helps" in document["words"][0]
    assert study_document(store.reader(), study)["distillation"] == document
    figure = build(store.reader(), "distillation", study)
    assert "distillation" in available(store.reader(), study)
    means = {series.name.split(":")[0]: series for series in figure.series if series.line}
    assert means["alone"].y.tolist() == [3.0, 2.0, 1.0]
    assert means["distilled"].y.tolist() == pytest.approx([2.495, 1.495])
    assert [line.value for line in figure.lines] == [1.0]


def test_the_taught_and_their_teachers_are_no_points_of_the_ladder(store: Store) -> None:
    few = {"source": "digits", "train_images": 100}
    study = fill(store, taught({"teacher_with": {"data.train_images": 900}}, data=few, headline=HEADLINE))
    reader = store.reader()
    document = study_document(reader, study)
    assert [row[1] for row in document["headline"]["by_size"]] == [3.0, 2.0, 1.0]
    assert document["headline"]["by_variant"] == []
    assert len(observations(reader, study)) == 6
    assert len(document["runs"]) == 12
    assert document["distillation"]["teacher"] == 1.0


def test_what_was_not_measured_is_not_judged(store: Store) -> None:
    study = fill(store, taught(headline=HEADLINE))
    with pytest.raises(InputError, match="no distilled model"):
        judge_distillation(store.reader(), study, "validation", "accuracy")
    alone = fill(store, digits(headline=HEADLINE))
    assert study_document(store.reader(), alone)["distillation"] is None
    assert "distillation" not in available(store.reader(), alone)
