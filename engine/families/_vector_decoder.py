"""The decoder of ``gpt`` over vectors: one matrix reads them, another gives numbers at every position."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.families._decoder import Decoder

OUTPUT_GAIN = 0.1
"""Std of the first predictions at the base width: near 0, the mean of what is predicted."""


class VectorDecoder(Decoder):
    """Vectors float32 (batch, t, n_inputs) to numbers float32 (batch, t, n_outputs), causally."""

    def add_ends(self, shape: Mapping[str, Any]) -> None:
        d_model = int(shape["d_model"])
        self.input_embedding = nn.Parameter(torch.empty(d_model, int(shape["n_inputs"])))
        self.output_embedding = nn.Parameter(torch.empty(int(shape["n_outputs"]), d_model))

    def initialise_ends(self, generator: torch.Generator, base_width: int) -> None:
        """Entries of order one are read as a stream of order one; the first outputs are small."""
        self.input_embedding.normal_(std=self.input_embedding.shape[1] ** -0.5, generator=generator)
        self.output_embedding.normal_(std=OUTPUT_GAIN * base_width**-0.5, generator=generator)

    def embed(self, tokens: Tensor) -> Tensor:
        return F.linear(tokens.to(self.compute_dtype), self.input_embedding.to(self.compute_dtype))

    def unembed(self, x: Tensor) -> Tensor:
        """Numbers float32 (batch, t, n_outputs) of a residual stream."""
        normed = self.norm(x) * self.multipliers.output
        return F.linear(normed, self.output_embedding.to(x.dtype)).float()


def masked_square_error(predicted: Tensor, targets: Tensor) -> Tensor:
    """Mean of squared errors where the target is a number; places without one hold nan."""
    known = ~targets.isnan()
    error = torch.where(known, predicted - targets.nan_to_num(), 0.0)
    return error.square().sum() / known.sum()
