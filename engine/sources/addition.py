"""Adding numbers digit by digit: a task whose carries are learned last, and suddenly."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.families.base import DataShape
from engine.i18n import mark
from engine.sources import sources
from engine.sources._procedural import Items, ProceduralSpec, Split, Stream, hash_rows, token_shape
from engine.sources.base import OnProgress, Source

VOCABULARY = (*"0123456789", "+", "=")
PLUS, EQUALS = 10, 11


class AdditionSpec(ProceduralSpec, frozen=True, kw_only=True):
    """How long the numbers are."""

    digits: Annotated[
        int,
        msgspec.Meta(
            title=mark("Digits"),
            description=mark("Digits of both numbers, leading zeros written; the sum has one more"),
            ge=2,
            le=8,
        ),
    ] = 3


class AdditionItems(Stream):
    """``a + b = c`` with the most significant digit first, each number drawn evenly from 0 to 10^digits - 1.

    Out of distribution are the problems in which a carry ripples from the units through every column: the units give
    one and every other column adds up to nine, as in 457 + 543. ``a + b`` and ``b + a`` are one question.
    """

    def __init__(self, spec: AdditionSpec) -> None:
        self.digits = spec.digits
        super().__init__(
            "addition",
            Addition.version,
            spec,
            VOCABULARY,
            item_length=3 * spec.digits + 3,
            answer_length=spec.digits + 1,
            validation_fraction=spec.validation_fraction,
        )

    def sample(self, rng: np.random.Generator, n: int, *, ood: bool) -> Items:
        """See ``Stream``."""
        digits = rng.integers(0, 10, (2, n, self.digits))
        if ood:
            digits[1, :, :-1] = 9 - digits[0, :, :-1]
            digits[0, :, -1] = rng.integers(1, 10, n)
            digits[1, :, -1] = rng.integers(10 - digits[0, :, -1], 10)
        return written(digits[0], digits[1])

    def is_ood(self, items: Items) -> NDArray[np.bool_]:
        """Whether a carry ripples through every column."""
        a, b = self.addends(items)
        total = a + b
        ripples: NDArray[np.bool_] = (total[:, -1] > 9) & (total[:, :-1] == 9).all(axis=1)
        return ripples

    def key(self, items: Items) -> NDArray[np.uint64]:
        """The same for ``a + b`` and ``b + a``."""
        a, b = (hash_rows(addend) for addend in self.addends(items))
        return hash_rows(np.stack([np.minimum(a, b) >> np.uint64(1), np.maximum(a, b) >> np.uint64(1)], axis=1))

    def n_items(self, split: Split) -> int:
        """Ordered pairs; how many of them the hash holds out is known but for the sampling of a hash."""
        ripple = 45 * 10 ** (self.digits - 1)
        rest = 10 ** (2 * self.digits) - ripple
        held_out = round(rest * self.validation_fraction)
        counts: dict[Split, int] = {"train": rest - held_out, "validation": held_out, "ood": ripple}
        return counts[split]

    def addends(self, items: Items) -> tuple[Items, Items]:
        """The digits of both numbers, (n, digits) each, most significant first."""
        return items[:, : self.digits], items[:, self.digits + 1 : 2 * self.digits + 1]


def written(a: Items, b: Items) -> Items:
    """Items ``a+b=c`` of digits (n, digits) each, most significant first."""
    n, digits = a.shape
    total, carry = np.empty((n, digits + 1), np.int64), np.zeros(n, np.int64)
    for column in range(digits - 1, -1, -1):
        carry, total[:, column + 1] = np.divmod(a[:, column] + b[:, column] + carry, 10)
    total[:, 0] = carry
    plus, equals = np.full((n, 1), PLUS), np.full((n, 1), EQUALS)
    return np.concatenate([a, plus, b, equals, total], axis=1)


@sources.register("addition")
class Addition(Source):
    """Sums of two numbers, digit by digit, the most significant first: 457+068=0525."""

    name = "addition"
    version = 1
    title = mark("Addition")
    Spec = AdditionSpec
    procedural = True

    def shape(self, spec: AdditionSpec) -> DataShape:
        """Tokens: ten digits, plus and equals."""
        return token_shape(len(VOCABULARY), 3 * spec.digits + 3)

    def prepare(self, spec: AdditionSpec, cache: Path, on_progress: OnProgress) -> AdditionItems:
        """Nothing to load; see ``Source.prepare``."""
        return AdditionItems(spec)

    def preview(self, spec: AdditionSpec, n: int = 5) -> list[Mapping[str, str]]:
        """The first ``n`` sums of each split."""
        return AdditionItems(spec).preview(n)
