"""The network behind ``cnn``: convolutions with biases, without normalisation, plain or with paths around pairs."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.families._convolutions import Convolution, convolutions
from engine.families._mlp import ACTIVATIONS
from engine.families._units import Part, Units


class Conv(nn.Module):
    """A convolution whose weights are a matrix (n_out, n_in * kernel^2), which is what Muon and muP speak of."""

    def __init__(self, plan: Convolution) -> None:
        super().__init__()
        self.plan = plan
        self.weight = nn.Parameter(torch.empty(plan.n_out, plan.n_in * plan.kernel**2))
        self.bias = nn.Parameter(torch.empty(plan.n_out)) if plan.n_biases else None

    def kernels(self) -> Tensor:
        """The weights as torch and transformers hold them, (n_out, n_in, kernel, kernel)."""
        return self.weight.view(self.plan.n_out, self.plan.n_in, self.plan.kernel, self.plan.kernel)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.kernels(), self.bias, self.plan.stride, self.plan.kernel // 2)


class Residual(nn.Module):
    """sigma(shortcut(x) + r W2 * sigma(W1 * x + b1) + r b2), the shortcut 1 x 1 where the shapes differ (He 2016)."""

    def __init__(
        self, first: Convolution, second: Convolution, shortcut: Convolution | None, multiplier: float
    ) -> None:
        super().__init__()
        self.first, self.second = Conv(first), Conv(second)
        self.shortcut = Conv(shortcut) if shortcut else None
        self.multiplier = multiplier


class Network(nn.Module):
    """Images float32 (batch, n_inputs, h, w) to class scores (batch, n_outputs)."""

    def __init__(self, shape: Mapping[str, Any], output_multiplier: float) -> None:
        super().__init__()
        plan = convolutions(shape)
        self.output_multiplier = output_multiplier
        self.activation = ACTIVATIONS[str(shape["activation"])]
        self.quarter = shape["stem"] == "quarter"
        self.stem = Conv(plan[0])
        self.blocks = nn.ModuleList(_blocks(plan[1:]))
        self.head = nn.Linear(plan[-1].n_out, int(shape["n_outputs"]))

    def units(self) -> list[Units]:
        """The channels of each convolution; of a residual block those inside it, since the stream is shared."""
        inside = [block for block in self.blocks if isinstance(block, Residual)]
        if inside:
            return [_channels(block.first, block.second) for block in inside]
        plain = [self.stem, *(block for block in self.blocks if isinstance(block, Conv))]
        readers: list[Conv | nn.Linear] = [*plain[1:], self.head]
        return [_channels(first, second) for first, second in zip(plain, readers, strict=True)]

    def hidden(self, x: Tensor) -> list[Tensor]:
        """What the first layer and each block give, (batch, channels, h, w) each."""
        x = self.activation(self.stem(x))
        if self.quarter:
            x = F.max_pool2d(x, 3, 2, 1)
        stream = [x]
        for block in self.blocks:
            first = block.first if isinstance(block, Residual) else block
            assert isinstance(first, Conv)
            if first.plan.pooled:
                x = F.max_pool2d(x, 2, ceil_mode=True)
            x = self.activation(self._sum(block, x) if isinstance(block, Residual) else block(x))
            stream.append(x)
        return stream

    def _sum(self, block: Residual, x: Tensor) -> Tensor:
        """What a residual block gives before its last activation."""
        branch = block.second(self.activation(block.first(x)))
        return torch.add(x if block.shortcut is None else block.shortcut(x), branch, alpha=block.multiplier)

    def pooled(self, x: Tensor) -> Tensor:
        """The mean over places of the last maps, (batch, channels)."""
        return self.hidden(x)[-1].mean(dim=(2, 3))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.pooled(x) * self.output_multiplier)
        return out


def _channels(first: Conv, second: Conv | nn.Linear) -> Units:
    """What ``first`` gives and ``second``, a convolution or the head, reads."""
    parts = [Part(first, "weight"), Part(second, "weight", axis=1)]
    if first.bias is not None:
        parts.insert(1, Part(first, "bias"))

    def resized(n: int) -> None:
        first.plan = replace(first.plan, n_out=n)
        if isinstance(second, Conv):
            second.plan = replace(second.plan, n_in=n)
        else:
            second.in_features = n

    return Units("channels", first.plan.n_out, tuple(parts), resized)


def _blocks(plan: list[Convolution]) -> list[nn.Module]:
    """The layers after the first. Residual branches are multiplied by 1 / sqrt(their number): their sum is bounded."""
    n_residual = sum(c.role == "second" for c in plan)
    made: list[nn.Module] = []
    for place, c in enumerate(plan):
        if c.role == "plain":
            made.append(Conv(c))
        elif c.role == "first":
            after = plan[place + 2] if place + 2 < len(plan) else None
            shortcut = after if after is not None and after.role == "shortcut" else None
            made.append(Residual(c, plan[place + 1], shortcut, n_residual**-0.5))
    return made


@torch.no_grad()
def initialise(model: Network, seed: int) -> Network:
    """Normal weights, a function of ``seed`` alone, and biases of 0.

    Layers before an activation have std sqrt(2 / fan_in), which keeps the second moment through a ReLU (He 2015);
    shortcuts 1 / sqrt(fan_in); the output layer 1 / sqrt(its fan_in at the base width).
    """
    generator = torch.Generator().manual_seed(seed)
    for layer in model.modules():
        if isinstance(layer, Conv):
            gain = 1 if layer.plan.role == "shortcut" else 2
            layer.weight.normal_(std=math.sqrt(gain / layer.weight.shape[1]), generator=generator)
            if layer.bias is not None:
                layer.bias.zero_()
    fan_in = model.head.in_features * model.output_multiplier
    model.head.weight.normal_(std=fan_in**-0.5, generator=generator)
    model.head.bias.zero_()
    return model
