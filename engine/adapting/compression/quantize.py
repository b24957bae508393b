"""Weights in 8 or 4 bits, by torchao; where a layer cannot compute with them they are brought back to float32.

What is quantized is every weight of at least two axes with ``FEWEST`` numbers to a row, embeddings and convolutions
too: symmetric, one scale for each row (output channel), or in 4 bits for each ``GROUP`` of a row. Whether a layer can
compute with torchao's tensor is found out by trying it on an example.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from engine.capabilities._cost import can

FEWEST = 4
"""Numbers to a row below which a scale of its own costs more than it saves."""
GROUP = 32
"""Numbers that share a scale in 4 bits, where a row divides into such groups; else a row does."""
BITS: Mapping[str, int] = {"int8-dynamic": 8, "int8-weights": 8, "int4-weights": 4}
DYNAMIC = "int8-dynamic"
INT4: torch.dtype = torch.int4  # type: ignore[attr-defined]
Places = list[tuple[nn.Module, str]]
"""Where a parameter is held, and under what name."""


@dataclass(frozen=True, slots=True)
class Quantized:
    """A weight as integers int8 (rows, n) and scales float32 (rows, groups)."""

    values: Tensor
    scale: Tensor

    def tensor(self, method: str) -> Tensor:
        """torchao's tensor of it, (rows, n), which ``F.linear`` and ``F.embedding`` take."""
        from torchao.quantization import Int8Tensor, IntxUnpackedToInt8Tensor

        block = [1, self.values.shape[1] // self.scale.shape[1]]
        if BITS[method] == 8:
            made: Tensor = Int8Tensor(
                self.values,
                self.scale,
                block,
                torch.float32,
                act_quant_kwargs=_activations() if method == DYNAMIC else None,
            )
            return made
        made = IntxUnpackedToInt8Tensor(
            self.values,
            self.scale,
            torch.zeros_like(self.scale, dtype=torch.int8),
            INT4,
            block,
            torch.float32,
            None,
        )
        return made

    def dequantized(self, shape: torch.Size) -> Tensor:
        """float32 of the weight's own shape."""
        groups = self.values.float().view(*self.scale.shape, -1) * self.scale[..., None]
        return groups.reshape(shape)


def owners(model: nn.Module) -> dict[str, Places]:
    """Name of each parameter -> the modules that hold it and under what name; several where it is tied."""
    found: dict[int, Places] = {}
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            found.setdefault(id(parameter), []).append((module, name))
    return {name: found[id(parameter)] for name, parameter in model.named_parameters()}


def quantizable(parameter: Tensor) -> bool:
    """Whether a parameter is kept in fewer bits; follows from its shape alone, so that a file need not say it."""
    return parameter.is_floating_point() and parameter.dim() > 1 and parameter[0].numel() >= FEWEST


def groups_of(n: int, method: str) -> int:
    """Scales to a row of ``n`` numbers."""
    return n // GROUP if BITS[method] == 4 and n % GROUP == 0 else 1


def config_of(method: str, groups: int = 2) -> Any:
    """What torchao calls the method, for rows of so many groups."""
    from torchao.quantization import (
        Int8DynamicActivationInt8WeightConfig,
        Int8WeightOnlyConfig,
        IntxWeightOnlyConfig,
        PerAxis,
        PerGroup,
    )

    if BITS[method] == 4:
        return IntxWeightOnlyConfig(weight_dtype=INT4, granularity=PerGroup(GROUP) if groups > 1 else PerAxis(0))
    return Int8DynamicActivationInt8WeightConfig() if method == DYNAMIC else Int8WeightOnlyConfig()


@torch.no_grad()
def quantized(parameter: Tensor, method: str) -> Quantized:
    """What torchao makes of a weight, its axes after the first as one."""
    from torchao.quantization import quantize_

    rows = parameter.detach().float().flatten(1)
    holder = nn.Linear(rows.shape[1], rows.shape[0], bias=False, device=rows.device)
    holder.weight = nn.Parameter(rows.clone())
    quantize_(nn.Sequential(holder), config_of(method, groups_of(rows.shape[1], method)))
    made: Any = holder.weight
    return Quantized(made.qdata.contiguous(), made.scale.float().reshape(len(rows), -1).contiguous())


def put(places: Places, tensor: Tensor) -> None:
    """Make ``tensor`` the parameter at all places; a model of integers is not trained on."""
    made = nn.Parameter(tensor, requires_grad=False)
    for module, name in places:
        setattr(module, name, made)


def try_tensors(
    model: nn.Module, found: Mapping[str, Quantized], method: str, example: Callable[[], object]
) -> set[str]:
    """Put torchao's tensors where a layer computes with them, float32 elsewhere; returns the names of the first.

    One weight is tried for all of the same name in modules of the same kind.
    """
    where = owners(model)
    works: dict[tuple[type[nn.Module], str], bool] = {}
    held: set[str] = set()
    for name, integers in found.items():
        module, leaf = where[name][0]
        shape = getattr(module, leaf).shape
        plain = integers.dequantized(shape)
        key = (type(module), leaf)
        if len(shape) == 2 and works.get(key, True):
            put(where[name], integers.tensor(method))
            if key not in works:
                works[key] = can(example)
            if works[key]:
                held.add(name)
                continue
        put(where[name], plain)
    return held


def _activations() -> Any:
    """How activations are quantized: symmetric, each token (or sample) by its own scale, as the config of torchao."""
    from torchao.quantization import PerRow
    from torchao.quantization.quantize_.workflows import QuantizeTensorToInt8Kwargs

    return QuantizeTensorToInt8Kwargs(granularity=PerRow())
