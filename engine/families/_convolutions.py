"""Which convolutions a convolutional classifier is made of: what its counts add up and its network is built from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

KERNEL = 3
QUARTER_KERNEL = 7
"""Of the first convolution where it quarters the image, together with the pooling that follows (He 2016)."""


@dataclass(frozen=True, slots=True)
class Convolution:
    """One convolution, padded by half its kernel; ``height`` and ``width`` are those of what it gives."""

    role: Literal["stem", "plain", "first", "second", "shortcut"]
    """Of a residual block there is a first and a second, and a shortcut where its ends differ in shape."""
    n_in: int
    n_out: int
    kernel: int
    stride: int
    height: int
    width: int
    pooled: bool = False
    """Whether what it reads was halved by pooling first."""

    @property
    def n_weights(self) -> int:
        return self.n_out * self.n_in * self.kernel**2

    @property
    def n_biases(self) -> int:
        """None on a shortcut, which is added to what has one."""
        return 0 if self.role == "shortcut" else self.n_out

    @property
    def n_values(self) -> int:
        """Numbers in what it gives, per image."""
        return self.n_out * self.height * self.width


def convolutions(shape: Mapping[str, Any]) -> list[Convolution]:
    """Every convolution in the order of the forward pass; a shortcut comes after the two it bypasses."""
    channels, stages, blocks = int(shape["channels"]), int(shape["stages"]), int(shape["blocks"])
    height, width = int(shape["height"]), int(shape["width"])
    quarter, pooling = shape["stem"] == "quarter", shape["downsample"] == "pool"
    if quarter:
        height, width = _half(height), _half(width)
    kernel, stride = (QUARTER_KERNEL, 2) if quarter else (KERNEL, 1)
    found = [Convolution("stem", int(shape["n_inputs"]), channels, kernel, stride, height, width)]
    if quarter:
        height, width = _half(height), _half(width)
    n_in = channels
    for stage in range(stages):
        n_out = channels * 2**stage
        if stage:
            height, width = _half(height), _half(width)
        for block in range(blocks):
            halved = stage > 0 and block == 0
            stride, pooled = (2 if halved and not pooling else 1), halved and pooling
            if shape["residual"]:
                found.append(Convolution("first", n_in, n_out, KERNEL, stride, height, width, pooled))
                found.append(Convolution("second", n_out, n_out, KERNEL, 1, height, width))
                if n_in != n_out:
                    found.append(Convolution("shortcut", n_in, n_out, 1, stride, height, width))
            else:
                found.append(Convolution("plain", n_in, n_out, KERNEL, stride, height, width, pooled))
            n_in = n_out
    return found


def _half(side: int) -> int:
    return (side + 1) // 2
