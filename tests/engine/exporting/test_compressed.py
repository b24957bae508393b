"""Compressed models as folders: opened by plain transformers in a process of its own, refused where it has no form."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.adapting.compression.load import compress
from engine.errors import InputError
from engine.expand import expand
from engine.exporting.folder import write_folder
from engine.families import families
from engine.families.base import build_for
from engine.finished import Finished
from engine.quiet import quiet_torchao
from engine.store import ArtifactRow
from engine.study import CompressionMethod, RunSpec
from tests.engine.exporting.homes import shared, study, write_text
from tests.engine.exporting.test_every_family import THEIRS, ours

NAMES = ("gpt", "bert", "seq2seq", "cnn", "vit", "clip")
SMALLER = ("gpt", "vit", "vit-masked")
WITH_CODE = {"mlp": "d_hidden", "gpt-vectors": "d_ff"}
"""Folders that carry their code, and what of their shape is halved."""
INTEGERS = ("int8-weights", "int8-dynamic", "int4-weights")


@pytest.fixture(autouse=True)
def quiet() -> None:
    quiet_torchao()


def spec_of(name: str) -> RunSpec:
    asked = study(name, write_text(shared() / "text"))
    if name in ("gpt", "vit", "vit-masked", "bert", "gpt-vectors"):
        asked = msgspec.structs.replace(asked, model={**asked.model, "n_heads": 2})
    return expand(asked)[0]


def made(name: str, method: str, folder: Path) -> Finished:
    """A run of a model that was never trained, half of it cut or all of it in fewer bits."""
    folder.mkdir(parents=True)
    how = CompressionMethod(method=method)  # type: ignore[arg-type]
    spec = msgspec.structs.replace(spec_of(name), kind="compress", compression=how)
    model, path = build_for(families[name], spec).eval(), folder / "compressed.safetensors"
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)))
    size = compress(model, how, path, lambda: ours(name, model, spec.shape))
    return Finished(
        1,
        spec,
        folder,
        ArtifactRow(run_id=1, kind="compressed", path=path.name, step=0, n_bytes=size, sha256="", created=0.0),
    )


def expect(run: Finished, folder: Path, *, dense: bool = False) -> torch.Tensor:
    """Write the folder with what it is to be given; returns what our model makes of that."""
    write_folder(run, folder, dense=dense)
    with torch.no_grad():
        torch.manual_seed(5)
        given, wanted = ours(run.spec.family, run.load(), run.spec.shape)
    save_file({key: value.contiguous() for key, value in given.items()}, folder / "given.safetensors")
    return wanted


def opened(folder: Path, wanted: dict[str, torch.Tensor]) -> None:
    """Compare what transformers gives; activations of 8 bits are rounded, where the last bit of float32 decides."""
    command = [sys.executable, "-c", THEIRS, str(folder), *wanted]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name, ours_ in wanted.items():
        got = load_file(folder / name / "outputs.safetensors")["outputs"]
        tolerance = 0.03 if "dynamic" in name else 2e-5
        np.testing.assert_allclose(
            got.numpy(), ours_.numpy(), atol=tolerance * float(ours_.abs().max()), rtol=0, err_msg=name
        )


def config(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return found


def test_pruned_models_give_equal_outputs_and_are_smaller_where_transformers_can_hold_it(tmp_path: Path) -> None:
    wanted = {}
    for name in NAMES:
        run = made(name, "prune-unstructured", tmp_path / "runs" / name)
        wanted[f"{name}-sparse"] = expect(run, tmp_path / f"{name}-sparse")
    for name in SMALLER:
        run = made(name, "prune-structured", tmp_path / "cut" / name)
        wanted[f"{name}-cut"] = expect(run, tmp_path / f"{name}-cut")
        shape, told = run.spec.shape, config(tmp_path / f"{name}-cut")
        assert (told["num_attention_heads"], told["intermediate_size"]) == (1, int(shape["d_ff"]) // 2)
        sizes = [(tmp_path / f"{name}-{kind}" / "model.safetensors").stat().st_size for kind in ("cut", "sparse")
                 if (tmp_path / f"{name}-{kind}").is_dir()]  # fmt: skip
        assert sizes == sorted(sizes) and len(set(sizes)) == len(sizes)
    for name, dimension in WITH_CODE.items():
        run = made(name, "prune-structured", tmp_path / "own" / name)
        wanted[f"{name}-own"] = expect(run, tmp_path / f"{name}-own")
        halved = config(tmp_path / f"{name}-own")["shape"][dimension]
        assert halved == round(int(run.spec.shape[dimension]) / 2)
    for name in ("bert", "cnn", "clip"):
        run = made(name, "prune-structured", tmp_path / "zeros" / name)
        wanted[f"{name}-dense"] = expect(run, tmp_path / f"{name}-dense", dense=True)
    opened(tmp_path, wanted)


@pytest.mark.parametrize(("name", "units"), [("bert", "heads"), ("cnn", "channels")])
def test_what_transformers_has_no_form_for_is_refused_with_what_there_is_instead(
    tmp_path: Path, name: str, units: str
) -> None:
    run = made(name, "prune-structured", tmp_path / "run")
    with pytest.raises(InputError, match=f"no form for a {name} with {units} cut out") as caught:
        write_folder(run, tmp_path / "hf")
    assert "--dense" in caught.value.remedy and str(run.path) in caught.value.remedy
    assert not (tmp_path / "hf").exists()


def test_integers_are_torchaos_in_safetensors_and_give_equal_outputs(tmp_path: Path) -> None:
    wanted = {}
    for method in INTEGERS:
        for name in NAMES[:-1] if method == "int8-weights" else ("gpt", "bert"):
            run = made(name, method, tmp_path / "runs" / method / name)
            folder = tmp_path / f"{name}-{method}"
            wanted[folder.name] = expect(run, folder)
            kept = load_file(folder / "model.safetensors").values()
            assert any(tensor.dtype is torch.int8 for tensor in kept)
            assert config(folder)["quantization_config"]["quant_method"] == "torchao"
    opened(tmp_path, wanted)


def test_integers_that_transformers_would_not_read_are_refused(tmp_path: Path) -> None:
    run = made("clip", "int8-weights", tmp_path / "run")  # torchao takes no parameter that is in no layer
    with pytest.raises(InputError, match="does not read them back") as caught:
        write_folder(run, tmp_path / "hf")
    assert "--dense" in caught.value.remedy and not (tmp_path / "hf").exists()


def test_multiplied_out_they_need_nothing_but_transformers(tmp_path: Path) -> None:
    run = made("gpt", "int4-weights", tmp_path / "run")
    wanted = expect(run, tmp_path / "gpt", dense=True)
    assert {t.dtype for t in load_file(tmp_path / "gpt" / "model.safetensors").values()} == {torch.float32}
    opened(tmp_path, {"gpt": wanted})
