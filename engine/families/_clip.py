"""The two towers behind ``clip``: Transformers over patches and over words, compared in one space (Radford 2021).

Pre-norm layers with biases, a class token that stands for the image, the end token that stands for the caption: what
transformers calls ``CLIPModel``, with q, k and v as one matrix.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.families._attention import causal_bias, usual_implementation

END = 1
"""Id that ends a caption; the text tower is read there."""
FIRST_TEMPERATURE = 0.07
LARGEST_SCALE = 100.0
"""What embeddings are multiplied by is learned, from 1 / 0.07 and never over 100 (Radford 2021, section 2.3)."""
EMBEDDING_STD = 0.5
POSITION_STD = 0.1


@dataclass(frozen=True, slots=True)
class Multipliers:
    """Constants of the forward pass that a width or depth rule sets; export folds them into the weights."""

    attention: float
    """On q k before the softmax."""
    residual: float
    """On what each branch adds to the residual stream."""


class Block(nn.Module):
    """One layer over (batch, t, d_model): attention, each position to all or to those before, and an MLP with GELU."""

    def __init__(self, shape: Mapping[str, Any], multipliers: Multipliers, *, causal: bool) -> None:
        super().__init__()
        d_model, d_ff = int(shape["d_model"]), int(shape["d_ff"])
        self.n_heads, self.causal, self.multipliers = int(shape["n_heads"]), causal, multipliers
        self.norm_attention = nn.LayerNorm(d_model)
        self.qkv = nn.Linear(d_model, 3 * d_model)
        self.out = nn.Linear(d_model, d_model)
        self.norm_mlp = nn.LayerNorm(d_model)
        self.up = nn.Linear(d_model, d_ff)
        self.down = nn.Linear(d_ff, d_model)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.add(x, self._attention(self.norm_attention(x)), alpha=self.multipliers.residual)
        branch = self.down(F.gelu(self.up(self.norm_mlp(x))))
        return torch.add(x, branch, alpha=self.multipliers.residual)

    def _attention(self, x: Tensor) -> Tensor:
        batch, t, d_model = x.shape
        heads = self.qkv(x).view(batch, t, 3 * self.n_heads, -1).transpose(1, 2)
        q, k, v = heads.chunk(3, dim=1)
        mixed = self._mixed(q, k, v, self.multipliers.attention)
        projected: Tensor = self.out(mixed.transpose(1, 2).reshape(batch, t, d_model))
        return projected

    def _mixed(self, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        t = q.shape[2]
        if usual_implementation(q.device.type, q.dtype, t) != "written":
            return F.scaled_dot_product_attention(q, k, v, is_causal=self.causal, scale=scale)
        scores = (q * scale) @ k.transpose(-2, -1)
        if self.causal:
            scores = scores + causal_bias(t, q.device, q.dtype)
        return scores.softmax(-1) @ v


class Clip(nn.Module):
    """Images float32 (b, 3, h, w) to their embeddings float32 (b, d_embed) of length 1; captions by ``embed_captions``.

    Captions are int64 (b, t), t at most ``caption_length``, each with an ``END``; what stands after it is not read.
    """

    def __init__(self, shape: Mapping[str, Any], multipliers: Multipliers) -> None:
        super().__init__()
        self.shape = dict(shape)
        self.multipliers = multipliers
        d_model, n_layers = int(shape["d_model"]), int(shape["n_layers"])
        self.patch_size = int(shape["patch_size"])
        self.patches = nn.Linear(3 * self.patch_size**2, d_model, bias=False)
        self.class_token = nn.Parameter(torch.empty(d_model))
        self.image_positions = nn.Parameter(torch.empty(n_patches(shape) + 1, d_model))
        self.image_first_norm = nn.LayerNorm(d_model)
        self.image_blocks = nn.ModuleList(Block(shape, multipliers, causal=False) for _ in range(n_layers))
        self.image_norm = nn.LayerNorm(d_model)
        self.image_projection = nn.Linear(d_model, int(shape["d_embed"]), bias=False)
        self.tokens = nn.Parameter(torch.empty(int(shape["vocab_size"]), d_model))
        self.text_positions = nn.Parameter(torch.empty(int(shape["caption_length"]), d_model))
        self.text_blocks = nn.ModuleList(Block(shape, multipliers, causal=True) for _ in range(n_layers))
        self.text_norm = nn.LayerNorm(d_model)
        self.text_projection = nn.Linear(d_model, int(shape["d_embed"]), bias=False)
        self.logit_scale = nn.Parameter(torch.empty(()))

    def pooled_images(self, images: Tensor) -> Tensor:
        """(b, d_model) what the image tower makes of the class token."""
        batch, channels, height, width = images.shape
        p = self.patch_size
        cut = images.view(batch, channels, height // p, p, width // p, p).permute(0, 2, 4, 1, 3, 5)
        patches = self.patches(cut.reshape(batch, -1, channels * p * p))
        x = torch.cat((self.class_token.to(patches.dtype).expand(batch, 1, -1), patches), dim=1)
        x = self.image_first_norm(x + self.image_positions)
        for block in self.image_blocks:
            x = block(x)
        pooled: Tensor = self.image_norm(x[:, 0])
        return pooled

    def pooled_captions(self, captions: Tensor) -> Tensor:
        """(b, d_model) what the text tower makes of the end of each caption."""
        x = F.embedding(captions, self.tokens) + self.text_positions[: captions.shape[1]]
        for block in self.text_blocks:
            x = block(x)
        end = (captions == END).int().argmax(dim=1)
        pooled: Tensor = self.text_norm(x[torch.arange(len(x), device=x.device), end])
        return pooled

    def embed_captions(self, captions: Tensor) -> Tensor:
        """Embeddings float32 (b, d_embed) of length 1."""
        return F.normalize(self.text_projection(self.pooled_captions(captions)).float(), dim=-1)

    def forward(self, images: Tensor) -> Tensor:
        return F.normalize(self.image_projection(self.pooled_images(images)).float(), dim=-1)

    def scale(self) -> Tensor:
        """What cosines are multiplied by to be logits."""
        return self.logit_scale.exp().clamp(max=LARGEST_SCALE)


def n_patches(shape: Mapping[str, Any]) -> int:
    """Patches of an image."""
    p = int(shape["patch_size"])
    return (int(shape["height"]) // p) * (int(shape["width"]) // p)


def contrastive(images: Tensor, captions: Tensor, scale: Tensor, compared: int) -> Tensor:
    """Symmetric InfoNCE in nats per pair: which of ``compared`` captions is an image's, and the other way round.

    Both are float32 (b, d_embed) of length 1; b that is no multiple of ``compared`` leaves a smaller last set.
    """
    total = images.new_zeros(())
    for some, others in zip(images.split(compared), captions.split(compared), strict=True):
        logits = scale * some @ others.T
        right = torch.arange(len(some), device=some.device)
        both = F.cross_entropy(logits, right, reduction="sum") + F.cross_entropy(logits.T, right, reduction="sum")
        total = total + both / 2
    return total / len(images)


@torch.no_grad()
def initialise(model: Clip, seed: int) -> Clip:
    """Normal weights, a function of ``seed`` alone: matrices with std 1 / sqrt(fan_in), biases 0, norms 1."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.Linear):
            module.weight.normal_(std=module.in_features**-0.5, generator=generator)
            if module.bias is not None:
                module.bias.zero_()
    for table, std in (
        (model.tokens, EMBEDDING_STD),
        (model.class_token, EMBEDDING_STD),
        (model.image_positions, POSITION_STD),
        (model.text_positions, POSITION_STD),
    ):
        table.normal_(std=std, generator=generator)
    model.logit_scale.fill_(1 / FIRST_TEMPERATURE).log_()
    return model
