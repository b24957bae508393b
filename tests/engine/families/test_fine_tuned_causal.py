"""Language models tuned on responses: every method trains, what is saved is what was tuned, wrong bases are refused."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.capabilities import capabilities
from engine.capabilities.responses import Answered, answered, score
from engine.errors import StudyError
from engine.expand import expand
from engine.families import families
from engine.sources._instruction_items import InstructionItems
from engine.study import RunSpec
from engine.training.evaluate import under_test
from tests.engine.small_bases import bert_folder, causal_folder, causal_study, prompts, taught

FAMILY = families["fine-tuned"]
METHODS = ("full", "frozen", "lora", "scratch")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return causal_folder(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prompts(tmp_path_factory.mktemp("data") / "groups.jsonl")


def the_run(base: Path, data: Path, **model: Any) -> RunSpec:
    return expand(causal_study(base, data, **model))[0]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("architecture", ["gpt2", "llama", "qwen2"])
def test_every_method_trains_and_exports(data: Path, tmp_path: Path, architecture: str, method: str) -> None:
    from transformers import AutoModelForCausalLM

    spec = the_run(causal_folder(tmp_path / "base", architecture), data, method=method)
    given = FAMILY.example(spec.shape, 2, 6)
    model = taught(spec, given, steps=5, rate=0.02)
    FAMILY.export_hf(model, spec.shape, tmp_path / "out", None)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    with torch.no_grad():
        assert torch.allclose(model(given["inputs"]), theirs(given["inputs"]).logits, atol=1e-5)


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_a_frozen_base_begins_as_it_is_and_trains_its_output_layer(
    data: Path, tmp_path: Path, architecture: str
) -> None:
    folder = causal_folder(tmp_path / "base", architecture)
    full, frozen = (FAMILY.build(the_run(folder, data, method=m).shape, 0).eval() for m in ("full", "frozen"))
    tokens = torch.arange(4, 16).reshape(2, 6)
    assert torch.equal(full(tokens), frozen(tokens))
    assert [n for n, p in frozen.named_parameters() if p.requires_grad] == ["model.lm_head.weight"]


def test_the_loss_is_that_of_the_response_alone(base: Path, data: Path) -> None:
    model = FAMILY.build(the_run(base, data).shape, 0).eval()
    inputs = torch.tensor([[4, 5, 6, 30, 1], [7, 8, 29, 1, 0]])
    targets = torch.tensor([[-100, -100, 30, 1, -100], [-100, 29, 1, -100, -100]])
    mask = torch.tensor([[1] * 5, [1] * 4 + [0]])
    loss = FAMILY.loss(model, {"inputs": inputs, "mask": mask, "targets": targets}).loss
    labels = torch.tensor([[-100, -100, -100, 30, 1], [-100, -100, 29, 1, -100]])
    theirs = model.model(input_ids=inputs, attention_mask=mask, labels=labels).loss
    assert torch.allclose(loss, theirs)


def test_a_saved_model_gives_equal_outputs_in_a_fresh_process(base: Path, data: Path, tmp_path: Path) -> None:
    spec = the_run(base, data, method="lora")
    model = FAMILY.build(spec.shape, 0).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01)
        tokens = torch.arange(4, 16).reshape(2, 6)
        torch.save({"tokens": tokens, "ours": model(tokens)}, tmp_path / "ours.pt")
    FAMILY.export_hf(model, spec.shape, tmp_path / "out", None)
    code = f"""
import torch
from transformers import AutoModelForCausalLM
found = torch.load({str(tmp_path / "ours.pt")!r}, weights_only=True)
model = AutoModelForCausalLM.from_pretrained({str(tmp_path / "out")!r})
assert torch.allclose(model(found["tokens"]).logits, found["ours"], atol=1e-5)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_bases_that_read_both_ways_and_tables_of_another_kind_are_refused(
    base: Path, data: Path, tmp_path: Path
) -> None:
    with pytest.raises(StudyError, match="bert is no causal language model"):
        the_run(bert_folder(tmp_path / "bert"), data)
    with pytest.raises(StudyError, match=r"model\.task: text-classification cannot be learnt"):
        the_run(base, data, task="text-classification")


def test_scores_are_paired_and_the_greedy_answer_is_what_is_likeliest_everywhere() -> None:
    counts = np.asarray([2, 1, 1])
    found = Answered(np.asarray([2.0, 0.5, 0.5]), np.asarray([0.0, 1.0, 1.0]))
    base = Answered(found.nll + counts, np.zeros(3))  # one nat per token more, whatever the rows
    responses = [np.asarray([5, 6], np.int32), np.asarray([7], np.int32), np.asarray([7], np.int32)]
    scores = {s.metric: s for s in score(found, base, counts, responses)}
    assert scores["loss"].value == pytest.approx(0.75)
    assert scores["perplexity"].value == pytest.approx(np.exp(0.75))
    assert scores["exact_match"].value == scores["exact_match"].chance == pytest.approx(2 / 3)
    assert (scores["gain"].value, scores["gain"].stderr) == (pytest.approx(1), pytest.approx(0, abs=1e-9))
    assert {m.name for m in capabilities["responses"].metrics} == set(scores)


def test_an_exact_match_is_what_greedy_generation_gives(base: Path, data: Path, tmp_path: Path) -> None:
    model = FAMILY.build(the_run(base, data).shape, 0).eval()
    prompt = torch.tensor([[4, 5, 6]])
    whole = model.model.generate(prompt, max_new_tokens=4, do_sample=False, eos_token_id=None, pad_token_id=0)[0]
    other = whole.clone()
    other[-2] = (other[-2] + 1) % 30
    tokens = torch.cat([whole, other]).numpy().astype(np.int32)
    ends, starts, parts = np.asarray([7, 14]), np.asarray([3, 3]), np.asarray([2, 2])
    report: Any = None
    items = InstructionItems(tmp_path, "", report, 0, tokens, ends, starts, parts)
    with torch.no_grad():
        found = answered(model.outputs, under_test(model, the_run(base, data), torch.device("cpu")), items)
    assert found.exact.tolist() == [1, 0] and found.nll[0] < found.nll[1]
