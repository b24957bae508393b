"""Writing an encoder as the ``ModernBertForMaskedLM`` folder that plain transformers loads, with equal logits."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.families._encoder import Encoder, EncoderBlock
from engine.families._llama import write_folder


def modernbert_config(shape: Mapping[str, Any]) -> dict[str, Any]:
    """``config.json`` of the shape; every layer attends to the whole window."""
    rotary = {"rope_type": "default", "rope_theta": float(shape["rope_theta"])}
    none = dict.fromkeys((f"{name}_token_id" for name in ("bos", "cls", "eos", "pad", "sep")), None)
    dropouts = dict.fromkeys((f"{name}_dropout" for name in ("attention", "classifier", "embedding", "mlp")), 0.0)
    biases = dict.fromkeys((f"{name}_bias" for name in ("attention", "classifier", "decoder", "mlp", "norm")), False)
    return {
        **none,
        **dropouts,
        **biases,
        "architectures": ["ModernBertForMaskedLM"],
        "model_type": "modernbert",
        "classifier_activation": "gelu",
        "classifier_pooling": "mean",
        "dtype": "float32",
        "hidden_activation": "silu",
        "hidden_size": int(shape["d_model"]),
        "intermediate_size": int(shape["d_ff"]),
        "layer_types": ["full_attention"] * int(shape["n_layers"]),
        "max_position_embeddings": int(shape["context"]),
        "norm_eps": float(shape["norm_eps"]),
        "num_attention_heads": int(shape["n_heads"]),
        "num_hidden_layers": int(shape["n_layers"]),
        "rope_parameters": {"full_attention": rotary, "sliding_attention": rotary},
        "tie_word_embeddings": True,
        "vocab_size": int(shape["vocab_size"]) + 1,
    }


@torch.no_grad()
def modernbert_weights(model: Encoder) -> dict[str, Tensor]:
    """The weights under transformers' names, multipliers folded in; the model is not changed.

    The logit multiplier goes into the head's norm, the residual one into what each branch ends with, and the attention
    scale, beyond the 1 / sqrt(head_dim) of transformers, into q.
    """
    multipliers = model.multipliers
    weights = {
        "model.embeddings.tok_embeddings": model.embedding,
        "model.embeddings.norm": model.norm_embedding.weight,
        "model.final_norm": model.norm.weight,
        "head.dense": model.head,
        "head.norm": model.norm_head.weight * multipliers.output,
    }
    for i, block in enumerate(model.blocks):
        assert isinstance(block, EncoderBlock)
        q, k, v = block.qkv.chunk(3)
        names = {
            "attn.Wqkv": torch.cat((q * (multipliers.attention * block.head_dim**0.5), k, v)),
            "attn.Wo": block.out * multipliers.residual,
            "mlp_norm": block.norm_mlp.weight,
            "mlp.Wi": block.gate_up,
            "mlp.Wo": block.down * multipliers.residual,
        }
        if i:
            names["attn_norm"] = block.norm_attention.weight
        weights |= {f"model.layers.{i}.{name}": tensor for name, tensor in names.items()}
    return {f"{name}.weight": tensor.detach().float().cpu().clone() for name, tensor in weights.items()}


def write_modernbert(model: Encoder, shape: Mapping[str, Any], folder: Path) -> None:
    """Write ``config.json`` and ``model.safetensors`` into ``folder``."""
    write_folder(folder, modernbert_weights(model), {"config.json": modernbert_config(shape)})
