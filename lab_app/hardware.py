"""How busy this machine is, for the Hardware dock and the status bar. No Qt, no torch."""

import contextlib
from dataclasses import dataclass

import psutil


@dataclass(frozen=True, slots=True)
class Gpu:
    """One NVIDIA device. ``memory`` in bytes, ``watts`` None where the driver does not tell."""

    name: str
    utilization: float
    memory_used: int
    memory_total: int
    temperature: float | None
    watts: float | None


@dataclass(frozen=True, slots=True)
class Reading:
    """The machine at one moment: shares in 0..1, memory in bytes, temperature in °C where it is known."""

    cpu: float
    memory_used: int
    memory_total: int
    own_memory: int
    disk_free: int
    temperature: float | None
    gpus: tuple[Gpu, ...]


class Sensors:
    """Reads the machine; cheap enough for once a second. ``folder`` is where free disk is looked at."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._process = psutil.Process()
        self._nvml = _open_nvml()
        psutil.cpu_percent()  # the first call only sets the mark that the next one measures from

    def read(self) -> Reading:
        """The machine now. ``own_memory`` includes worker processes."""
        memory = psutil.virtual_memory()
        own = self._process.memory_info().rss
        with contextlib.suppress(psutil.Error):
            for child in self._process.children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    own += child.memory_info().rss
        return Reading(
            cpu=psutil.cpu_percent() / 100,
            memory_used=memory.total - memory.available,
            memory_total=memory.total,
            own_memory=own,
            disk_free=psutil.disk_usage(self._folder).free,
            temperature=_temperature(),
            gpus=tuple(self._gpu(i) for i in range(self._count())),
        )

    def close(self) -> None:
        """Let go of the driver."""
        if self._nvml is not None:
            self._nvml.nvmlShutdown()
            self._nvml = None

    def _count(self) -> int:
        return int(self._nvml.nvmlDeviceGetCount()) if self._nvml is not None else 0

    def _gpu(self, index: int) -> Gpu:
        nvml = self._nvml
        assert nvml is not None
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
        utilization, temperature, watts = 0.0, None, None
        # Each of these is missing on some devices (MIG slices, laptops), the others still want showing.
        with contextlib.suppress(nvml.NVMLError):
            utilization = nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100
        with contextlib.suppress(nvml.NVMLError):
            temperature = float(nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU))
        with contextlib.suppress(nvml.NVMLError):
            watts = nvml.nvmlDeviceGetPowerUsage(handle) / 1000
        name = nvml.nvmlDeviceGetName(handle)
        return Gpu(str(name), utilization, int(memory.used), int(memory.total), temperature, watts)


def _open_nvml() -> "object | None":
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return pynvml


def _temperature() -> float | None:
    read = getattr(psutil, "sensors_temperatures", None)  # not on Windows and macOS
    found = read() if read is not None else {}
    for name in ("coretemp", "k10temp", "zenpower", "cpu_thermal", "acpitz"):
        if found.get(name):
            return max(float(sensor.current) for sensor in found[name])
    return None
