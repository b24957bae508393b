"""The decoder behind ``gpt``: RMSNorm, rotary positions, gated MLP, no biases, tied embeddings (Llama, Touvron 2023).

Weights that read the same input are one matrix (``qkv``, ``gate_up``): fewer and larger matmuls. The forward pass has
no side effect and no control flow that depends on data, so that ``torch.compile`` takes it whole.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.families._attention import IMPLEMENTATIONS, attend, causal_bias, usual_implementation
from engine.families._units import Part, Units

EMBEDDING_GAIN = 2**0.5
"""Std of the logits at initialisation at the base width, where embeddings have std gain / sqrt(base width).

Measured at 7k and 150k parameters under muP with base width 32, best of three rates after 400 steps of 1,024 bytes: std
0.25 gives 2.147 and 1.702 nats, 0.5 2.159 and 1.700, 1.0 2.174 and 1.764; 0.1 loses 0.04 at 150k, 0.02 loses 0.11.
"""


@dataclass(frozen=True, slots=True)
class Multipliers:
    """Constants of the forward pass that a width or depth rule sets; export folds them into the weights."""

    attention: float
    """On q k before the softmax."""
    residual: float
    """On what each branch adds to the residual stream."""
    output: float
    """On the logits."""


class Norm(nn.Module):
    """What brings vectors to one size, with a weight for each of their entries."""

    def __init__(self, d_model: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(d_model))


class RMSNorm(Norm):
    """x / sqrt(mean(x^2) + eps) * weight over the last axis; statistics in float32 (Zhang & Sennrich 2019)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x.float(), self.weight.shape, self.weight, self.eps).to(x.dtype)


