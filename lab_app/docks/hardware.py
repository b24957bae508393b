"""The Hardware panel: processor, memory, disk and each GPU, once a second."""

from collections import deque
from typing import TYPE_CHECKING

from PySide6.QtCore import QTimer, Signal
from PySide6.QtWidgets import QWidget

from engine.i18n import mark, tr
from lab_app import words
from lab_app.context import Context
from lab_app.widgets.basic import column, text_label
from lab_app.widgets.meters import Meter, Sparkline

if TYPE_CHECKING:
    from lab_app.hardware import Reading, Sensors

INTERVAL_MS = 1000
HISTORY = 120


class HardwareDock(QWidget):
    """Meters with words beside them; the sensors are read off the window's thread."""

    title = mark("Hardware")
    measured = Signal(object)
    """A new ``Reading``, for the status bar."""

    def __init__(self, context: Context, sensors: "Sensors") -> None:
        super().__init__()
        self._context, self._sensors = context, sensors
        self._history: deque[float] = deque(maxlen=HISTORY)
        self.cpu, self.memory, self.disk = Meter(), Meter(), Meter()
        self.course = Sparkline(30, 0.0, 1.0)
        self.extra = text_label("caption", wrap=True)
        self._gpus = column(spacing=6)
        self._meters: list[tuple[Meter, Meter]] = []
        self.setLayout(
            column(self.cpu, self.course, self.memory, self._gpus, self.disk, self.extra, None, margins=(10, 8, 10, 8))
        )
        self._timer = QTimer(self, interval=INTERVAL_MS)
        self._timer.timeout.connect(self.measure)
        self._last: Reading | None = None
        context.language.changed.connect(self._again)

    def start(self) -> None:
        """Begin to measure."""
        self._timer.start()
        self.measure()

    def stop(self) -> None:
        """Measure no more."""
        self._timer.stop()

    def measure(self) -> None:
        """Read the sensors once."""
        self._context.jobs.run(self._sensors.read, self.show_reading, slot="hardware")

    def show_reading(self, reading: "Reading") -> None:
        """Put a reading on the meters."""
        self._last = reading
        self._history.append(reading.cpu)
        hot = f" · {reading.temperature:.0f} °C" if reading.temperature is not None else ""
        self.cpu.show_value(tr("Processor"), f"{reading.cpu:.0%}{hot}", reading.cpu)
        self.course.show_values(self._history)
        used = f"{words.size(reading.memory_used)} / {words.size(reading.memory_total)}"
        self.memory.show_value(tr("Memory"), used, reading.memory_used / reading.memory_total)
        self.disk.show_value(tr("Disk"), tr("{free} free", free=words.size(reading.disk_free)), 0.0)
        self.extra.setText(tr("Emergence Lab uses {memory}.", memory=words.size(reading.own_memory)))
        self._show_gpus(reading)
        self.measured.emit(reading)

    def _show_gpus(self, reading: "Reading") -> None:
        while len(self._meters) < len(reading.gpus):
            self._meters.append((Meter(), Meter()))
            for meter in self._meters[-1]:
                self._gpus.addWidget(meter)
        for gpu, (busy, memory) in zip(reading.gpus, self._meters, strict=False):
            facts = [f"{gpu.utilization:.0%}"]
            if gpu.temperature is not None:
                facts.append(f"{gpu.temperature:.0f} °C")
            if gpu.watts is not None:
                facts.append(f"{gpu.watts:.0f} W")
            busy.show_value(gpu.name, " · ".join(facts), gpu.utilization)
            used = f"{words.size(gpu.memory_used)} / {words.size(gpu.memory_total)}"
            memory.show_value(tr("GPU memory"), used, gpu.memory_used / max(1, gpu.memory_total))

    def _again(self) -> None:
        if self._last is not None:
            self.show_reading(self._last)
