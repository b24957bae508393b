"""What a model costs: what is timed side by side does the same work."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from engine.capabilities._cost import forward_passes

if TYPE_CHECKING:
    from engine.families.base import Family


class OnlyWithLoss(nn.Linear):
    """A layer that cannot do the plain pass, as some with integer weights cannot."""

    def forward(self, inputs: Tensor) -> Tensor:
        raise NotImplementedError


def passes(*models: nn.Module) -> list[Any]:
    def example(shape: Mapping[str, Any], batch: int, context: int) -> dict[str, Tensor]:
        return {"inputs": torch.randn(batch, context)}

    def loss(model: nn.Linear, batch: Mapping[str, Tensor]) -> Tensor:
        return nn.functional.linear(batch["inputs"], model.weight).mean()

    family = cast("Family", SimpleNamespace(example=example, loss=loss))
    return [call() for call in forward_passes(family, models, {}, 3, 2, torch.device("cpu"))]


def test_models_side_by_side_do_the_same_pass() -> None:
    plain, twin = passes(nn.Linear(3, 3), nn.Linear(3, 3))
    assert plain.shape == twin.shape == (2, 3)
    plain, other = passes(nn.Linear(3, 3), OnlyWithLoss(3, 3))
    assert plain.shape == other.shape == ()
