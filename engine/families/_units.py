"""Heads, hidden units and channels: what can be cut out of a network so that what is left is a smaller network."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Part:
    """Where units lie in a parameter: its ``axis``, read as (repeats, units, width); one row each by default."""

    owner: nn.Module
    name: str
    axis: int = 0
    repeats: int = 1

    @property
    def parameter(self) -> Tensor:
        """The parameter as it is now."""
        found: Tensor = getattr(self.owner, self.name)
        return found


@dataclass(frozen=True, slots=True)
class Units:
    """Units of one layer, each a slice of every part: what makes it and what reads it. ``kind`` says what they are.

    A network's modules list theirs by a method ``units``; ``resized`` tells them how many are left.
    """

    kind: str
    count: int
    parts: tuple[Part, ...]
    resized: Callable[[int], None]

    def of(self, part: Part) -> Tensor:
        """The part's values by unit, (units, values of a unit); a copy."""
        moved = part.parameter.detach().movedim(part.axis, 0)
        by_unit = moved.reshape(part.repeats, self.count, -1, *moved.shape[1:]).transpose(0, 1)
        return by_unit.reshape(self.count, -1)

    def norms(self) -> Tensor:
        """(units,) the L2 norm of everything that belongs to each."""
        total = torch.zeros(self.count, dtype=torch.float64)
        for part in self.parts:
            total += self.of(part).double().square().sum(1).cpu()
        return total.sqrt()

    def places(self, part: Part, units: Tensor) -> Tensor:
        """Indices along the part's axis that belong to ``units`` int64 (n,), in order."""
        size = part.parameter.shape[part.axis]
        return torch.arange(size).view(part.repeats, self.count, -1)[:, units].flatten()

    @torch.no_grad()
    def silence(self, units: Tensor) -> None:
        """Set everything of ``units`` to 0: the network computes as if they were not there."""
        for part in self.parts:
            parameter = part.parameter
            parameter.index_fill_(part.axis, self.places(part, units).to(parameter.device), 0.0)

    @torch.no_grad()
    def keep(self, units: Tensor) -> None:
        """Take all but ``units`` int64 (n,), ascending, out of the parameters."""
        for part in self.parts:
            old = part.parameter
            kept = old.detach().index_select(part.axis, self.places(part, units).to(old.device))
            setattr(part.owner, part.name, nn.Parameter(kept, requires_grad=old.requires_grad))
        self.resized(len(units))

    @torch.no_grad()
    def grow(self, count: int) -> None:
        """Put units of zeros after those that are there, until they are ``count``: the network computes as before."""
        for part in self.parts:
            old = part.parameter.detach()
            sizes = list(old.shape)
            sizes[part.axis] = old.shape[part.axis] // self.count * count
            places = torch.arange(sizes[part.axis]).view(part.repeats, count, -1)[:, : self.count].flatten()
            grown = old.new_zeros(sizes).index_copy_(part.axis, places.to(old.device), old)
            setattr(part.owner, part.name, nn.Parameter(grown, requires_grad=part.parameter.requires_grad))
        self.resized(count)


def linear_units(kind: str, first: nn.Linear, second: nn.Linear, repeats: int = 1) -> Units:
    """The units between two linear layers: rows of the one, columns of the other."""
    count = second.in_features
    parts = [Part(first, "weight", repeats=repeats), Part(second, "weight", axis=1)]
    if first.bias is not None:
        parts.insert(1, Part(first, "bias", repeats=repeats))

    def resized(n: int) -> None:
        first.out_features, second.in_features = repeats * n, n

    return Units(kind, count, tuple(parts), resized)
