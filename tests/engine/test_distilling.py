"""A study with distillation becomes its ladder and its taught twins, or is refused in one sentence."""

import msgspec
import pytest

from engine.distilling import FIELD
from engine.errors import InputError, StudyError
from engine.expand import expand
from engine.grouping import partners
from engine.study import DERIVED, StudySpec, load_study, parse_study, spec_hash, study_id, to_toml_table


def digits(**over: object) -> StudySpec:
    table: dict[str, object] = {
        "name": "small",
        "title": "Small",
        "model": {"family": "cnn"},
        "data": {"source": "digits"},
        "ladder": {"sizes": [400, 2_000, 8_000], "seeds": [0, 1]},
        "training": {"steps": 40, "batch_size": 16},
    }
    return parse_study(table | over)


def taught(distillation: dict[str, object] | None = None, **over: object) -> StudySpec:
    return digits(distillation=distillation or {"weight": 0.75}, **over)


def test_each_smaller_size_is_its_twin_but_for_its_teacher() -> None:
    runs = expand(taught())
    alone, students = runs[:6], runs[6:]
    assert alone == expand(digits())
    assert [run.kind for run in students] == ["distil"] * 4
    for run, twin in zip(students, alone[:4], strict=True):
        teacher = next(other for other in alone[4:] if other.seed == run.seed)
        assert run.parent == spec_hash(teacher)
        assert run.compute_flops > twin.compute_flops
        same = {
            "kind": "pretrain",
            "variant": {},
            "parent": msgspec.UNSET,
            "distillation": msgspec.UNSET,
            "compute_flops": twin.compute_flops,
            "memory_bytes": twin.memory_bytes,
        }
        assert msgspec.structs.replace(run, **same) == twin
        assert run.variant == {FIELD: "largest"}
        assert msgspec.to_builtins(run.distillation) == {"temperature": 2.0, "weight": 0.75, "hidden_weight": 0.0}
    assert {run.kind for run in students} <= DERIVED


def test_a_teacher_of_another_recipe_is_a_run_of_its_own_and_no_size_of_the_ladder() -> None:
    few = {"source": "digits", "train_images": 100}
    runs = expand(taught({"teacher_with": {"data.train_images": 900}}, data=few))
    teachers = [run for run in runs if run.kind == "teacher"]
    assert [(run.seed, run.data["train_images"], run.size) for run in teachers] == [(0, 900, 8_000), (1, 900, 8_000)]
    assert {run.data["train_images"] for run in runs if run.kind != "teacher"} == {100}
    assert {run.parent for run in runs if run.kind == "distil"} == {spec_hash(run) for run in teachers}
    assert "teacher" in DERIVED


def test_a_built_in_study_or_any_run_may_teach() -> None:
    largest = [run for run in expand(load_study("digits-cnn")) if run.size_index == 3]
    students = expand(taught({"teacher": "digits-cnn"}))[6:]
    assert {run.parent for run in students} == {spec_hash(run) for run in largest[:2]}
    digest = "0123456789abcdef" * 4
    assert {run.parent for run in expand(taught({"teacher": digest}))[6:]} == {digest}


def test_variants_have_teachers_of_their_own() -> None:
    ladder = {"sizes": [400, 2_000], "seeds": [0], "vary": {"training.learning_rate": [0.01, 0.02]}}
    runs = expand(taught(ladder=ladder))
    hashes = {run.training.learning_rate: spec_hash(run) for run in runs if run.size == 2_000}
    students = [run for run in runs if run.kind == "distil"]
    assert [run.parent for run in students] == [hashes[run.training.learning_rate] for run in students]
    assert len(students) == 2


def test_students_of_one_size_are_not_stacked() -> None:
    gpt = {"model": {"family": "gpt"}, "data": {"source": "python-text"}, "training": {"steps": 5}}
    runs = expand(taught(ladder={"sizes": [2_000, 5_000], "seeds": [0, 1, 2, 3]}, **gpt))
    students = [index for index, run in enumerate(runs) if run.kind == "distil"]
    assert partners(students[0], students, lambda index: runs[index], 1, "cpu") == []


def test_a_study_without_distillation_keeps_its_id_and_one_with_it_is_written_out_and_read_again() -> None:
    assert "distillation" not in msgspec.to_builtins(digits())
    study = taught({"teacher_with": {"data.augment": "none"}})
    assert study_id(digits()) != study_id(study)
    assert parse_study(to_toml_table(study)) == study


@pytest.mark.parametrize(
    ("distillation", "over", "says"),
    [
        ({}, {"ladder": {"sizes": [400]}}, "no smaller model to teach"),
        ({}, {"forecast": {"hold": 1}}, "a study with a forecast"),
        (
            {},
            {"model": {"family": "vit-masked"}, "ladder": {"sizes": [2_000, 8_000]}},
            "vit-masked chooses among no classes or tokens",
        ),
        (
            {},
            {"model": {"family": "gan"}, "ladder": {"sizes": [8_000, 32_000]}},
            "gan chooses among no classes or tokens",
        ),
        ({"teacher": "nobody"}, {}, "there is no study 'nobody'"),
        ({"teacher": "quickstart"}, {}, "distillation.teacher: it chooses among 256 of python-text"),
        ({"teacher": "shapes-cnn"}, {}, "distillation.teacher: it chooses among"),
        ({"teacher": "digits-cnn", "teacher_with": {"data.augment": "none"}}, {}, "distillation.teacher_with"),
        ({"teacher_with": {"ladder.seeds": 1}}, {}, "'ladder.seeds' cannot be varied"),
        ({"teacher_with": {"data.nothing": 1}}, {}, "data: .*nothing"),
    ],
)
def test_what_cannot_be_taught_is_refused(distillation: dict[str, object], over: dict[str, object], says: str) -> None:
    with pytest.raises((StudyError, InputError), match=says):
        expand(digits(distillation=distillation, **over))


@pytest.mark.parametrize(
    ("field", "value"), [("temperature", 0), ("weight", 1.5), ("hidden_weight", -1), ("teachers", "largest")]
)
def test_a_wrong_field_is_named(field: str, value: object) -> None:
    with pytest.raises(StudyError, match=field):
        digits(distillation={field: value})
