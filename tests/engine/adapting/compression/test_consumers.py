"""Compressed runs are no sizes of a ladder: nothing that reads a study's runs as one takes them for it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.advising import Ask, advise_study
from engine.analysis.abilities import judge_study, judged_capabilities
from engine.errors import InputError
from engine.expand import expand
from engine.figures.builders import build
from engine.forecasting import observations
from engine.grouping import partners
from engine.results import study_document
from engine.store import Store
from engine.study import StudySpec
from engine.study_laws import fit_study, points_of_runs, sweeps
from tests.engine.adapting.compression.stored import METHODS, SEEDS, SIZES, store_results, study

PLAIN = len(SIZES) * len(SEEDS)


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, str, str]]:
    """The ladder alone and the same with what was made of it."""
    with Store.open(tmp_path_factory.mktemp("home")) as store:
        whole = store_results(store, study(compression=None, name="alone"))
        yield store, whole, store_results(store, study())


def test_headline_law_and_verdict_are_those_of_the_ladder_alone(stores: tuple[Store, str, str]) -> None:
    store, alone, both = stores
    for identity in (alone, both):
        fit_study(store, identity)
    store.writer.flush(10)
    one, other = (study_document(store.reader(), identity) for identity in (alone, both))
    assert one["headline"] == other["headline"]
    assert one["law"]["params"] == other["law"]["params"] and one["law"]["n_points"] == other["law"]["n_points"]
    assert one["emergence"] == other["emergence"]
    assert len(other["runs"]) == PLAIN * (1 + len(METHODS))


def test_observations_points_sweeps_and_advice(stores: tuple[Store, str, str]) -> None:
    store, alone, both = stores
    reader = store.reader()
    assert observations(reader, both) == observations(reader, alone)
    assert len(points_of_runs(reader, both)["loss"]) == PLAIN
    assert sweeps(reader, both) == []
    asked = [advise_study(reader, identity, Ask(loss=0.5))["answers"] for identity in (alone, both)]
    assert asked[0] == asked[1]


def test_judging_leaves_them_out_and_never_judges_a_cost(stores: tuple[Store, str, str]) -> None:
    store, alone, both = stores
    reader = store.reader()
    judged = [judge_study(reader, identity, "image-classification") for identity in (alone, both)]
    assert judged[0] == judged[1]
    assert judged_capabilities(reader.evaluations(both)) == ["image-classification", "validation"]


@pytest.mark.parametrize("name", ["loss-vs-params", "capability-vs-params", "residuals"])
def test_figures_show_the_ladder(stores: tuple[Store, str, str], name: str) -> None:
    store, alone, both = stores
    for identity in (alone, both):
        fit_study(store, identity)
    store.writer.flush(10)
    one, other = (build(store.reader(), name, identity) for identity in (alone, both))
    assert repr([row[1:] for row in one.table()[1]]) == repr([row[1:] for row in other.table()[1]])  # nan is not nan


def test_a_study_of_compressed_runs_alone_has_no_ladder(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        store_results(store, study(compression=None))
        made = store_results(store, study(name="later", compression={"methods": list(METHODS), "of": "ladder"}))
        assert fit_study(store, made) is None
        document = study_document(store.reader(), made)
        assert document["headline"]["by_size"] == [] and document["headline"]["by_variant"] == []
        with pytest.raises(InputError, match="no run of this study has finished yet"):
            build(store.reader(), "loss-vs-params", made)
        assert build(store.reader(), "compression", made).series


def test_they_are_not_trained_as_a_stack() -> None:
    specs = dict(enumerate(expand(_of_text())))
    children = [index for index, spec in specs.items() if spec.kind == "compress"]
    assert partners(0, list(specs), specs.__getitem__, 1, "cpu") == [1, 2]
    assert partners(children[0], children, specs.__getitem__, 1, "cpu") == []


def _of_text() -> StudySpec:
    text = {"model": {"family": "gpt"}, "data": {"source": "python-text"}, "capabilities": []}
    return study(ladder={"sizes": [5_000], "seeds": [0, 1, 2]}, **text)
