"""Held-out images and the caption that comes nearest to each, while a model of pairs trains."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from engine.families._clip import Clip
from engine.families.base import Made
from engine.i18n import mark

if TYPE_CHECKING:
    from engine.sources.base import Prepared

SHOWN, AMONG = 8, 128
"""Images shown, and held-out captions of which the nearest is found."""


def nearest_captions(model: nn.Module, prepared: "Prepared", device: torch.device) -> Sequence[Made]:
    """The same held-out images every time; nothing where the data are no pairs."""
    from engine.sources._captions import Captioned
    from engine.sources._images import picture

    assert isinstance(model, Clip)
    if not isinstance(prepared, Captioned):
        return ()
    pairs = prepared.held_out_pairs(AMONG)
    images = model(torch.from_numpy(pairs["images"][:SHOWN]).to(device))
    captions = model.embed_captions(torch.from_numpy(pairs["captions"]).to(device))
    nearest = (images @ captions.T).argmax(dim=1).tolist()
    lines = [mark("The nearest of n captions (and in brackets the right one, where that differs):")]
    lines.append(f"n = {len(captions)}")
    for number, found in enumerate(nearest):
        said, right = (prepared.decode(pairs["captions"][place]) for place in (found, number))
        lines.append(f"{number + 1}. {said}" if found == number else f"{number + 1}. {said} ({right})")
    return (Made("image", "\n".join(lines), picture(pairs["images"][:SHOWN], SHOWN)),)
