"""The network behind ``mlp``: linear layers with biases and a pointwise activation between them."""

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.families._units import Units, linear_units

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": F.relu, "gelu": F.gelu}


class Network(nn.Module):
    """Vectors float32 (batch, n_inputs) to float32 (batch, n_outputs): class scores, or numbers."""

    def __init__(self, shape: Mapping[str, Any], output_multiplier: float) -> None:
        super().__init__()
        d_hidden, n_layers = int(shape["d_hidden"]), int(shape["n_layers"])
        widths = [int(shape["n_inputs"]), *[d_hidden] * n_layers, int(shape["n_outputs"])]
        self.output_multiplier = output_multiplier
        self.activation = ACTIVATIONS[str(shape["activation"])]
        self.linears = nn.ModuleList(nn.Linear(i, o) for i, o in itertools.pairwise(widths))

    @property
    def layers(self) -> list[nn.Linear]:
        """Every linear layer from input to output."""
        return [layer for layer in self.linears if isinstance(layer, nn.Linear)]

    def units(self) -> list[Units]:
        """The hidden units of each layer."""
        return [linear_units("hidden units", *pair) for pair in itertools.pairwise(self.layers)]

    def hidden(self, x: Tensor) -> list[Tensor]:
        """What each hidden layer gives, (batch, d_hidden) each."""
        stream = []
        for layer in self.linears[:-1]:
            x = self.activation(layer(x))
            stream.append(x)
        return stream

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linears[-1](self.hidden(x)[-1] * self.output_multiplier)
        return out


@torch.no_grad()
def initialise(model: Network, seed: int, base_width: int) -> Network:
    """Normal weights, a function of ``seed`` alone, and biases of 0.

    Hidden layers have std sqrt(2 / fan_in), which keeps the second moment through a ReLU (He 2015); the output layer
    1 / sqrt(base width) at every width.
    """
    generator = torch.Generator().manual_seed(seed)
    for layer in model.layers:
        last = layer is model.layers[-1]
        std = base_width**-0.5 if last else (2 / layer.in_features) ** 0.5
        layer.weight.normal_(std=std, generator=generator)
        layer.bias.zero_()
    return model
