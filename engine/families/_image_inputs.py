"""What a base wants its images to be like, as its ``preprocessor_config.json`` says: read, done to a batch, written.

Images come from the sources as float32 (batch, channels, h, w) in -1..1. Everything here is done on the device, so that
one model learns from images of any source. What is frozen with a run is affine in pixels of 0..1, whatever the folder
calls it: (pixel - mean) / std.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import StudyError
from engine.families.base import Shape
from engine.i18n import tr
from engine.study import Scalar

if TYPE_CHECKING:
    from torch import Tensor

FILE = "preprocessor_config.json"
WHITE = 255.0
USUAL = 0.5
"""Mean and deviation where a folder does not say: transformers' own for a ViT."""
NEAREST, BILINEAR, BICUBIC = 0, 2, 3
"""How Pillow numbers its filters."""
MODES = {NEAREST: "nearest-exact", BILINEAR: "bilinear", BICUBIC: "bicubic"}
GREY = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in what Pillow calls "L" (ITU-R 601)."""


def read_inputs(folder: Path, config: Any, height: int, width: int) -> dict[str, Scalar]:
    """Fields of a shape: size, channels, how an image becomes square, filter, mean and deviation by channel.

    ``config`` is the base's, of transformers; ``height`` and ``width`` are used where nothing says otherwise.
    Raises ``StudyError`` for a file that cannot be read.
    """
    told = _told(folder)
    channels = int(getattr(config, "num_channels", 3))
    said = getattr(config, "image_size", None) or _size(told) or (height, width)
    size = (said, said) if isinstance(said, int) else tuple(said)
    factor = float(told.get("rescale_factor", 1 / WHITE)) if told.get("do_rescale", True) else 1.0
    per_pixel = WHITE * factor  # of a pixel of 0..1
    given: Mapping[str, Any] = told if told.get("do_normalize", True) else {"image_mean": 0.0, "image_std": 1.0}
    offset = 1.0 if told.get("rescale_offset") and told.get("do_rescale", True) else 0.0
    mean = [(value + offset) / per_pixel for value in _by_channel(given.get("image_mean"), channels)]
    std = [value / per_pixel for value in _by_channel(given.get("image_std"), channels)]
    resample = told.get("resample", BILINEAR)
    return {
        "image_height": int(size[0]),
        "image_width": int(size[1]),
        "image_channels": channels,
        "image_crop": bool(told.get("do_center_crop")) or "shortest_edge" in _named_size(told),
        "image_filter": resample if resample in MODES else BICUBIC,
        "pixel_mean": json.dumps([round(value, 9) for value in mean]),
        "pixel_std": json.dumps([round(value, 9) for value in std]),
    }


def as_pixels(images: "Tensor", shape: Shape) -> "Tensor":
    """Images of a source in -1..1 with the size and channels of the base, still in -1..1."""
    import torch
    from torch.nn import functional

    channels, size = int(shape["image_channels"]), (int(shape["image_height"]), int(shape["image_width"]))
    if images.shape[1] == 3 and channels == 1:
        weights = torch.tensor(GREY, device=images.device, dtype=images.dtype)
        images = (images * weights[:, None, None]).sum(1, keepdim=True)
    if tuple(images.shape[2:]) != size:
        mode = MODES[int(shape["image_filter"])]
        smooth: dict[str, Any] = {} if mode == MODES[NEAREST] else {"antialias": True}
        images = functional.interpolate(images, size, mode=mode, **smooth).clamp(-1.0, 1.0)
    return images.expand(-1, channels, -1, -1)


def pixel_values(images: "Tensor", shape: Shape) -> "Tensor":
    """What transformers calls ``pixel_values``: of the base's size and channels, normalised as it wants."""
    import torch

    seen = as_pixels(images, shape)
    mean, std = (
        torch.tensor(json.loads(str(shape[name])), device=seen.device, dtype=torch.float32)[:, None, None]
        for name in ("pixel_mean", "pixel_std")
    )
    return seen * (0.5 / std) + (0.5 - mean) / std


def write_inputs(shape: Shape, folder: Path) -> None:
    """Write the ``preprocessor_config.json`` that transformers' ``AutoImageProcessor`` reads."""
    height, width, channels = (int(shape[f"image_{name}"]) for name in ("height", "width", "channels"))
    told: dict[str, Any] = {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "size": {"height": height, "width": width},
        "resample": int(shape["image_filter"]),
        "do_rescale": True,
        "rescale_factor": 1 / WHITE,
        "do_normalize": True,
        "image_mean": json.loads(str(shape["pixel_mean"])),
        "image_std": json.loads(str(shape["pixel_std"])),
        "do_convert_rgb": channels == 3,
    }
    if shape["image_crop"] and height == width:
        told |= {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": height}}
        told |= {"do_center_crop": True, "crop_size": {"height": height, "width": width}}
    (folder / FILE).write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


def write_scaled(folder: Path, channels: int, height: int, width: int) -> None:
    """The same for a model that reads pixels scaled to -1..1, as those of the lab do."""
    half = json.dumps([USUAL] * channels)
    write_inputs(
        {
            "image_height": height,
            "image_width": width,
            "image_channels": channels,
            "image_crop": True,
            "image_filter": BILINEAR,
            "pixel_mean": half,
            "pixel_std": half,
        },
        folder,
    )


def _told(folder: Path) -> Mapping[str, Any]:
    path = folder / FILE
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StudyError(
            tr("model.base: {path} cannot be read ({why}).", path=str(path), why=type(error).__name__),
            tr("Fetch or copy it again."),
        ) from None
    return found if isinstance(found, dict) else {}


def _named_size(told: Mapping[str, Any]) -> Mapping[str, Any]:
    size = told.get("size")
    return size if isinstance(size, dict) else {}


def _size(told: Mapping[str, Any]) -> tuple[int, int] | int | None:
    """Height and width of what is cut out of an image, else of what it is made to be."""
    sizes: list[Any] = [told.get("crop_size"), told.get("size")] if told.get("do_center_crop") else [told.get("size")]
    for size in sizes:
        if isinstance(size, int):
            return size
        if isinstance(size, dict) and {"height", "width"} <= size.keys():
            return int(size["height"]), int(size["width"])
        if isinstance(size, dict) and "shortest_edge" in size:
            return int(size["shortest_edge"])
    return None


def _by_channel(value: Any, channels: int) -> list[float]:
    """One number for each channel; where the file has another count of them, their mean."""
    if value is None:
        value = USUAL
    values = [float(v) for v in value] if isinstance(value, list) else [float(value)]
    return values if len(values) == channels else [sum(values) / len(values)] * channels
