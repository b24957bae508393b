"""Optimizers over a family's parameter groups: AdamW throughout, or Muon on hidden matrices with AdamW on the rest."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from engine.errors import TrainingError
from engine.families.base import ParamGroup
from engine.i18n import tr
from engine.study import ResolvedTraining


class Optimizer:
    """One or two torch optimizers behind one ``step``; every group's rate is the run's rate times its ``lr_scale``."""

    def __init__(self, model: nn.Module, groups: Sequence[ParamGroup], training: ResolvedTraining) -> None:
        self._names = {id(p): name for name, p in model.named_parameters()}
        self.params = [p for group in groups for p in group.params]
        if {id(p) for p in self.params} != {id(p) for p in model.parameters() if p.requires_grad}:
            raise ValueError("param_groups must hold every trainable parameter of the model exactly once")
        muon = [g for g in groups if g.matrix and training.optimizer == "muon"]
        adamw = [g for g in groups if not (g.matrix and training.optimizer == "muon")]
        self._optimizers: list[torch.optim.Optimizer] = []
        if adamw:
            self._optimizers.append(_adamw(adamw, training))
        if muon:
            self._optimizers.append(_muon(muon, training))
        self._scaled = [(group, group["lr_scale"]) for o in self._optimizers for group in o.param_groups]

    def set_lr(self, lr: float) -> None:
        """Set the run's rate for the next step."""
        for group, scale in self._scaled:
            group["lr"] = lr * scale

    def step(self) -> None:
        """Update every parameter from its gradient and let the gradients go."""
        for optimizer in self._optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def state_tensors(self) -> dict[str, Tensor]:
        """Every tensor of the state as ``<parameter>|<state>``; the tensors are the live ones."""
        return {
            f"{self._names[id(parameter)]}|{key}": value
            for optimizer in self._optimizers
            for parameter, state in optimizer.state.items()
            for key, value in state.items()
            if isinstance(value, Tensor)
        }

    def load_state_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Take back what ``state_tensors`` gave. Raises ``TrainingError`` where it is of another model."""
        by_name: dict[str, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            parameter, _, key = name.rpartition("|")
            by_name.setdefault(parameter, {})[key] = value
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    state = by_name.pop(self._names[id(parameter)], None)
                    if state is not None:
                        # AdamW's step counter lives on the CPU unless fused on the device; keep it where it was.
                        optimizer.state[parameter] = {
                            k: v if v.dim() == 0 and not group.get("fused") else v.to(parameter.device)
                            for k, v in state.items()
                        }
        if by_name:
            raise TrainingError(tr("The checkpoint's optimizer state does not fit the model."))


class SharedOptimizer(Optimizer):
    """Of stacked parameters (members, ...): each member's rate is its own share, in 0..1, of the one that is set.

    torch's AdamW knows one rate for a tensor. Its step is proportional to the rate, weight decay included, and its
    moments do not depend on it: so all members take the whole step, and each keeps its share of the way. ``shares`` is
    (members,), with 1 for the highest rate, so that what rounding adds is scaled down and never up.
    """

    def __init__(
        self, model: nn.Module, groups: Sequence[ParamGroup], training: ResolvedTraining, shares: Tensor
    ) -> None:
        super().__init__(model, groups, training)
        self._weights: list[Tensor] = list(self.params)
        self._before = [torch.empty_like(p, requires_grad=False) for p in self._weights]
        # Written out in full: torch's fused loops over many tensors take no broadcast ones.
        self._shares = [
            shares.to(p.device, p.dtype).view(-1, *[1] * (p.dim() - 1)).expand_as(p).contiguous() for p in self._weights
        ]

    @torch.no_grad()
    def step(self) -> None:
        """Update every parameter from its gradient, each member at its own rate, and let the gradients go."""
        torch._foreach_copy_(self._before, self._weights)
        super().step()
        torch._foreach_lerp_(self._before, self._weights, self._shares)
        torch._foreach_copy_(self._weights, self._before)


def _group(group: ParamGroup, training: ResolvedTraining) -> dict[str, Any]:
    return {
        "params": group.params,
        "lr": training.learning_rate * group.lr_scale,
        "lr_scale": group.lr_scale,
        "weight_decay": training.weight_decay if group.decay else 0.0,
    }


def _adamw(groups: Sequence[ParamGroup], training: ResolvedTraining) -> torch.optim.Optimizer:
    return torch.optim.AdamW(
        [_group(g, training) for g in groups],
        lr=training.learning_rate,
        betas=(training.beta1, training.beta2),
        eps=training.eps,
        fused=all(p.device.type in {"cpu", "cuda"} for g in groups for p in g.params),
    )


def _muon(groups: Sequence[ParamGroup], training: ResolvedTraining) -> torch.optim.Optimizer:
    """Muon (Jordan 2024) with the update's size matched to AdamW's (Liu 2025), so that one rate serves both."""
    return torch.optim.Muon(
        [_group(g, training) for g in groups],
        lr=training.learning_rate,
        momentum=0.95,
        adjust_lr_fn="match_rms_adamw",
    )
