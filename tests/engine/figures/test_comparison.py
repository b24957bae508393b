"""Studies side by side: each its own line, one metric in one unit, and a word where their data differ."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from engine.errors import InputError
from engine.events import Evaluation, Facts, RunState, StateChanged
from engine.expand import expand
from engine.figures.builders import build
from engine.figures.comparison import comparable
from engine.figures.words import counts_samples
from engine.store import Store, mutations
from engine.study import parse_study, study_id


def add(store: Store, name: str, family: str, source: str, scores: dict[str, float], data: str) -> str:
    """A finished study of two sizes and two seeds; each score grows with size and seed."""
    sizes = {"gpt": [2_000, 5_000], "mlp": [1_000, 2_000]}[family]
    table = {
        "name": name,
        "title": name,
        "model": {"family": family},
        "data": {"source": source},
        "ladder": {"sizes": sizes, "seeds": [0, 1]},
        "training": {"steps": 10, "context": 32},
    }
    study = parse_study(table)
    runs = expand(study)
    ids = store.writer.call(lambda c: mutations.add_study(c, study, runs)).result(10)
    emit = store.writer.emit
    for run_id, run in zip(ids, runs, strict=True):
        emit(StateChanged(run_id, RunState.RUNNING, 1.0))
        emit(Facts(run_id, {"data_fingerprint": data}))
        for key, value in scores.items():
            capability, _, metric = key.partition("/")
            score = value + run.size_index + 0.1 * run.seed
            emit(Evaluation(run_id, capability, metric, score, 0.01, 100, 0.25))
        emit(StateChanged(run_id, RunState.FINISHED, 2.0))
    store.writer.flush(10)
    return study_id(study)


TEXT = {"language-modelling/loss": 2.0, "word-completion/exact_match": 0.1}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path) as opened:
        yield opened


def test_each_study_is_a_line_with_its_seeds(store: Store) -> None:
    one, two = (add(store, name, "gpt", "python-text", TEXT, "ab") for name in ("one", "two"))
    reader = store.reader()
    figure = build(reader, "comparison", one, others=two, capability="word-completion", metric="exact_match")
    lines = [s for s in figure.series if s.line]
    assert [s.name.split(":")[0] for s in lines] == ["one", "two"]
    assert len({s.color for s in lines}) == len({s.marker for s in lines}) == 2
    np.testing.assert_allclose(lines[0].y, [0.15, 1.15])
    assert figure.lines[0].value == 0.25 and figure.provenance["studies"] == [one, two]
    assert len(figure.provenance["run_ids"]) == 8
    assert "same data" in figure.caption


def test_a_validation_loss_goes_by_either_name_but_in_one_unit(store: Store) -> None:
    text = add(store, "text", "gpt", "python-text", TEXT, "ab")
    other = add(store, "other", "gpt", "python-text", {"validation/loss": 3.0}, "cd")
    parity = add(store, "parity", "mlp", "sparse-parity", {"validation/loss": 0.5}, "ef")
    reader = store.reader()
    assert comparable(reader, text, "language-modelling", "loss") == [other]
    figure = build(reader, "comparison", text, others=other, capability="language-modelling", metric="loss")
    assert [s.y[0] for s in figure.series if s.line] == [2.05, 3.05]
    assert figure.y.scale == "log" and "nats per token" in figure.y.label and "differ" in figure.caption
    with pytest.raises(InputError, match="one unit"):
        build(reader, "comparison", text, others=parity, capability="language-modelling", metric="loss")


def test_what_is_not_there_is_said(store: Store) -> None:
    one = add(store, "one", "gpt", "python-text", TEXT, "ab")
    two = add(store, "two", "gpt", "python-text", {"language-modelling/loss": 2.0}, "ab")
    for others in (two, "nonsense"):
        with pytest.raises(InputError):
            build(store.reader(), "comparison", one, others=others, capability="word-completion")
    assert comparable(store.reader(), one, "word-completion", "exact_match") == []


def test_what_is_no_text_is_counted_in_samples(store: Store) -> None:
    text = add(store, "text", "gpt", "python-text", TEXT, "ab")
    parity = add(store, "parity", "mlp", "sparse-parity", {"validation/loss": 0.5}, "ef")
    reader = store.reader()
    assert not counts_samples(reader.runs(text)) and counts_samples(reader.runs(parity))
    assert not counts_samples([*reader.runs(text), *reader.runs(parity)]) and not counts_samples([])
