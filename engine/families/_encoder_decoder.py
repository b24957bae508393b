"""The model behind ``seq2seq``: T5 version 1.1 (Raffel 2020, Shazeer 2020) with a gated SiLU MLP, built at any size.

RMSNorm before every branch, no biases but those of attention by relative position, which all layers of a stack share,
and one embedding for both languages and the output. Weights that read the same input are one matrix.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.families._decoder import EMBEDDING_GAIN, Multipliers, RMSNorm
from engine.families.seq2seq import BUCKETS
from engine.sources._pairs import PAD

MAX_DISTANCE = 128
"""Distance from which on all share one."""


class Attention(nn.Module):
    """Multi-head attention of ``x`` (batch, t, d_model) over itself or over a memory (batch, s, d_model)."""

    def __init__(self, shape: Mapping[str, Any], scale: float, *, over_memory: bool = False) -> None:
        super().__init__()
        self.n_heads, self.head_dim, self.scale = int(shape["n_heads"]), int(shape["head_dim"]), scale
        d_model, d_attention = int(shape["d_model"]), self.n_heads * self.head_dim
        self.over_memory = over_memory
        if over_memory:
            self.q = nn.Parameter(torch.empty(d_attention, d_model))
            self.kv = nn.Parameter(torch.empty(2 * d_attention, d_model))
        else:
            self.qkv = nn.Parameter(torch.empty(3 * d_attention, d_model))
        self.out = nn.Parameter(torch.empty(d_model, d_attention))

    def forward(self, x: Tensor, bias: Tensor, memory: Tensor | None = None) -> Tensor:
        """``bias`` is added to the scores: (batch * n_heads, t or 1, s)."""
        batch, t, _ = x.shape
        if memory is None:
            q, k, v = self._heads(F.linear(x, self.qkv), 3)
        else:
            (q,), (k, v) = self._heads(F.linear(x, self.q), 1), self._heads(F.linear(memory, self.kv), 2)
        scores = torch.baddbmm(bias.to(q.dtype), q, k.transpose(1, 2), alpha=self.scale)
        mixed = torch.bmm(scores.softmax(-1).to(v.dtype), v).view(batch, self.n_heads, t, self.head_dim)
        return F.linear(mixed.transpose(1, 2).reshape(batch, t, -1), self.out)

    def _heads(self, x: Tensor, n: int) -> tuple[Tensor, ...]:
        """``n`` of (batch * n_heads, t, head_dim) from what one matrix gave."""
        batch, t, _ = x.shape
        apart = x.view(batch, t, n, self.n_heads, self.head_dim).permute(2, 0, 3, 1, 4)
        return apart.reshape(n, batch * self.n_heads, t, self.head_dim).unbind(0)


class Layer(nn.Module):
    """Attention, in a decoder attention over the memory too, and gated MLP, on a stream of (batch, t, d_model)."""

    def __init__(self, shape: Mapping[str, Any], multipliers: Multipliers, *, decoder: bool) -> None:
        super().__init__()
        d_model, d_ff, eps = int(shape["d_model"]), int(shape["d_ff"]), float(shape["norm_eps"])
        self.residual = multipliers.residual
        self.norm_self = RMSNorm(d_model, eps)
        self.attention = Attention(shape, multipliers.attention)
        self.decoder = decoder
        if decoder:
            self.norm_cross = RMSNorm(d_model, eps)
            self.cross = Attention(shape, multipliers.attention, over_memory=True)
        self.norm_mlp = RMSNorm(d_model, eps)
        self.gate_up = nn.Parameter(torch.empty(2 * d_ff, d_model))
        self.down = nn.Parameter(torch.empty(d_model, d_ff))

    def forward(self, x: Tensor, bias: Tensor, memory: Tensor | None = None, seen: Tensor | None = None) -> Tensor:
        """``seen`` is the bias that hides the padding of ``memory``."""
        x = torch.add(x, self.attention(self.norm_self(x), bias), alpha=self.residual)
        if self.decoder:
            assert memory is not None and seen is not None
            x = torch.add(x, self.cross(self.norm_cross(x), seen, memory), alpha=self.residual)
        gate, up = F.linear(self.norm_mlp(x), self.gate_up).chunk(2, dim=-1)
        return torch.add(x, F.linear(F.silu(gate) * up, self.down), alpha=self.residual)


class EncoderDecoder(nn.Module):
    """Source tokens int64 (batch, s) and what the decoder reads (batch, t) to logits float32 (batch, t, vocab_size).

    ``PAD`` in the source is not looked at; what the decoder reads is padded at its end only, where a causal model needs
    no mask. Any lengths are taken.
    """

    def __init__(self, shape: Mapping[str, Any], multipliers: Multipliers) -> None:
        super().__init__()
        self.shape = dict(shape)
        self.multipliers = multipliers
        self.n_heads = int(shape["n_heads"])
        d_model, n_layers, eps = int(shape["d_model"]), int(shape["n_layers"]), float(shape["norm_eps"])
        self.embedding = nn.Parameter(torch.empty(int(shape["vocab_size"]), d_model))
        self.encoder_position_embedding = nn.Parameter(torch.zeros(BUCKETS, self.n_heads))
        self.decoder_position_embedding = nn.Parameter(torch.zeros(BUCKETS, self.n_heads))
        self.encoder = nn.ModuleList(Layer(shape, multipliers, decoder=False) for _ in range(n_layers))
        self.decoder = nn.ModuleList(Layer(shape, multipliers, decoder=True) for _ in range(n_layers))
        self.encoder_norm = RMSNorm(d_model, eps)
        self.decoder_norm = RMSNorm(d_model, eps)

    def encode(self, source: Tensor) -> tuple[Tensor, Tensor]:
        """The memory (batch, s, d_model) and the bias (batch * n_heads, 1, s) that hides its padding."""
        batch, s = source.shape
        hidden = torch.zeros(source.shape, device=source.device).masked_fill(source == PAD, -torch.inf)
        seen = hidden.repeat_interleave(self.n_heads, 0).unsqueeze(1)
        positions = relative_bias(self.encoder_position_embedding, s, causal=False)
        bias = (positions + hidden.view(batch, 1, 1, s)).flatten(0, 1)
        x = F.embedding(source, self.embedding)
        for layer in self.encoder:
            x = layer(x, bias)
        return self.encoder_norm(x), seen

    def decode(self, memory: Tensor, seen: Tensor, tokens: Tensor) -> Tensor:
        """The decoder's normalised stream (batch, t, d_model); ``logits`` reads it."""
        batch, t = tokens.shape
        positions = relative_bias(self.decoder_position_embedding, t, causal=True)
        bias = positions.expand(batch, -1, -1, -1).flatten(0, 1)
        x = F.embedding(tokens, self.embedding)
        for layer in self.decoder:
            x = layer(x, bias, memory, seen)
        normed: Tensor = self.decoder_norm(x)
        return normed

    def logits(self, normed: Tensor) -> Tensor:
        """Float32 (..., vocab_size)."""
        return F.linear(normed * self.multipliers.output, self.embedding).float()

    def forward(self, source: Tensor, decoder_inputs: Tensor) -> Tensor:
        return self.logits(self.decode(*self.encode(source), decoder_inputs))


