"""Draws an ``engine.figures.model.Figure`` on the screen, as the exporter draws it on paper."""

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QPoint, QPointF
from PySide6.QtGui import QColor
from PySide6.QtWidgets import QToolTip, QWidget

from engine.figures.model import Band, Figure, Line, Series
from engine.figures.palette import ordered
from engine.figures.ticks import format_count, format_number
from lab_app.plots.legend import Entry, Legend
from lab_app.plots.plot import DASHES, SYMBOLS, Plot
from lab_app.theme import Theme, mix

NEAR_PIXELS = 12


class FigureView(Plot):
    """Shows one figure at a time; its scales can be switched without asking the engine again."""

    def __init__(self, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(theme, parent)
        self.figure: Figure | None = None
        self.legend = Legend(theme)
        """For whoever shows the figure to place below it."""
        self._entries: list[Entry] = []
        self._placed: list[tuple[Series, np.ndarray, np.ndarray]] = []
        self.scales_changed.connect(self.redraw)
        theme.changed.connect(self.redraw)
        self.scene().sigMouseMoved.connect(self._hover)

    def show_figure(self, figure: Figure | None) -> None:
        """Draw the figure on its own scales; None clears the plot."""
        self.figure = figure
        if figure is not None:
            self.axes["bottom"].log = figure.x.scale == "log"
            self.axes["left"].log = figure.y.scale == "log"
            self.set_titles(figure.x.label, figure.y.label, figure.x.kind, figure.y.kind)
            # What a screen reader says in place of the picture; the table twin has the numbers.
            self.setAccessibleName(figure.title)
            self.setAccessibleDescription(figure.caption)
        self.redraw()
        self.fit()

    def redraw(self) -> None:
        """Draw everything again: a figure has few points and changes seldom."""
        item = self.getPlotItem()
        item.clear()
        self._placed = []
        self._entries = []
        figure = self.figure
        if figure is None:
            self.legend.set_entries([])
            return
        for band in figure.bands:
            self._band(band)
        for line in figure.lines:
            self._line(line)
        for series in figure.series:
            self._series(series)
        self.legend.set_entries(self._entries)
        for axis in self.axes.values():
            axis.picture = None
            axis.update()

    def _color(self, color: str, shade: float | None = None, alpha: float = 1.0) -> QColor:
        dark = self._theme.dark
        if shade is not None:
            color = ordered(shade, *((0.25, 1.0) if dark else (0.0, 0.86)))
        elif not color:
            color = self._theme.colors.text
        elif dark:
            color = mix(color, "#ffffff", 0.3)  # the palette is made for white paper
        found = QColor(color)
        found.setAlphaF(alpha)
        return found

    def _band(self, band: Band) -> None:
        x, lo = self.place(band.x, band.lo)
        _, hi = self.place(band.x, band.hi)
        # A PlotDataItem without a pen keeps no path to fill, and an empty one at the origin spoils the range.
        edges = [pg.PlotCurveItem(x, y, pen=pg.mkPen(None)) for y in (lo, hi)]
        brush = pg.mkBrush(self._color(band.color, alpha=0.2))
        fill = pg.FillBetweenItem(*edges, brush=brush)
        fill.setZValue(-20)
        for part in (*edges, fill):
            self.getPlotItem().addItem(part)
        if band.legend:
            self._entries.append(Entry(band.name, brush=brush))

    def _line(self, line: Line) -> None:
        log = self.y_log if line.horizontal else self.x_log
        if log and line.value <= 0:
            return
        at = float(np.log10(line.value)) if log else line.value
        pen = pg.mkPen(self._theme.colors.muted, width=1, style=DASHES[line.dash])
        drawn = pg.InfiniteLine(at, angle=0 if line.horizontal else 90, pen=pen)
        drawn.setZValue(-10)
        self.getPlotItem().addItem(drawn)
        if line.legend and line.name:
            self._entries.append(Entry(line.name, pen))

    def _series(self, series: Series) -> None:
        x, y = self.place(series.x, series.y)
        color = self._color(series.color, series.shade, 0.45 if series.faint else 1.0)
        size = (5 if series.faint or series.thin else 9) + (1 if series.marker == "diamond" else 0)
        crowded = series.line and len(x) > 30
        symbol = SYMBOLS.get(series.marker) if not crowded else None
        width = 1 if len(x) > 200 else 1.8
        pen = pg.mkPen(color, width=width, style=DASHES[series.dash]) if series.line else None
        symbol_pen = pg.mkPen(color, width=1.3) if symbol else None
        brush = pg.mkBrush(self._theme.colors.surface if series.hollow else color) if symbol else None
        self._error_bars(series, x, y, color)
        item = pg.PlotDataItem(
            x,
            y,
            pen=pen,
            symbol=symbol,
            symbolSize=size,
            symbolPen=symbol_pen,
            symbolBrush=brush,
            antialias=len(x) <= 200,
            connect="finite",
        )
        item.setZValue(5 if series.faint else 10 if symbol else 7)
        self.getPlotItem().addItem(item)
        if series.legend and series.name:
            self._entries.append(Entry(series.label or series.name, pen, symbol, symbol_pen, brush))
        self._placed.append((series, x, y))

    def _error_bars(self, series: Series, x: np.ndarray, y: np.ndarray, color: QColor) -> None:
        if series.lo is None or series.hi is None:
            return
        _, lo = self.place(series.x, series.lo)
        _, hi = self.place(series.x, series.hi)
        keep = np.isfinite(x) & np.isfinite(y) & np.isfinite(lo) & np.isfinite(hi)
        if not keep.any():
            return
        span = float(np.ptp(x[keep])) if keep.sum() > 1 else 0.0
        bars = pg.ErrorBarItem(
            x=x[keep],
            y=y[keep],
            top=(hi - y)[keep],
            bottom=(y - lo)[keep],
            beam=span * 0.012,
            pen=pg.mkPen(color, width=1.2),
        )
        self.getPlotItem().addItem(bars)

    def _hover(self, at: QPointF) -> None:
        box = self.getViewBox()
        best: tuple[float, Series, int] | None = None
        for series, x, y in self._placed:
            if not series.marker:
                continue
            for number in range(len(x)):
                if not (np.isfinite(x[number]) and np.isfinite(y[number])):
                    continue
                there = box.mapViewToScene(QPointF(float(x[number]), float(y[number])))
                distance = (there.x() - at.x()) ** 2 + (there.y() - at.y()) ** 2
                if distance < NEAR_PIXELS**2 and (best is None or distance < best[0]):
                    best = (distance, series, number)
        if best is None or self.figure is None:
            QToolTip.hideText()
            return
        _, series, number = best
        shown = format_count if self.figure.x.kind == "count" else format_number
        text = f"{series.name}\n{shown(float(series.x[number]))}: {format_number(float(series.y[number]))}"
        QToolTip.showText(self.mapToGlobal(QPoint(round(at.x()) + 12, round(at.y()))), text, self)
