"""What this machine has, and what follows from it for how runs execute. Imports no torch: the app asks at start."""

import contextlib
import importlib.metadata
import os
import platform
from dataclasses import dataclass

import msgspec
import psutil

from engine.study import ExecutionSpec, RunSpec

PROCESS_BYTES = 600 * 2**20
"""Resident memory of a worker with torch loaded and its allocator warm, measured on Linux with torch 2.13."""
SHARE_OF_MEMORY = 0.8
"""What of the free memory a study may plan with; the rest is for the system and the window."""
THREADS_PAY = 5_000_000
"""Parameters above which several threads on one run beat one run per core."""


@dataclass(frozen=True, slots=True)
class Machine:
    """Cores this process may use, free memory in bytes, and the names of its CUDA devices."""

    cores: int
    memory_free: int
    gpus: tuple[str, ...] = ()
    gpu_memory: tuple[int, ...] = ()

    @classmethod
    def measure(cls) -> "Machine":
        """This machine, now."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        names, memory = _gpus()
        return cls(min(cores, _cgroup_cores(cores)), psutil.virtual_memory().available, names, memory)

    def device(self, execution: ExecutionSpec) -> str:
        """The device a run will use: what the study says, else CUDA where there is one, else CPU."""
        if execution.device != "auto":
            return execution.device
        return "cuda" if self.gpus else "cpu"

    def jobs(self, spec: RunSpec) -> int:
        """Runs like this one at a time: one on CUDA, on CPU one per core that memory admits."""
        if spec.execution.jobs:
            return spec.execution.jobs
        if self.device(spec.execution) != "cpu":
            return 1
        threads = spec.execution.threads or (2 if spec.n_params > THREADS_PAY else 1)
        by_memory = int(self.memory_free * SHARE_OF_MEMORY // (spec.memory_bytes + PROCESS_BYTES))
        return max(1, min(self.cores // threads, by_memory))

    def freeze(self, spec: RunSpec, jobs: int, executor: str = "auto") -> RunSpec:
        """The spec with every ``auto`` of its execution decided for this machine."""
        asked = spec.execution
        device = self.device(asked)
        name = asked.executor if asked.executor != "auto" else executor
        if name == "auto":
            # Python threads would share one interpreter lock and torch one thread setting.
            name = "process" if jobs > 1 and device == "cpu" else "thread"
        # Small matmuls lose by several threads, and beside other work they lose nearly everything.
        whole = spec.n_params > THREADS_PAY or device != "cpu"
        threads = asked.threads or (max(1, self.cores // jobs) if whole else 1)
        decided = msgspec.structs.replace(asked, executor=name, device=device, jobs=jobs, threads=threads)
        return msgspec.structs.replace(spec, execution=decided)

    def facts(self) -> dict[str, str | int]:
        """What is stored with results about where they were made."""
        return {
            "machine": platform.machine(),
            "system": platform.platform(),
            "processor": _processor(),
            "cores": self.cores,
            "gpu": ", ".join(self.gpus),
            "python": platform.python_version(),
            "torch": _version("torch"),
            "emergence_lab": _version("emergence-lab"),
        }


def _version(package: str) -> str:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(package)
    return ""


def _processor() -> str:
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def _cgroup_cores(cores: int) -> int:
    """Cores a container may use; a quota below the visible cores would make parallel runs slower, not faster."""
    with contextlib.suppress(OSError, ValueError), open("/sys/fs/cgroup/cpu.max", encoding="utf-8") as file:
        quota, period = file.read().split()
        return max(1, round(int(quota) / int(period)))
    return cores


def _gpus() -> tuple[tuple[str, ...], tuple[int, ...]]:
    if _version("torch").endswith("+cpu"):
        return (), ()
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return (), ()
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        names = tuple(str(pynvml.nvmlDeviceGetName(h)) for h in handles)
        return names, tuple(int(pynvml.nvmlDeviceGetMemoryInfo(h).total) for h in handles)
    finally:
        pynvml.nvmlShutdown()
