"""Held-out images as a classifier sees them while it trains: a picture, with its answers as the caption."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from engine.families.base import Made, Shape
from engine.i18n import mark

if TYPE_CHECKING:
    from engine.sources.base import Prepared

COLUMNS, ROWS = 8, 3


def classified(model: nn.Module, prepared: "Prepared", device: torch.device) -> Sequence[Made]:
    """The same held-out images every time and what the model takes each for; nothing where they have no classes."""
    from engine.sources._images import ImageData, picture

    if not isinstance(prepared, ImageData):
        return ()
    batch = prepared.held_out("validation", COLUMNS * ROWS)
    names = prepared.class_names
    predicted = model(torch.from_numpy(batch["inputs"]).to(device)).argmax(-1).tolist()
    answers = [
        names[guess] if guess == truth else f"{names[guess]} ({names[truth]})"
        for guess, truth in zip(predicted, batch["targets"].tolist(), strict=True)
    ]
    rows = [" · ".join(answers[first : first + COLUMNS]) for first in range(0, len(answers), COLUMNS)]
    caption = "\n".join((mark("Predicted (and in brackets what is true, where that differs):"), *rows))
    return (Made("image", caption, picture(batch["inputs"], COLUMNS)),)


def random_batch(shape: Shape, batch_size: int) -> dict[str, torch.Tensor]:
    """A batch of random images and classes for a family whose shape names ``n_inputs``, ``height``, ``width`` and
    ``n_outputs``."""
    inputs = torch.randn(batch_size, *(int(shape[key]) for key in ("n_inputs", "height", "width")))
    return {"inputs": inputs, "targets": torch.randint(0, int(shape["n_outputs"]), (batch_size,))}
