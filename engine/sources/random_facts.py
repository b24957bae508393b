"""Random strings to be memorised: nothing to understand, so that what a model holds can be counted in bits."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np

from engine.errors import InputError
from engine.families.base import DataShape
from engine.i18n import mark, tr
from engine.sources import sources
from engine.sources._procedural import Items, Listed, token_shape
from engine.sources.base import OnProgress, Source
from engine.study import TableSpec

LETTERS = tuple("abcdefghijklmnopqrstuvwxyz")
FACTS_SALT = 0xFAC7


class RandomFactsSpec(TableSpec, frozen=True, kw_only=True):
    """How many facts there are and how long; together the bits that there are to store."""

    facts: Annotated[
        int,
        msgspec.Meta(
            title=mark("Facts"),
            description=mark("Pairs of a name and a random string to memorise"),
            ge=10,
            le=1_000_000,
        ),
    ] = 1024
    letters: Annotated[
        int,
        msgspec.Meta(
            title=mark("Letters"),
            description=mark("Different letters, a to z; each letter of a string is log2 of this many bits"),
            ge=2,
            le=26,
        ),
    ] = 16
    name_length: Annotated[
        int, msgspec.Meta(title=mark("Name length"), description=mark("Letters of a name"), ge=1, le=16)
    ] = 3
    string_length: Annotated[
        int,
        msgspec.Meta(
            title=mark("String length"),
            description=mark("Letters to be recalled; exact match falls with it as a power"),
            ge=1,
            le=64,
        ),
    ] = 5


class RandomFactsItems(Listed):
    """A name and its string, as in ``dkb:poaje``; the names are different, the letters of a string are independent.

    There is nothing to generalise: what is measured is the recall of facts trained on, so ``validation`` holds the
    training facts. ``ood`` holds names that no fact has, each with a random string: a control that stays at chance.
    """

    def __init__(self, spec: RandomFactsSpec) -> None:
        self.letters = spec.letters
        known, unknown = _facts(spec)
        super().__init__(
            "random-facts",
            RandomFacts.version,
            spec,
            (*LETTERS[: spec.letters], ":"),
            item_length=spec.name_length + 1 + spec.string_length,
            answer_length=spec.string_length,
            splits={"train": known, "validation": known, "ood": unknown},
        )

    @property
    def bits(self) -> float:
        """Information in all strings together."""
        return self.n_items("train") * self.answer_length * math.log2(self.letters)


def _facts(spec: RandomFactsSpec) -> tuple[Items, Items]:
    """As many facts, and as many names without one (fewer where names run out)."""
    n_names = spec.letters**spec.name_length
    if n_names < spec.facts:
        raise InputError(
            tr("data.name_length: {n} letters make {names:,} names, too few for {facts:,} facts.",
               n=spec.name_length, names=n_names, facts=spec.facts),
            tr("Take longer names or fewer facts."),
        )  # fmt: skip
    rng = np.random.default_rng((FACTS_SALT, spec.facts))
    n = min(2 * spec.facts, n_names)
    numbers = _distinct(rng, n_names, n)
    names = numbers[:, None] // spec.letters ** np.arange(spec.name_length)[::-1] % spec.letters
    colon = np.full((n, 1), spec.letters)
    items = np.concatenate([names, colon, rng.integers(0, spec.letters, (n, spec.string_length))], axis=1)
    return items[: spec.facts], items[spec.facts :]


def _distinct(rng: np.random.Generator, below: int, n: int) -> Items:
    """``n`` different integers below a number, in random order, without listing them all where it is large."""
    if below <= 4 * n:
        return rng.permutation(below)[:n].astype(np.int64)
    drawn = np.unique(rng.integers(0, below, 2 * n))
    return rng.permutation(drawn)[:n]


@sources.register("random-facts")
class RandomFacts(Source):
    """Names with random strings, to be memorised: dkb:poaje. Information that is there to be counted."""

    name = "random-facts"
    version = 1
    title = mark("Random facts")
    Spec = RandomFactsSpec
    procedural = True

    def shape(self, spec: RandomFactsSpec) -> DataShape:
        """Tokens: the letters and a colon."""
        return token_shape(spec.letters + 1, spec.name_length + 1 + spec.string_length, spec.facts)

    def prepare(self, spec: RandomFactsSpec, cache: Path, on_progress: OnProgress) -> RandomFactsItems:
        """Nothing to load; see ``Source.prepare``."""
        return RandomFactsItems(spec)

    def preview(self, spec: RandomFactsSpec, n: int = 5) -> list[Mapping[str, str]]:
        """The first ``n`` facts, and names without one."""
        return RandomFactsItems(spec).preview(n)
