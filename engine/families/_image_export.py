"""Writing a classifier of images as a folder that transformers' ``AutoModelForImageClassification`` loads."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from engine.families._image_inputs import write_scaled


def label_names(n_outputs: int) -> dict[str, Any]:
    """What ``config.json`` says of the classes."""
    labels = [f"LABEL_{i}" for i in range(n_outputs)]
    return {
        "id2label": {str(i): label for i, label in enumerate(labels)},
        "label2id": {label: i for i, label in enumerate(labels)},
        "problem_type": "single_label_classification",
    }


def write_classifier(
    folder: Path, config: Mapping[str, Any], weights: Mapping[str, Tensor], shape: Mapping[str, Any]
) -> None:
    """Write ``config.json``, ``model.safetensors`` and how images are prepared; the weights stay as they are."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in weights.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    text = json.dumps(config, indent=2, sort_keys=True)
    write_scaled(folder, *(int(shape[name]) for name in ("n_inputs", "height", "width")))
    (folder / "config.json").write_text(text + "\n", encoding="utf-8")
