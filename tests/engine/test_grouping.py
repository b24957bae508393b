"""Runs that are trained together: which are, and what pausing, cancelling and failing one does to the others."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.events import Command, Control, Reporter, RunState
from engine.expand import expand
from engine.grouping import outcomes, partners
from engine.machine import Machine
from engine.runner import Runner
from engine.store import Store
from engine.study import StudySpec, load_study
from engine.task import Outcome, Task
from tests.engine.fakes import tiny_study, until

CPU = Machine(cores=1, memory_free=2**34)


def study(**training: object) -> StudySpec:
    return tiny_study(ladder={"sizes": [2000, 5000], "seeds": [0, 1, 2, 3]}, training={"steps": 20, **training})


def test_partners_differ_in_the_seed_only_and_leave_every_slot_a_share() -> None:
    runs = dict(enumerate(expand(study())))
    assert partners(0, list(runs), runs.__getitem__, 1, "cpu") == [1, 2, 3]
    assert partners(5, [4, 5, 6, 7], runs.__getitem__, 1, "cpu") == [4, 6, 7]
    assert partners(0, list(runs), runs.__getitem__, 2, "cpu") == [], "two of two are not worth measuring"
    six = dict(enumerate(expand(tiny_study(ladder={"sizes": [2000], "seeds": [0, 1, 2, 3, 4, 5]}))))
    assert partners(0, list(six), six.__getitem__, 2, "cpu") == [1, 2]


def test_the_last_runs_are_shared_with_slots_that_will_have_nothing_else_to_do() -> None:
    ladder = {"sizes": [2000, 5000, 11_000], "seeds": [0, 1, 2, 3, 4, 5]}
    runs = dict(enumerate(expand(tiny_study(ladder=ladder))))
    middle, last = list(range(6, 12)), list(range(12, 18))

    def group(first: int, queue: list[int], busy: list[int]) -> list[int]:
        return partners(first, queue, runs.__getitem__, 2, "cpu", busy)

    assert group(6, middle + last, busy=[0]) == middle[1:], "the other slot goes on to the last size"
    assert group(12, last, busy=[6]) == [13, 14], "the other slot comes back for half of them"
    assert group(15, last[3:], busy=[12]) == [16, 17], "the other slot has its half"


def sweep(**vary: tuple[object, ...]) -> StudySpec:
    fields = {"training.learning_rate": [0.005, 0.01, 0.02]} | {f"training.{k}": list(v) for k, v in vary.items()}
    return tiny_study(ladder={"sizes": [2000, 5000], "seeds": [0, 1], "vary": fields}, training={"steps": 20})


def test_rates_and_seeds_of_one_size_are_one_group() -> None:
    runs = dict(enumerate(expand(sweep())))
    assert partners(0, list(runs), runs.__getitem__, 1, "cpu") == [1, 2, 3, 4, 5]
    assert {runs[i].size for i in range(6)} == {2000}
    assert partners(0, list(runs), runs.__getitem__, 2, "cpu") == [1, 2]


def test_runs_of_a_family_that_does_not_stack_are_not_taken_from_the_queue() -> None:
    runs = dict(enumerate(expand(load_study("digits-cnn"))))
    assert partners(0, list(runs), runs.__getitem__, 1, "cpu") == []


def test_what_else_is_swept_stays_apart() -> None:
    runs = dict(enumerate(expand(sweep(lr_rule=("mup", "fixed"), weight_decay=(0.0, 0.1)))))
    for first in (0, 4, 13):
        group = [runs[i] for i in (first, *partners(first, list(runs), runs.__getitem__, 1, "cpu"))]
        assert len(group) == 6
        assert len({(run.size, run.training.lr_rule, run.training.weight_decay) for run in group}) == 1
        assert {run.training.learning_rate for run in group} == {0.005, 0.01, 0.02}


def test_the_study_of_learning_rates_is_stacked() -> None:
    study = load_study("learning-rate-transfer")
    runs = dict(enumerate(expand(study)))
    first = runs[0]
    group = [first] + [runs[i] for i in partners(0, list(runs), runs.__getitem__, 1, "cpu")]
    assert [run.training.learning_rate for run in group] == [0.0025, 0.005, 0.01, 0.02, 0.04, 0.08]
    assert {(run.size, run.training.lr_rule) for run in group} == {(first.size, "mup")}


@pytest.mark.parametrize("training", [{"optimizer": "muon"}, {"early_stopping_patience": 2}, {"micro_batch_size": 4}])
def test_runs_that_may_part_ways_stay_apart(training: dict[str, object]) -> None:
    runs = dict(enumerate(expand(study(**training))))
    assert partners(0, list(runs), runs.__getitem__, 1, "cpu") == []


def test_large_models_stay_apart_on_a_cpu() -> None:
    runs = dict(enumerate(expand(tiny_study(ladder={"sizes": [1_000_000], "seeds": [0, 1, 2]}))))
    assert partners(0, list(runs), runs.__getitem__, 1, "cpu") == []
    assert partners(0, list(runs), runs.__getitem__, 1, "cuda") == [1, 2]


def test_a_partner_that_is_not_told_of_ended_as_the_run_itself() -> None:
    own = Outcome(3, RunState.FAILED, "why", partners=(Outcome(5, RunState.INTERRUPTED),))
    assert [(o.run_id, o.state, o.message) for o in outcomes([3, 4, 5], own)] == [
        (3, RunState.FAILED, "why"),
        (4, RunState.FAILED, "why"),
        (5, RunState.INTERRUPTED, ""),
    ]


class Together:
    """A trainer that remembers what it was given and holds until it is let go."""

    takes_partners = True

    def __init__(self) -> None:
        self.given: list[tuple[int, ...]] = []
        self.go = threading.Event()
        self.says: dict[int, Outcome] = {}
        self.apart = False

    def __call__(self, task: Task, reporter: Reporter, control: Control) -> Outcome:
        runs = (task.run_id, *(partner.run_id for partner in task.partners))
        self.given.append(runs)
        if self.apart and len(runs) > 1:
            return Outcome(task.run_id, RunState.INTERRUPTED, apart=True)
        while not self.go.is_set():
            command = control.wait(0.01) if control.poll() is Command.PAUSE else control.poll()
            if command is Command.STOP:
                return Outcome(task.run_id, RunState.INTERRUPTED)
            if command is Command.CANCEL:
                return Outcome(task.run_id, RunState.CANCELLED)
            self.go.wait(0.005)
        told = [self.says.get(run, Outcome(run, RunState.FINISHED)) for run in runs]
        return Outcome(task.run_id, told[0].state, told[0].message, partners=tuple(told[1:]))


@pytest.fixture
def trainer() -> Together:
    return Together()


@pytest.fixture
def runner(tmp_path: Path, trainer: Together) -> Iterator[Runner]:
    with Store.open(tmp_path) as store:
        runner = Runner(store, jobs=1, executor="thread", run_one=trainer, machine=CPU)
        yield runner
        trainer.go.set()
        runner.stop_all()


def states(runner: Runner, runs: tuple[int, ...]) -> list[str]:
    return [str(runner.state(run)) for run in runs]


def test_seeds_are_given_together_and_all_finish(runner: Runner, trainer: Together) -> None:
    trainer.go.set()
    identity = runner.submit(study())
    assert runner.wait(identity, timeout=20)
    assert [len(runs) for runs in trainer.given] == [4, 4]
    assert states(runner, (*trainer.given[0], *trainer.given[1])) == ["finished"] * 8


def test_a_sweep_of_rates_is_given_together(runner: Runner, trainer: Together) -> None:
    trainer.go.set()
    identity = runner.submit(sweep())
    assert runner.wait(identity, timeout=20)
    assert [len(runs) for runs in trainer.given] == [6, 6]
    assert states(runner, (*trainer.given[0], *trainer.given[1])) == ["finished"] * 12


def test_every_slot_gets_its_share(tmp_path: Path, trainer: Together) -> None:
    with Store.open(tmp_path) as store:
        runner = Runner(store, jobs=2, executor="thread", run_one=trainer, machine=CPU)
        runner.submit(tiny_study(ladder={"sizes": [2000], "seeds": [0, 1, 2, 3, 4, 5]}))
        until(lambda: len(trainer.given) == 2)
        trainer.go.set()
        runner.stop_all()
    assert [len(runs) for runs in trainer.given] == [3, 3]


def test_pausing_one_pauses_all_and_so_does_going_on(runner: Runner, trainer: Together) -> None:
    runner.submit(study())
    until(lambda: trainer.given)
    first = trainer.given[0]
    runner.pause(first[2])
    assert states(runner, first) == ["paused"] * 4
    runner.resume(first[1])
    assert states(runner, first) == ["running"] * 4


def test_cancelling_one_lets_the_others_go_on(runner: Runner, trainer: Together) -> None:
    identity = runner.submit(study())
    until(lambda: trainer.given)
    first = trainer.given[0]
    runner.cancel(first[1])
    until(lambda: len(trainer.given) > 1)
    trainer.go.set()
    assert runner.wait(identity, timeout=20)
    assert trainer.given[1] == (first[0], first[2], first[3])
    assert states(runner, first) == ["finished", "cancelled", "finished", "finished"]


def test_one_that_fails_lets_the_others_go_on(runner: Runner, trainer: Together) -> None:
    identity = runner.submit(study())
    until(lambda: trainer.given)
    first = trainer.given[0]
    trainer.says = {first[0]: Outcome(first[0], RunState.FAILED, "no number")} | {
        run: Outcome(run, RunState.INTERRUPTED) for run in first[1:]
    }
    trainer.go.set()
    until(lambda: len(trainer.given) > 1)
    trainer.says = {}
    assert runner.wait(identity, timeout=20)
    assert states(runner, first)[0] == "failed"


def test_what_gains_nothing_together_is_given_one_by_one(runner: Runner, trainer: Together) -> None:
    trainer.apart = True
    trainer.go.set()
    identity = runner.submit(study())
    assert runner.wait(identity, timeout=20)
    assert [len(runs) for runs in trainer.given] == [4, 1, 1, 1, 1, 4, 1, 1, 1, 1]


def test_closing_leaves_a_group_to_be_resumed(tmp_path: Path, trainer: Together) -> None:
    with Store.open(tmp_path) as store:
        runner = Runner(store, jobs=1, executor="thread", run_one=trainer, machine=CPU)
        identity = runner.submit(study())
        until(lambda: trainer.given)
        runner.stop_all()
        store.writer.flush()
        assert {run.state for run in store.reader().runs(identity)} == {"interrupted"}
