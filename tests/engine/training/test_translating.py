"""The user's own pairs from a table to samples, a resumed run, and a folder that plain transformers translates with."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from engine.events import RunState, Sample
from engine.expand import expand
from engine.exporting import export_hf
from engine.families import families
from engine.families._translating import translate
from engine.families.base import build_for
from engine.lab import Lab
from engine.sources import sources
from engine.study import StudySpec, convert, parse_study
from engine.task import Task
from engine.training.run import run_one
from tests.engine.training import toy

WORDS = {"one": "一", "two": "二", "three": "三", "four": "四", "red": "红", "blue": "蓝", "cat": "猫", "dog": "狗"}


def study(folder: Path) -> StudySpec:
    path = folder / "pairs.tsv"
    rng = np.random.default_rng(0)
    rows = (rng.choice(list(WORDS), 3, replace=False) for _ in range(200))
    lines = [f"{' '.join(row)}\t{''.join(WORDS[word] for word in row)}" for row in rows]
    path.write_text("\n".join(["source\ttarget", *lines]), encoding="utf-8")
    table = {
        "name": "own-pairs",
        "title": "Own pairs",
        "model": {"family": "seq2seq", "n_layers": 1},
        "data": {"source": "text-pairs", "path": str(path), "vocab_size": 40, "source_length": 20, "target_length": 6},
        "ladder": {"sizes": [8_000]},
        "training": {"steps": 30, "batch_size": 32, "eval_tokens": 200, "final_eval_tokens": 200},
        "execution": {"precision": "float32", "device": "cpu"},
        "capabilities": [{"name": "translation", "options": {"items": 50, "beams": 2}}],
    }
    return parse_study(table)


def test_samples_show_source_translation_and_reference_and_a_resumed_run_is_the_same(tmp_path: Path) -> None:
    spec = expand(study(tmp_path))[0]
    folders = [tmp_path / "whole", tmp_path / "stopped"]
    for folder in folders:
        (folder / "run").mkdir(parents=True)
    reporter = toy.Recorder()
    assert run_one(Task(1, spec, folders[0] / "run", tmp_path), reporter, toy.Commands()).state is RunState.FINISHED
    shown = [sample.content.split("\n") for sample in reporter.of(Sample)]
    assert len(shown) == 16 and all(len(lines) == 3 for lines in shown)
    for source, made, reference in shown:
        assert made.startswith("⟶ ")
        assert reference == "= " + "".join(WORDS[word] for word in source.split())
    task = Task(1, spec, folders[1] / "run", tmp_path)
    assert run_one(task, toy.Recorder(), toy.StopAfter(13)).state is RunState.INTERRUPTED
    assert run_one(task, toy.Recorder(), toy.Commands()).state is RunState.FINISHED
    assert toy.same_weights(*folders)


def test_an_exported_run_translates_text(tmp_path: Path) -> None:
    from safetensors.torch import load_file
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    own = study(tmp_path)
    spec = expand(own)[0]
    with Lab.open(tmp_path / "home", executor="thread") as lab:
        assert lab.runner.wait(lab.runner.submit(own), timeout=120)
        export_hf(lab.reader(), lab.home, 1, tmp_path / "hf")
        source = sources[spec.source]
        prepared: Any = source.prepare(convert(spec.data, source.Spec), lab.home / "cache", lambda *_: None)
        model = build_for(families["seq2seq"], spec).eval()
        model.load_state_dict(load_file(lab.home / "artifacts" / "1" / "weights.safetensors"))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "hf")
    theirs = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "hf").eval()
    assert tokenizer.model_max_length == 20
    texts = ["one red cat", "two dog"]
    given = tokenizer(texts, padding=True, return_tensors="pt")
    made = theirs.generate(given.input_ids, attention_mask=given.attention_mask)
    ours = translate(model, given.input_ids, 6).numpy()
    assert torch.is_tensor(made) and [prepared.decode(row) for row in ours] == [
        tokenizer.decode(row, skip_special_tokens=True) for row in made
    ]
