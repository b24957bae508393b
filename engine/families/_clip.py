"""The two towers behind ``clip``: Transformers over patches and over words, compared in one space (Radford 2021).

Pre-norm layers with biases, a class token that stands for the image, the end token that stands for the caption: what
transformers calls ``CLIPModel``, with q, k and v as one matrix.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.families._decoder import Multipliers
from engine.families._vit import Block

END = 1
"""Id that ends a caption; the text tower is read there."""
FIRST_TEMPERATURE = 0.07
LARGEST_SCALE = 100.0
"""What embeddings are multiplied by is learned, from 1 / 0.07 and never over 100 (Radford 2021, section 2.3)."""
NORM_EPS = 1e-5
EMBEDDING_STD = 0.5
POSITION_STD = 0.1


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
        self.image_first_norm = nn.LayerNorm(d_model, NORM_EPS)
        self.image_blocks = nn.ModuleList(Block(shape, multipliers, eps=NORM_EPS) for _ in range(n_layers))
        self.image_norm = nn.LayerNorm(d_model, NORM_EPS)
        self.image_projection = nn.Linear(d_model, int(shape["d_embed"]), bias=False)
        self.tokens = nn.Parameter(torch.empty(int(shape["vocab_size"]), d_model))
        self.text_positions = nn.Parameter(torch.empty(int(shape["caption_length"]), d_model))
        self.text_blocks = nn.ModuleList(Block(shape, multipliers, causal=True, eps=NORM_EPS) for _ in range(n_layers))
        self.text_norm = nn.LayerNorm(d_model, NORM_EPS)
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
        pooled: Tensor = self.text_norm(x[torch.arange(x.shape[0], device=x.device), end])
        return pooled

    def embed_captions(self, captions: Tensor) -> Tensor:
        """Embeddings float32 (b, d_embed) of length 1."""
        return F.normalize(self.text_projection(self.pooled_captions(captions)).float(), dim=-1)

    def forward(self, images: Tensor) -> Tensor:
        return F.normalize(self.image_projection(self.pooled_images(images)).float(), dim=-1)

    def scale(self) -> Tensor:
        """What cosines are multiplied by to be logits."""
        return self.logit_scale.exp().clamp(max=LARGEST_SCALE)


class Captions(nn.Module):
    """The text tower alone: captions to their embeddings."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        assert isinstance(model, Clip)
        self.model = model

    def forward(self, captions: Tensor) -> Tensor:
        return self.model.embed_captions(captions)


def n_patches(shape: Mapping[str, Any]) -> int:
    """Patches of an image."""
    p = int(shape["patch_size"])
    return (int(shape["height"]) // p) * (int(shape["width"]) // p)


def contrastive(images: Tensor, captions: Tensor, scale: Tensor, compared: int) -> Tensor:
    """Symmetric InfoNCE in nats per pair: which of ``compared`` captions is an image's, and the other way round.

    Both are float32 (b, d_embed) of length 1; b that is no multiple of ``compared`` leaves a smaller last set.
    """
    total = images.new_zeros(())
    for some, others in zip(torch.split(images, compared), torch.split(captions, compared), strict=True):
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
