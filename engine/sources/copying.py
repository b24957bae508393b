"""Random strings that are to be written again from memory: how far back a model can copy (Graves 2014)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Protocol, runtime_checkable

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.families.base import DataShape
from engine.i18n import mark
from engine.sources import sources
from engine.sources._procedural import Items, ProceduralSpec, Split, Stream, hash_rows, token_shape
from engine.sources.base import OnProgress, Source

LETTERS = "abcdefghijklmnopqrstuvwxyz"
MARKER, PADDING = ":", "."
MIN_DISTANCE = 4
"""Shorter strings are too few to hold some out."""


class CopyingSpec(ProceduralSpec, frozen=True, kw_only=True):
    """A distance is that between a letter and its copy: the length of the string and its marker."""

    letters: Annotated[
        int,
        msgspec.Meta(
            title=mark("Letters"), description=mark("Different letters; a string is drawn evenly"), ge=2, le=26
        ),
    ] = 8
    distance: Annotated[
        int,
        msgspec.Meta(
            title=mark("Distance"),
            description=mark("Most tokens between a letter and its copy in training; from 4 up, its logarithm even"),
            ge=MIN_DISTANCE,
            le=4096,
        ),
    ] = 16
    ood_distance: Annotated[
        int,
        msgspec.Meta(
            title=mark("Longer distance"),
            description=mark("Tokens by which the distance is longer out of distribution, at most"),
            ge=1,
            le=4096,
        ),
    ] = 4


@runtime_checkable
class HeldOutCopies(Protocol):
    """Prepared data that can ask for a copy at a distance of one's choice."""

    def copies(self, distance: int, n: int) -> tuple[Items, int, int] | None:
        """At most ``n`` different held-out items that end with a copy over ``distance``, how many tokens of it can be
        known, and among how many different ones a guess would choose.

        The same every time; None where the data have no such distance.
        """
        ...


class CopyingItems(Stream):
    """``: string : string`` and padding: the second marker asks for what followed the first.

    Only the copy is scored. Out of distribution are distances longer than any in training.
    """

    def __init__(self, spec: CopyingSpec) -> None:
        self.spec = spec
        self.longest = spec.distance + spec.ood_distance
        super().__init__(
            "copying",
            Copying.version,
            spec,
            [*LETTERS[: spec.letters], MARKER, PADDING],
            item_length=item_length(spec),
            answer_length=self.longest - 1,
            validation_fraction=spec.validation_fraction,
        )

    def make(self, rng: np.random.Generator, distances: NDArray[np.int64]) -> Items:
        """One item with random letters for each distance of (n,)."""
        n_letters = self.spec.letters
        periods = rng.integers(0, n_letters, (len(distances), self.longest))
        periods[:, 0] = n_letters  # the marker
        columns = np.arange(self.item_length)
        items = np.take_along_axis(periods, columns % distances[:, None], axis=1)
        return np.where(columns < 2 * distances[:, None], items, n_letters + 1).astype(np.int64)

    def sample(self, rng: np.random.Generator, n: int, *, ood: bool) -> Items:
        """See ``Stream``."""
        trained = self.spec.distance
        low, high = (trained + 1, self.longest) if ood else (MIN_DISTANCE, trained)
        logarithms = rng.uniform(np.log(low), np.log(high + 1), n)
        return self.make(rng, np.exp(logarithms).astype(np.int64).clip(low, high))

    def distances(self, items: Items) -> NDArray[np.int64]:
        """(n,) tokens between a letter and its copy: where the second marker stands."""
        return np.asarray((items[:, 1:] == self.spec.letters).argmax(axis=1) + 1, np.int64)

    def is_ood(self, items: Items) -> NDArray[np.bool_]:
        """Whether the distance is longer than any in training."""
        return np.asarray(self.distances(items) > self.spec.distance, np.bool_)

    def key(self, items: Items) -> NDArray[np.uint64]:
        """A hash of the whole item, which its string decides."""
        return hash_rows(items)

    def scored(self, items: Items) -> NDArray[np.bool_]:
        """What follows the second marker, without the padding."""
        distances, columns = self.distances(items)[:, None], np.arange(self.item_length)
        return np.asarray((columns > distances) & (columns < 2 * distances), np.bool_)

    def copies(self, distance: int, n: int) -> tuple[Items, int, int] | None:
        """See ``HeldOutCopies``."""
        if not MIN_DISTANCE <= distance <= self.longest:
            return None
        items = self.never_trained_on(distance, n, lambda rng, size: self.make(rng, np.full(size, distance)))
        return items[:, : 2 * distance], distance - 1, self.spec.letters

    def n_items(self, split: Split) -> int:
        """Too many to say."""
        return 0


def item_length(spec: CopyingSpec) -> int:
    """Tokens of an item."""
    return 2 * (spec.distance + spec.ood_distance)


@sources.register("copying")
class Copying(Source):
    """Random strings, each followed by itself: ``: h a f c : h a f c``."""

    name = "copying"
    version = 1
    title = mark("Copying")
    Spec = CopyingSpec
    procedural = True

    def shape(self, spec: CopyingSpec) -> DataShape:
        """Tokens: the letters, the marker and padding."""
        return token_shape(spec.letters + 2, item_length(spec))

    def prepare(self, spec: CopyingSpec, cache: Path, on_progress: OnProgress) -> CopyingItems:
        """Nothing to load; see ``Source.prepare``."""
        return CopyingItems(spec)

    def preview(self, spec: CopyingSpec, n: int = 5) -> list[Mapping[str, str]]:
        """The first ``n`` items of each split."""
        return CopyingItems(spec).preview(n)
