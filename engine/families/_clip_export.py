"""Writing both towers as the ``CLIPModel`` folder that plain transformers loads, with equal logits."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from engine.errors import InputError
from engine.families._clip import END, NORM_EPS, Clip
from engine.families._vit import Block
from engine.i18n import tr

PAD = 0


def clip_config(shape: Mapping[str, Any]) -> dict[str, Any]:
    """``config.json`` of the shape. Images are square there, and the first id ends no caption."""
    tower = {
        "attention_dropout": 0.0,
        "hidden_act": "gelu",
        "hidden_size": int(shape["d_model"]),
        "intermediate_size": int(shape["d_ff"]),
        "layer_norm_eps": NORM_EPS,
        "num_attention_heads": int(shape["n_heads"]),
        "num_hidden_layers": int(shape["n_layers"]),
        "projection_dim": int(shape["d_embed"]),
    }
    text = {
        "model_type": "clip_text_model",
        "vocab_size": int(shape["vocab_size"]),
        "max_position_embeddings": int(shape["caption_length"]),
        "bos_token_id": None,
        "eos_token_id": END,
        "pad_token_id": PAD,
    }
    vision = {
        "model_type": "clip_vision_model",
        "image_size": int(shape["height"]),
        "num_channels": 3,
        "patch_size": int(shape["patch_size"]),
    }
    return {
        "architectures": ["CLIPModel"],
        "model_type": "clip",
        "dtype": "float32",
        "logit_scale_init_value": 2.6592,
        "projection_dim": int(shape["d_embed"]),
        "text_config": tower | text,
        "vision_config": tower | vision,
    }


@torch.no_grad()
def clip_weights(model: Clip) -> dict[str, Tensor]:
    """The weights under transformers' names; the model is not changed.

    q, k and v are split; the attention scale, beyond the 1 / sqrt(head_dim) of transformers, goes into q, and the
    residual multiplier into what each branch ends with.
    """
    p, d_model = model.patch_size, int(model.shape["d_model"])
    weights: dict[str, Tensor] = {
        "logit_scale": model.scale().log(),
        "visual_projection.weight": model.image_projection.weight,
        "text_projection.weight": model.text_projection.weight,
        "vision_model.embeddings.class_embedding": model.class_token,
        "vision_model.embeddings.patch_embedding.weight": model.patches.weight.view(d_model, 3, p, p),
        "vision_model.embeddings.position_embedding.weight": model.image_positions,
        "text_model.embeddings.token_embedding.weight": model.tokens,
        "text_model.embeddings.position_embedding.weight": model.text_positions,
        **_both("vision_model.pre_layrnorm", model.image_first_norm),
        **_both("vision_model.post_layernorm", model.image_norm),
        **_both("text_model.final_layer_norm", model.text_norm),
    }
    for tower, blocks in (("vision_model", model.image_blocks), ("text_model", model.text_blocks)):
        for i, block in enumerate(blocks):
            assert isinstance(block, Block)
            weights |= {f"{tower}.encoder.layers.{i}.{name}": t for name, t in _layer(block, d_model).items()}
    return {name: tensor.detach().float().cpu().clone().contiguous() for name, tensor in weights.items()}


def _layer(block: Block, d_model: int) -> dict[str, Tensor]:
    residual = block.multipliers.residual
    folded = block.multipliers.attention * (d_model // block.n_heads) ** 0.5
    layer = {
        **_both("layer_norm1", block.norm_attention),
        **_both("layer_norm2", block.norm_mlp),
        **_both("mlp.fc1", block.up),
        **_both("mlp.fc2", block.down, residual),
        **_both("self_attn.out_proj", block.out, residual),
    }
    for part, weight, bias in zip("qkv", block.qkv.weight.chunk(3), block.qkv.bias.chunk(3), strict=True):
        factor = folded if part == "q" else 1.0
        layer |= {f"self_attn.{part}_proj.weight": weight * factor, f"self_attn.{part}_proj.bias": bias * factor}
    return layer


def _both(name: str, module: nn.Linear | nn.LayerNorm, factor: float = 1.0) -> dict[str, Tensor]:
    return {f"{name}.weight": module.weight * factor, f"{name}.bias": module.bias * factor}


def write_clip(model: Clip, shape: Mapping[str, Any], folder: Path) -> None:
    """Write ``config.json``, ``preprocessor_config.json`` and ``model.safetensors`` into ``folder``.

    Raises ``InputError`` for images that are not square, which transformers has no form for.
    """
    if shape["height"] != shape["width"]:
        raise InputError(
            tr("CLIPModel reads square images only; this model's are {w} x {h}.", w=shape["width"], h=shape["height"])
        )
    folder.mkdir(parents=True, exist_ok=True)
    save_file(clip_weights(model), folder / "model.safetensors", metadata={"format": "pt"})
    side = {"height": int(shape["height"]), "width": int(shape["width"])}
    preprocessor = {
        "image_processor_type": "CLIPImageProcessor",
        "do_center_crop": False,
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "rescale_factor": 1 / 255,
        "resample": 2,
        "size": side,
    }
    for name, document in (("config.json", clip_config(shape)), ("preprocessor_config.json", preprocessor)):
        (folder / name).write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", encoding="utf-8")
