"""What makes a step fast on this machine: the allocator and the attention kernel.

Each is chosen by measuring where the answer differs between machines, and remembered; float32 on CPU, which promises
the same weights bit for bit, is decided by a rule and never by a clock.
"""

import ctypes
import hashlib
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import platformdirs
import torch

from engine.families._attention import IMPLEMENTATIONS, attend, causal_bias, usual_implementation

CACHE_VERSION = 1
WRITTEN_LIMIT = 2048
"""Longest context at which the t x t scores are considered at all; beyond, they cost more memory than they save."""
ROUNDS = 5
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -2, -3, -8  # <malloc.h> of glibc


def configure_allocator() -> bool:
    """Tell glibc to keep large buffers instead of giving them back to the kernel after every step.

    Without it each step faults its activations in again, which costs 10-15 % on CPU. One arena for all threads, since
    those of other threads than the first cannot hold blocks over 64 MiB. Call before torch allocates much; returns
    False, and changes nothing, where there is no glibc.
    """
    if not sys.platform.startswith("linux") or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    mallopt.argtypes, mallopt.restype = (ctypes.c_int, ctypes.c_int), ctypes.c_int
    settings = (
        (M_ARENA_MAX, 1),
        (M_MMAP_THRESHOLD, 1 << 30),
        (M_TRIM_THRESHOLD, 2**31 - 1),
        (M_TOP_PAD, 64 << 20),
    )
    taken = [mallopt(name, value) == 1 for name, value in settings]
    return all(taken)


def choose_attention(
    device: torch.device,
    dtype: torch.dtype,
    *,
    batch: int,
    n_heads: int,
    context: int,
    head_dim: int,
    cache: Path | None = None,
) -> str:
    """The faster of ``IMPLEMENTATIONS`` for this shape, forward and backward, remembered for this machine.

    ``cache`` is the folder remembered in, by default the user's cache folder. For float32 on CPU a fixed rule decides,
    so that results never depend on a measurement.
    """
    if device.type == "cpu" and dtype == torch.float32:
        return usual_implementation(device.type, dtype, context)
    if context > WRITTEN_LIMIT:
        return "sdpa"

    def measure() -> str:
        shape = (batch, n_heads, context, head_dim)
        times = {name: _attention_seconds(name, device, dtype, shape) for name in IMPLEMENTATIONS}
        return min(times, key=lambda name: times[name])

    chosen = remembered(f"{dtype} {batch}x{n_heads}x{context}x{head_dim}", device, cache, measure)
    return chosen if chosen in IMPLEMENTATIONS else measure()


def remembered(key: str, device: torch.device, cache: Path | None, measure: Callable[[], str]) -> str:
    """What was measured before on this machine under ``key``, else what ``measure`` finds now, kept for the next."""
    memory, place = _Memory(cache), f"{_machine(device)} {key}"
    known = memory.get(place)
    if known is None:
        known = measure()
        memory.put(place, known)
    return known


def _attention_seconds(name: str, device: torch.device, dtype: torch.dtype, shape: tuple[int, int, int, int]) -> float:
    """Median seconds of one forward and backward pass over (batch, n_heads, context, head_dim)."""
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(shape, generator=generator).to(device, dtype).requires_grad_() for _ in range(3))
    grad = torch.ones(shape, device=device, dtype=dtype)
    bias = causal_bias(shape[2], device, dtype) if name == "written" else None
    seconds = []
    for _ in range(ROUNDS + 2):
        _synchronise(device)
        start = time.perf_counter()
        torch.autograd.grad(attend(q, k, v, shape[3] ** -0.5, bias), (q, k, v), grad)
        _synchronise(device)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[2:])


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _machine(device: torch.device) -> str:
    """What a measurement depends on beside the shape: the processor, torch's version and the number of threads."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)} torch {torch.__version__}"
    return f"{device.type} {_processor()} torch {torch.__version__} threads {torch.get_num_threads()}"


def _processor() -> str:
    """Name and instruction sets of the processor, as a short hash where the system tells, else its kind."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    telling = sorted({line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part"))})
    return f"{platform.machine()} {hashlib.sha256(''.join(telling).encode()).hexdigest()[:12]}"


class _Memory:
    """A small JSON file of choices. One that cannot be read or written is done without: it only saves time."""

    def __init__(self, folder: Path | None) -> None:
        base = folder or Path(platformdirs.user_cache_dir("emergence-lab", appauthor=False))
        self.path = base / "kernels.json"

    def _read(self) -> dict[str, str]:
        try:
            document = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        if not isinstance(document, dict) or document.get("version") != CACHE_VERSION:
            return {}
        choices = document.get("choices")
        return choices if isinstance(choices, dict) else {}

    def get(self, key: str) -> str | None:
        return self._read().get(key)

    def put(self, key: str, choice: str) -> None:
        document = {"version": CACHE_VERSION, "choices": self._read() | {key: choice}}
        beside = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            beside.write_text(json.dumps(document, indent=1, sort_keys=True), encoding="utf-8")
            beside.replace(self.path)
        except OSError:
            return
