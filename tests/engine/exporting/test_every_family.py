"""Every family that has a counterpart, opened by plain transformers in a process that knows nothing of us."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from engine.exporting import export_hf
from engine.families import families
from engine.families._vit_masked import together
from engine.finished import finished_run
from engine.store import Store
from tests.engine.exporting.homes import finished

NAMES = ("gpt", "bert", "seq2seq", "cnn", "vit", "vit-masked", "clip")
WITH_CODE = ("rnn", "plain-cnn", "mlp", "wavenet", "gan", "gpt-vectors")
"""Those that transformers has no class for: their folders carry it."""
THEIRS = """
import json, sys, torch
from pathlib import Path
from safetensors.torch import load_file, save_file
import transformers
for name in sys.argv[2:]:
    folder = Path(sys.argv[1]) / name
    config = json.loads((folder / "config.json").read_text())
    auto = next((name for name in config.get("auto_map", {}) if name != "AutoConfig"), "")
    kind = getattr(transformers, auto or config["architectures"][0])
    trusted = {"trust_remote_code": True} if auto else {}
    model, told = kind.from_pretrained(folder, dtype=torch.float32, output_loading_info=True, **trusted)
    assert not any(told[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")), told
    given = load_file(folder / "given.safetensors")
    with torch.no_grad():
        out = model.eval()(**{key: value.bool() if key == "bool_masked_pos" else value for key, value in given.items()})
    fields = ("logits", "logits_per_image", "reconstruction")
    found = next(out[field] for field in fields if out.get(field) is not None)
    save_file({"outputs": found.contiguous()}, folder / "outputs.safetensors")
assert not any(module.split(".")[0] in {"engine", "lab_app"} for module in sys.modules)
"""


def ours(name: str, model: Any, shape: Any) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """What transformers is given, and what our model makes of the same."""
    batch = families[name].example(shape, 3, min(48, int(shape.get("context", 48))))
    if name == "gan":
        noise = torch.randn(3, int(shape["latent"]))
        return {"noise": noise}, model.images(noise)
    if name == "wavenet":
        given = {"input_ids": batch["inputs"], "condition": batch["condition"]}
        return given, model(batch["inputs"], batch["condition"])
    if name in {"mlp", "gpt-vectors"}:
        return {"inputs": batch["inputs"]}, model(batch["inputs"])
    if name == "clip":
        given = {"input_ids": batch["captions"], "pixel_values": batch["images"]}
        return given, model.scale() * model(batch["images"]) @ model.embed_captions(batch["captions"]).T
    inputs = batch["inputs"]
    if name == "seq2seq":
        words = batch["decoder_inputs"]
        given = {"input_ids": inputs, "decoder_input_ids": words, "attention_mask": torch.ones_like(inputs)}
        return given, model(inputs, words)
    if name == "vit-masked":
        hidden = model.hide(inputs)
        return {"pixel_values": inputs, "bool_masked_pos": hidden.int()}, together(model(inputs, hidden), shape)
    return {"pixel_values" if inputs.is_floating_point() else "input_ids": inputs}, model(inputs)


@pytest.mark.parametrize("names", [NAMES, WITH_CODE], ids=["its own classes", "the folder's code"])
def test_plain_transformers_gives_equal_outputs(tmp_path: Path, names: tuple[str, ...]) -> None:
    from safetensors.torch import load_file

    expected: dict[str, torch.Tensor] = {}
    with Store.open(finished(*names), read_only=True) as store:
        for number, name in enumerate(names, 1):
            export_hf(store.reader(), store.home, number, tmp_path / name)
            run = finished_run(store.reader(), store.home, number)
            torch.manual_seed(number)
            with torch.no_grad():
                given, expected[name] = ours(run.spec.family, run.load(), run.spec.shape)
            save_file({key: value.contiguous() for key, value in given.items()}, tmp_path / name / "given.safetensors")
    command = [sys.executable, "-c", THEIRS, str(tmp_path), *expected]
    environment = {**os.environ, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name, wanted in expected.items():
        got = load_file(tmp_path / name / "outputs.safetensors")["outputs"]
        np.testing.assert_allclose(got.numpy(), wanted.numpy(), atol=2e-5 * float(wanted.abs().max()), rtol=0)
