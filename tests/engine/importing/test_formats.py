"""Results of lm-evaluation-harness, TensorBoard events, and files that are neither."""

import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from engine.errors import InputError
from engine.importing import read, reading
from engine.importing.curves import canonical, final_name
from tests.engine.importing.samples import new_layout, old_layout, write_events, write_json


def test_the_new_layout_of_lm_eval(tmp_path: Path) -> None:
    file = write_json(tmp_path / "results.json", new_layout("EleutherAI/pythia-160m", {"arc_easy": 0.4}, 162_322_944))
    (run,) = read([file]).runs
    assert (run.name, run.n_params) == ("pythia-160m", 162_322_944)
    found = {score.metric: score for score in run.scores}
    assert (found["acc"].capability, found["acc"].value, found["acc"].stderr, found["acc"].n) == (
        "arc_easy",
        0.4,
        0.01,
        500,
    )
    assert found["acc_norm"].stderr is None and set(found) == {"acc", "acc_norm"}


def test_the_old_layout_of_lm_eval(tmp_path: Path) -> None:
    found = read([write_json(tmp_path / "old.json", old_layout("EleutherAI/pythia-70m", {"piqa": 0.6}))])
    (run,) = found.runs
    assert (run.n_params, run.scores[0].stderr) == (70_000_000, 0.012)
    assert any("names" in warning for warning in found.warnings)


def test_several_files_make_one_ladder_and_those_of_one_model_one_run(tmp_path: Path) -> None:
    for name, size in (("p-70m", 70_426_624), ("p-160m", 162_322_944)):
        for task in ("piqa", "arc"):
            write_json(tmp_path / name / f"results_{task}.json", new_layout(name, {task: 0.5}, size))
    found = read([tmp_path])
    assert found.format == "lm-eval" and len(found.files) == 4
    assert [run.n_params for run in found.runs] == [70_426_624, 162_322_944]
    assert {score.capability for score in found.runs[0].scores} == {"piqa", "arc"}


def test_other_numbers_of_examples_are_other_abilities(tmp_path: Path) -> None:
    for shots in (0, 5):
        document = new_layout("p-70m", {"piqa": 0.5 + shots / 100}, 70_000_000, **{"n-shot": {"piqa": shots}})
        write_json(tmp_path / f"{shots}.json", document)
    (run,) = read([tmp_path]).runs
    assert {s.capability: s.value for s in run.scores if s.metric == "acc"} == {
        "piqa (0-shot)": 0.5,
        "piqa (5-shot)": 0.55,
    }


def test_revisions_of_a_model_are_told_apart(tmp_path: Path) -> None:
    for step in ("step1000", "step3000"):
        document = new_layout("p-70m", {"piqa": 0.5}, 70_000_000)
        document["config"]["model_args"] += f",revision={step}"
        write_json(tmp_path / f"{step}.json", document)
    assert [run.variant["revision"] for run in read([tmp_path]).runs] == ["step1000", "step3000"]


def test_a_size_that_no_file_tells_is_asked_for(tmp_path: Path) -> None:
    file = write_json(tmp_path / "r.json", new_layout("gpt2", {"piqa": 0.6}, None))
    assert read([file]).without_size == ("gpt2",)
    for sizes in ({"": 124_000_000}, {"gpt2": 124_000_000}):
        assert read([file], sizes=sizes).runs[0].n_params == 124_000_000
    with pytest.raises(InputError, match="no run 'gpt3'"):
        read([file], sizes={"gpt3": 1})


