"""A study that compresses what is finished finds its parents again, or says in a sentence why it cannot."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.derived import study_of
from engine.errors import InputError
from engine.expand import expand
from engine.store import Store
from engine.study import CompressionMethod, RunSpec, StudySpec
from tests.engine.adapting.compression.stored import SEEDS, SIZES, store_results, study

METHODS = [CompressionMethod(method="int8-weights")]
FULL = len(SIZES) * len(SEEDS)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path) as store:
        yield store


def parents(store: Store, made: StudySpec) -> list[RunSpec]:
    reader = store.reader()
    rows = [reader.run_of_hash(str(run.parent)) for run in expand(made)]
    return [reader.run_spec(row.id) for row in rows if row is not None]


def test_every_run_of_a_study_is_found_by_its_hash(store: Store) -> None:
    identity = store_results(store, study(compression=None, forecast={"hold": 1}))
    made = study_of(store.reader(), identity, METHODS)
    assert made.name == "ladder-compressed"
    assert len(parents(store, made)) == len(expand(made)) == FULL


def test_one_run_is_one_child(store: Store) -> None:
    store_results(store, study(compression=None, ladder={"sizes": [400, 2_000], "seeds": [0, 1], "vary": RATES}))
    row = store.reader().runs()[5]
    (parent,) = parents(store, study_of(store.reader(), str(row.id), METHODS))
    assert (parent.size, parent.seed, parent.variant) == (row.size, row.seed, row.variant)


RATES = {"training.learning_rate": [0.01, 0.02]}


def test_sizes_that_are_not_finished_are_left_out(store: Store) -> None:
    identity = store_results(store, study(compression=None), only=7)
    made = study_of(store.reader(), identity, METHODS)
    assert {parent.size for parent in parents(store, made)} == {400, 2_000}


def test_what_compressed_itself_is_taken_by_its_own_parents(store: Store) -> None:
    made = study_of(store.reader(), store_results(store, study()), METHODS)
    assert len(parents(store, made)) == FULL


def test_nothing_finished_a_compressed_run_and_no_run_are_sentences(store: Store) -> None:
    identity = store_results(store, study(), only=0)
    with pytest.raises(InputError, match="is not finished, or was made"):
        study_of(store.reader(), identity, METHODS)
    child = store.reader().runs(identity)[-1]
    with pytest.raises(InputError, match="holds no models that can be compressed"):
        study_of(store.reader(), str(child.id), METHODS)
    with pytest.raises(InputError, match="is not finished, or was made"):
        study_of(store.reader(), str(store.reader().runs(identity)[0].id), METHODS)
    with pytest.raises(InputError, match="there is no run 999 here"):
        study_of(store.reader(), "999", METHODS)
