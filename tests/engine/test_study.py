"""Study files: what is accepted, and errors that name the field."""

import pytest

from engine.errors import InputError, StudyError
from engine.study import parse_study, study_id, to_toml_table


def table(**over: object) -> dict[str, object]:
    base: dict[str, object] = {
        "name": "tiny",
        "title": "A tiny study",
        "model": {"family": "gpt"},
        "data": {"source": "python-text"},
        "ladder": {"sizes": [2000, 4000], "seeds": [0, 1]},
        "training": {"tokens": 1000},
    }
    return base | over


@pytest.mark.parametrize(
    ("over", "field"),
    [
        ({"ladder": {"sizes": [2000, 4000, "big"]}}, "ladder.sizes[2]: expected int"),
        ({"ladder": {"sizes": [-5]}}, "ladder.sizes[0]: expected int >= 1"),
        ({"colour": "red"}, "object contains unknown field colour"),
        ({"training": {"tokens": 10, "schedule": "step"}}, "training.schedule: invalid enum value"),
        ({"training": {"tokens": 10, "steps": 3}}, "training: give exactly one"),
        ({"training": {}}, "training: give exactly one"),
    ],
)
def test_a_wrong_field_is_named(over: dict[str, object], field: str) -> None:
    with pytest.raises(StudyError) as caught:
        parse_study(table(**over))
    assert field in str(caught.value)


def test_overrides_replace_and_nest() -> None:
    study = parse_study(table(), ["training.steps=7", "ladder.seeds=[3]", "data.source=text-folder"])
    assert (study.training.steps, study.training.tokens) == (7, None)
    assert study.ladder.seeds == (3,)
    assert study.data["source"] == "text-folder"


def test_an_override_without_a_value_is_refused() -> None:
    with pytest.raises(InputError, match="field=value"):
        parse_study(table(), ["training.steps"])


def test_a_profile_is_merged_over_the_rest() -> None:
    study = parse_study(table(profiles={"gpu": {"training": {"tokens": 5000}}}), profile="gpu")
    assert study.training.tokens == 5000
    with pytest.raises(StudyError, match="no profile"):
        parse_study(table(), profile="gpu")


def test_the_id_depends_on_what_decides_results_only() -> None:
    assert study_id(parse_study(table())) == study_id(parse_study(table(title="Another title")))
    assert study_id(parse_study(table())) != study_id(parse_study(table(training={"tokens": 999})))


def test_written_out_and_read_again_it_is_the_same_study() -> None:
    study = parse_study(table())
    assert parse_study(to_toml_table(study)) == study
