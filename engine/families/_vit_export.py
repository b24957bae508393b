"""A vision Transformer as the ``ViTForImageClassification`` of plain transformers."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from engine.families._image_export import label_names
from engine.families._vit import NORM_EPS, Block, Network


def vit_config(shape: Mapping[str, Any]) -> dict[str, Any]:
    """``config.json`` of the shape."""
    return {
        "architectures": ["ViTForImageClassification"],
        "model_type": "vit",
        "attention_probs_dropout_prob": 0.0,
        "dtype": "float32",
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.0,
        "hidden_size": int(shape["d_model"]),
        "image_size": [int(shape["height"]), int(shape["width"])],
        "intermediate_size": int(shape["d_ff"]),
        "layer_norm_eps": NORM_EPS,
        "num_attention_heads": int(shape["n_heads"]),
        "num_channels": int(shape["n_inputs"]),
        "num_hidden_layers": int(shape["n_layers"]),
        "patch_size": int(shape["patch"]),
        "qkv_bias": True,
        **({"head_dim": int(shape["head_dim"])} if "head_dim" in shape else {}),  # where heads were cut out
    } | label_names(int(shape["n_outputs"]))


@torch.no_grad()
def vit_weights(model: Network) -> dict[str, Tensor]:
    """The weights under transformers' names, q, k and v apart and multipliers folded in; the model is not changed.

    The logit multiplier goes into the head's matrix, the residual one into what each branch ends with, and the
    attention scale, beyond the 1 / sqrt(head_dim) of transformers, into q.
    """
    d_model, patch = model.embed.out_features, model.patch
    weights = {
        "vit.embeddings.cls_token": model.class_token.view(1, 1, d_model),
        "vit.embeddings.position_embeddings": model.positions[None],
        "vit.embeddings.patch_embeddings.projection.weight": model.embed.weight.view(d_model, -1, patch, patch),
        "vit.embeddings.patch_embeddings.projection.bias": model.embed.bias,
        "classifier.weight": model.head.weight * model.multipliers.output,
        "classifier.bias": model.head.bias,
    } | _named("vit.layernorm", model.norm)
    for i, block in enumerate(model.blocks):
        assert isinstance(block, Block)
        for name, tensor in _layer(block).items():
            weights[f"vit.encoder.layer.{i}.{name}"] = tensor
    return weights


def _layer(block: Block) -> dict[str, Tensor]:
    head_dim = block.out.weight.shape[1] // block.n_heads
    extra = block.multipliers.attention * head_dim**0.5
    names: dict[str, Tensor] = {}
    for name, scale, weight, bias in zip(
        ("query", "key", "value"), (extra, 1.0, 1.0), block.qkv.weight.chunk(3), block.qkv.bias.chunk(3), strict=True
    ):
        names[f"attention.attention.{name}.weight"] = weight * scale
        names[f"attention.attention.{name}.bias"] = bias * scale
    residual = block.multipliers.residual
    return (
        names
        | _named("layernorm_before", block.norm_attention)
        | _named("attention.output.dense", block.out, residual)
        | _named("layernorm_after", block.norm_mlp)
        | _named("intermediate.dense", block.up)
        | _named("output.dense", block.down, residual)
    )


def _named(name: str, layer: nn.Linear | nn.LayerNorm, scale: float = 1.0) -> dict[str, Tensor]:
    return {f"{name}.weight": layer.weight * scale, f"{name}.bias": layer.bias * scale}
