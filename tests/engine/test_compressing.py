"""A study with compression becomes runs that build on others, or is refused in one sentence."""

import msgspec
import pytest

from engine.errors import StudyError
from engine.expand import expand
from engine.study import StudySpec, parse_study, spec_hash, study_id, to_toml_table


def digits(**over: object) -> StudySpec:
    table: dict[str, object] = {
        "name": "small",
        "title": "Small",
        "model": {"family": "cnn"},
        "data": {"source": "digits"},
        "ladder": {"sizes": [400, 2_000], "seeds": [0, 1]},
        "training": {"steps": 40, "batch_size": 16, "warmup_fraction": 0.1},
    }
    return parse_study(table | over)


def compressed(*methods: dict[str, object], **over: object) -> StudySpec:
    return digits(compression={"methods": list(methods)}, **over)


def test_children_come_after_the_ladder_one_for_each_run_and_method() -> None:
    runs = expand(compressed({"method": "int8-weights"}, {"method": "prune-unstructured", "amount": 0.25}))
    parents, children = runs[:4], runs[4:]
    assert parents == expand(digits())
    assert [run.kind for run in children] == ["compress"] * 8
    assert [run.parent for run in children] == [spec_hash(run) for run in parents] * 2
    assert children[0].variant == {"compression.method": "int8-weights"}
    assert children[4].variant == {"compression.method": "prune-unstructured", "compression.amount": 0.25}
    assert len({spec_hash(run) for run in runs}) == 12


def test_what_is_quantized_takes_no_step_and_what_is_pruned_a_share_of_them() -> None:
    runs = expand(
        compressed({"method": "int8-dynamic"}, {"method": "prune-structured", "fine_tune": 0.5, "learning_rate": 0.3})
    )
    quantized, pruned = runs[4], runs[8]
    assert (quantized.training.n_steps, quantized.training.tokens, quantized.compute_flops) == (0, 0, 0.0)
    assert (pruned.training.n_steps, pruned.training.tokens, pruned.training.warmup_steps) == (20, 320, 2)
    assert pruned.training.learning_rate == pytest.approx(0.3 * runs[0].training.learning_rate)
    assert pruned.compute_flops == pytest.approx(runs[0].compute_flops / 2)


def test_the_runs_of_another_study_are_named_exactly() -> None:
    method = {"method": "int8-weights"}
    study = digits(name="later", compression={"methods": [method], "of": "small", "sizes": [2_000], "seeds": [1]})
    (child,) = expand(study)
    assert child.parent == spec_hash(expand(digits())[3])
    assert child.study == "later"


def test_a_study_without_compression_keeps_its_id() -> None:
    assert "compression" not in msgspec.to_builtins(digits())
    assert study_id(digits()) != study_id(compressed({"method": "int8-weights"}))


def test_compression_is_written_out_and_read_again() -> None:
    study = compressed({"method": "prune-structured", "amount": 0.25}, {"method": "int8-weights"})
    assert parse_study(to_toml_table(study)) == study


@pytest.mark.parametrize(
    ("methods", "over", "said"),
    [
        ([{"method": "int9"}], {}, "compression.methods[0].method: invalid enum value 'int9'."),
        ([{"method": "prune-structured", "amount": 1.5}], {}, "compression.methods[0].amount: expected float <= 1.0."),
        ([{"method": "prune-structured", "amount": 1.0}], {}, "amount: 1 is not between 0 and 1."),
        ([{"method": "prune-unstructured", "amount": 0}], {}, "amount: 0 is not between 0 and 1."),
        ([{"method": "int8-weights"}] * 2, {}, "compression.methods[1]: int8-weights is there twice."),
        ([], {}, "compression.methods: expected array of length >= 1."),
        ([{"method": "int8-weights"}], {"forecast": {"hold": 1}}, "a study with a forecast"),
    ],
)
def test_nonsense_is_refused_in_one_sentence(
    methods: list[dict[str, object]], over: dict[str, object], said: str
) -> None:
    with pytest.raises(StudyError) as error:
        expand(compressed(*methods, **over))
    assert said in error.value.message
    assert error.value.message.count("\n") == 0


def test_a_family_without_units_is_not_cut_into_smaller_networks() -> None:
    text = {"data": {"source": "python-text"}, "model": {"family": "rnn"}, "training": {"steps": 10}}
    expand(compressed({"method": "prune-unstructured"}, **text))
    with pytest.raises(StudyError, match="family rnn have no heads"):
        expand(compressed({"method": "prune-structured"}, **text))


def test_sizes_that_no_run_has_are_refused() -> None:
    with pytest.raises(StudyError, match="no run of the study has these sizes"):
        expand(digits(name="x", compression={"methods": [{"method": "int8-weights"}], "of": "small", "sizes": [7]}))


def test_a_study_is_not_its_own_parent() -> None:
    with pytest.raises(StudyError, match="is this study itself"):
        expand(digits(compression={"methods": [{"method": "int8-weights"}], "of": "small"}))
