"""Which runs of the queue may be trained together, and what becomes of each when they end."""

import dataclasses
from collections.abc import Callable, Sequence

import msgspec

from engine.study import RunSpec
from engine.task import Outcome

FEWEST = 3
"""Runs below which a stack gains less than its measurement costs (two of 10 thousand parameters: 1.1 to 1.3 times)."""
LARGEST = {"cpu": 200_000, "cuda": 50_000_000}
"""Parameters of one member beyond which its own matmuls fill the device and stacking gains nothing."""


def partners(first: int, queue: Sequence[int], spec_of: Callable[[int], RunSpec], jobs: int, device: str) -> list[int]:
    """Queued runs that differ from ``first`` in the seed only, as many as leave every one of ``jobs`` slots a share."""
    spec = spec_of(first)
    if not _stackable(spec, device):
        return []
    key = _without_seed(spec)
    same = [run for run in queue if run != first and _without_seed(spec_of(run)) == key]
    share = -(-(len(same) + 1) // max(1, jobs))
    return same[: share - 1] if share >= FEWEST else []


def _stackable(spec: RunSpec, device: str) -> bool:
    training = spec.training
    whole = training.micro_batch_size == training.batch_size and not training.early_stopping_patience
    small = spec.n_params <= LARGEST.get(device.partition(":")[0], 0)
    return spec.kind == "pretrain" and training.optimizer == "adamw" and whole and small


def _without_seed(spec: RunSpec) -> RunSpec:
    return msgspec.structs.replace(spec, seed=0)


def outcomes(runs: Sequence[int], outcome: Outcome) -> list[Outcome]:
    """One outcome per run: what the stack says of a partner, else what it says of itself."""
    told = {one.run_id: one for one in outcome.partners}
    own = dataclasses.replace(outcome, partners=())
    return [told.get(run, dataclasses.replace(own, run_id=run)) for run in runs]
