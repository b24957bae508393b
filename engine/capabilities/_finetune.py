"""Fine-tuning a copy of a model with a new linear head: one small recipe for every family and size.

The recipe was fixed on other seeds than are reported, and nothing in it looks at the test items.
"""

import copy
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import msgspec
import numpy as np

from engine.i18n import mark
from engine.study import TableSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import torch
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from engine.capabilities.base import ModelUnderTest

RATE = 0.003
"""Peak rate of AdamW at ``BASE_WIDTH``, carried to other widths by the rule ``width`` of each family."""
BASE_WIDTH = 32
HEAD_RATE = 0.01
"""That of the head, which begins at zero over standardised features and so needs no carrying."""
BATCH = 32
WARMUP = 0.1
LONGEST = 128
"""Tokens of an item at most, also where the context is longer: fine-tuning is to cost seconds."""
ITEMS_PER_BATCH = 256
SEED = 0xF17E


class FineTuneSpec(TableSpec, frozen=True, kw_only=True):
    """How much a model is fine-tuned before it is scored; base of the Spec of capabilities that do."""

    train_items: Annotated[
        int,
        msgspec.Meta(
            title=mark("Training items"),
            description=mark("Labelled items that a copy of the model is fine-tuned on, of the training split."),
            ge=32,
        ),
    ] = 1_024
    test_items: Annotated[
        int,
        msgspec.Meta(
            title=mark("Test items"),
            description=mark("Labelled items of the validation split that it is scored on, the same every time."),
            ge=32,
        ),
    ] = 1_024
    epochs: Annotated[
        int,
        msgspec.Meta(title=mark("Epochs"), description=mark("Passes over the training items."), ge=1, le=100),
    ] = 3


@dataclass(frozen=True, slots=True)
class Headed:
    """A fine-tuned copy: int64 (batch, t) to (batch, outputs), or (batch, t, outputs) of a head over positions."""

    body: "nn.Module"
    head: "nn.Linear"
    read: "Callable[[nn.Module, Tensor], Tensor | None]"
    mean: "Tensor"
    scale: "Tensor"

    def __call__(self, tokens: "Tensor") -> "Tensor":
        states = self.read(self.body, tokens)
        assert states is not None
        out: Tensor = self.head((states.float() - self.mean) / self.scale)
        return out

    def groups(self, subject: "ModelUnderTest") -> "list[dict[str, object]]":
        """Parameters with their rates, for an optimizer."""
        assert subject.family is not None
        parts = subject.family.param_groups(self.body, subject.shape, "width", BASE_WIDTH)
        body: list[dict[str, object]] = [{"params": p.params, "rate": RATE * p.lr_scale} for p in parts]
        return [*body, {"params": list(self.head.parameters()), "rate": HEAD_RATE}]


def fine_tune(
    subject: "ModelUnderTest",
    tokens: "NDArray[np.int64]",
    n_outputs: int,
    loss: "Callable[[Tensor, Tensor], Tensor]",
    *,
    epochs: int,
    per_position: bool = False,
) -> Headed | None:
    """Train a copy of the model and a head of ``n_outputs`` on ``tokens`` (n, t); the model itself is not changed.

    ``loss`` maps the outputs of a batch and its rows, int64 (batch,), to a scalar. None where the family has no
    features (or states) of such inputs.
    """
    import torch

    if subject.family is None:
        return None
    items = torch.from_numpy(tokens).to(subject.device)
    order = np.random.default_rng((SEED, subject.seed))
    n_steps = epochs * (len(items) // BATCH)
    with _training(subject.device):
        headed = _with_head(subject, items, n_outputs, per_position)
        if headed is None:
            return None
        optimizer = torch.optim.AdamW(headed.groups(subject), betas=(0.9, 0.99), weight_decay=0.01)
        headed.body.train()
        for step in range(n_steps):
            place = step % (len(items) // BATCH)
            if place == 0:
                permuted = torch.from_numpy(order.permutation(len(items))).to(subject.device)
            rows = permuted[place * BATCH : (place + 1) * BATCH]
            factor = min((step + 1) / (WARMUP * n_steps), (n_steps - step) / ((1 - WARMUP) * n_steps))
            for group in optimizer.param_groups:
                group["lr"] = group["rate"] * min(1.0, factor)
            optimizer.zero_grad()
            loss(headed(items[rows]), rows).backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(headed.body.parameters(), 1.0)
            optimizer.step()
        headed.body.eval()
    return headed


def outputs(subject: "ModelUnderTest", headed: Headed, tokens: "NDArray[np.int64]") -> "Tensor":
    """What the copy gives for every item, float32 on CPU."""
    import torch

    with torch.no_grad():
        firsts = range(0, len(tokens), ITEMS_PER_BATCH)
        parts = (torch.from_numpy(tokens[first : first + ITEMS_PER_BATCH]) for first in firsts)
        return torch.cat([headed(part.to(subject.device)).float().cpu() for part in parts])


def _with_head(subject: "ModelUnderTest", items: "Tensor", n_outputs: int, per_position: bool) -> Headed | None:
    """The copy before it learns: a head of zeros on features brought to mean 0 and deviation 1."""
    import torch
    from torch import nn

    assert subject.family is not None
    body = copy.deepcopy(subject.module).eval()
    read = subject.family.states if per_position else subject.family.features
    with torch.no_grad():
        found = read(body, items[:ITEMS_PER_BATCH])
    if found is None:
        return None
    flat = found.float().flatten(0, -2)
    head = nn.Linear(flat.shape[1], n_outputs).to(subject.device)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return Headed(body, head, read, flat.mean(0), flat.std(0) + 1e-3)


@contextmanager
def _training(device: "torch.device") -> "Iterator[None]":
    """Gradients on, and seeded random numbers that change nothing outside."""
    import torch

    devices = [device] if device.type == "cuda" else []
    with torch.enable_grad(), torch.random.fork_rng(devices=devices):
        torch.manual_seed(SEED)
        yield