def relative_bias(table: Tensor, length: int, *, causal: bool) -> Tensor:
    """(1, n_heads, length, length) of a table (``BUCKETS``, n_heads); with ``causal`` -inf where the key is later."""
    buckets = position_buckets(length, table.device, causal=causal)
    bias = F.embedding(buckets, table).permute(2, 0, 1).unsqueeze(0)
    if not causal:
        return bias
    later = torch.ones(length, length, dtype=torch.bool, device=table.device).triu_(1)
    return bias.masked_fill(later, -torch.inf)


def position_buckets(length: int, device: torch.device, *, causal: bool) -> Tensor:
    """int64 (length, length): the bucket of every pair of query and key (Raffel 2020, section 2.1).

    Half of the buckets are for one distance each, the others for ranges that widen up to ``MAX_DISTANCE``. Without
    ``causal`` half of all are for later keys.
    """
    places = torch.arange(length, device=device)
    ahead = places[None, :] - places[:, None]
    n, first = (BUCKETS, torch.zeros_like(ahead)) if causal else (BUCKETS // 2, (ahead > 0) * (BUCKETS // 2))
    distance = (-ahead).clamp(min=0) if causal else ahead.abs()
    exact = n // 2
    widening = torch.log(distance.float().clamp(min=1) / exact) / math.log(MAX_DISTANCE / exact) * (n - exact)
    wide = (exact + widening.to(torch.int64)).clamp(max=n - 1)
    return first + torch.where(distance < exact, distance, wide)


@torch.no_grad()
def initialise(model: EncoderDecoder, seed: int, base_width: int) -> EncoderDecoder:
    """Normal weights, a function of ``seed`` alone: hidden matrices with std 1 / sqrt(fan_in), the embedding as that of
    ``gpt``; no position is preferred at first."""
    generator = torch.Generator().manual_seed(seed)
    model.embedding.normal_(std=EMBEDDING_GAIN * base_width**-0.5, generator=generator)
    for layer in (*model.encoder, *model.decoder):
        for parameter in layer.parameters():
            if parameter.ndim == 2:
                parameter.normal_(std=parameter.shape[1] ** -0.5, generator=generator)
    return model
