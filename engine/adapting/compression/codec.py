"""The file of a compressed model: safetensors of a few flat tensors, in the order of the model's own parameters.

A model of a thousand weights would be mostly names otherwise. What a parameter is kept as follows from the method and
its shape, so that the file needs no list; a digest of names and shapes refuses the file of another model.

``float`` are numbers as they are, ``integers`` and ``scale`` what torchao made of weights (4 bits: two to a byte, low
bits first), ``mask`` one bit for every weight that may be pruned, of which ``float`` holds only the others.
"""

import hashlib
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from engine.adapting.compression.prune import pruned_weights
from engine.adapting.compression.quantize import BITS, Quantized, groups_of, quantizable
from engine.compressing import UNSTRUCTURED
from engine.errors import TrainingError
from engine.i18n import tr
from engine.training.checkpoint import write_tensors

COMPRESSED = "compressed.safetensors"
FORMAT = "emergence-lab-compressed-1"
KEY = "emergence-lab"


class Header(msgspec.Struct, kw_only=True, frozen=True):
    """What the file says of itself. ``left`` are the units of each layer that was pruned; ``held`` one character for
    each quantized weight, 1 where the model computes with the integers."""

    format: str
    method: str
    layout: str
    left: list[int] = []
    held: str = ""


def layout(model: nn.Module) -> str:
    """Sixteen hexadecimal digits that two models share whose parameters have the same names and shapes."""
    text = repr([(name, tuple(tensor.shape), str(tensor.dtype)) for name, tensor in _stored(model).items()])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def write(
    path: Path, model: nn.Module, method: str, integers: Mapping[str, Quantized], held: set[str], left: list[int]
) -> int:
    """Write a model of its final shape whose quantized weights are ``integers``; returns the bytes.

    Raises ``ResourceError`` where the disk is full.
    """
    header = Header(
        format=FORMAT,
        method=method,
        layout=layout(model),
        left=left,
        held="".join("1" if name in held else "0" for name in integers),
    )
    parts: dict[str, list[Tensor]] = {}
    may_be_cut = pruned_weights(model).keys() if method == UNSTRUCTURED else frozenset()
    for name, tensor in _stored(model).items():
        flat = tensor.detach().cpu().flatten()
        if name in integers:
            values = integers[name].values.cpu().flatten()
            parts.setdefault("integers", []).append(_packed(values) if BITS[method] == 4 else values)
            parts.setdefault("scale", []).append(integers[name].scale.cpu().flatten())
        elif name in may_be_cut:
            mask = flat != 0
            parts.setdefault("mask", []).append(torch.from_numpy(np.packbits(mask.numpy())))
            parts.setdefault("float", []).append(flat[mask])
        elif tensor.dtype == torch.float32:
            parts.setdefault("float", []).append(flat)
        else:
            parts[f"other/{name}"] = [flat]
    tensors = {name: torch.cat(of) for name, of in parts.items()}
    return write_tensors(path, tensors, {KEY: msgspec.json.encode(header).decode()})


class File:
    """A compressed file, read onto the CPU. Raises ``TrainingError`` where it is none."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            with safe_open(path, framework="pt") as file:
                self.header = msgspec.json.decode((file.metadata() or {})[KEY], type=Header)
                self._parts: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}
        except (OSError, SafetensorError, KeyError, msgspec.MsgspecError) as error:
            raise self._unreadable(str(error)) from None
        if self.header.format != FORMAT:
            raise self._unreadable(self.header.format)

    def tensors(self, model: nn.Module) -> Iterator[tuple[str, Tensor | Quantized]]:
        """What each parameter and buffer of ``model``, already of its final shape, is to be.

        Raises ``TrainingError`` where the file is of another model.
        """
        if self.header.layout != layout(model):
            raise self._unreadable(tr("it is of another model"))
        method, at = self.header.method, dict.fromkeys(self._parts, 0)
        bits = BITS.get(method)
        in_integers = _quantizable(model) if bits else set()
        may_be_cut = pruned_weights(model).keys() if method == UNSTRUCTURED else frozenset()

        def take(part: str, n: int) -> Tensor:
            first = at.get(part, 0)
            found: Tensor = self._parts.get(part, torch.empty(0))[first : first + n]
            if len(found) != n:
                raise self._unreadable(tr("it ends too early"))
            at[part] = first + n
            return found

        for name, tensor in _stored(model).items():
            n = tensor.numel()
            if name in in_integers:
                rows, width = len(tensor), n // len(tensor)
                values = _unpacked(take("integers", math.ceil(n / 2)), n) if bits == 4 else take("integers", n)
                groups = groups_of(width, method)
                yield name, Quantized(values.view(rows, width), take("scale", rows * groups).view(rows, groups))
            elif name in may_be_cut:
                packed = take("mask", math.ceil(n / 8)).numpy()
                mask = torch.from_numpy(np.unpackbits(packed, count=n).astype(bool))
                full = torch.zeros(n)
                full[mask] = take("float", int(mask.sum()))
                yield name, full.view(tensor.shape)
            elif tensor.dtype == torch.float32:
                yield name, take("float", n).view(tensor.shape)
            else:
                yield name, take(f"other/{name}", n).view(tensor.shape)

    def _unreadable(self, why: str) -> TrainingError:
        return TrainingError(
            tr("The compressed model {path} cannot be read: {why}.", path=str(self._path), why=why),
            tr("Restore it from a copy, or compress the model again."),
        )


def _stored(model: nn.Module) -> dict[str, Tensor]:
    """Parameters, each once also where several places share it, and what else the model keeps with them."""
    parameters: dict[str, Tensor] = dict(model.named_parameters())
    shared = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    return parameters | {name: tensor for name, tensor in model.state_dict().items() if name not in shared}


def _quantizable(model: nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if quantizable(parameter)}


def _packed(values: Tensor) -> Tensor:
    """int8 (n,) in -8..7 as uint8 (ceil(n / 2),)."""
    even = torch.nn.functional.pad(values, (0, len(values) % 2)) & 0xF
    return (even[0::2] | (even[1::2] << 4)).to(torch.uint8)


def _unpacked(packed: Tensor, n: int) -> Tensor:
    pairs = torch.stack((packed & 0xF, packed >> 4), dim=1).flatten()[:n].to(torch.int8)
    return torch.where(pairs > 7, pairs - 16, pairs)
