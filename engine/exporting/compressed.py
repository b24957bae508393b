"""A compressed model as a folder of transformers: pruned ones as small as their architecture allows, integers as
torchao's tensors in safetensors, which transformers reads by itself where torchao is installed.

The families write float32 alone. Which integers stand for a weight is found by writing twice: the numbers, and each
number's scale in its place. What a family splits, joins or multiplies happens to both, and their quotient is integers.
"""

import importlib.metadata
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from engine.compressing import PRUNING, UNSTRUCTURED
from engine.errors import InputError
from engine.exporting.card import Contents
from engine.families import families
from engine.i18n import mark, tr
from engine.model_folders import config_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from engine.adapting.compression.quantize import Quantized
    from engine.families.base import Shape
    from engine.finished import Finished

AWAY = 0.01
"""How far a quotient may be from an integer, which it is but for the rounding of float32."""
KINDS = (mark("heads"), mark("hidden units"), mark("channels"))
"""What ``Units.kind`` may be, for the catalogue."""
UNTIED = frozenset({"llama", "modernbert"})
"""Architectures that compute the same with a table of tokens of their own for the output. T5 does not."""


def method_of(run: "Finished") -> Any:
    """What was done to the run's parent."""
    assert run.spec.compression is not msgspec.UNSET
    return run.spec.compression


def has_integers(run: "Finished") -> bool:
    """Whether a compressed run is kept in fewer bits, not cut."""
    return method_of(run).method not in PRUNING


def write_compressed(run: "Finished", folder: Path, *, dense: bool) -> Contents:
    """Write weights and configuration; says what they are.

    Raises:
        InputError: transformers cannot hold the model as it is, nothing is written.
        NotImplementedError: it has no counterpart for the family.
    """
    from engine.quiet import quiet_torchao

    quiet_torchao()
    if has_integers(run) and not dense:
        return _write_integers(run, folder)
    model = run.load(dense=dense)
    shape: Shape = run.spec.shape
    if has_integers(run):
        words = "The integers are multiplied out: float32, of the size before compression."
    elif method_of(run).method == UNSTRUCTURED:
        words = "What was cut is 0, and takes as many bytes as any number."
    elif dense:
        words = "What was cut out is zeros in its place: of the size before compression."
    else:
        words = "What was cut out is not there: a smaller model of the same architecture."
        shape = smaller_shape(run, model)
    families[run.spec.family].export_hf(model, shape, folder, None)
    return Contents(sum(p.numel() for p in model.parameters()), words)


