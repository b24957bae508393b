"""``torch.compile`` where it works, eager where it does not."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from engine.i18n import tr
from engine.training.report import Teller

if TYPE_CHECKING:
    BatchLoss = Callable[[Mapping[str, Tensor]], Tensor]


CAPTURED = "reduce-overhead"
"""The mode of ``torch.compile`` that captures CUDA graphs. Not for losses whose gradients add up over micro-batches: a
graph writes its gradients where it wrote those before."""
TRIES = 3
"""Calls after which a graph has been warmed up, captured and replayed: what fails shows before training begins."""


def graph_mode(device_type: str) -> str | None:
    """The mode for a loss that is mostly the starting of small operations: captured graphs, where CUDA has them."""
    return CAPTURED if device_type == "cuda" else None


def compiled_or_eager(
    eager: "BatchLoss", model: nn.Module, example: Mapping[str, Tensor], teller: Teller, mode: str | None = None
) -> "tuple[BatchLoss, bool]":
    """The loss compiled and tried on a batch (forward and backward), or the eager one with a line in the log.

    ``mode`` is that of ``torch.compile``, such as ``graph_mode`` gives. Leaves neither gradients nor drawn random
    numbers behind. Returns the loss and whether it is compiled.
    """
    # Every run compiles the same lines of code for another model: without this, torch gives up after eight of them.
    torch.compiler.reset()
    compiled: BatchLoss = torch.compile(eager, dynamic=False, mode=mode)
    if mode == CAPTURED:
        compiled = _kept(compiled)
    devices = [p.device for p in model.parameters() if p.device.type == "cuda"][:1]
    try:
        with torch.random.fork_rng(devices=devices):
            for _ in range(TRIES if mode == CAPTURED else 1):
                compiled(example).sum().backward()  # type: ignore[no-untyped-call]
                model.zero_grad(set_to_none=True)
    except Exception as error:  # noqa: BLE001 - compilers fail in many ways; eager is always right, and it is said
        why = next(iter(str(error).splitlines()), type(error).__name__)
        teller.log(tr("torch.compile does not work here; going on without it: {why}", why=why), "warning")
        return eager, False
    finally:
        model.zero_grad(set_to_none=True)
    return compiled, True


def _kept(captured: "BatchLoss") -> "BatchLoss":
    """The same with losses that outlast the next call: a replayed graph writes over what it returned before."""

    return lambda batch: captured(batch).clone()
