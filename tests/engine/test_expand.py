"""From a study to frozen runs."""

import pytest

from engine.errors import StudyError
from engine.expand import expand, resolve_training
from engine.families.base import Counts
from engine.study import parse_study
from tests.engine.fakes import tiny_study


def test_runs_come_by_size_then_variant_then_seed() -> None:
    study = tiny_study(
        ladder={"sizes": [5000, 2000], "seeds": [3, 1], "vary": {"training.learning_rate": [0.01, 0.02]}}
    )
    runs = expand(study)
    assert [r.size for r in runs] == [2000] * 4 + [5000] * 4
    assert [r.variant["training.learning_rate"] for r in runs[:4]] == [0.01, 0.01, 0.02, 0.02]
    assert [r.seed for r in runs[:4]] == [3, 1, 3, 1]
    assert runs[2].training.learning_rate == 0.02


def test_everything_derived_is_filled_in() -> None:
    run = expand(tiny_study(training={"tokens": 100_000, "context": 32, "batch_size": 10}))[0]
    assert run.training.n_steps == 313
    assert run.training.tokens == 313 * 320
    assert run.training.warmup_steps == 7
    assert run.training.decay_steps == 63
    assert run.training.micro_batch_size == 10
    assert run.compute_flops > 6 * run.n_params_non_embedding * run.training.tokens * 0.5
    assert run.memory_bytes > 16 * run.n_params
    assert run.n_params > run.n_params_non_embedding


def test_tokens_follow_the_size_where_asked() -> None:
    runs = expand(tiny_study(training={"tokens_per_param": 20.0}))
    for run in runs:
        assert run.training.tokens == pytest.approx(20 * run.n_params_non_embedding, rel=0.05)


def test_it_is_pure() -> None:
    assert expand(tiny_study()) == expand(tiny_study())


@pytest.mark.parametrize(
    ("over", "message"),
    [
        ({"model": {"family": "gtp"}}, "model.family: unknown model family 'gtp'"),
        ({"model": {}}, "model.family: missing"),
        ({"model": {"family": "gpt", "colour": 3}}, "model: object contains unknown field colour"),
        ({"data": {"source": "python-text", "max_bytes": -1}}, "data.max_bytes: expected int"),
        ({"data": {"source": "the-moon"}}, "data.source: unknown data source"),
        ({"capabilities": [{"name": "flying"}]}, "capabilities[0].name: unknown capability"),
        ({"ladder": {"sizes": [2000, 2000]}}, "ladder.sizes[1]: 2000 is there twice"),
        ({"ladder": {"sizes": [20000, 20001]}}, "ladder.sizes[1]: 20,001 gives the same model as 20,000"),
        ({"ladder": {"sizes": [2000], "vary": {"seeds": [1]}}}, "ladder.vary: 'seeds' cannot be varied"),
        ({"ladder": {"sizes": [2000], "vary": {"training.colour": [1]}}}, "training: object contains unknown field"),
        ({"training": {"steps": 10, "batch_size": 16, "micro_batch_size": 5}}, "training.micro_batch_size: 5"),
        ({"training": {"steps": 10, "warmup_fraction": 0.9, "decay_fraction": 0.9}}, "training.decay_fraction"),
    ],
)
def test_a_wrong_field_is_named(over: dict[str, object], message: str) -> None:
    with pytest.raises(StudyError) as caught:
        expand(tiny_study(**over))
    assert message in str(caught.value)


def test_epochs_count_as_trainer_counts_and_a_given_field_is_varied_no_more() -> None:
    study = tiny_study(training={"epochs": 3, "batch_size": 32, "context": 8})
    counts = Counts(1, 1, 1.0, 1.0)
    assert resolve_training(study.training, counts, n_train_items=1_793).n_steps == 3 * 57
    with pytest.raises(StudyError, match="does not list its training items"):
        resolve_training(study.training, counts)
    with pytest.raises(StudyError, match="exactly one"):
        tiny_study(training={"epochs": 3, "steps": 20})
    varied = {"ladder": {"sizes": [2000], "vary": {"training.learning_rate": [0.1, 0.2], "training.steps": [5, 6]}}}
    table = {"name": "x", "title": "", "model": {"family": "gpt"}, "data": {}, "training": {"steps": 2}, **varied}
    assert parse_study(table, ["training.learning_rate=0.3"]).ladder.vary == {"training.steps": (5, 6)}


def test_a_linear_schedule_fills_the_run_whatever_the_rounding() -> None:
    linear = {"steps": 168, "warmup_fraction": 0.1, "decay_fraction": 0.9}
    resolved = resolve_training(tiny_study(training=linear).training, Counts(1, 1, 1.0, 1.0))
    assert (resolved.warmup_steps, resolved.decay_steps) == (17, 151)
