"""A compressed model made and read again: what is trained, quantized or cut goes to a file, and comes back equal."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from engine.adapting.compression.codec import File, write
from engine.adapting.compression.prune import cut, remove, resize, units_of
from engine.adapting.compression.quantize import (
    BITS,
    DYNAMIC,
    Quantized,
    owners,
    put,
    quantizable,
    quantized,
    try_tensors,
)
from engine.errors import TrainingError
from engine.i18n import tr

if TYPE_CHECKING:
    from engine.study import CompressionMethod


def compress(model: nn.Module, method: "CompressionMethod", path: Path, example: Callable[[], object]) -> int:
    """Write ``model`` compressed; it is changed on the way and may no longer be used. Returns the bytes.

    ``example`` runs the model on something; by it is found out which layers compute with integers.
    """
    model.requires_grad_(False)
    if method.method not in BITS:
        cut(model, method, method.amount)  # what a schedule has left
        return write(path, model, method.method, {}, set(), remove(model, method))
    integers = {n: quantized(p, method.method) for n, p in model.named_parameters() if quantizable(p)}
    plain = {name: parameter.detach() for name, parameter in model.named_parameters()}
    held = try_tensors(model, integers, method.method, example)
    for name, places in owners(model).items():
        put(places, plain[name])  # the file is written from shapes that are the model's own
    return write(path, model, method.method, integers, held, [])


def load_compressed(model: nn.Module, path: Path, *, dense: bool = False) -> nn.Module:
    """``model``, freshly built at the parent's shape, as the file has it: smaller, or computing with integers.

    ``dense`` keeps the parent's shape and float32: zeros are where units were cut, and integers are multiplied out.
    Raises ``TrainingError`` where the file cannot be read or is of another model.
    """
    file = File(path)
    counts = [units.count for units in units_of(model)]
    _resize(model, file, path)
    found: Mapping[str, Tensor | Quantized] = dict(file.tensors(model))
    held = iter(file.header.held)
    where = owners(model)
    buffers = dict(model.named_buffers())
    with torch.no_grad():
        for name, kept in found.items():
            if isinstance(kept, Quantized):
                module, leaf = where[name][0]
                shape, device = getattr(module, leaf).shape, getattr(module, leaf).device
                whole = next(held, "0") == "1" and not dense
                put(where[name], (kept.tensor(file.header.method) if whole else kept.dequantized(shape)).to(device))
            elif name in where:
                module, leaf = where[name][0]
                getattr(module, leaf).copy_(kept)
            else:
                buffers[name].copy_(kept)
    if dense and file.header.left:
        for units, count in zip(units_of(model), counts, strict=True):
            units.grow(count)
    return model.requires_grad_(False).eval()


def load_scales(model: nn.Module, path: Path) -> nn.Module:
    """``model`` with each quantized weight's own scale in its place, and 0 in place of all that is no integer.

    Where integers are used with activations of 8 bits, only weights that the model computes with as integers.
    """
    file = File(path)
    held = iter(file.header.held)
    where = owners(model)
    for name, kept in dict(file.tensors(model)).items():
        if name not in where:
            continue
        module, leaf = where[name][0]
        like: Tensor = getattr(module, leaf).detach()
        scales = torch.zeros_like(like)
        if isinstance(kept, Quantized) and (next(held, "0") == "1" or file.header.method != DYNAMIC):
            scales = replace(kept, values=torch.ones_like(kept.values)).dequantized(like.shape)
        put(where[name], scales)
    return model.eval()


def _resize(model: nn.Module, file: File, path: Path) -> None:
    if file.header.left:
        try:
            resize(model, file.header.left)
        except ValueError:
            raise TrainingError(tr("The compressed model {path} is of another model.", path=str(path))) from None
