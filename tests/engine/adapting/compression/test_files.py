"""Every method on every kind of model: the file comes back with equal outputs, and is refused where it is not whole."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.adapting.compression.codec import File, layout
from engine.adapting.compression.load import compress, load_compressed
from engine.adapting.compression.prune import pruned_weights, units_of
from engine.adapting.compression.quantize import quantized
from engine.capabilities._cost import file_bytes, footprint
from engine.errors import TrainingError
from engine.families import families
from engine.families.base import build_for
from engine.quiet import quiet_torchao
from engine.study import CompressionMethod, RunSpec
from tests.engine.adapting.compression.models import STUDIES, loss_of, model_of, spec_of

CUT = [kind for kind in STUDIES if kind not in ("rnn", "seq2seq", "wavenet", "gan")]


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    quiet_torchao()
    yield


def written(spec: RunSpec, path: Path, method: str, amount: float = 0.5) -> int:
    model = model_of(spec)
    return compress(model, CompressionMethod(method=method, amount=amount), path, lambda: loss_of(spec, model))  # type: ignore[arg-type]


def read(spec: RunSpec, path: Path) -> torch.nn.Module:
    return load_compressed(build_for(families[spec.family], spec), path)


@pytest.mark.parametrize("kind", STUDIES)
@pytest.mark.parametrize("method", ["int8-dynamic", "int8-weights", "int4-weights"])
def test_fewer_bits(tmp_path: Path, kind: str, method: str) -> None:
    spec, path = spec_of(kind), tmp_path / "c.safetensors"
    n_bytes = written(spec, path, method)
    before, after = loss_of(spec, model_of(spec)), loss_of(spec, read(spec, path))
    assert after == loss_of(spec, read(spec, path))
    assert float(after) == pytest.approx(float(before), rel=0.25 if method == "int4-weights" else 0.03)
    assert after != before
    assert n_bytes == path.stat().st_size < file_bytes(model_of(spec))


@pytest.mark.parametrize("kind", STUDIES)
def test_single_weights_are_cut_and_come_back_where_they_were(tmp_path: Path, kind: str) -> None:
    spec, path = spec_of(kind), tmp_path / "c.safetensors"
    n_bytes = written(spec, path, "prune-unstructured", 0.6)
    full, pruned = dict(model_of(spec).named_parameters()), dict(read(spec, path).named_parameters())
    cut = pruned_weights(read(spec, path))
    assert cut
    for name, tensor in pruned.items():
        kept = tensor != 0
        assert torch.equal(tensor[kept], full[name][kept])
        share = 0.6 if name in cut else 0.0
        assert int((~kept).sum()) == round(share * tensor.numel()) + int((full[name] == 0).sum() if not share else 0)
        if share:
            assert full[name][~kept].abs().max() <= full[name][kept].abs().min()
    assert n_bytes < file_bytes(model_of(spec))


@pytest.mark.parametrize("kind", CUT)
def test_units_are_taken_out_and_the_small_network_computes_as_the_silenced_one(tmp_path: Path, kind: str) -> None:
    spec, path = spec_of(kind), tmp_path / "c.safetensors"
    silenced = model_of(spec)
    for units in units_of(silenced):
        order = units.norms().argsort(stable=True)
        units.silence(order[: units.count - max(1, round(units.count / 2))].sort().values)
    n_bytes = written(spec, path, "prune-structured")
    small = read(spec, path)
    torch.testing.assert_close(loss_of(spec, small), loss_of(spec, silenced), rtol=1e-4, atol=1e-5)
    assert footprint(small).weights < footprint(silenced).weights
    assert n_bytes < 0.8 * file_bytes(silenced)
    assert float(loss_of(spec, small)) != pytest.approx(float(loss_of(spec, model_of(spec))), rel=1e-6)


def test_one_unit_always_stays(tmp_path: Path) -> None:
    spec, path = spec_of("mlp"), tmp_path / "c.safetensors"
    written(spec, path, "prune-structured", 0.999)
    assert File(path).header.left == [1]
    assert torch.isfinite(loss_of(spec, read(spec, path)))


def test_int8_is_torchaos_and_within_half_a_step_of_the_weight() -> None:
    weight = torch.nn.Parameter(torch.randn(6, 3, 5, generator=torch.Generator().manual_seed(0)))
    found = quantized(weight, "int8-weights")
    assert found.values.dtype is torch.int8 and tuple(found.scale.shape) == (6, 1)
    away = (found.dequantized(weight.shape) - weight).abs().flatten(1)
    assert (away <= 0.5001 * found.scale).all()
    assert torch.equal(found.tensor("int8-weights").dequantize().view(weight.shape), found.dequantized(weight.shape))


def test_int4_packs_odd_numbers_of_weights(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = torch.nn.Linear(7, 3)
    whole = quantized(model.weight, "int4-weights").dequantized(model.weight.shape)
    compress(model, CompressionMethod(method="int4-weights"), tmp_path / "c", lambda: model(torch.ones(1, 7)))
    again = load_compressed(torch.nn.Linear(7, 3), tmp_path / "c")
    assert torch.equal(again.weight.dequantize(), whole)  # type: ignore[operator]


@pytest.mark.parametrize("kind", ["cnn", "gpt"])
@pytest.mark.parametrize("damage", ["truncated", "text", "pickle", "other model", "short", "no header"])
def test_a_file_that_is_not_whole_is_refused_in_a_sentence(tmp_path: Path, kind: str, damage: str) -> None:
    spec, path = spec_of(kind), tmp_path / "c.safetensors"
    written(spec, path, "int8-weights")
    content = path.read_bytes()
    if damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "text":
        path.write_bytes(b"no tensors here")
    elif damage == "pickle":
        torch.save({"a": torch.ones(2)}, path)
    elif damage == "other model":
        written(spec_of("vit"), path, "int8-weights")
    elif damage == "short":
        header = {"emergence-lab": _header(path)}
        save_file({name: tensor[:-1] for name, tensor in load_file(path).items()}, path, metadata=header)
    else:
        save_file(load_file(path), path)
    with pytest.raises(TrainingError, match=r"The compressed model .* cannot be read") as error:
        read(spec, path)
    assert error.value.remedy


def _header(path: Path) -> str:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        found: str = file.metadata()["emergence-lab"]
        return found


def test_the_layout_tells_models_apart() -> None:
    assert layout(torch.nn.Linear(2, 3)) == layout(torch.nn.Linear(2, 3)) != layout(torch.nn.Linear(3, 2))


def test_a_tied_weight_is_kept_once_and_stays_tied(tmp_path: Path) -> None:
    def tied() -> torch.nn.Sequential:
        model = torch.nn.Sequential(torch.nn.Embedding(9, 8), torch.nn.Linear(8, 9, bias=False))
        model[1].weight = model[0].weight
        return model

    torch.manual_seed(0)
    model, tokens = tied(), torch.arange(9)
    compress(model, CompressionMethod(method="int8-weights"), tmp_path / "c", lambda: model(tokens))
    again = load_compressed(tied(), tmp_path / "c")
    assert again[0].weight is again[1].weight  # type: ignore[index]
    assert footprint(again).memory == 9 * 8 + 9 * 4
