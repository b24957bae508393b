"""The encoder behind ``bert``: the layers of the decoder looking both ways, in the form of ModernBERT (Warner 2024).

LayerNorm without bias, one over the embedding in place of the first layer's; rotary positions, gated SiLU MLP, no
biases; a prediction head before the tied embedding, which has one row more than the data have tokens: the mask.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.families._attention import attend_both_ways, usual_implementation
from engine.families._decoder import Block, Decoder, Multipliers, Norm


class LayerNorm(Norm):
    """(x - mean) / sqrt(variance + eps) * weight over the last axis; statistics in float32 (Ba 2016)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x.float(), self.weight.shape, self.weight, eps=self.eps).to(x.dtype)


class EncoderBlock(Block):
    """A layer of the decoder whose positions see each other, before and after."""

    make_norm = LayerNorm
    attention: str | None = None
    """Name of an implementation, None for the usual one; set by ``Encoder.configure``."""

    def attention_probabilities(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        q, k, _ = self._heads(self.norm_attention(x), cos, sin)
        return ((q * self.multipliers.attention) @ k.transpose(-2, -1)).float().softmax(-1)

    def _attention(self, x: Tensor, cos: Tensor, sin: Tensor, bias: Tensor | None) -> Tensor:
        batch, t, _ = x.shape
        q, k, v = self._heads(x, cos, sin)
        written = (self.attention or usual_implementation(x.device.type, x.dtype, t)) == "written"
        mixed = attend_both_ways(q, k, v, self.multipliers.attention, written)
        return F.linear(mixed.transpose(1, 2).reshape(batch, t, -1), self.out.to(x.dtype))


class Encoder(Decoder):
    """Tokens int64 (batch, t) to logits float32 (batch, t, vocab_size + 1) of what stands at each place itself."""

    make_block = EncoderBlock

    def __init__(self, shape: Mapping[str, Any], multipliers: Multipliers) -> None:
        super().__init__(shape, multipliers)
        # What the first layer reads is normalised already.
        self.blocks[0].norm_attention = nn.Identity()

    def add_ends(self, shape: Mapping[str, Any]) -> None:
        d_model, eps = int(shape["d_model"]), float(shape["norm_eps"])
        self.mask_token = int(shape["vocab_size"])
        self.embedding = nn.Parameter(torch.empty(self.mask_token + 1, d_model))
        self.norm_embedding = LayerNorm(d_model, eps)
        self.head = nn.Parameter(torch.empty(d_model, d_model))
        self.norm_head = LayerNorm(d_model, eps)

    def initialise_ends(self, generator: torch.Generator, base_width: int) -> None:
        """Draw them anew; the head's matrix is a hidden one."""
        super().initialise_ends(generator, base_width)
        self.head.normal_(std=self.head.shape[1] ** -0.5, generator=generator)

    def embed(self, tokens: Tensor) -> Tensor:
        """The residual stream before the first layer, (batch, t, d_model) in ``compute_dtype``."""
        normed: Tensor = self.norm_embedding(F.embedding(tokens, self.embedding))
        return normed.to(self.compute_dtype)

    def configure(self, *, compute_dtype: torch.dtype | None = None, attention: str | None = None) -> "Encoder":
        super().configure(compute_dtype=compute_dtype, attention=attention)
        self.causal = None
        for block in self.blocks:
            assert isinstance(block, EncoderBlock)
            block.attention = self.attention
        return self

    def bias(self, x: Tensor) -> None:
        """None: nothing is masked."""

    def unembed(self, x: Tensor) -> Tensor:
        """Logits float32 (..., vocab_size + 1) of a residual stream (..., d_model)."""
        read = F.gelu(F.linear(self.norm(x), self.head.to(x.dtype)))
        normed = self.norm_head(read) * self.multipliers.output
        return F.linear(normed, self.embedding.to(x.dtype)).float()

    def at(self, tokens: Tensor, places: Tensor) -> Tensor:
        """Logits float32 (batch, n, vocab_size + 1) at ``places`` int64 (batch, n) alone, at their cost alone."""
        batch, t = tokens.shape
        rows = torch.arange(0, batch * t, t, device=tokens.device)[:, None] + places
        chosen = self.hidden(tokens)[-1].flatten(0, 1).index_select(0, rows.flatten())
        return self.unembed(chosen).view(*places.shape, -1)
