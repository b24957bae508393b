"""Draining the engine's events: within a budget, in one signal per tick, and losing nothing that happened."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PySide6.QtWidgets import QApplication

from engine.events import Evaluation, Event, Log, MetricBlock, Phase, PhaseName, Progress, RunState, StateChanged
from engine.livefeed import LiveFeed
from lab_app.bridge import BUDGET_SECONDS, CHUNK, Bridge, Tick


def block(run: int, step: int) -> MetricBlock:
    return MetricBlock(run, "train/loss", np.array([step]), np.array([float(step)]))


def progress(run: int, step: int) -> Progress:
    return Progress(run, step, 10_000, step, float(step), 1.0)


class Clock:
    """Every look at it costs ``step`` seconds."""

    def __init__(self, step: float) -> None:
        self.now, self.step = 0.0, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


def bridge(feed: LiveFeed, clock: Clock) -> tuple[Bridge, list[Tick]]:
    made, ticks = Bridge(feed, clock=clock), []
    made.ticked.connect(ticks.append)
    return made, ticks


def test_a_tick_sorts_by_kind_and_keeps_the_newest_progress(qapp: QApplication) -> None:
    feed = LiveFeed()
    for event in (
        *(block(1, step) for step in range(3)),
        block(2, 7),
        progress(1, 5),
        progress(1, 6),
        Phase(1, PhaseName.BUILDING),
        Phase(1, PhaseName.TRAINING),
        StateChanged(1, RunState.RUNNING, 0.0),
        StateChanged(1, RunState.FINISHED, 1.0),
        Evaluation(1, "c", "m", 1.0),
        Log(1, "info", "x", 0.0),
    ):
        feed.push(event)
    made, ticks = bridge(feed, Clock(0.0))
    made.drain()
    (tick,) = ticks
    steps, values = tick.points(1, "train/loss")
    assert steps.tolist() == [0, 1, 2] and values.tolist() == [0.0, 1.0, 2.0]
    assert tick.points(2, "train/loss")[0].tolist() == [7]
    assert tick.points(3, "train/loss") is None
    assert tick.progress[1].step == 6 and tick.phases[1].phase is PhaseName.TRAINING
    assert [e.state for e in tick.states] == [RunState.RUNNING, RunState.FINISHED]
    assert len(tick.evaluations) == len(tick.logs) == 1


def test_nothing_to_say_is_not_said(qapp: QApplication) -> None:
    made, ticks = bridge(LiveFeed(), Clock(0.0))
    made.drain()
    assert ticks == []


@pytest.mark.parametrize(("per_look", "taken"), [(BUDGET_SECONDS * 2, CHUNK), (BUDGET_SECONDS / 3.5, 4 * CHUNK)])
def test_a_tick_ends_when_its_time_is_up(qapp: QApplication, per_look: float, taken: int) -> None:
    feed = LiveFeed()
    for step in range(10 * CHUNK):
        feed.push(StateChanged(1, RunState.RUNNING, float(step)))
    made, ticks = bridge(feed, Clock(per_look))
    made.drain()
    assert len(ticks[0].states) == taken
    for _ in range(10):
        made.drain()
    assert [e.time for tick in ticks for e in tick.states] == [float(step) for step in range(10 * CHUNK)]


@given(st.lists(st.sampled_from(["state", "metric", "log", "evaluation"]), max_size=300), st.integers(1, 40))
def test_what_happened_is_never_lost_however_full_the_feed(kinds: list[str], capacity: int) -> None:
    feed = LiveFeed(capacity=capacity)
    kept: list[Event] = []
    for number, kind in enumerate(kinds):
        event: Event
        match kind:
            case "state":
                event = StateChanged(1, RunState.RUNNING, float(number))
            case "metric":
                event = block(1, number)
            case "log":
                event = Log(1, "info", str(number), 0.0)
            case _:
                event = Evaluation(1, "c", str(number), 1.0)
        feed.push(event)
        kept += [event] if kind != "metric" else []
    made, ticks = bridge(feed, Clock(0.0))
    made.drain()
    found = [e for tick in ticks for e in (*tick.states, *tick.logs, *tick.evaluations)]
    assert sorted(map(id, found)) == sorted(map(id, kept))
    points = ticks[0].points(1, "train/loss") if ticks else None
    metrics = [n for n, kind in enumerate(kinds) if kind == "metric"]
    assert (points[0].tolist() if points else []) == metrics[-capacity:]


def test_the_timer_drains_until_it_is_stopped(qtbot: object, qapp: QApplication) -> None:
    feed = LiveFeed()
    made, ticks = bridge(feed, Clock(0.0))
    made.start()
    feed.push(block(1, 1))
    qtbot.waitUntil(lambda: len(ticks) == 1)  # type: ignore[attr-defined]
    made.stop()
    feed.push(block(1, 2))
    qtbot.wait(100)  # type: ignore[attr-defined]
    assert len(ticks) == 1 and len(feed) == 1