class Block(nn.Module):
    """One layer: attention and gated MLP, each on a normalised residual stream of (batch, t, d_model).

    With ``d_ff`` 0 it is attention alone, without the MLP and its norm.
    """

    make_norm: type[Norm] = RMSNorm

    def __init__(self, shape: Mapping[str, Any], multipliers: Multipliers) -> None:
        super().__init__()
        d_model, d_ff = int(shape["d_model"]), int(shape["d_ff"])
        self.n_heads, self.head_dim = int(shape["n_heads"]), int(shape["head_dim"])
        self.multipliers = multipliers
        d_attention = self.n_heads * self.head_dim
        self.norm_attention = self.make_norm(d_model, float(shape["norm_eps"]))
        self.qkv = nn.Parameter(torch.empty(3 * d_attention, d_model))
        self.out = nn.Parameter(torch.empty(d_model, d_attention))
        self.has_mlp = d_ff > 0
        if not self.has_mlp:
            return
        self.norm_mlp = self.make_norm(d_model, float(shape["norm_eps"]))
        self.gate_up = nn.Parameter(torch.empty(2 * d_ff, d_model))
        self.down = nn.Parameter(torch.empty(d_model, d_ff))

    def units(self) -> list[Units]:
        """Its heads, and the hidden units of its MLP where it has one."""

        def resized(n: int) -> None:
            self.n_heads = n

        found = [Units("heads", self.n_heads, (Part(self, "qkv", repeats=3), Part(self, "out", axis=1)), resized)]
        if self.has_mlp:
            parts = (Part(self, "gate_up", repeats=2), Part(self, "down", axis=1))
            found.append(Units("hidden units", self.down.shape[1], parts, lambda n: None))
        return found

    def matrices(self) -> list[nn.Parameter]:
        """The hidden matrices, (fan_out, fan_in) each."""
        return [self.qkv, self.out, self.gate_up, self.down] if self.has_mlp else [self.qkv, self.out]

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, bias: Tensor | None) -> Tensor:
        x = self._add(x, self._attention(self.norm_attention(x), cos, sin, bias))
        if not self.has_mlp:
            return x
        gate, up = F.linear(self.norm_mlp(x), self.gate_up.to(x.dtype)).chunk(2, dim=-1)
        return self._add(x, F.linear(gated(gate, up), self.down.to(x.dtype)))

    def _add(self, x: Tensor, branch: Tensor) -> Tensor:
        return torch.add(x, branch, alpha=self.multipliers.residual)

    def attention_probabilities(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Where each head looks, float32 (batch, n_heads, t, t), from the residual stream that enters the layer."""
        q, k, _ = self._heads(self.norm_attention(x), cos, sin)
        scores = (q * self.multipliers.attention) @ k.transpose(-2, -1)
        return (scores.float() + causal_bias(x.shape[1], x.device, torch.float32)).softmax(-1)

    def _attention(self, x: Tensor, cos: Tensor, sin: Tensor, bias: Tensor | None) -> Tensor:
        batch, t, _ = x.shape
        q, k, v = self._heads(x, cos, sin)
        mixed = attend(q, k, v, self.multipliers.attention, bias)
        return F.linear(mixed.transpose(1, 2).reshape(batch, t, -1), self.out.to(x.dtype))

    def _heads(self, x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Rotated queries and keys, and values, (batch, n_heads, t, head_dim) each."""
        batch, t, _ = x.shape
        qkv = F.linear(x, self.qkv.to(x.dtype)).view(batch, t, 3 * self.n_heads, self.head_dim).transpose(1, 2)
        qk, v = qkv[:, : 2 * self.n_heads], qkv[:, 2 * self.n_heads :]
        q, k = rotate(qk, cos, sin).chunk(2, dim=1)
        return q, k, v


class Decoder(nn.Module):
    """Tokens int64 (batch, t) to logits float32 (batch, t, vocab_size), t at most ``context``.

    Parameters stay in float32; ``compute_dtype`` is the type of activations and matmuls, ``attention`` the name of
    an implementation in ``_attention`` or None for its rule. Both may be set at any time before compilation.
    """

    rope_cos: Tensor
    rope_sin: Tensor
    causal: Tensor | None
    make_block: type[Block] = Block

    def __init__(self, shape: Mapping[str, Any], multipliers: Multipliers) -> None:
        super().__init__()
        self.shape = dict(shape)
        self.context = int(shape["context"])
        self.multipliers = multipliers
        self.compute_dtype = torch.float32
        self.attention: str | None = None
        d_model = int(shape["d_model"])
        self.add_ends(shape)
        self.blocks = nn.ModuleList(self.make_block(shape, multipliers) for _ in range(int(shape["n_layers"])))
        self.norm = self.make_block.make_norm(d_model, float(shape["norm_eps"]))
        cos, sin = rotary_tables(self.context, int(shape["head_dim"]), float(shape["rope_theta"]))
        self.register_buffer("rope_cos", cos, persistent=False)
        self.register_buffer("rope_sin", sin, persistent=False)
        self.register_buffer("causal", None, persistent=False)

    def add_ends(self, shape: Mapping[str, Any]) -> None:
        """Make the parameters between data and residual stream; the first of the model."""
        self.embedding = nn.Parameter(torch.empty(int(shape["vocab_size"]), int(shape["d_model"])))

    def initialise_ends(self, generator: torch.Generator, base_width: int) -> None:
        """Draw them anew."""
        self.embedding.normal_(std=EMBEDDING_GAIN * base_width**-0.5, generator=generator)

    def embed(self, tokens: Tensor) -> Tensor:
        """The residual stream before the first layer, (batch, t, d_model) in ``compute_dtype``."""
        # Looked up in float32: the gradient of a common token sums over hundreds of places.
        return F.embedding(tokens, self.embedding).to(self.compute_dtype)

    def configure(self, *, compute_dtype: torch.dtype | None = None, attention: str | None = None) -> "Decoder":
        """Set how the forward pass computes; never changes a weight. Returns the model."""
        if attention is not None:
            if attention not in IMPLEMENTATIONS:
                raise ValueError(f"attention {attention!r} is not one of {IMPLEMENTATIONS}")
            self.attention = attention
        self.compute_dtype = compute_dtype or self.compute_dtype
        # Kept, since compiled code would otherwise compare positions anew for every score.
        written = self.attention == "written"
        self.causal = causal_bias(self.context, self.rope_cos.device, self.compute_dtype) if written else None
        return self

    def hidden(self, tokens: Tensor) -> list[Tensor]:
        """The residual stream after the embedding and after each layer: n_layers + 1 of (batch, t, d_model)."""
        t = tokens.shape[1]
        x = self.embed(tokens)
        cos, sin = self.rope_cos[:t].to(x.dtype), self.rope_sin[:t].to(x.dtype)
        bias = self.bias(x)
        stream = [x]
        for block in self.blocks:
            stream.append(block(stream[-1], cos, sin, bias))
        return stream

    def bias(self, x: Tensor) -> Tensor | None:
        """What the written attention adds to the scores of a stream (batch, t, d_model); None for the fused one."""
        t = x.shape[1]
        attention = self.attention or usual_implementation(x.device.type, x.dtype, t)
        return causal_bias(t, x.device, x.dtype, self.causal) if attention == "written" else None

    @torch.no_grad()
    def attention_probabilities(self, tokens: Tensor) -> list[Tensor]:
        """Where each head of each layer looks: n_layers of float32 (batch, n_heads, t, t), rows summing to 1."""
        stream, t = self.hidden(tokens), tokens.shape[1]
        cos, sin = self.rope_cos[:t].to(stream[0].dtype), self.rope_sin[:t].to(stream[0].dtype)
        patterns = []
        for block, x in zip(self.blocks, stream[:-1], strict=True):
            assert isinstance(block, Block)
            patterns.append(block.attention_probabilities(x, cos, sin))
        return patterns

    def unembed(self, x: Tensor) -> Tensor:
        """Logits float32 (batch, t, vocab_size) of a residual stream; the logit lens at every layer but the last."""
        normed = self.norm(x) * self.multipliers.output
        return F.linear(normed, self.embedding.to(x.dtype)).float()

    def forward(self, tokens: Tensor) -> Tensor:
        return self.unembed(self.hidden(tokens)[-1])


def gated(gate: Tensor, up: Tensor) -> Tensor:
    """silu(gate) * up, elementwise."""
    if not torch.compiler.is_compiling():
        return F.silu(gate) * up
    # The same with one exponential in the backward pass: for silu's own the compiler computes the sigmoid twice.
    return gate * gate.sigmoid() * up


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions on (..., t, head_dim), in Llama's layout: i is paired with i + head_dim / 2.

    ``cos`` and signed ``sin`` are (t, head_dim).
    """
    if not torch.compiler.is_compiling():
        return x * cos + x.roll(x.shape[-1] // 2, -1) * sin
    # The same with the halves as an axis of their own: of a roll the compiler makes a loop over single numbers.
    halves, cos, sin = (y.view(*y.shape[:-1], 2, -1) for y in (x, cos, sin))
    return (halves * cos + halves.flip(-2) * sin).flatten(-2)


def rotary_tables(context: int, head_dim: int, theta: float) -> tuple[Tensor, Tensor]:
    """cos and signed sin, float32 (context, head_dim) each, for ``x * cos + roll(x, head_dim / 2) * sin`` (Su 2021)."""
    half = torch.arange(0, head_dim, 2, dtype=torch.int64).float() / head_dim
    angles = torch.outer(torch.arange(context).float(), 1.0 / theta**half)
    cos, sin = angles.cos(), angles.sin()
    return torch.cat((cos, cos), dim=1), torch.cat((-sin, sin), dim=1)


@torch.no_grad()
def initialise(model: Decoder, seed: int, base_width: int) -> Decoder:
    """Normal weights, a function of ``seed`` alone: hidden matrices with std 1 / sqrt(fan_in), embeddings with
    ``EMBEDDING_GAIN`` / sqrt(base_width)."""
    generator = torch.Generator().manual_seed(seed)
    model.initialise_ends(generator, base_width)
    for block in model.blocks:
        assert isinstance(block, Block)
        for matrix in block.matrices():
            matrix.normal_(std=matrix.shape[1] ** -0.5, generator=generator)
    return model


@torch.no_grad()
def generate(
    model: nn.Module,
    tokens: Tensor,
    n: int,
    *,
    temperature: float = 0.0,
    generator: torch.Generator | None = None,
    context: int,
) -> Tensor:
    """``tokens`` int64 (batch, t) followed by ``n`` more, int64 (batch, t + n); the model sees the last ``context``.

    Temperature 0 takes the likeliest token; above, tokens are drawn with ``generator``.
    """
    for _ in range(n):
        logits = model(tokens[:, -context:])[:, -1]
        if temperature > 0:
            following = torch.multinomial((logits / temperature).softmax(-1), 1, generator=generator)
        else:
            following = logits.argmax(-1, keepdim=True)
        tokens = torch.cat((tokens, following), dim=1)
    return tokens
