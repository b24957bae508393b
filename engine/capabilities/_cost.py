"""Bytes, weights and time of models. Several are timed in turns, so that what slows the machine slows all alike."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from engine.families.base import Family

WARM_UP = 5
FEWEST_ROUNDS, MOST_ROUNDS = 15, 400
Z = 1.96
SEED = 0xC057
UNABLE = (RuntimeError, NotImplementedError, TypeError, AttributeError, AssertionError, KeyError)
"""What torch and torchao raise where a layer cannot compute with what it was given."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """``memory`` is in bytes, of all that the model holds; weights are its parameters."""

    memory: int
    weights: int
    nonzero: int

    @property
    def sparsity(self) -> float:
        """Share of the weights that are zero."""
        return 1 - self.nonzero / max(1, self.weights)


@dataclass(frozen=True, slots=True)
class Timing:
    """Milliseconds of a forward pass, or a ratio of two: the median of ``n`` with a distribution-free 95% interval."""

    median: float
    low: float
    high: float
    n: int

    @property
    def stderr(self) -> float:
        """Half the interval in standard errors of a normal one."""
        return (self.high - self.low) / (2 * Z)


def parts_of(tensor: Tensor) -> list[Tensor]:
    """The plain tensors that a tensor is made of: itself, or integers and scales of a quantized one."""
    flatten = getattr(tensor, "__tensor_flatten__", None)
    return [tensor] if flatten is None else [getattr(tensor, name) for name in flatten()[0]]


def footprint(model: nn.Module) -> Footprint:
    """What a model holds; a weight that several places share counts once."""
    parameters = list(model.parameters())
    held = [part for tensor in (*parameters, *model.buffers()) for part in parts_of(tensor)]
    memory = sum(part.numel() * part.element_size() for part in {id(part): part for part in held}.values())
    nonzero = sum(int(torch.count_nonzero(parts_of(p)[0].detach())) for p in parameters)
    return Footprint(memory, sum(p.numel() for p in parameters), nonzero)


def file_bytes(model: nn.Module) -> int:
    """Bytes of the model's weights as plain safetensors."""
    from safetensors.torch import save

    return len(save({name: tensor.detach().cpu().contiguous().clone() for name, tensor in model.state_dict().items()}))


def forward_passes(
    family: "Family",
    models: Sequence[nn.Module],
    shape: Mapping[str, Any],
    context: int,
    batch: int,
    device: torch.device,
) -> list[Callable[[], object]]:
    """One forward pass of each model on the same random input: of the model itself, or, where one of them takes more
    than inputs, of the loss of all: what is compared must do the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        example = {name: tensor.to(device) for name, tensor in family.example(shape, batch, context).items()}

    def plain(model: nn.Module) -> Callable[[], object]:
        return lambda: model(example["inputs"])

    def loss(model: nn.Module) -> Callable[[], object]:
        return lambda: family.loss(model, example)

    calls = [plain(model) for model in models]
    return calls if all(map(can, calls)) else [loss(model) for model in models]


def can(call: Callable[[], object]) -> bool:
    """Whether a pass through a model works: not every layer computes with every kind of number."""
    try:
        with torch.no_grad():
            call()
    except UNABLE:
        return False
    return True


def seconds_in_turns(
    calls: Sequence[Callable[[], object]], seconds: float, device: torch.device
) -> "NDArray[np.float64]":
    """(rounds, calls) seconds of each call, one after the other, for about ``seconds`` a call, after a warm-up."""

    def once(call: Callable[[], object]) -> float:
        begin = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - begin

    with torch.no_grad(), torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        for _ in range(WARM_UP):
            for call in calls:
                once(call)
        taken: list[list[float]] = []
        end = time.perf_counter() + seconds * len(calls)
        while len(taken) < FEWEST_ROUNDS or (time.perf_counter() < end and len(taken) < MOST_ROUNDS):
            order = range(len(calls)) if len(taken) % 2 == 0 else range(len(calls) - 1, -1, -1)
            found = {index: once(calls[index]) for index in order}
            taken.append([found[index] for index in range(len(calls))])
    return np.array(taken)


def timings(calls: Sequence[Callable[[], object]], seconds: float, device: torch.device) -> list[Timing]:
    """Milliseconds of each call."""
    return [median_of(column * 1e3) for column in seconds_in_turns(calls, seconds, device).T]


def median_of(values: "NDArray[np.float64]") -> Timing:
    """The median and the order statistics that hold it with 95% (the normal form of the binomial)."""
    ordered, n = np.sort(values), len(values)
    reach = Z * n**0.5 / 2
    low, high = max(0, int(np.floor(n / 2 - reach))), min(n - 1, int(np.ceil(n / 2 + reach)))
    return Timing(float(np.median(ordered)), float(ordered[low]), float(ordered[high]), n)
