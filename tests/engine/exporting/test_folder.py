"""A finished run, opened by plain transformers in a process that knows nothing of us."""

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.errors import InputError, TrainingError
from engine.expand import expand
from engine.exporting import export_hf
from engine.families import families
from engine.families._decoder import generate
from engine.families.base import build_for
from engine.lab import Lab
from engine.sources import sources
from engine.study import convert, parse_study

PROMPT = "the size of a small model"
THEIRS = """
import json, sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
folder, prompt = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
ids = tokenizer(prompt, return_tensors="pt").input_ids
with torch.no_grad():
    logits = model(ids).logits
made = model.generate(ids, max_new_tokens=12, do_sample=False, pad_token_id=0)
assert not any(name.split(".")[0] in {"engine", "lab_app"} for name in sys.modules)
print(json.dumps({"ids": ids[0].tolist(), "logits": logits[0].tolist(), "text": tokenizer.decode(made[0]),
                  "longest": tokenizer.model_max_length}))
"""
WORDS = "size loss model data token layer width depth grow small large train learn curve law point the of a".split()


@pytest.fixture
def text(tmp_path: Path) -> Path:
    folder = tmp_path / "text"
    folder.mkdir()
    for number in range(30):
        generator = random.Random(number)
        pieces = (f"{generator.choice(WORDS)}{generator.choice(('', str(number)))}" for _ in range(300))
        (folder / f"{number}.txt").write_text(" ".join(pieces), encoding="utf-8")
    return folder


def finished(text: Path, home: Path, tokenizer: str, family: str = "gpt") -> tuple[Lab, Any]:
    """A lab with one run of 20 steps, and its spec."""
    study = parse_study(
        {
            "name": "export",
            "title": "Export",
            "model": {"family": family},
            "data": {"source": "text-folder", "path": str(text), "tokenizer": tokenizer}
            | ({"vocab_size": 300} if tokenizer == "bpe" else {}),
            "ladder": {"sizes": [6000]},
            "training": {"steps": 20, "eval_tokens": 1024, "final_eval_tokens": 1024, "context": 48},
        }
    )
    lab = Lab.open(home, executor="thread")
    assert lab.runner.wait(lab.runner.submit(study), timeout=120)
    return lab, expand(study)[0]


@pytest.mark.parametrize("tokenizer", ["bytes", "bpe"])
def test_plain_transformers_gives_equal_logits_and_text(text: Path, tmp_path: Path, tokenizer: str) -> None:
    from safetensors.torch import load_file

    lab, spec = finished(text, tmp_path / "home", tokenizer)
    with lab:
        export_hf(lab.reader(), lab.home, 1, tmp_path / "hf")
        source = sources[spec.source]
        prepared: Any = source.prepare(convert(spec.data, source.Spec), lab.home / "cache", lambda *_: None)
        model = build_for(families["gpt"], spec).eval()
        model.load_state_dict(load_file(lab.home / "artifacts" / "1" / "weights.safetensors"))
    command = [sys.executable, "-c", THEIRS, str(tmp_path / "hf"), PROMPT]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    theirs = json.loads(done.stdout)
    ids = torch.from_numpy(prepared.encode(PROMPT))[None]
    assert theirs["ids"] == ids[0].tolist()
    assert theirs["longest"] == 48
    with torch.no_grad():
        np.testing.assert_allclose(np.array(theirs["logits"]), model(ids)[0].numpy(), atol=1e-5, rtol=0)
        made = generate(model, ids, 12, context=48)[0].numpy()
    assert theirs["text"].replace("<|endoftext|>", "\n").replace("\0", "\n") == prepared.decode(made)
    assert theirs["text"].startswith(PROMPT)


@pytest.mark.parametrize("tokenizer", ["bytes", "bpe"])
def test_the_mask_of_an_encoder_is_in_its_tokenizer(text: Path, tmp_path: Path, tokenizer: str) -> None:
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    lab, spec = finished(text, tmp_path / "home", tokenizer, "bert")
    with lab:
        export_hf(lab.reader(), lab.home, 1, tmp_path / "hf")
    theirs = AutoTokenizer.from_pretrained(tmp_path / "hf")
    assert theirs.mask_token_id == spec.shape["vocab_size"] == len(theirs) - 1
    ids = theirs("the [MASK] of", return_tensors="pt").input_ids
    assert (ids == theirs.mask_token_id).sum() == 1
    model = AutoModelForMaskedLM.from_pretrained(tmp_path / "hf", dtype=torch.float32)
    assert model(ids).logits.shape[-1] == len(theirs)


def test_what_cannot_be_exported_is_said(text: Path, tmp_path: Path) -> None:
    lab, _ = finished(text, tmp_path / "home", "bytes")
    with lab:
        with pytest.raises(InputError, match="no run 99"):
            export_hf(lab.reader(), lab.home, 99, tmp_path / "hf")
        weights = lab.home / "artifacts" / "1" / "weights.safetensors"
        weights.write_bytes(weights.read_bytes()[:1000])
        with pytest.raises(TrainingError, match=r"weights\.safetensors cannot be read"):
            export_hf(lab.reader(), lab.home, 1, tmp_path / "hf")
