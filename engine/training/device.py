"""Where and how precisely a run computes: decided once when the run starts, then kept with its checkpoint."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from engine.errors import InputError
from engine.i18n import tr
from engine.study import RunSpec

BF16_MIN_WIDTH = 128
"""Below this width bfloat16 does not pay on a CPU with native support (shared measurements; see the guide)."""
LARGE_MODEL = 1_000_000
"""Parameters above which one run gains from several CPU threads; small matmuls lose by them."""
COMPILE_MIN_FLOPS = {"cuda": 5e15, "cpu": 2e13}
"""Compute of a run above which tens of seconds of compilation come back with interest. On CPU, bfloat16: 10-18 s on a
quiet core buy 4 % at 6 layers of width 384 and 20 % at 4 of 128 (bench_training_speed.py), in runs of five minutes up.
"""


@dataclass(frozen=True, slots=True)
class Placement:
    """Device, number format, CPU threads, whether the loss is compiled, and the attention kernel where there is one."""

    device: torch.device
    precision: str
    threads: int
    compile: bool
    attention: str = ""


def place(spec: RunSpec, width: int, lengths_vary: bool = False) -> Placement:
    """Decide every ``auto`` of the execution for a model of that width on this machine.

    Where batches are of several lengths nothing is compiled: it would be anew for each of them.
    """
    device = resolve_device(spec.execution.device)
    wanted = spec.execution.compile
    precision = resolve_precision(spec.execution.precision, device, width)
    # In float32 on CPU the matmuls are nearly all of the time, and compilation leaves them as they are.
    pays = spec.compute_flops >= COMPILE_MIN_FLOPS[device.type] and (device.type, precision) != ("cpu", "float32")
    pays = pays and not lengths_vary
    return Placement(
        device=device,
        precision=precision,
        threads=resolve_threads(spec),
        compile=wanted == "on" or (wanted == "auto" and pays),
    )


def resolve_device(name: str) -> torch.device:
    """``auto`` is the first CUDA device, else the CPU. Raises ``InputError`` for what is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(tr("execution.device: {name!r} is no device.", name=name)) from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(
            tr("execution.device: this machine has no {name}.", name=name),
            tr("Set it to auto or cpu."),
        )
    if device.type not in {"cpu", "cuda"}:
        raise InputError(tr("execution.device: {name!r} is no device.", name=name))
    return device


def resolve_precision(wanted: str, device: torch.device, width: int) -> str:
    """``auto`` is bfloat16 on CUDA that has it, and on CPUs with native support from width 128 on."""
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    return "bfloat16" if width >= BF16_MIN_WIDTH and cpu_has_bf16() else "float32"


def cpu_has_bf16() -> bool:
    """Whether this CPU multiplies bfloat16 natively."""
    found: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(found.get("avx512_bf16") or found.get("amx_bf16") or found.get("bf16"))


def resolve_threads(spec: RunSpec) -> int:
    """CPU threads of a run: what was asked for, else one, except for a large model that has the machine to itself."""
    if spec.execution.threads:
        return spec.execution.threads
    if spec.n_params < LARGE_MODEL or not spec.execution.jobs:
        return 1
    return max(1, (os.cpu_count() or 1) // spec.execution.jobs)


@contextlib.contextmanager
def numerics(placement: Placement) -> Iterator[None]:
    """Threads and determinism of torch while a run trains; both are the process's, so they are put back."""
    threads = torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    settings: Any = torch.utils.deterministic
    fill = settings.fill_uninitialized_memory
    if threads != placement.threads:
        torch.set_num_threads(placement.threads)
    if placement.device.type == "cpu":
        torch.use_deterministic_algorithms(True)
        # Filling every new buffer is for finding bugs and costs a pass over memory at each operation.
        settings.fill_uninitialized_memory = False
    else:
        torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        settings.fill_uninitialized_memory = fill
        torch.use_deterministic_algorithms(deterministic)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)


def out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out, on the device or in torch's CPU allocator."""
    words = str(error)
    return isinstance(error, MemoryError | torch.cuda.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and ("DefaultCPUAllocator" in words or "out of memory" in words)
    )
