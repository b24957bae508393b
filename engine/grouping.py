"""Which runs of the queue may be trained together, and what becomes of each when they end."""

import dataclasses
from collections.abc import Callable, Sequence

import msgspec

from engine.families import families
from engine.families.base import Family
from engine.study import RunSpec
from engine.task import Outcome

FEWEST = 3
"""Runs below which a stack gains less than its measurement costs (two of 10 thousand parameters: 1.1 to 1.3 times)."""
LARGEST = {"cpu": 200_000, "cuda": 50_000_000}
"""Parameters of one member beyond which its own matmuls fill the device and stacking gains nothing."""
LEARNING_RATE = "training.learning_rate"
"""The field as ``ladder.vary`` names it."""


def partners(
    first: int,
    queue: Sequence[int],
    spec_of: Callable[[int], RunSpec],
    jobs: int,
    device: str,
    busy: Sequence[int] = (),
) -> list[int]:
    """Queued runs that differ from ``first`` in seed and peak learning rate only, to be trained together with it.

    As many as leave every slot a share that will have none else to do: of ``jobs`` slots those that are idle, and,
    where nothing but these runs waits, those that are ``busy`` with other runs.
    """
    spec = spec_of(first)
    if not _stackable(spec, device):
        return []
    key = _shared(spec)
    same = [run for run in queue if run != first and _shared(spec_of(run)) == key]
    alone = len(same) == len([run for run in queue if run != first])
    taken = [run for run in busy if not alone or _shared(spec_of(run)) == key]
    share = -(-(len(same) + 1) // max(1, jobs - len(taken)))
    return same[: share - 1] if share >= FEWEST else []


def _stackable(spec: RunSpec, device: str) -> bool:
    training = spec.training
    whole = training.micro_batch_size == training.batch_size and not training.early_stopping_patience
    small = spec.n_params <= LARGEST.get(device.partition(":")[0], 0)
    # Muon stays apart, with equal rates and with mixed ones: torch's takes one matrix at a time and no stack of them.
    return spec.kind == "pretrain" and training.optimizer == "adamw" and whole and small and _has_stack(spec.family)


def _has_stack(family: str) -> bool:
    """Whether a family says how its models are stacked at all."""
    return family in families and type(families[family]).stack is not Family.stack


def _shared(spec: RunSpec) -> RunSpec:
    """What the members of a stack have in common: the run without its seed and its peak learning rate."""
    variant = {field: value for field, value in spec.variant.items() if field != LEARNING_RATE}
    training = msgspec.structs.replace(spec.training, learning_rate=0.0)
    return msgspec.structs.replace(spec, seed=0, variant=variant, training=training)


def outcomes(runs: Sequence[int], outcome: Outcome) -> list[Outcome]:
    """One outcome per run: what the stack says of a partner, else what it says of itself."""
    told = {one.run_id: one for one in outcome.partners}
    own = dataclasses.replace(outcome, partners=())
    return [told.get(run, dataclasses.replace(own, run_id=run)) for run in runs]
