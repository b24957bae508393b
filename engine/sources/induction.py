"""A segment of random tokens that comes again at a random distance: what an induction head is for."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.errors import InputError
from engine.families.base import DataShape
from engine.i18n import mark, tr
from engine.sources import sources
from engine.sources._procedural import Items, ProceduralSpec, Split, Stream, token_shape
from engine.sources.base import OnProgress, Source


class InductionSpec(ProceduralSpec, frozen=True, kw_only=True):
    """Lengths in tokens; the item is as long as the segment twice and the largest gap."""

    symbols: Annotated[
        int,
        msgspec.Meta(
            title=mark("Symbols"),
            description=mark("Different tokens; none stands twice in an item but for the copy"),
            ge=8,
            le=65_536,
        ),
    ] = 64
    segment: Annotated[
        int, msgspec.Meta(title=mark("Segment"), description=mark("Tokens that are copied"), ge=2, le=4096)
    ] = 12
    gap: Annotated[
        int,
        msgspec.Meta(
            title=mark("Gap"),
            description=mark("Most tokens between a segment and its copy in training; drawn evenly from 0 up"),
            ge=1,
            le=4096,
        ),
    ] = 12
    ood_gap: Annotated[
        int,
        msgspec.Meta(
            title=mark("Longer gap"),
            description=mark("Tokens by which the gap is longer out of distribution, at most"),
            ge=1,
            le=4096,
        ),
    ] = 4
    trained_on: Annotated[
        Literal["copy", "all"],
        msgspec.Meta(
            title=mark("Trained on"),
            description=mark("copy: only the tokens that can be known; all: every token, as in language modelling"),
        ),
    ] = "copy"


class InductionItems(Stream):
    """``prefix segment gap segment``: the copy ends the item, and prefix and gap together have a fixed length.

    No token stands twice but in the copy, so that what follows the earlier occurrence is the one right answer. The
    copy's first token cannot be known and is not scored as copied. Out of distribution are gaps longer than any in
    training.
    """

    separator = " "

    def __init__(self, spec: InductionSpec) -> None:
        self.spec = spec
        self.free = spec.gap + spec.ood_gap
        n_distinct = self.free + spec.segment
        if n_distinct > spec.symbols:
            raise InputError(
                tr("data.symbols: an item needs {n} different symbols.", n=n_distinct),
                tr("Take more symbols, or shorter segments and gaps."),
            )
        super().__init__(
            "induction",
            Induction.version,
            spec,
            [str(i) for i in range(spec.symbols)],
            item_length=item_length(spec),
            answer_length=spec.segment - 1,
            validation_fraction=spec.validation_fraction,
        )

    def sample(self, rng: np.random.Generator, n: int, *, ood: bool) -> Items:
        """See ``Stream``."""
        spec = self.spec
        gaps = rng.integers(spec.gap + 1, self.free + 1, n) if ood else rng.integers(0, spec.gap + 1, n)
        return self._make(rng, gaps)

    def _make(self, rng: np.random.Generator, gaps: NDArray[np.int64]) -> Items:
        """One item with random symbols for each gap of (n,)."""
        spec = self.spec
        distinct = rng.random((len(gaps), spec.symbols)).argsort(axis=1)[:, : self.free + spec.segment]
        starts = self.free - gaps
        copies = np.take_along_axis(distinct, starts[:, None] + np.arange(spec.segment), axis=1)
        return np.concatenate([distinct, copies], axis=1).astype(np.int64)

    def gaps(self, items: Items) -> NDArray[np.int64]:
        """(n,) tokens between segment and copy, read off the items: where the copy's first token stood before."""
        body = items[:, : self.free + self.spec.segment]
        starts = (body == items[:, [self.free + self.spec.segment]]).argmax(axis=1)
        return np.asarray(self.free - starts, np.int64)

    def is_ood(self, items: Items) -> NDArray[np.bool_]:
        """Whether the gap is longer than any in training."""
        return np.asarray(self.gaps(items) > self.spec.gap, np.bool_)

    def copies(self, distance: int, n: int) -> tuple[Items, int, int] | None:
        """See ``HeldOutCopies`` in ``copying``; a distance is a segment and its gap."""
        spec, gap = self.spec, distance - self.spec.segment
        if not 0 <= gap <= self.free:
            return None
        items = self.never_trained_on(distance, n, lambda rng, size: self._make(rng, np.full(size, gap)))
        return items, spec.segment - 1, self.free + spec.segment

    def scored(self, items: Items) -> NDArray[np.bool_]:
        """The copy but for its first token, or every token."""
        return np.ones(items.shape, np.bool_) if self.spec.trained_on == "all" else super().scored(items)

    def n_items(self, split: Split) -> int:
        """Too many to say."""
        return 0


def item_length(spec: InductionSpec) -> int:
    """Tokens of an item."""
    return 2 * spec.segment + spec.gap + spec.ood_gap


@sources.register("induction")
class Induction(Source):
    """Random tokens in which a segment comes again after a random gap: 7 3 9 5 1 3 9 5."""

    name = "induction"
    version = 1
    title = mark("Induction")
    Spec = InductionSpec
    procedural = True

    def shape(self, spec: InductionSpec) -> DataShape:
        """Tokens: the symbols."""
        return token_shape(spec.symbols, item_length(spec))

    def prepare(self, spec: InductionSpec, cache: Path, on_progress: OnProgress) -> InductionItems:
        """Nothing to load; see ``Source.prepare``."""
        return InductionItems(spec)

    def preview(self, spec: InductionSpec, n: int = 5) -> list[Mapping[str, str]]:
        """The first ``n`` items of each split."""
        return InductionItems(spec).preview(n)
