"""Telling which class an image is of: a head on what the base makes of the whole image (Dosovitskiy 2021)."""

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from engine.errors import StudyError
from engine.families import _image_inputs as inputs
from engine.families._base_task_text_classification import class_settings
from engine.families._base_tasks import Task
from engine.families.base import DataShape, Family, LossOutput, Shape
from engine.i18n import mark, tr
from engine.study import Scalar, TableSpec

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    import torch
    from torch import Tensor, nn

    from engine.base_folder import BaseModel
    from engine.sources.base import Prepared

SHOWN = 12
"""Images of the first batch that are shown."""
TEST_SHARE = 0.2
"""Held out for results alone where the study does not say: as much as of a labelled table."""
SMALLEST_SIDE, LARGEST_SIDE = 4, 512
"""What the source ``image-folder`` can make of an image; beyond that the model's own input is resized."""
USUAL_TARGETS = ({"query", "value"}, {"q_proj", "v_proj"}, {"q_lin", "v_lin"}, {"qkv"})
"""What the matrices of queries and values are called: LoRA's own choice (Hu 2021)."""


class ImageClassification(Task):
    """``inputs`` float32 (batch, channels, h, w) in -1..1, resized and normalised as the base says; ``targets``
    int64 (batch,)."""

    name = "image-classification"
    title = mark("Image classification")
    about = mark("Tell which class an image is of.")
    source = "image-folder"
    builtin: ClassVar["Mapping[str, Scalar]"] = {"source": "digits"}
    headline = ("classification", "f1")
    weighs_classes = True
    modality = "images"
    auto_class = "AutoModelForImageClassification"
    peft_type = ""
    unit = mark("nats per image")
    rates: ClassVar["Mapping[str, float]"] = {"frozen": 100.0, "lora": 3.0, "scratch": 1.0}
    """By the validation loss on 100 labelled digits of a ``masked-digits`` of 25,604 parameters, seeds 100 and 101, at
    0.01: full 0.69 nats, 1.04 at 0.3 of that and 0.99 at 3 times; frozen 1.39 at 30 and 1.34 at 100 times; LoRA 1.17 at
    1, 0.88 at 3 and 1.39 at 10 times; scratch (first weights of
    transformers) 1.67 at 1 and 1.94 at 3 times. Larger bases were not tried."""
    small_recipe: ClassVar["Mapping[str, float]"] = {"learning_rate": 0.01, "epochs": 40.0}
    reads_text = False
    counted_rows = 2  # batch normalisation compares images, and a map of one place needs two of them

    def fit_data(self, base: "BaseModel", data: TableSpec) -> TableSpec:
        """Files are read at the base's size and colours, and some images are held out for results alone."""
        changed: dict[str, Any] = {}
        if getattr(data, "test_fraction", 0.0) is None:
            changed["test_fraction"] = TEST_SHARE
        if hasattr(data, "colors") and hasattr(data, "fit"):
            wanted = _inputs(base, (data.size, data.size))  # type: ignore[attr-defined]
            side = max(int(wanted["image_height"]), int(wanted["image_width"]))
            changed["size"] = min(max(side, SMALLEST_SIDE), LARGEST_SIDE)
            changed["colors"] = "grey" if wanted["image_channels"] == 1 else "color"
            changed["fit"] = "crop" if wanted["image_crop"] else "stretch"
        return msgspec.structs.replace(data, **changed) if changed else data

    def tried(self) -> DataShape:
        return replace(super().tried(), sample_shape=(3, 32, 32), fixed_context=1)

    def begins_with(self, family: Family, shape: Shape) -> bool:
        """What reads images: classifiers, and what fills in hidden patches."""
        return "images" in family.reads(shape)

    def dimensions(self, data: DataShape) -> dict[str, Scalar]:
        if data.n_classes < 2 or len(data.sample_shape) != 3:
            raise StudyError(tr("data: the task image-classification needs images of at least two classes."))
        channels, height, width = data.sample_shape
        return {
            "n_outputs": data.n_classes,
            "labels": json.dumps(data.class_names, ensure_ascii=False),
            "n_inputs": channels,
            "height": height,
            "width": width,
        }

    def base_dimensions(self, base: "BaseModel", data: DataShape) -> dict[str, Scalar]:
        """What the base wants its images to be like."""
        return _inputs(base, data.sample_shape[1:])

    def settings(self, shape: Shape) -> dict[str, Any]:
        kind = str(shape["architecture"])
        if kind not in _known():
            raise StudyError(
                tr("model.base: {kind} reads no images, which the task image-classification needs.", kind=kind),
                tr("Give a base such as ViT, DeiT, ResNet or ConvNeXT, or a vit, vit-masked or cnn of this home."),
            )
        return class_settings(shape)

    def heads(self, model: "nn.Module") -> tuple[str, ...]:
        """What stands beside the body."""
        whole: Any = model
        body = f"{whole.base_model_prefix}."
        named = (name for name, _ in model.named_parameters() if not name.startswith(body))
        return tuple(dict.fromkeys(name.rpartition(".")[0] for name in named))

    def lora_targets(self, model: "nn.Module", shape: Shape) -> list[str]:
        """Queries and values; where there are none every linear layer of the body, else its convolutions."""
        from torch import nn

        heads = self.heads(model)
        found: dict[type[nn.Module], set[str]] = {nn.Linear: set(), nn.Conv2d: set()}
        for name, module in model.named_modules():
            plain = type(module) is nn.Linear or (type(module) is nn.Conv2d and module.groups == 1)
            if plain and not name.startswith(heads):
                found[type(module)].add(name.rpartition(".")[2])
        for usual in USUAL_TARGETS:
            if usual <= found[nn.Linear]:
                return sorted(usual)
        targets = sorted(found[nn.Linear] or found[nn.Conv2d])
        if not targets:
            raise StudyError(
                tr(
                    "model.method: LoRA stands beside linear layers and convolutions, and {kind} has none in its body.",
                    kind=shape["architecture"],
                ),
                tr("Use full or frozen."),
            )
        return targets

    def exported(self, shape: Shape, folder: "Path") -> None:
        """How plain transformers is to prepare images."""
        inputs.write_inputs(shape, folder)

    def seen(self, prepared: "Prepared", shape: Shape, batch_size: int, seed: int) -> "list[Mapping[str, Any]]":
        """The first images, ``image`` uint8 (h, w, 3) at the base's size, with ``label``; see ``as_pixels``."""
        import torch

        from engine.sources._images import to_pixels

        batch = prepared.train_batch(0, batch_size, 1, seed)
        images = to_pixels(inputs.as_pixels(torch.from_numpy(batch["inputs"][:SHOWN]), shape).numpy())
        names = json.loads(str(shape["labels"]))
        return [
            {"image": image, "label": names[t]} for image, t in zip(images, batch["targets"].tolist(), strict=False)
        ]

    def ready(self, batch: "Mapping[str, Tensor]", shape: Shape) -> "Mapping[str, Tensor]":
        """With ``pixel_values``, as transformers calls what it reads."""
        return {**batch, "pixel_values": inputs.pixel_values(batch["inputs"], shape)}

    def outputs(self, model: "nn.Module", batch: "Mapping[str, Tensor]") -> "Tensor":
        """Logits (batch, classes)."""
        out: Tensor = model(pixel_values=batch["pixel_values"]).logits
        return out

    def loss(self, model: "nn.Module", batch: "Mapping[str, Tensor]", weights: "Tensor | None") -> LossOutput:
        """Cross-entropy in nats; with weights their weighted mean."""
        from torch.nn import functional

        return LossOutput(functional.cross_entropy(self.outputs(model, batch).float(), batch["targets"], weights))

    def example(self, shape: Shape, rows: int, context: int, device: "torch.device") -> "dict[str, Tensor]":
        """Random images and classes, as the source gives them."""
        import torch

        size = (int(shape["n_inputs"]), int(shape["height"]), int(shape["width"]))
        targets = torch.randint(0, int(shape["n_outputs"]), (rows,), device=device)
        return {"inputs": torch.rand(rows, *size, device=device) * 2 - 1, "targets": targets}


def _inputs(base: "BaseModel", size: tuple[int, ...]) -> dict[str, Scalar]:
    from engine.families._base_model import parsed

    height, width = size
    return inputs.read_inputs(base.folder, parsed(base.config_text), height, width)


def _known() -> "Collection[str]":
    """Architectures that have a class for it."""
    from transformers.models.auto import modeling_auto as known

    found: Collection[str] = known.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES
    return found


TASK = ImageClassification()
