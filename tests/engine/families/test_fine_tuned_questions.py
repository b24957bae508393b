"""Span questions: every method trains on every kind of base, learns, and exports what plain transformers loads."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.analysis.answers import read_answers
from engine.capabilities import capabilities
from engine.capabilities.question_answering import QuestionAnsweringSpec
from engine.errors import StudyError
from engine.expand import expand
from engine.families import families
from engine.sources import sources
from engine.study import RunSpec, convert
from engine.training.evaluate import to_tensors, under_test
from tests.engine.small_bases import bert_folder, encoder_folder, question_study, questions, taught

FAMILY = families["fine-tuned"]
METHODS = ("full", "frozen", "lora", "scratch")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return questions(tmp_path_factory.mktemp("data") / "t.jsonl")


def the_run(base: Path, data: Path, **model: Any) -> RunSpec:
    return expand(question_study(base, data, **model))[0]


def prepared(spec: RunSpec, cache: Path) -> Any:
    source = sources[spec.source]
    return source.prepare(convert(dict(spec.data), source.Spec, "data"), cache, lambda step, fraction: None)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("architecture", ["bert", "roberta", "distilbert", "modernbert"])
def test_every_method_trains_and_exports(data: Path, tmp_path: Path, architecture: str, method: str) -> None:
    from transformers import AutoModelForQuestionAnswering

    spec = the_run(encoder_folder(tmp_path / "base", architecture), data, method=method)
    given = FAMILY.example(spec.shape, 2, 6)
    model = taught(spec, given, steps=5, rate=0.02)
    FAMILY.export_hf(model, spec.shape, tmp_path / "out", None)
    theirs = AutoModelForQuestionAnswering.from_pretrained(tmp_path / "out").eval()
    with torch.no_grad():
        found = theirs(given["inputs"])
        both = torch.stack([found.start_logits, found.end_logits], -1)
        assert torch.allclose(model(given["inputs"]), both, atol=1e-5)


def test_the_loss_is_that_of_transformers_without_padding(data: Path, tmp_path: Path) -> None:
    spec = the_run(bert_folder(tmp_path / "base"), data)
    model = FAMILY.build(spec.shape, 0).eval()
    one = to_tensors(prepared(spec, tmp_path).train_batch(0, 1, 32, 0), torch.device("cpu"))
    start, end = one["targets"].T
    theirs = model.model(
        input_ids=one["inputs"], token_type_ids=one["types"], start_positions=start, end_positions=end
    ).loss
    assert torch.allclose(FAMILY.loss(model, one).loss, theirs)
    padded = {name: torch.nn.functional.pad(one[name], (0, 5)) for name in ("inputs", "mask", "types")}
    assert torch.allclose(FAMILY.loss(model, {**padded, "targets": one["targets"]}).loss, theirs, atol=1e-6)


def test_a_span_finder_learns_and_keeps_what_it_answered(data: Path, tmp_path: Path) -> None:
    spec = the_run(bert_folder(tmp_path / "base"), data)
    ready, device = prepared(spec, tmp_path), torch.device("cpu")
    model = FAMILY.build(spec.shape, 0)
    optimizer = torch.optim.AdamW(model.parameters(), 0.01)
    for step in range(120):
        optimizer.zero_grad()
        FAMILY.loss(model, to_tensors(ready.train_batch(step, 16, 32, 0), device)).loss.backward()
        optimizer.step()

    def keep(kind: str, name: str, content: bytes) -> None:
        (tmp_path / name).write_bytes(content)

    with torch.no_grad():
        subject = under_test(model.eval(), spec, device, keep)
        found = capabilities["question-answering"].evaluate(QuestionAnsweringSpec(), subject, ready)
    scores = {s.metric: s for s in found}
    assert scores["exact_match"].value > 2 * scores["exact_match"].chance
    assert scores["log_likelihood"].value > scores["log_likelihood"].chance + 1
    kept = read_answers(tmp_path / "answers.json")
    assert kept.n == scores["exact_match"].n
    assert kept.best[0].score > kept.worst[0].score
    assert kept.best[0].given == kept.best[0].wanted
    assert kept.best[0].given in kept.best[0].prompt and "row" in kept.best[0].origin


def test_balanced_classes_mean_nothing_here(data: Path, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"model\.class_weights"):
        the_run(bert_folder(tmp_path / "base"), data, class_weights="balanced")


def test_a_saved_model_gives_equal_outputs_in_a_fresh_process(data: Path, tmp_path: Path) -> None:
    spec = the_run(bert_folder(tmp_path / "base"), data, method="lora")
    model = FAMILY.build(spec.shape, 0).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01)
        tokens = torch.arange(4, 16).reshape(2, 6)
        torch.save({"tokens": tokens, "ours": model(tokens)}, tmp_path / "ours.pt")
    FAMILY.export_hf(model, spec.shape, tmp_path / "out", None)
    code = f"""
import torch
from transformers import AutoModelForQuestionAnswering
found = torch.load({str(tmp_path / "ours.pt")!r}, weights_only=True)
out = AutoModelForQuestionAnswering.from_pretrained({str(tmp_path / "out")!r})(found["tokens"])
assert torch.allclose(torch.stack([out.start_logits, out.end_logits], -1), found["ours"], atol=1e-5)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
