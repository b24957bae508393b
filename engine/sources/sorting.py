"""Sorting letters: a string task that a model can do for the lengths it saw, or for any."""

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

LETTERS = tuple("abcdefghijklmnopqrstuvwxyz")


class SortingSpec(ProceduralSpec, frozen=True, kw_only=True):
    """The string and what is to be done with it."""

    task: Annotated[
        Literal["sort", "reverse"],
        msgspec.Meta(
            title=mark("Task"), description=mark("sort: letters in order of the alphabet; reverse: back to front")
        ),
    ] = "sort"
    letters: Annotated[
        int, msgspec.Meta(title=mark("Letters"), description=mark("Different letters, from a on"), ge=4, le=26)
    ] = 16
    length: Annotated[int, msgspec.Meta(title=mark("Length"), description=mark("Letters of a string"), ge=3, le=64)] = 8


class SortingItems(Stream):
    """A string, an arrow and the string sorted or reversed, as in ``cabb>abbc``; letters are drawn evenly.

    Out of distribution are strings with few different letters, half of ``length`` or fewer: repetitions that hardly
    any training string has are left out of training altogether.
    """

    def __init__(self, spec: SortingSpec) -> None:
        self.spec = spec
        self.few = spec.length // 2
        """Most different letters of a string out of distribution."""
        if spec.letters <= self.few:
            raise InputError(
                tr(
                    "data.letters: {n} letters are too few for strings of {length}.", n=spec.letters, length=spec.length
                ),
                tr("Take more letters or shorter strings."),
            )
        super().__init__(
            "sorting",
            Sorting.version,
            spec,
            (*LETTERS[: spec.letters], ">"),
            item_length=2 * spec.length + 1,
            answer_length=spec.length,
            validation_fraction=spec.validation_fraction,
        )

    def sample(self, rng: np.random.Generator, n: int, *, ood: bool) -> Items:
        """See ``Stream``."""
        spec = self.spec
        strings = rng.integers(0, spec.letters, (n, spec.length))
        if ood:
            some = rng.random((n, spec.letters)).argsort(axis=1)[:, : self.few]
            strings = np.take_along_axis(some, strings % self.few, axis=1)
        answers = np.sort(strings, axis=1) if spec.task == "sort" else strings[:, ::-1]
        return np.concatenate([strings, np.full((n, 1), spec.letters), answers], axis=1).astype(np.int64)

    def is_ood(self, items: Items) -> NDArray[np.bool_]:
        """Whether a string has few different letters."""
        ordered = np.sort(items[:, : self.spec.length], axis=1)
        return np.asarray((np.diff(ordered, axis=1) != 0).sum(axis=1) + 1 <= self.few, np.bool_)

    def n_items(self, split: Split) -> int:
        """Too many to say."""
        return 0


@sources.register("sorting")
class Sorting(Source):
    """Strings of letters to be sorted or reversed: cabb>abbc."""

    name = "sorting"
    version = 1
    title = mark("Sorting")
    Spec = SortingSpec
    procedural = True

    def shape(self, spec: SortingSpec) -> DataShape:
        """Tokens: the letters and an arrow."""
        return token_shape(spec.letters + 1, 2 * spec.length + 1)

    def prepare(self, spec: SortingSpec, cache: Path, on_progress: OnProgress) -> SortingItems:
        """Nothing to load; see ``Source.prepare``."""
        return SortingItems(spec)

    def preview(self, spec: SortingSpec, n: int = 5) -> list[Mapping[str, str]]:
        """The first ``n`` strings of each split."""
        return SortingItems(spec).preview(n)
