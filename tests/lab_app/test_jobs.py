"""Work off the window's thread: results come back in it, stale ones do not, and closing waits."""

import threading
import time
from collections.abc import Iterator

import pytest
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from lab_app.jobs import Jobs


@pytest.fixture
def jobs(qapp: QApplication) -> Iterator[Jobs]:
    jobs = Jobs()
    yield jobs
    jobs.close()


def test_a_result_is_delivered_in_the_windows_thread(jobs: Jobs, qtbot: QtBot) -> None:
    seen: list[tuple[str, bool, bool]] = []
    main = threading.current_thread()
    jobs.run(
        lambda: threading.current_thread().name,
        lambda name: seen.append((name, name == main.name, threading.current_thread() is main)),
    )
    assert jobs.pending == 1
    qtbot.waitUntil(lambda: bool(seen))
    assert seen[0][0].startswith("lab-read") and seen[0][1:] == (False, True)
    assert jobs.pending == 0


def test_only_the_newest_result_of_a_slot_is_delivered(jobs: Jobs, qtbot: QtBot) -> None:
    seen: list[int] = []
    gates = [threading.Event() for _ in range(3)]

    def work(number: int) -> int:
        gates[number].wait(5)
        return number

    for number in range(3):
        jobs.run(lambda number=number: work(number), seen.append, slot="one")
    for gate in reversed(gates):  # the newest is done first
        gate.set()
        time.sleep(0.02)
    qtbot.waitUntil(lambda: jobs.pending == 0)
    assert seen == [2]


def test_slots_do_not_disturb_each_other_and_can_be_dropped(jobs: Jobs, qtbot: QtBot) -> None:
    seen: list[str] = []
    for slot in ("a", "b", "", ""):
        jobs.run(lambda slot=slot: slot or "none", seen.append, slot=slot)
    jobs.drop("b")
    qtbot.waitUntil(lambda: jobs.pending == 0)
    assert sorted(seen) == ["a", "none", "none"]


def test_an_error_goes_to_its_callback_or_to_everyone(jobs: Jobs, qtbot: QtBot) -> None:
    own: list[Exception] = []
    common: list[Exception] = []
    jobs.failed.connect(common.append)
    jobs.run(lambda: 1 / 0, lambda _: None, own.append)
    jobs.run(lambda: [][1])
    qtbot.waitUntil(lambda: jobs.pending == 0)
    assert [type(e) for e in own] == [ZeroDivisionError]
    assert [type(e) for e in common] == [IndexError]


def test_closing_waits_for_what_is_under_way_and_forgets_the_rest(qapp: QApplication, qtbot: QtBot) -> None:
    jobs = Jobs(workers=1)
    began, done, delivered = threading.Event(), [], []

    def work() -> None:
        began.set()
        time.sleep(0.15)
        done.append(1)

    jobs.run(work, delivered.append)
    jobs.run(lambda: done.append(2), delivered.append)
    assert began.wait(5)
    jobs.close()
    assert done == [1]
    jobs.run(lambda: done.append(3))
    qtbot.wait(50)
    assert done == [1] and delivered == []
