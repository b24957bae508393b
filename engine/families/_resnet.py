"""A residual stack as the ``ResNetForImageClassification`` of plain transformers."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from engine.families._cnn import Conv, Network, Residual
from engine.families._image_export import label_names

BATCH_NORM_EPS = 1e-5
"""Of torch's batch normalisation, which stands after every convolution of a ResNet."""


def resnet_config(shape: Mapping[str, Any]) -> dict[str, Any]:
    """``config.json`` of the shape."""
    channels, stages = int(shape["channels"]), int(shape["stages"])
    return {
        "architectures": ["ResNetForImageClassification"],
        "model_type": "resnet",
        "depths": [int(shape["blocks"])] * stages,
        "downsample_in_bottleneck": False,
        "downsample_in_first_stage": False,
        "dtype": "float32",
        "embedding_size": channels,
        "hidden_act": "relu",
        "hidden_sizes": [channels * 2**stage for stage in range(stages)],
        "layer_type": "basic",
        "num_channels": int(shape["n_inputs"]),
    } | label_names(int(shape["n_outputs"]))


@torch.no_grad()
def resnet_weights(model: Network) -> dict[str, Tensor]:
    """The weights under transformers' names, multipliers folded in; batch normalisation only adds the biases."""
    weights = _normalised("resnet.embedder.embedder", model.stem)
    stage, block_in_stage = 0, 0
    for block in model.blocks:
        assert isinstance(block, Residual)
        if block.shortcut is not None:
            stage, block_in_stage = stage + 1, 0
        name = f"resnet.encoder.stages.{stage}.layers.{block_in_stage}"
        weights |= _normalised(f"{name}.layer.0", block.first)
        weights |= _normalised(f"{name}.layer.1", block.second, block.multiplier)
        if block.shortcut is not None:
            weights |= _normalised(f"{name}.shortcut", block.shortcut)
        block_in_stage += 1
    weights["classifier.1.weight"] = model.head.weight * model.output_multiplier
    weights["classifier.1.bias"] = model.head.bias
    return weights


def _normalised(name: str, layer: Conv, multiplier: float = 1.0) -> dict[str, Tensor]:
    """A convolution with the batch normalisation that gives back what it reads, plus the bias."""
    n, like = layer.plan.n_out, layer.weight
    bias = like.new_zeros(n) if layer.bias is None else layer.bias * multiplier
    return {
        f"{name}.convolution.weight": layer.kernels() * multiplier,
        f"{name}.normalization.weight": like.new_ones(n),
        f"{name}.normalization.bias": bias,
        f"{name}.normalization.running_mean": like.new_zeros(n),
        f"{name}.normalization.running_var": like.new_full((n,), 1 - BATCH_NORM_EPS),
        f"{name}.normalization.num_batches_tracked": torch.zeros((), dtype=torch.int64),
    }
