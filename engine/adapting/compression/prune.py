"""Pruning by magnitude (Han 2015): single weights, or whole heads, hidden units and channels (Li 2017).

What is cut stays 0 because the weights say so: a place that is 0 before a step is 0 after it. The state of a run that
is pruned is therefore its weights, and a resumed one goes on bit for bit.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from engine.compressing import STRUCTURED, UNSTRUCTURED
from engine.families._units import Units
from engine.families.base import ParamGroup
from engine.study import CompressionMethod, ResolvedTraining
from engine.training.optim import Optimizer

GRADUAL_CUTS = 10
"""Times at which a gradual pruning cuts."""
GRADUAL_UNTIL = 0.5
"""Share of the fine-tuning after which it has cut everything; the rest is for what is left to recover."""
LOOKED_UP = ("embedding", "positions", "token", "tokens")
"""What the names of parameters end with that are tables of vectors, not weights between units: they are not pruned."""


def pruned_weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """The weight matrices and kernels that single weights are cut from: no tables, biases, norms or scalars."""
    return {
        f"{prefix}.{name}" if prefix else name: parameter
        for prefix, module in model.named_modules()
        if not isinstance(module, nn.Embedding)
        for name, parameter in module.named_parameters(recurse=False)
        if parameter.dim() > 1 and min(parameter.shape[:2]) > 1 and not name.endswith(LOOKED_UP)
    }


def units_of(model: nn.Module) -> list[Units]:
    """Everything that can be cut out of a network, as its modules list it."""
    return [units for module in model.modules() if (listed := getattr(module, "units", None)) for units in listed()]


def amount_at(method: CompressionMethod, step: int, n_steps: int) -> float | None:
    """How much is to be cut before a step; None where nothing is. Gradually: a (1 - (1 - t)^3) (Zhu & Gupta 2017)."""
    if method.schedule == "one-shot" or n_steps == 0:
        return method.amount if step == 0 else None
    every = max(1, int(n_steps * GRADUAL_UNTIL) // GRADUAL_CUTS)
    if step % every or step > GRADUAL_CUTS * every:
        return None
    return float(method.amount * (1 - (1 - step / (GRADUAL_CUTS * every)) ** 3))


@torch.no_grad()
def cut(model: nn.Module, method: CompressionMethod, amount: float) -> None:
    """Set the smallest ``amount`` of every matrix, or of the units of every layer, to 0."""
    if method.method == UNSTRUCTURED:
        for weight in pruned_weights(model).values():
            n = round(amount * weight.numel())
            if n:
                weight.view(-1)[weight.abs().flatten().topk(n, largest=False).indices] = 0.0
    for units in units_of(model) if method.method == STRUCTURED else ():
        order = units.norms().argsort(stable=True)
        units.silence(order[: units.count - kept(units.count, amount)].sort().values)


def kept(count: int, amount: float) -> int:
    """Units of a layer that stay: one at least."""
    return max(1, round((1 - amount) * count))


def remove(model: nn.Module, method: CompressionMethod) -> list[int]:
    """Take the silenced units out of the parameters; how many are left of each layer."""
    if method.method != STRUCTURED:
        return []
    left = []
    for units in units_of(model):
        n = kept(units.count, method.amount)
        units.keep(units.norms().argsort(stable=True)[units.count - n :].sort().values)
        left.append(n)
    return left


def resize(model: nn.Module, left: Sequence[int]) -> None:
    """Bring a network of the full shape to the shape of a pruned one; its values are those of no model."""
    found = units_of(model)
    if len(found) != len(left) or any(n > units.count for units, n in zip(found, left, strict=False)):
        raise ValueError("the units are not those of this model")
    for units, n in zip(found, left, strict=True):
        units.keep(torch.arange(n))


class PruningOptimizer(Optimizer):
    """Cuts when it is due and leaves what is cut at 0: after every step its places are set back."""

    def __init__(
        self, model: nn.Module, groups: Sequence[ParamGroup], training: ResolvedTraining, method: CompressionMethod
    ) -> None:
        super().__init__(model, groups, training)
        self._model, self._method, self._n_steps = model, method, training.n_steps
        parts = [part for units in units_of(model) for part in units.parts] if method.method == STRUCTURED else []
        held = [part.parameter for part in parts] or list(pruned_weights(model).values())
        self._held: list[Tensor] = list({id(tensor): tensor for tensor in held}.values())
        self.next_step = 0
        """The step that comes next, counted from 0."""

    @torch.no_grad()
    def step(self) -> None:
        """Update every parameter but what is cut, then cut what is due before the next step."""
        cut_away = [tensor == 0 for tensor in self._held]
        super().step()
        for tensor, mask in zip(self._held, cut_away, strict=True):
            tensor.masked_fill_(mask, 0.0)
        self.next_step += 1
        self.cut_if_due()

    def cut_if_due(self) -> None:
        """Cut as much as the schedule says before the next step, if it says anything there."""
        amount = amount_at(self._method, self.next_step, self._n_steps)
        if amount is not None and self.next_step < max(1, self._n_steps):
            cut(self._model, self._method, amount)