def test_a_samples_file_or_empty_results_are_no_results(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        read([write_json(tmp_path / "a.json", {"results": {}})])
    with pytest.raises(InputError, match="no score of any task"):
        read([write_json(tmp_path / "b.json", {"results": {"piqa": {"alias": "piqa"}}})])


@pytest.mark.parametrize(
    ("tag", "key"),
    [
        *(
            ("loss", "train/loss"),
            ("train_loss", "train/loss"),
            ("Loss/train", "train/loss"),
            ("train/epoch_loss", "train/loss"),
        ),
        *(
            ("eval/loss", "val/loss"),
            ("val_loss", "val/loss"),
            ("Loss/validation", "val/loss"),
            ("test/lm loss", "val/loss"),
        ),
        *(("train/learning_rate", "lr"), ("lr", "lr"), ("train/grad_norm", "grad_norm"), ("aux_loss", "aux_loss")),
        ("eval/hellaswag_acc", "eval/hellaswag_acc"),
    ],
)
def test_tags_are_known_by_their_usual_names(tag: str, key: str) -> None:
    assert canonical(tag) == key


def test_which_tags_are_scores() -> None:
    assert final_name("val/loss") == ("language-modelling", "loss")
    assert final_name("eval/hellaswag_acc") == ("hellaswag_acc", "score")
    assert final_name("eval/arc/acc") == ("arc", "acc")
    assert [final_name(key) for key in ("eval/runtime", "eval/steps_per_second", "train/loss", "aux")] == [None] * 4


@pytest.mark.parametrize("tensors", [False, True])
def test_event_files_become_curves(tmp_path: Path, tensors: bool) -> None:
    points = {"train/loss": [(1, 3.0), (2, 2.5), (2, 2.4)], "eval/loss": [(2, 2.75)], "eval/arc/acc": [(2, 0.5)]}
    write_events(tmp_path / "runs" / "gpt-124M", points, {"seed": 3, "lr": 0.01}, tensors=tensors)
    found = read([tmp_path / "runs"])
    (run,) = found.runs
    assert (run.name, run.n_params, run.seed, run.loss) == ("gpt-124M", 124_000_000, 3, 2.75)
    curves = {curve.key: curve for curve in run.curves}
    assert curves["train/loss"].steps.tolist() == [1, 2]
    assert np.allclose(curves["train/loss"].values, [3.0, 2.4])
    assert run.facts["hparams.lr"] == 0.01
    assert ("arc", "acc") in found.measured
    assert {header.name: header.read_as for header in found.headers}["eval/loss"] == "val/loss"


def test_hparams_tell_the_size_and_folders_the_parts(tmp_path: Path) -> None:
    write_events(tmp_path / "a", {}, {"n_params": 1_234_567})
    write_events(tmp_path / "a" / "train", {"epoch_loss": [(1, 3.0)]})
    write_events(tmp_path / "a" / "validation", {"epoch_loss": [(1, 3.5)]})
    write_events(tmp_path / "b-2M", {"val_loss": [(1, 2.5)]})
    found = read([tmp_path])
    assert [(run.name, run.n_params, run.loss) for run in found.runs] == [
        ("a", 1_234_567, 3.5),
        ("b-2M", 2_000_000, 2.5),
    ]
    assert {curve.key for curve in found.runs[0].curves} == {"train/loss", "val/loss"}


def test_a_tag_can_be_named(tmp_path: Path) -> None:
    write_events(tmp_path / "m-1M", {"train/loss": [(1, 3.0), (9, 2.0)], "copy": [(9, 0.25)]})
    found = read([tmp_path], {"loss": "train/loss", "copying/exact_match": "copy"})
    assert found.runs[0].loss == 2.0
    assert ("copying", "exact_match") in found.measured
    with pytest.raises(InputError, match="no tag 'nothing'"):
        read([tmp_path], {"loss": "nothing"})


def test_a_cut_event_file_keeps_what_is_whole_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    file = write_events(tmp_path / "m-1M", {"val_loss": [(i, 3.0) for i in range(100)]})
    content = file.read_bytes()
    file.write_bytes(content[:-20])
    assert len(read([file]).runs[0].curves[0].steps) == 99
    file.write_bytes(b"no events" * 100)
    with pytest.raises(InputError, match="not an event file"):
        read([file])
    file.write_bytes((1 << 60).to_bytes(8, "little") + content[8:])
    with pytest.raises(InputError, match="not an event file"):
        read([file])


class Bomb:
    """Unpickling it would fail the test."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("raise AssertionError('unpickled')",))


def test_what_is_none_of_these_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "weights.pt").write_bytes(pickle.dumps(Bomb()) + b"\0" * 10)
    (tmp_path / "picture.csv").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(100))
    with zipfile.ZipFile(tmp_path / "bundle.zip", "w") as archive:
        archive.writestr("study.toml", "x = 1")
    (tmp_path / "folder").mkdir()
    for name, words in (
        ("weights.pt", "may be a pickle"),
        ("picture.csv", "no table"),
        ("bundle.zip", "imported by itself"),
        ("folder", "neither TensorBoard"),
        ("missing.csv", "no such file"),
    ):
        with pytest.raises(InputError) as caught:
            read([tmp_path / name])
        assert words in str(caught.value)
    with pytest.raises(InputError, match="no file is given"):
        read([])


def test_files_of_two_kinds_are_not_mixed(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("n_params,loss\n1,2\n")
    results = write_json(tmp_path / "r.json", old_layout("p-1M", {"piqa": 0.5}))
    with pytest.raises(InputError, match=r"t\.csv is a table and r\.json is a results file"):
        read([table, results])


def test_a_file_that_is_too_large_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tmp_path / "t.csv"
    table.write_text("n_params,loss\n1,2\n")
    monkeypatch.setattr(reading, "MAX_BYTES", 5)
    with pytest.raises(InputError, match="too large"):
        read([table])