def smaller_shape(run: "Finished", model: "nn.Module") -> "Shape":
    """The shape of a network that was cut, as its configuration in transformers tells it.

    Raises ``InputError`` where transformers has no such configuration.
    """
    from engine.adapting.compression.prune import units_of

    family, shape = families[run.spec.family], dict(run.spec.shape)
    before: dict[str, set[int]] = {}
    after: dict[str, set[int]] = {}
    for full, left in zip(units_of(run.blank()), units_of(model), strict=True):
        before.setdefault(full.kind, set()).add(full.count)
        after.setdefault(left.kind, set()).add(left.count)
    for kind, counts in after.items():
        if counts == before[kind]:
            continue
        if kind not in family.exported_units or len(counts) > 1:
            raise InputError(
                tr("transformers has no form for a {family} with {kind} cut out.", family=family.name, kind=tr(kind)),
                tr(
                    "Add --dense for zeros in their place, or export it as ONNX; the small model is {path}.",
                    path=str(run.path),
                ),
            )
        if kind == "heads":  # elsewhere it is the width over the number of heads
            shape.setdefault("head_dim", int(shape["d_model"]) // int(shape["n_heads"]))
        (shape[family.exported_units[kind]],) = counts
    return shape


def _write_integers(run: "Finished", folder: Path) -> Contents:
    """Write linear layers and the embeddings with torchao's tensors, and all else in float32."""
    from engine.adapting.compression.load import load_scales
    from engine.adapting.compression.quantize import BITS
    from engine.importing.folders import load_folder
    from engine.quiet import making_models

    family, shape, method = families[run.spec.family], run.spec.shape, method_of(run).method
    with tempfile.TemporaryDirectory() as temporary:
        plain, scaled = Path(temporary) / "plain", Path(temporary) / "scales"
        family.export_hf(run.load(dense=True), shape, plain, None)
        if "auto_map" in config_of(plain):
            raise _unable(tr("transformers has no class for it, and code that comes with a model is not run here"))
        family.export_hf(load_scales(run.blank(), run.path), shape, scaled, None)
        with making_models():
            model, scales = load_folder(plain).model, load_folder(scaled).model
    untied = _untie(model) and _untie(scales)
    integers = _integers(model, scales, method)
    if not integers:
        raise _unable(tr("it has no linear layer that is kept as integers"))
    n_written = sum(p.numel() for p in model.parameters())
    n_integers = sum(found.values.numel() for found in integers.values())
    _put(model, integers, method)
    _save(model, method, folder)
    words = (
        f"{n_integers:,} of {n_written:,} numbers are integers, as torchao's tensors in safetensors: loading them "
        f"needs torchao ({importlib.metadata.version('torchao')} here). The others are float32."
    )
    if untied:
        words += " The output layer, which was the table of tokens itself, is a second copy of it."
    if BITS[method] == 4:
        words += " Each integer of 4 bits takes a byte here, as torchao keeps them where there is no GPU."
    return Contents(run.spec.n_params, words)


def _integers(model: Any, scales: Any, method: str) -> "dict[str, Quantized]":
    """Name of each weight that can be integers -> these; model and ``scales`` are of one architecture."""
    from torch import nn

    of_scales = dict(scales.named_parameters())
    found: dict[str, Quantized] = {}
    reads, shared = _embeddings(model), _shared(model)
    for name, module in model.named_modules():
        weight = f"{name}.weight"
        if (isinstance(module, nn.Linear) or module is reads) and weight not in shared:
            given = _quotient(model.get_parameter(weight), of_scales[weight], method)
            if given is not None:
                found[weight] = given
    return found


def _untie(model: Any) -> bool:
    """Give the output layer its own copy of the table of tokens: transformers cannot read torchao's tensors tied."""
    if model.config.model_type not in UNTIED or not model.config.tie_word_embeddings:
        return False
    import torch

    output = model.get_output_embeddings()
    output.weight = torch.nn.Parameter(output.weight.detach().clone())
    model.config.tie_word_embeddings = False
    return True


def _shared(model: "nn.Module") -> set[str]:
    """Names of parameters that are held in several places."""
    seen: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        seen.setdefault(id(parameter), []).append(name)
    return {name for names in seen.values() if len(names) > 1 for name in names}


def _embeddings(model: Any) -> "nn.Module | None":
    """The table of tokens, where there is one."""
    from torch import nn

    try:
        found = model.get_input_embeddings()
    except NotImplementedError:
        return None
    return found if isinstance(found, nn.Embedding) else None


def _quotient(weight: "Tensor", scales: "Tensor", method: str) -> "Quantized | None":
    """A weight (rows, n) as integers of one scale to a row or to each group of a row; None where it is none."""
    import torch

    from engine.adapting.compression.quantize import BITS, Quantized, groups_of

    scales = scales.detach()
    grouped = scales.view(len(scales), groups_of(scales.shape[1], method), -1)
    if not bool((scales > 0).all()) or not bool((grouped == grouped[..., :1]).all()):
        return None
    quotient = weight.detach() / scales
    values = quotient.round()
    most = 2 ** (BITS[method] - 1)
    if float((quotient - values).abs().max()) > AWAY or not bool(((values >= -most) & (values < most)).all()):
        return None
    return Quantized(values.to(torch.int8), grouped[..., 0].contiguous())


def _put(model: Any, integers: "Mapping[str, Quantized]", method: str) -> None:
    from engine.adapting.compression.quantize import put

    for name, found in integers.items():
        path, _, leaf = name.rpartition(".")
        put([(model.get_submodule(path), leaf)], found.tensor(method))


def _save(model: Any, method: str, folder: Path) -> None:
    """By transformers' own quantizer; what it wrote is read once before it is kept, since the form is young."""
    import torch
    from transformers import TorchAoConfig
    from transformers.quantizers.quantizer_torchao import TorchAoHfQuantizer

    from engine.adapting.compression.quantize import config_of
    from engine.importing.folders import load_folder
    from engine.quiet import making_models

    embedded = _embeddings(model)
    with_embeddings = embedded is not None and type(embedded.weight.data) is not torch.Tensor
    config = TorchAoConfig(config_of(method), include_input_output_embeddings=with_embeddings)
    model.config.quantization_config = config
    model.hf_quantizer = TorchAoHfQuantizer(config, pre_quantized=True)
    with making_models(), tempfile.TemporaryDirectory() as temporary:
        model.save_pretrained(temporary)
        try:
            again = load_folder(Path(temporary)).model
        except (InputError, NotImplementedError, AssertionError):
            version = importlib.metadata.version("transformers")
            raise _unable(tr("transformers {version} does not read them back", version=version)) from None
        if _kinds(again) != _kinds(model):
            raise _unable(tr("they come back as other numbers than they went out"))
        folder.mkdir(parents=True, exist_ok=True)
        for file in Path(temporary).iterdir():
            shutil.copyfile(file, folder / file.name)  # without the rights of what is private for a while


def _kinds(model: Any) -> dict[str, str]:
    return {name: type(parameter.data).__name__ for name, parameter in model.named_parameters()}


def _unable(why: str) -> InputError:
    return InputError(
        tr("the integers cannot be written for transformers: {why}.", why=why),
        tr("Add --dense to write them multiplied out, as float32."),
    )
