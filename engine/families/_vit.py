"""The network behind ``vit``: pre-norm layers with biases over the patches of an image (Dosovitskiy 2021)."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.families._attention import causal_bias, usual_implementation
from engine.families._decoder import Multipliers
from engine.families._units import Part, Units, linear_units

NORM_EPS = 1e-6
POSITION_STD = 0.5
"""Of positions and class token at initialisation, beside patches that are read as a stream of order one."""


class Block(nn.Module):
    """One layer over (batch, t, d_model): attention of each position to all, or, ``causal``, to none after it, and an
    MLP with GELU."""

    def __init__(
        self, shape: Mapping[str, Any], multipliers: Multipliers, *, causal: bool = False, eps: float = NORM_EPS
    ) -> None:
        super().__init__()
        d_model, d_ff = int(shape["d_model"]), int(shape["d_ff"])
        self.n_heads, self.causal, self.multipliers = int(shape["n_heads"]), causal, multipliers
        self.norm_attention = nn.LayerNorm(d_model, eps)
        self.qkv = nn.Linear(d_model, 3 * d_model)
        self.out = nn.Linear(d_model, d_model)
        self.norm_mlp = nn.LayerNorm(d_model, eps)
        self.up = nn.Linear(d_model, d_ff)
        self.down = nn.Linear(d_ff, d_model)

    def units(self) -> list[Units]:
        """Its heads, and the hidden units of its MLP."""

        def resized(n: int) -> None:
            self.n_heads = n

        parts = (Part(self.qkv, "weight", repeats=3), Part(self.qkv, "bias", repeats=3), Part(self.out, "weight", 1))
        heads = Units("heads", self.n_heads, parts, resized)
        return [heads, linear_units("hidden units", self.up, self.down)]

    def forward(self, x: Tensor) -> Tensor:
        x = torch.add(x, self._attention(self.norm_attention(x)), alpha=self.multipliers.residual)
        branch = self.down(F.gelu(self.up(self.norm_mlp(x))))
        return torch.add(x, branch, alpha=self.multipliers.residual)

    def _attention(self, x: Tensor) -> Tensor:
        batch, t, _ = x.shape
        q, k, v = self.qkv(x).view(batch, t, 3 * self.n_heads, -1).transpose(1, 2).chunk(3, dim=1)
        scale = self.multipliers.attention
        if usual_implementation(q.device.type, q.dtype, t) == "written":
            scores = (q * scale) @ k.transpose(-2, -1)
            mixed = (scores + causal_bias(t, q.device, q.dtype) if self.causal else scores).softmax(-1) @ v
        else:
            mixed = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal, scale=scale)
        projected: Tensor = self.out(mixed.transpose(1, 2).reshape(batch, t, -1))
        return projected


class Network(nn.Module):
    """Images float32 (batch, n_inputs, h, w) to class scores (batch, n_outputs), read off at a class token."""

    def __init__(self, shape: Mapping[str, Any], multipliers: Multipliers) -> None:
        super().__init__()
        d_model, self.patch = int(shape["d_model"]), int(shape["patch"])
        self.multipliers = multipliers
        n_patches = (int(shape["height"]) // self.patch) * (int(shape["width"]) // self.patch)
        self.embed = nn.Linear(int(shape["n_inputs"]) * self.patch**2, d_model)
        self.class_token = nn.Parameter(torch.empty(1, d_model))
        self.positions = nn.Parameter(torch.empty(1 + n_patches, d_model))
        self.blocks = nn.ModuleList(Block(shape, multipliers) for _ in range(int(shape["n_layers"])))
        self.norm = nn.LayerNorm(d_model, NORM_EPS)
        self.head = nn.Linear(d_model, int(shape["n_outputs"]))

    def patches(self, x: Tensor) -> Tensor:
        """(batch, n_patches, n_inputs * patch^2), row by row: what a convolution whose stride is its kernel reads."""
        batch, channels, height, width = x.shape
        p = self.patch
        tiles = x.view(batch, channels, height // p, p, width // p, p).permute(0, 2, 4, 1, 3, 5)
        return tiles.reshape(batch, -1, channels * p * p)

    def hidden(self, x: Tensor) -> list[Tensor]:
        """The residual stream after the embedding and after each layer: n_layers + 1 of (batch, 1 + n_patches, d)."""
        return self.through(self.embed(self.patches(x)))

    def through(self, x: Tensor) -> list[Tensor]:
        """The same of patches that are embedded, (batch, n_patches, d)."""
        first = self.class_token.to(x.dtype).expand(x.shape[0], 1, -1)
        stream = [torch.cat((first, x), dim=1) + self.positions.to(x.dtype)]
        for block in self.blocks:
            stream.append(block(stream[-1]))
        return stream

    def pooled(self, x: Tensor) -> Tensor:
        """The class token after the last layer, normalised: (batch, d_model)."""
        normed: Tensor = self.norm(self.hidden(x)[-1][:, 0])
        return normed

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.pooled(x) * self.multipliers.output)
        return out


@torch.no_grad()
def initialise(model: Network, seed: int, base_width: int) -> Network:
    """Normal weights, a function of ``seed`` alone, and biases of 0: matrices have std 1 / sqrt(fan_in), the output
    layer 1 / sqrt(base_width), positions and class token ``POSITION_STD``."""
    generator = torch.Generator().manual_seed(seed)
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            std = base_width**-0.5 if layer is model.head else layer.in_features**-0.5
            layer.weight.normal_(std=std, generator=generator)
            layer.bias.zero_()
    for embedding in (model.class_token, model.positions):
        embedding.normal_(std=POSITION_STD, generator=generator)
    return model
