"""Live curves: bounded arrays in, one ``setData`` per visible curve out."""

from dataclasses import dataclass, field

import numpy as np
import pyqtgraph as pg
from PySide6.QtGui import QColor

from lab_app.plots.buffer import CurveBuffer, Floats, Ints, overfits_from, peaks, smoothed
from lab_app.plots.plot import DASHES, Plot

RAW_ALPHA = 0.28
X_AXES = ("step", "tokens", "flops", "seconds")


@dataclass(slots=True)
class RunCurves:
    """The metrics of one run and how it is drawn. Per-step costs turn steps into tokens and FLOPs."""

    run_id: int
    color: str
    dash: str
    marker: str
    tokens_per_step: float = 1.0
    flops_per_step: float = 1.0
    buffers: dict[str, CurveBuffer] = field(default_factory=dict)

    def buffer(self, key: str) -> CurveBuffer:
        """The metric's points; empty where there are none yet."""
        return self.buffers.setdefault(key, CurveBuffer())

    def x(self, steps: Ints, axis: str) -> Floats:
        """Steps (n,) in the unit of the horizontal axis."""
        found = steps.astype(np.float64)
        if axis == "tokens":
            return found * self.tokens_per_step
        if axis == "flops":
            return found * self.flops_per_step
        return self._seconds(found) if axis == "seconds" else found

    def _seconds(self, steps: Floats) -> Floats:
        """Time from the measured throughput; pauses do not count."""
        speed = self.buffers.get("tokens_per_second")
        if speed is None or not speed.n:
            return np.full(len(steps), np.nan)
        usable = np.isfinite(speed.values) & (speed.values > 0)
        at, rate = speed.steps[usable].astype(np.float64), speed.values[usable]
        if not len(at):
            return np.full(len(steps), np.nan)
        passed = np.diff(at, prepend=0.0) * self.tokens_per_step / rate
        return np.interp(steps, np.concatenate(([0.0], at)), np.concatenate(([0.0], np.cumsum(passed))))


class LossLines:
    """One run on the loss plot: raw values faint, their running mean, validation as marks, and where it overfits."""

    def __init__(self, plot: Plot, run: RunCurves) -> None:
        self._plot, self.run = plot, run
        style = DASHES[run.dash]
        faint = QColor(run.color)
        faint.setAlphaF(RAW_ALPHA)
        options = {"skipFiniteCheck": False, "connect": "finite", "antialias": False}
        self.raw = pg.PlotDataItem(pen=pg.mkPen(faint, width=1), **options)
        self.mean = pg.PlotDataItem(pen=pg.mkPen(run.color, width=1, style=style), **options)
        self.validation = pg.PlotDataItem(
            pen=None,
            symbol=run.marker,
            symbolSize=6,
            symbolPen=pg.mkPen(run.color, width=1),
            symbolBrush=pg.mkBrush(run.color),
        )
        self.overfit = pg.PlotDataItem(pen=None, symbol="x", symbolSize=13, symbolPen=pg.mkPen(run.color, width=2))
        for number, item in enumerate((self.raw, self.mean, self.validation, self.overfit)):
            item.setZValue(number)
            plot.getPlotItem().addItem(item)

    def draw(self, axis: str, share: float, raw: bool) -> None:
        """Put the newest points on the plot."""
        train = self.run.buffer("train/loss")
        x = self.run.x(train.steps, axis)
        self.raw.setVisible(raw)
        if raw:
            self.raw.setData(*self._plot.place(*peaks(x, train.values)))
        self.mean.setData(*self._plot.place(*smoothed(x, train.values, share)))
        held = self.run.buffer("val/loss")
        held_x = self.run.x(held.steps, axis)
        self.validation.setData(*_finite(*self._plot.place(held_x, held.values)))
        at = overfits_from(held.steps, held.values)
        chosen = held.steps == (-1 if at is None else at)
        self.overfit.setData(*_finite(*self._plot.place(held_x[chosen], held.values[chosen])))

    @property
    def overfits(self) -> bool:
        """Whether the validation loss has risen for good."""
        held = self.run.buffer("val/loss")
        return overfits_from(held.steps, held.values) is not None

    def show(self, visible: bool) -> None:
        """Hide or show the run."""
        for item in (self.raw, self.mean, self.validation, self.overfit):
            item.setVisible(visible)

    def remove(self) -> None:
        """Take the run off the plot."""
        for item in (self.raw, self.mean, self.validation, self.overfit):
            self._plot.getPlotItem().removeItem(item)


class MetricLine:
    """One run on a small plot of one metric."""

    def __init__(self, plot: Plot, run: RunCurves, key: str) -> None:
        self._plot, self.run, self.key = plot, run, key
        self.line = pg.PlotDataItem(pen=pg.mkPen(run.color, width=1), connect="finite", antialias=False)
        plot.getPlotItem().addItem(self.line)

    def draw(self, axis: str, share: float) -> None:
        """Put the newest points on the plot; ``share`` smooths."""
        buffer = self.run.buffer(self.key)
        x = self.run.x(buffer.steps, axis)
        points = smoothed(x, buffer.values, share) if share > 0 else peaks(x, buffer.values, 800)
        self.line.setData(*self._plot.place(*points))

    def show(self, visible: bool) -> None:
        """Hide or show the run."""
        self.line.setVisible(visible)

    def remove(self) -> None:
        """Take the run off the plot."""
        self._plot.getPlotItem().removeItem(self.line)


def _finite(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    keep = np.isfinite(x) & np.isfinite(y)
    return x[keep], y[keep]
