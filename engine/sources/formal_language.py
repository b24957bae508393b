"""A small formal language, nested brackets of several kinds, and questions about its strings."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.families.base import DataShape
from engine.i18n import mark
from engine.sources import sources
from engine.sources._procedural import Items, ProceduralSpec, Split, Stream, token_shape
from engine.sources.base import OnProgress, Source

BRACKETS = ("()", "[]", "{}", "<>")
QUESTIONS = ("legal?", "depth?", "close?")
LEGAL, DEPTH, CLOSE = range(3)


class FormalLanguageSpec(ProceduralSpec, frozen=True, kw_only=True):
    """The grammar: how many kinds of brackets, how deep, how long."""

    kinds: Annotated[
        int,
        msgspec.Meta(title=mark("Kinds of brackets"), description=mark("() [] {} <>, the first so many"), ge=2, le=4),
    ] = 2
    length: Annotated[
        int, msgspec.Meta(title=mark("Length"), description=mark("Brackets of a string"), ge=4, le=256)
    ] = 16
    depth: Annotated[
        int,
        msgspec.Meta(
            title=mark("Depth"),
            description=mark("Deepest nesting in training; out of distribution two deeper"),
            ge=2,
            le=16,
        ),
    ] = 3


class FormalLanguageItems(Stream):
    """A beginning of a Dyck word, a question and its one-token answer, as in ``( [ ] [ depth? 2``.

    ``legal?`` is yes where every closing bracket closes the last open one; half of the strings asked about have one
    closing bracket of another kind. ``depth?`` is how many are open, ``close?`` the bracket that must close next, or
    none. Half of the strings have one bracket less and begin with ``_``, so that the depth can be odd and even. Out of
    distribution are strings nested deeper than any in training.
    """

    separator = " "
    extra_depth = 2

    def __init__(self, spec: FormalLanguageSpec) -> None:
        self.spec = spec
        deepest = spec.depth + self.extra_depth
        brackets = "".join(BRACKETS[: spec.kinds])
        vocabulary = [*brackets, *QUESTIONS, "no", "yes", "none", "_", *(str(i) for i in range(deepest + 1))]
        self.first_question = 2 * spec.kinds
        self.no = self.first_question + len(QUESTIONS)
        self.none, self.blank, self.zero = self.no + 2, self.no + 3, self.no + 4
        super().__init__(
            "formal-language",
            FormalLanguage.version,
            spec,
            vocabulary,
            item_length=spec.length + 2,
            answer_length=1,
            validation_fraction=spec.validation_fraction,
        )

    def sample(self, rng: np.random.Generator, n: int, *, ood: bool) -> Items:
        """See ``Stream``."""
        strings, stacks, depths = self._walk(rng, n, self.spec.depth + (self.extra_depth if ood else 0))
        questions = rng.integers(0, len(QUESTIONS), n)
        last = stacks[np.arange(n), np.maximum(depths - 1, 0)]
        close = np.where(depths > 0, 2 * last + 1, self.none)
        broken = (questions == LEGAL) & (rng.random(n) < 0.5)
        broken &= self._break(rng, strings, broken)
        legal = self.no + ~broken
        answers = np.choose(questions, [legal, self.zero + depths, close])
        return np.concatenate([strings, (self.first_question + questions)[:, None], answers[:, None]], axis=1)

    def questions(self, items: Items) -> NDArray[np.int64]:
        """(n,) which of ``QUESTIONS`` each item asks."""
        return np.asarray(items[:, -2] - self.first_question, np.int64)

    def depths(self, items: Items) -> NDArray[np.int64]:
        """(n,) how deep each string is nested at its deepest; closing too much counts as nothing."""
        strings = items[:, : self.spec.length]
        steps = np.where(strings == self.blank, 0, 1 - 2 * (strings % 2))
        return np.asarray(np.cumsum(steps, axis=1).max(axis=1), np.int64)

    def is_ood(self, items: Items) -> NDArray[np.bool_]:
        """Whether a string is nested deeper than any in training."""
        return np.asarray(self.depths(items) > self.spec.depth, np.bool_)

    def n_items(self, split: Split) -> int:
        """Too many to say."""
        return 0

    def _walk(self, rng: np.random.Generator, n: int, deepest: int) -> tuple[Items, Items, NDArray[np.int64]]:
        """Strings (n, length) that open and close at even odds between depth 0 and ``deepest``, their open brackets'
        kinds (n, deepest) and how many are open (n,). Opening bracket of kind k is token 2k, closing 2k + 1."""
        kinds = rng.integers(0, self.spec.kinds, (n, self.spec.length))
        opens = rng.random((n, self.spec.length)) < 0.5
        strings, stacks = np.empty((n, self.spec.length), np.int64), np.zeros((n, deepest), np.int64)
        depths, rows = np.zeros(n, np.int64), np.arange(n)
        strings[:, 0] = self.blank
        first = rng.integers(0, 2, n)
        for at in range(self.spec.length):
            began = first <= at
            opening = (depths == 0) | ((depths < deepest) & opens[:, at])
            top = stacks[rows, np.maximum(depths - 1, 0)]
            strings[began, at] = np.where(opening, 2 * kinds[:, at], 2 * top + 1)[began]
            opening &= began
            stacks[rows[opening], depths[opening]] = kinds[opening, at]
            depths += np.where(opening, 1, np.where(began, -1, 0))
        return strings, stacks, depths

    def _break(self, rng: np.random.Generator, strings: Items, wanted: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Spoil one closing bracket of the strings wanted, in place; (n,) which could be spoilt."""
        closing = (strings % 2 == 1) & (strings < self.first_question)
        at = (rng.random(strings.shape) * closing).argmax(axis=1)
        rows = np.flatnonzero(wanted & closing.any(axis=1))
        kind = strings[rows, at[rows]] // 2
        other = (kind + rng.integers(1, self.spec.kinds, len(rows))) % self.spec.kinds
        strings[rows, at[rows]] = 2 * other + 1
        spoilt = np.zeros(len(strings), np.bool_)
        spoilt[rows] = True
        return spoilt


@sources.register("formal-language")
class FormalLanguage(Source):
    """Nested brackets with a question about them: ( [ ] [ depth? 2."""

    name = "formal-language"
    version = 1
    title = mark("Formal language")
    Spec = FormalLanguageSpec
    procedural = True

    def shape(self, spec: FormalLanguageSpec) -> DataShape:
        """Tokens: the brackets, three questions, yes, no, none, a blank and the depths."""
        n_depths = spec.depth + FormalLanguageItems.extra_depth + 1
        return token_shape(2 * spec.kinds + len(QUESTIONS) + 4 + n_depths, spec.length + 2)

    def prepare(self, spec: FormalLanguageSpec, cache: Path, on_progress: OnProgress) -> FormalLanguageItems:
        """Nothing to load; see ``Source.prepare``."""
        return FormalLanguageItems(spec)

    def preview(self, spec: FormalLanguageSpec, n: int = 5) -> list[Mapping[str, str]]:
        """The first ``n`` strings of each split."""
        return FormalLanguageItems(spec).preview(n)
