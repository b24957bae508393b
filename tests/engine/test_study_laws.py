"""Which studies a law is fitted to when they end."""

from pathlib import Path

import pytest

from engine.events import Evaluation, Progress, RunState, StateChanged
from engine.expand import expand
from engine.store import Store, mutations
from engine.study import parse_study, study_id
from engine.study_laws import fit_study


def finished(store: Store, family: str, source: str, sizes: list[int]) -> str:
    """A study whose losses fall as a power law of the size."""
    study = parse_study(
        {
            "name": family,
            "title": family,
            "model": {"family": family},
            "data": {"source": source},
            "ladder": {"sizes": sizes},
            "training": {"steps": 10, "context": 32},
        }
    )
    runs = expand(study)
    ids = store.writer.call(lambda c: mutations.add_study(c, study, runs)).result(10)
    capability = "language-modelling" if family == "gpt" else "validation"
    for run_id, run in zip(ids, runs, strict=True):
        store.writer.emit(StateChanged(run_id, RunState.RUNNING, 1.0))
        store.writer.emit(Progress(run_id, 10, 10, run.training.tokens, 1.0, 1.0))
        store.writer.emit(Evaluation(run_id, capability, "loss", 1 + 30 / run.n_params_non_embedding**0.4, 0.01, 100))
        store.writer.emit(StateChanged(run_id, RunState.FINISHED, 2.0))
    store.writer.flush(10)
    return study_id(study)


@pytest.mark.parametrize(
    ("family", "source", "fitted"),
    [("gpt", "python-text", True), ("mlp", "sparse-parity", True), ("gan", "digits", False)],
)
def test_no_law_of_a_loss_that_does_not_rank_models(tmp_path: Path, family: str, source: str, fitted: bool) -> None:
    with Store.open(tmp_path) as store:
        key = finished(store, family, source, [1_500, 4_000, 10_000, 24_000])
        document = fit_study(store, key)
        assert (document is not None) == fitted == (store.reader().law(key) is not None)
        if document is not None:
            assert document["params"]["alpha"] == pytest.approx(0.4, abs=0.05)
