"""Arithmetic modulo a prime on a fixed table of pairs: the setting in which grokking was found (Power 2022)."""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.families.base import DataShape
from engine.i18n import mark
from engine.sources import sources
from engine.sources._procedural import Items, Listed, token_shape
from engine.sources.base import OnProgress, Source
from engine.study import TableSpec

SIGNS = {"add": "+", "subtract": "-", "multiply": "*"}
SPLIT_SALT = 0x5917


class ModularArithmeticSpec(TableSpec, frozen=True, kw_only=True):
    """The table, and how much of it is trained on."""

    modulus: Annotated[
        int,
        msgspec.Meta(
            title=mark("Modulus"), description=mark("Numbers run from 0 to one less; primes are usual"), ge=5, le=1009
        ),
    ] = 59
    operation: Annotated[
        Literal["add", "subtract", "multiply"],
        msgspec.Meta(title=mark("Operation"), description=mark("What is done to a pair, modulo the modulus")),
    ] = "add"
    fraction: Annotated[
        float,
        msgspec.Meta(
            title=mark("Share trained on"),
            description=mark("Share of the table in training; the rest is held out"),
            ge=0.01,
            le=0.99,
        ),
    ] = 0.5
    split_seed: Annotated[
        int,
        msgspec.Meta(
            title=mark("Seed of the split"),
            description=mark("Which pairs are trained on; a larger share holds all pairs of a smaller one"),
            ge=0,
        ),
    ] = 0


class ModularArithmeticItems(Listed):
    """``a + b = c`` over the whole table, one token per number; only ``c`` is scored.

    Where a + b = b + a, both are on the same side, so that no held-out sum is a trained one turned round. Held-out
    pairs are unseen combinations of numbers that were all seen: there is no further split out of distribution.
    """

    separator = " "

    def __init__(self, spec: ModularArithmeticSpec) -> None:
        p = spec.modulus
        a, b = (x.ravel() for x in np.meshgrid(np.arange(p), np.arange(p), indexing="ij"))
        result = {"add": a + b, "subtract": a - b, "multiply": a * b}[spec.operation] % p
        items: Items = np.stack([a, np.full_like(a, p), b, np.full_like(a, p + 1), result], axis=1).astype(np.int64)
        place = _places(p, spec.operation, spec.split_seed)
        trained = place < _cut(spec)
        super().__init__(
            "modular-arithmetic",
            ModularArithmetic.version,
            spec,
            [*(str(i) for i in range(p)), SIGNS[spec.operation], "="],
            item_length=5,
            answer_length=1,
            splits={"train": items[trained], "validation": items[~trained]},
        )


@lru_cache(maxsize=16)
def _places(modulus: int, operation: str, split_seed: int) -> NDArray[np.int64]:
    """(modulus^2,) where each cell of the table stands in a random order; equal for cells that are one question."""
    a, b = np.divmod(np.arange(modulus**2), modulus)
    if operation != "subtract":
        a, b = np.minimum(a, b), np.maximum(a, b)
    _, question = np.unique(a * modulus + b, return_inverse=True)
    order = np.random.default_rng((SPLIT_SALT, split_seed)).permutation(int(question.max()) + 1)
    return np.asarray(order[question], np.int64)


def _cut(spec: ModularArithmeticSpec) -> int:
    """Places below it are trained on."""
    return round(spec.fraction * (int(_places(spec.modulus, spec.operation, spec.split_seed).max()) + 1))


@sources.register("modular-arithmetic")
class ModularArithmetic(Source):
    """Sums, differences or products modulo a prime, part of the table held out: 17 + 48 = 6."""

    name = "modular-arithmetic"
    version = 1
    title = mark("Modular arithmetic")
    Spec = ModularArithmeticSpec
    procedural = True

    def shape(self, spec: ModularArithmeticSpec) -> DataShape:
        """Tokens: the numbers, the sign and equals."""
        n_train = int((_places(spec.modulus, spec.operation, spec.split_seed) < _cut(spec)).sum())
        return token_shape(spec.modulus + 2, 5, n_train)

    def prepare(self, spec: ModularArithmeticSpec, cache: Path, on_progress: OnProgress) -> ModularArithmeticItems:
        """Nothing to load; see ``Source.prepare``."""
        return ModularArithmeticItems(spec)

    def preview(self, spec: ModularArithmeticSpec, n: int = 5) -> list[Mapping[str, str]]:
        """The first ``n`` pairs of training and of what is held out."""
        return ModularArithmeticItems(spec).preview(n)
