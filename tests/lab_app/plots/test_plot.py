"""Axes that never raise, and live curves on them."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from lab_app.plots.curves import X_AXES, LossLines, RunCurves
from lab_app.plots.plot import Axis, Plot
from lab_app.theme import Theme

ANY = st.floats(allow_nan=True, allow_infinity=True)


@settings(max_examples=150, deadline=None)
@given(low=ANY, high=ANY, size=st.floats(-10, 5000), log=st.booleans(), kind=st.sampled_from(["count", "number"]))
def test_ticks_never_raise(low: float, high: float, size: float, log: bool, kind: str) -> None:
    axis = AXES["bottom"]
    axis.log, axis.kind = log, kind
    for _, values in axis.tickValues(low, high, size):
        assert len(values) < 200
        assert all(map(math.isfinite, values))
        assert all(isinstance(text, str) for text in axis.tickStrings(values, 1.0, 1.0))
    axis.tickStrings([low, high], 1.0, 1.0)


@pytest.fixture(autouse=True, scope="module")
def _axes(qapp: QApplication) -> None:
    AXES.update({side: Axis(side) for side in ("bottom", "left")})


AXES: dict[str, Axis] = {}


def test_ticks_are_powers_on_a_log_axis() -> None:
    axis = AXES["bottom"]
    axis.log, axis.kind = True, "count"
    ((_, values),) = axis.tickValues(3.0, 6.0, 800)
    shown = axis.tickStrings(values, 1.0, 1.0)
    assert {"1k", "10k", "100k", "1M"} <= set(shown)


@pytest.fixture
def plot(qapp: QApplication, qtbot: QtBot) -> Plot:
    plot = Plot(Theme(qapp, "light"))
    qtbot.addWidget(plot)
    return plot


def run_with(values: dict[str, list[float]]) -> RunCurves:
    run = RunCurves(1, "#0072b2", "solid", "o", tokens_per_step=100.0, flops_per_step=1e6)
    for key, points in values.items():
        run.buffer(key).append(np.arange(1, len(points) + 1) * 10, np.array(points, dtype=float))
    return run


def test_steps_turn_into_tokens_flops_and_seconds() -> None:
    run = run_with({"train/loss": [3, 2, 1], "tokens_per_second": [100, 200, np.nan]})
    steps = run.buffer("train/loss").steps
    found = {axis: run.x(steps, axis).tolist() for axis in X_AXES}
    assert found["step"] == [10, 20, 30]
    assert found["tokens"] == [1000, 2000, 3000]
    assert found["flops"] == [1e7, 2e7, 3e7]
    assert found["seconds"] == [10.0, 15.0, 15.0]  # 1,000 tokens at 100/s, 1,000 at 200/s
    assert np.isnan(run_with({"train/loss": [1]}).x(steps, "seconds")).all()


@pytest.mark.parametrize("log", [False, True])
def test_a_run_is_drawn_with_its_overfitting_mark(plot: Plot, log: bool) -> None:
    run = run_with({"train/loss": [3, 2, 1, 0.5, 0.4, 0.3], "val/loss": [3, 2, 1, 1.2, 1.4, 1.6]})
    lines = LossLines(plot, run)
    plot.set_log(log, log)
    lines.draw("step", 0.0, raw=True)
    assert lines.overfits
    x, y = lines.overfit.getData()
    assert (x[0], y[0]) == ((pytest.approx(math.log10(30)), 0.0) if log else (30.0, 1.0))
    assert len(lines.validation.getData()[0]) == 6
    plot.resize(400, 300)
    plot.grab()
    before = len(plot.getPlotItem().items)
    lines.remove()
    assert len(plot.getPlotItem().items) == before - 4


@pytest.mark.parametrize("values", [[], [1.0], [np.nan] * 3, [np.inf, 1.0], [0.0, 0.0], [-1.0, 1e300], [1e-320, 1.0]])
def test_any_values_can_be_drawn_on_any_scale(plot: Plot, values: list[float]) -> None:
    lines = LossLines(plot, run_with({"train/loss": values, "val/loss": values}))
    plot.resize(400, 300)
    for log in (False, True):
        plot.set_log(log, log)
        lines.draw("tokens", 0.04, raw=True)
        plot.fit()
        plot.grab()


def test_the_keyboard_zooms_moves_and_fits(plot: Plot, qtbot: QtBot) -> None:
    plot.getViewBox().setRange(xRange=(0, 10), yRange=(0, 10), padding=0)
    width = plot.getViewBox().viewRect().width()
    qtbot.keyClick(plot, Qt.Key.Key_Plus)
    assert plot.getViewBox().viewRect().width() == pytest.approx(0.8 * width)
    left = plot.getViewBox().viewRect().left()
    qtbot.keyClick(plot, Qt.Key.Key_Right)
    assert plot.getViewBox().viewRect().left() > left
    qtbot.keyClick(plot, Qt.Key.Key_0)
    assert all(plot.getViewBox().autoRangeEnabled())
