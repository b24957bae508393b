"""The layers of ``vit`` over images some of whose patches are hidden, and a head that says what is behind them."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from engine.families._decoder import Multipliers
from engine.families._masking import choose, fixed_generator, n_masked
from engine.families._vit import Network
from engine.families._vit_export import vit_config, vit_weights


class MaskedNetwork(Network):
    """Images float32 (batch, n_inputs, h, w) to the numbers of every patch, (batch, n_patches, n_inputs * patch^2)."""

    def __init__(self, shape: Mapping[str, Any], multipliers: Multipliers) -> None:
        super().__init__(shape, multipliers)
        self.masked_fraction = float(shape["masked_fraction"])
        self.mask_token = nn.Parameter(torch.zeros(1, int(shape["d_model"])))

    def hide(self, x: Tensor) -> Tensor:
        """Which patches of images are hidden, bool (batch, n_patches): drawn anew in training, else always the same."""
        n_patches = len(self.positions) - 1
        generator = None if self.training else fixed_generator()
        rows = x.new_empty(len(x), n_patches)
        places = choose(rows, n_masked(n_patches, self.masked_fraction), generator)
        return torch.zeros(rows.shape, dtype=torch.bool, device=x.device).scatter(1, places, True)

    def states(self, x: Tensor, hidden: Tensor | None = None) -> Tensor:
        """Patches after the last layer, normalised: (batch, n_patches, d_model); where ``hidden``, of the mask."""
        patches = self.embed(self.patches(x))
        if hidden is not None:
            patches = torch.where(hidden[..., None], self.mask_token.to(patches.dtype), patches)
        normed: Tensor = self.norm(self.through(patches)[-1][:, 1:])
        return normed

    def forward(self, x: Tensor, hidden: Tensor | None = None) -> Tensor:
        out: Tensor = self.head(self.states(x, hidden) * self.multipliers.output)
        return out


def together(patches: Tensor, shape: Mapping[str, Any]) -> Tensor:
    """Patches (batch, n_patches, values) as images (batch, n_inputs, h, w): the inverse of ``Network.patches``."""
    p, channels, height, width = (int(shape[key]) for key in ("patch", "n_inputs", "height", "width"))
    tiles = patches.view(len(patches), height // p, width // p, channels, p, p)
    return tiles.permute(0, 3, 1, 4, 2, 5).reshape(len(patches), channels, height, width)


def masked_config(shape: Mapping[str, Any]) -> dict[str, Any]:
    """``config.json`` for transformers' ``ViTForMaskedImageModeling``."""
    config = vit_config(shape)
    for key in ("id2label", "label2id", "problem_type"):
        del config[key]
    return config | {
        "architectures": ["ViTForMaskedImageModeling"],
        "encoder_stride": int(shape["patch"]),
        "image_size": int(shape["height"]),  # a pair is no number that it could divide
    }


@torch.no_grad()
def masked_weights(model: MaskedNetwork) -> dict[str, Tensor]:
    """The weights under its names; the head is a convolution there, whose channels are the numbers of a patch."""
    weights = vit_weights(model)
    weights["decoder.0.weight"] = weights.pop("classifier.weight")[..., None, None]
    weights["decoder.0.bias"] = weights.pop("classifier.bias")
    weights["vit.embeddings.mask_token"] = model.mask_token[None]
    return weights
