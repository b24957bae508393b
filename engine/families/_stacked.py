"""Several decoders of one shape as one: every weight has a leading axis of members, every matmul is batched.

Small models spend most of a step on starting operations; S of them stacked start as many as one does. A member computes
what it does on its own, up to the order in which float32 sums are taken.
"""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.families._attention import attend, causal_bias, usual_implementation
from engine.families._decoder import Block, Decoder, rotate

ROTATED_BY_ROWS_BELOW = 32
"""Head dimension below which a rotation takes its pairs from rows of the weights' own: halves of 4 or 8 numbers are too
few for a vector instruction. 8 seeds of 10 thousand parameters, compiled in bfloat16, train 3.3 times as fast as one
after another so, and 2.8 times by swapping halves (1 thread, 2 shared cores)."""


class StackedDecoder(nn.Module):
    """Tokens int64 (members, batch, t) to logits float32 (members, batch, t, vocab_size).

    Parameters carry the names of the members' own with ``/`` for ``.``, so that each can be taken out again.
    """

    causal: Tensor | None

    def __init__(self, members: Sequence[Decoder]) -> None:
        super().__init__()
        first = members[0]
        self.compute_dtype, self.attention = first.compute_dtype, first.attention
        self.multipliers, self.n_layers = first.multipliers, len(first.blocks)
        block = first.blocks[0]
        assert isinstance(block, Block)
        self.n_heads, self.head_dim, self.eps = block.n_heads, block.head_dim, first.norm.eps
        self.has_mlp = block.has_mlp
        states = [dict(member.named_parameters()) for member in members]
        for name in states[0]:
            stacked = torch.stack([state[name].detach() for state in states])
            self.register_parameter(name.replace(".", "/"), nn.Parameter(stacked))
        self.register_buffer("rope_cos", first.rope_cos, persistent=False)
        self.register_buffer("rope_sin", first.rope_sin, persistent=False)
        self.register_buffer("causal", first.causal, persistent=False)

    def weight(self, name: str) -> Tensor:
        """A member's parameter ``name``, (members, ...)."""
        found: Tensor = getattr(self, name.replace(".", "/"))
        return found

    def member(self, index: int) -> dict[str, Tensor]:
        """State of one member under its own names; views, not copies."""
        return {name.replace("/", "."): p.detach()[index] for name, p in self.named_parameters()}

    def losses(self, batch: Mapping[str, Tensor]) -> Tensor:
        """(members,) mean cross-entropy in nats per scored target; ``inputs`` and ``targets`` (members, batch, t)."""
        logits, targets = self(batch["inputs"]), batch["targets"].flatten(1)
        each = F.cross_entropy(logits.flatten(0, 2), targets.flatten(), reduction="none").view(targets.shape)
        return each.sum(1) / (targets >= 0).sum(1)

    def forward(self, tokens: Tensor) -> Tensor:
        members, batch, t = tokens.shape
        embedding = self.weight("embedding")
        # One look-up over all members' tables, each token moved on to its member's.
        moved = tokens + (torch.arange(members, device=tokens.device) * embedding.shape[1]).view(-1, 1, 1)
        x = F.embedding(moved, embedding.flatten(0, 1)).flatten(1, 2).to(self.compute_dtype)
        rope_cos, rope_sin = self.get_buffer("rope_cos"), self.get_buffer("rope_sin")
        cos, sin = rope_cos[:t].to(x.dtype), rope_sin[:t].to(x.dtype)
        attention = self.attention or usual_implementation(x.device.type, x.dtype, t)
        bias = causal_bias(t, x.device, x.dtype, self.causal) if attention == "written" else None
        for layer in range(self.n_layers):
            x = self._block(x, f"blocks.{layer}.", (batch, t), cos, sin, bias)
        normed = self._norm(x, "norm.weight") * self.multipliers.output
        logits = torch.bmm(normed, embedding.to(x.dtype).transpose(1, 2)).float()
        return logits.view(members, batch, t, -1)

    def _norm(self, x: Tensor, name: str) -> Tensor:
        weight = self.weight(name)
        normed = F.rms_norm(x.float(), weight.shape[1:], None, self.eps)
        return (normed * weight.unsqueeze(1)).to(x.dtype)

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return torch.bmm(x, self.weight(name).to(x.dtype).transpose(1, 2))

    def _block(
        self, x: Tensor, at: str, shape: tuple[int, int], cos: Tensor, sin: Tensor, bias: Tensor | None
    ) -> Tensor:
        residual = self.multipliers.residual
        mixed = self._attend(self._norm(x, f"{at}norm_attention.weight"), at, shape, cos, sin, bias)
        x = torch.add(x, mixed, alpha=residual)
        if not self.has_mlp:
            return x
        gate, up = self._linear(self._norm(x, f"{at}norm_mlp.weight"), f"{at}gate_up").chunk(2, dim=-1)
        return torch.add(x, self._linear(F.silu(gate) * up, f"{at}down"), alpha=residual)

    def _attend(
        self, x: Tensor, at: str, shape: tuple[int, int], cos: Tensor, sin: Tensor, bias: Tensor | None
    ) -> Tensor:
        members, (batch, t) = len(x), shape
        if self.head_dim < ROTATED_BY_ROWS_BELOW:
            q, k, v = self._rotated_by_rows(x, f"{at}qkv", shape, cos, sin)
        else:
            qkv = self._linear(x, f"{at}qkv").view(members * batch, t, 3 * self.n_heads, self.head_dim).transpose(1, 2)
            qk, v = qkv[:, : 2 * self.n_heads], qkv[:, 2 * self.n_heads :]
            q, k = rotate(qk, cos, sin).chunk(2, dim=1)
        mixed = attend(q, k, v, self.multipliers.attention, bias)
        return self._linear(mixed.transpose(1, 2).reshape(members, batch * t, -1), f"{at}out")

    def _rotated_by_rows(
        self, x: Tensor, name: str, shape: tuple[int, int], cos: Tensor, sin: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Rotated queries and keys, and values, (members * batch, n_heads, t, head_dim) each.

        The matmul gives every number of a query or key, and once more the one that the rotation pairs it with.
        """
        (batch, t), n = shape, 2 * self.n_heads * self.head_dim
        weight = self.weight(name).to(x.dtype)
        halves = weight[:, :n].reshape(len(x), 2 * self.n_heads, 2, -1, weight.shape[-1])
        paired = halves.flip(2).flatten(1, 3)
        rows = torch.cat((weight, paired), dim=1)
        made = torch.bmm(x, rows.transpose(1, 2)).view(len(x) * batch, t, -1)
        straight, v, swapped = made[..., :n], made[..., n : n + n // 2], made[..., n + n // 2 :]
        qk = straight * cos.repeat(1, 2 * self.n_heads) + swapped * sin.repeat(1, 2 * self.n_heads)
        q, k, v = (y.reshape(len(y), t, self.n_heads, -1).transpose(1, 2) for y in (*qk.chunk(2, dim=-1), v))
        return q, k, v
