"""What a machine decides for its runs."""

import msgspec
import pytest

from engine.expand import expand
from engine.machine import THREADS_PAY, Machine
from engine.study import ExecutionSpec
from tests.engine.fakes import tiny_study

MACHINE = Machine(cores=8, memory_free=2**36)


@pytest.mark.parametrize(
    ("n_params", "jobs", "threads"), [(10_000, 1, 1), (10_000, 8, 1), (2 * THREADS_PAY, 1, 8), (2 * THREADS_PAY, 4, 2)]
)
def test_only_large_models_get_several_threads(n_params: int, jobs: int, threads: int) -> None:
    spec = msgspec.structs.replace(expand(tiny_study())[0], n_params=n_params)
    assert MACHINE.freeze(spec, jobs).execution.threads == threads


def test_what_a_study_asks_for_stands() -> None:
    spec = msgspec.structs.replace(expand(tiny_study())[0], execution=ExecutionSpec(threads=3, executor="thread"))
    frozen = MACHINE.freeze(spec, 1).execution
    assert (frozen.threads, frozen.executor, frozen.device) == (3, "thread", "cpu")
