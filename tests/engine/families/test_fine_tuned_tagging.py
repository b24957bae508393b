"""Taggers: every method trains on every kind of base, learns, and exports what plain transformers loads."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.analysis.predictions import examples, read_predictions
from engine.capabilities import capabilities
from engine.expand import expand
from engine.families import families
from engine.sources import sources
from engine.study import RunSpec, convert
from engine.training.evaluate import to_tensors, under_test
from tests.engine.small_bases import bert_folder, causal_folder, encoder_folder, tagged, tagging_study, taught

FAMILY = families["fine-tuned"]
METHODS = ("full", "frozen", "lora", "scratch")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tagged(tmp_path_factory.mktemp("data") / "t.jsonl")


def the_run(base: Path, data: Path, **model: Any) -> RunSpec:
    return expand(tagging_study(base, data, **model))[0]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("architecture", ["bert", "roberta", "distilbert", "modernbert"])
def test_every_method_trains_and_exports(data: Path, tmp_path: Path, architecture: str, method: str) -> None:
    from transformers import AutoModelForTokenClassification

    spec = the_run(encoder_folder(tmp_path / "base", architecture), data, method=method)
    given = FAMILY.example(spec.shape, 2, 6)
    model = taught(spec, given, steps=5, rate=0.02)
    FAMILY.export_hf(model, spec.shape, tmp_path / "out", None)
    theirs = AutoModelForTokenClassification.from_pretrained(tmp_path / "out").eval()
    assert set(theirs.config.label2id) == set(json.loads(str(spec.shape["labels"])))
    with torch.no_grad():
        assert torch.allclose(model(given["inputs"]), theirs(given["inputs"]).logits, atol=1e-5)


def test_a_causal_base_can_be_a_tagger_too(data: Path, tmp_path: Path) -> None:
    spec = the_run(causal_folder(tmp_path / "base"), data)
    batch = prepared(spec, tmp_path).train_batch(0, 4, 24, 0)
    assert FAMILY.loss(FAMILY.build(spec.shape, 0), to_tensors(batch, torch.device("cpu"))).loss > 0


def prepared(spec: RunSpec, cache: Path) -> Any:
    source = sources[spec.source]
    return source.prepare(convert(dict(spec.data), source.Spec, "data"), cache, lambda step, fraction: None)


def test_the_loss_is_that_of_words_alone_and_weights_are_the_classes(data: Path, tmp_path: Path) -> None:
    base = bert_folder(tmp_path / "base")
    spec = the_run(base, data, class_weights="balanced")
    model = FAMILY.build(spec.shape, 0).eval()
    batch = to_tensors(prepared(spec, tmp_path).train_batch(0, 8, 24, 0), torch.device("cpu"))
    weights = torch.tensor(json.loads(str(spec.shape["class_weights"])))
    plain = FAMILY.build(the_run(base, data).shape, 0).eval()
    labels = batch["targets"]
    logits = plain.model(input_ids=batch["inputs"], attention_mask=batch["mask"], labels=labels)
    assert torch.allclose(FAMILY.loss(plain, batch).loss, logits.loss)
    each = torch.nn.functional.cross_entropy(logits.logits.flatten(0, 1), labels.flatten(), reduction="none")
    of = weights[labels.flatten().clamp(min=0)] * (labels.flatten() >= 0)
    assert torch.allclose(FAMILY.loss(model, batch).loss, (each * of).sum() / of.sum())
    assert weights[0] == weights.min()  # O is the commonest


def test_a_tagger_learns_and_keeps_what_it_said(data: Path, tmp_path: Path) -> None:
    spec = the_run(bert_folder(tmp_path / "base"), data)
    ready, device = prepared(spec, tmp_path), torch.device("cpu")
    model = FAMILY.build(spec.shape, 0)
    optimizer = torch.optim.AdamW(model.parameters(), 0.01)
    for step in range(40):
        optimizer.zero_grad()
        FAMILY.loss(model, to_tensors(ready.train_batch(step, 16, 24, 0), device)).loss.backward()
        optimizer.step()

    def keep(kind: str, name: str, content: bytes) -> None:
        (tmp_path / name).write_bytes(content)

    with torch.no_grad():
        subject = under_test(model.eval(), spec, device, keep)
        scores = {s.metric: s for s in capabilities["tagging"].evaluate(None, subject, ready)}
    assert scores["entity_f1"].value > 0.8
    assert scores["entity_f1"].chance == 0
    kept = read_predictions(tmp_path / "predictions.json")
    assert np.mean(kept.labels == kept.predicted) == pytest.approx(scores["accuracy"].value)
    best, worst = examples(kept, 1)
    assert best[0].p_label > worst[0].p_label and "«" in best[0].text and "row" in best[0].origin


def test_a_saved_tagger_gives_equal_outputs_in_a_fresh_process(data: Path, tmp_path: Path) -> None:
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
from transformers import AutoModelForTokenClassification
found = torch.load({str(tmp_path / "ours.pt")!r}, weights_only=True)
model = AutoModelForTokenClassification.from_pretrained({str(tmp_path / "out")!r})
assert torch.allclose(model(found["tokens"]).logits, found["ours"], atol=1e-5)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
