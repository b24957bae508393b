"""Writing an encoder-decoder as the ``T5ForConditionalGeneration`` folder that plain transformers loads."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from engine.families._encoder_decoder import MAX_DISTANCE, Attention, EncoderDecoder, Layer
from engine.families.seq2seq import BUCKETS
from engine.sources._pairs import BEGIN, END, PAD


def t5_config(shape: Mapping[str, Any]) -> dict[str, Any]:
    """``config.json`` of the shape."""
    return {
        "architectures": ["T5ForConditionalGeneration"],
        "model_type": "t5",
        "bos_token_id": BEGIN,
        "d_ff": int(shape["d_ff"]),
        "d_kv": int(shape["head_dim"]),
        "d_model": int(shape["d_model"]),
        "decoder_start_token_id": BEGIN,
        "dropout_rate": 0.0,
        "dtype": "float32",
        "eos_token_id": END,
        "feed_forward_proj": "gated-silu",
        "is_encoder_decoder": True,
        "layer_norm_epsilon": float(shape["norm_eps"]),
        "num_decoder_layers": int(shape["n_layers"]),
        "num_heads": int(shape["n_heads"]),
        "num_layers": int(shape["n_layers"]),
        "pad_token_id": PAD,
        "relative_attention_max_distance": MAX_DISTANCE,
        "relative_attention_num_buckets": BUCKETS,
        "tie_word_embeddings": True,
        "use_cache": True,
        "vocab_size": int(shape["vocab_size"]),
    }


@torch.no_grad()
def t5_weights(model: EncoderDecoder) -> dict[str, Tensor]:
    """The weights under transformers' names, fused ones split and multipliers folded in; the model is not changed.

    T5 does not scale attention, so that the scale goes into q; it divides what the tied output reads by sqrt(d_model),
    which the decoder's last norm takes back.
    """
    scale = model.multipliers.output * float(model.shape["d_model"]) ** 0.5
    weights = {
        "shared.weight": model.embedding,
        "encoder.final_layer_norm.weight": model.encoder_norm.weight,
        "decoder.final_layer_norm.weight": model.decoder_norm.weight * scale,
    }
    for stack, layers, positions in (
        ("encoder", model.encoder, model.encoder_position_embedding),
        ("decoder", model.decoder, model.decoder_position_embedding),
    ):
        weights[f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"] = positions
        for i, layer in enumerate(layers):
            assert isinstance(layer, Layer)
            weights |= {f"{stack}.block.{i}.layer.{name}.weight": w for name, w in _layer_weights(layer).items()}
    return {name: tensor.detach().float().cpu().clone().contiguous() for name, tensor in weights.items()}


def _layer_weights(layer: Layer) -> dict[str, Tensor]:
    gate, up = layer.gate_up.chunk(2)
    names = _attention_weights("0.SelfAttention", layer.attention, layer.residual)
    names["0.layer_norm"] = layer.norm_self.weight
    if layer.decoder:
        names |= _attention_weights("1.EncDecAttention", layer.cross, layer.residual)
        names["1.layer_norm"] = layer.norm_cross.weight
    last = 2 if layer.decoder else 1
    return names | {
        f"{last}.layer_norm": layer.norm_mlp.weight,
        f"{last}.DenseReluDense.wi_0": gate,
        f"{last}.DenseReluDense.wi_1": up,
        f"{last}.DenseReluDense.wo": layer.down * layer.residual,
    }


def _attention_weights(name: str, attention: Attention, residual: float) -> dict[str, Tensor]:
    over_memory = attention.over_memory
    q, k, v = (attention.q, *attention.kv.chunk(2)) if over_memory else attention.qkv.chunk(3)
    return {f"{name}.q": q * attention.scale, f"{name}.k": k, f"{name}.v": v, f"{name}.o": attention.out * residual}


def write_t5(model: EncoderDecoder, folder: Path) -> None:
    """Write ``config.json``, ``generation_config.json`` and ``model.safetensors`` into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(t5_weights(model), folder / "model.safetensors", metadata={"format": "pt"})
    generation = {
        "decoder_start_token_id": BEGIN,
        "do_sample": False,
        "eos_token_id": END,
        "max_new_tokens": int(model.shape["target_length"]),
        "pad_token_id": PAD,
    }
    for name, document in (("config.json", t5_config(model.shape)), ("generation_config.json", generation)):
        (folder / name).write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", encoding="utf-8")
