"""Writing a decoder as the ``LlamaForCausalLM`` folder that plain transformers loads, with equal logits."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from engine.families._decoder import Block, Decoder

EMPTY_MLP = 8
"""Width of the MLP of zeros that stands in for none, which Llama cannot do without."""


def llama_config(shape: Mapping[str, Any]) -> dict[str, Any]:
    """``config.json`` of the shape, read alike by transformers 4 (``rope_theta``) and 5 (``rope_parameters``)."""
    theta = float(shape["rope_theta"])
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": None,
        "dtype": "float32",
        "eos_token_id": None,
        "head_dim": int(shape["head_dim"]),
        "hidden_act": "silu",
        "hidden_size": int(shape["d_model"]),
        "initializer_range": 0.02,
        "intermediate_size": int(shape["d_ff"]) or EMPTY_MLP,
        "max_position_embeddings": int(shape["context"]),
        "mlp_bias": False,
        "num_attention_heads": int(shape["n_heads"]),
        "num_hidden_layers": int(shape["n_layers"]),
        "num_key_value_heads": int(shape["n_heads"]),
        "pretraining_tp": 1,
        "rms_norm_eps": float(shape["norm_eps"]),
        "rope_parameters": {"rope_type": "default", "rope_theta": theta},
        "rope_theta": theta,
        "tie_word_embeddings": True,
        "use_cache": True,
        "vocab_size": int(shape["vocab_size"]),
    }


@torch.no_grad()
def llama_weights(model: Decoder) -> dict[str, Tensor]:
    """The weights under transformers' names, fused ones split and multipliers folded in; the model is not changed.

    The logit multiplier goes into the final norm, the residual one into what each branch ends with, and the attention
    scale, beyond the 1 / sqrt(head_dim) of transformers, into q.
    """
    multipliers = model.multipliers
    weights = {
        "model.embed_tokens.weight": model.embedding,
        "model.norm.weight": model.norm.weight * multipliers.output,
    }
    for i, block in enumerate(model.blocks):
        assert isinstance(block, Block)
        q, k, v = block.qkv.chunk(3)
        names = {
            "input_layernorm": block.norm_attention.weight,
            "self_attn.q_proj": q * (multipliers.attention * block.head_dim**0.5),
            "self_attn.k_proj": k,
            "self_attn.v_proj": v,
            "self_attn.o_proj": block.out * multipliers.residual,
        } | _mlp_weights(block)
        weights |= {f"model.layers.{i}.{name}.weight": tensor for name, tensor in names.items()}
    return {name: tensor.detach().float().cpu().clone().contiguous() for name, tensor in weights.items()}


def _mlp_weights(block: Block) -> dict[str, Tensor]:
    if not block.has_mlp:
        d_model = block.qkv.shape[1]
        zeros = torch.zeros(EMPTY_MLP, d_model)
        norm = torch.ones(d_model)
        return {
            "post_attention_layernorm": norm,
            "mlp.gate_proj": zeros,
            "mlp.up_proj": zeros,
            "mlp.down_proj": zeros.T,
        }
    gate, up = block.gate_up.chunk(2)
    return {
        "post_attention_layernorm": block.norm_mlp.weight,
        "mlp.gate_proj": gate,
        "mlp.up_proj": up,
        "mlp.down_proj": block.down * block.multipliers.residual,
    }


def write_llama(model: Decoder, shape: Mapping[str, Any], folder: Path) -> None:
    """Write ``config.json``, ``generation_config.json`` and ``model.safetensors`` into ``folder``."""
    generation = {"do_sample": False, "bos_token_id": None, "eos_token_id": None}
    documents = {"config.json": llama_config(shape), "generation_config.json": generation}
    write_folder(folder, llama_weights(model), documents)


def write_folder(folder: Path, weights: Mapping[str, Tensor], documents: Mapping[str, Mapping[str, Any]]) -> None:
    """Write ``model.safetensors`` and JSON documents by name."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(dict(weights), folder / "model.safetensors", metadata={"format": "pt"})
    for name, document in documents.items():
        (folder / name).write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def write_tokenizer(tokenizer: Any, folder: Path, context: int) -> None:
    """Write a ``tokenizers.Tokenizer`` as ``AutoTokenizer`` reads it; others save themselves (``save_pretrained``)."""
    if hasattr(tokenizer, "save_pretrained"):
        tokenizer.save_pretrained(folder)
        return
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": context,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
