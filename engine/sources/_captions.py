"""Images with captions: the batch they come in, and what can be asked of data that hold out pairs.

A batch is ``images`` float32 (b, 3, h, w) and ``captions`` int64 (b, t): tokens, ``END``, then ``PAD``.
"""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from engine.sources.base import Batch

PAD, END = 0, 1
"""The first two ids of every vocabulary of captions."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Images to be told apart by prompts: the right one of image i is ``labels[i]``."""

    images: NDArray[np.float32]
    prompts: NDArray[np.int64]
    labels: NDArray[np.int64]


@runtime_checkable
class Captioned(Protocol):
    """Prepared data of images with captions."""

    def held_out_pairs(self, n: int) -> Batch:
        """The same ``n`` validation pairs every time, or as many as there are, of which no caption fits two images."""
        ...

    def decode(self, tokens: NDArray[np.integer[Any]]) -> str:
        """The text of a caption up to its end."""
        ...


@runtime_checkable
class Classified(Protocol):
    """Captioned data whose images also have classes that a prompt names."""

    def choices(self, n: int, *, unseen: bool) -> Choice:
        """The same ``n`` held-out images every time, of classes met in training or of such as were never met."""
        ...
