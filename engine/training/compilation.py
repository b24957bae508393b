"""``torch.compile`` where it works, eager where it does not."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from engine.i18n import tr
from engine.training.report import Teller

if TYPE_CHECKING:
    BatchLoss = Callable[[Mapping[str, Tensor]], Tensor]


def compiled_or_eager(
    eager: "BatchLoss", model: nn.Module, example: Mapping[str, Tensor], teller: Teller
) -> "tuple[BatchLoss, bool]":
    """The loss compiled and tried on a batch (forward and backward), or the eager one with a line in the log.

    Leaves neither gradients nor drawn random numbers behind. Returns the loss and whether it is compiled.
    """
    # Every run compiles the same lines of code for another model: without this, torch gives up after eight of them.
    torch.compiler.reset()
    compiled: BatchLoss = torch.compile(eager, dynamic=False)
    devices = [p.device for p in model.parameters() if p.device.type == "cuda"][:1]
    try:
        with torch.random.fork_rng(devices=devices):
            compiled(example).sum().backward()  # type: ignore[no-untyped-call]
    except Exception as error:  # noqa: BLE001 - compilers fail in many ways; eager is always right, and it is said
        why = next(iter(str(error).splitlines()), type(error).__name__)
        teller.log(tr("torch.compile does not work here; going on without it: {why}", why=why), "warning")
        return eager, False
    finally:
        model.zero_grad(set_to_none=True)
    return compiled, True
