"""Data made by a program: items drawn or listed by a rule, in splits that share no item.

An item is one row of tokens, a question followed by its answer. A batch is a pure function of (seed, step); nothing
is read from a disk, so ``prepare`` costs milliseconds and a worker process makes its own.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.errors import InputError
from engine.families.base import DataShape
from engine.i18n import mark, tr
from engine.sources.base import Batch, Preview, QualityReport
from engine.study import TableSpec

Split = Literal["train", "validation", "test", "ood"]
SPLITS: tuple[Split, ...] = ("train", "validation", "ood")
"""Those that every source may have; ``test`` is for those of which a part is held out for results alone."""
Items = NDArray[np.int64]
"""Whole items, int64 (n, item_length)."""

IGNORED = -100
"""Target of a position that is not scored; what torch's cross-entropy leaves out."""
TRAIN_SALT, HELD_OUT_SALT = 0x7A11, 0x4E1D
_ROUNDS = 200
"""Draws after which a split is taken to be empty: each gives at least one item in twenty thousand a chance."""


class ProceduralSpec(TableSpec, frozen=True, kw_only=True):
    """Fields of the sources that draw items from a space too large to list."""

    validation_fraction: Annotated[
        float,
        msgspec.Meta(
            title=mark("Validation share"),
            description=mark("Share of all questions that are never trained on, chosen by a hash of the question"),
            gt=0,
            le=0.5,
        ),
    ] = 0.05


class Procedural(ABC):
    """Implements ``engine.sources.base.Prepared`` for one task at one setting; subclasses draw the items.

    Args:
        task: name of the source, by which capabilities know their own data.
        version: of the source.
        spec: its settings; with the version, all that decides the items.
        vocabulary: the symbol of each token id.
        answer_length: tokens at the end of every item that are its answer.
        item_length: tokens of every item.
    """

    bytes_per_token: float = float("nan")
    separator: ClassVar[str] = ""
    """What stands between symbols when items are shown."""

    def __init__(
        self,
        task: str,
        version: int,
        spec: TableSpec,
        vocabulary: Sequence[str],
        *,
        item_length: int,
        answer_length: int,
    ) -> None:
        self.task = task
        self.vocabulary = tuple(vocabulary)
        self.item_length = item_length
        self.answer_length = answer_length
        given = {name: value for name, value in msgspec.to_builtins(spec).items() if value is not None}
        self.fingerprint = hashlib.sha256(msgspec.json.encode([task, version, given])).hexdigest()
        self.report = self._report()
        self._drawn: dict[tuple[Split, int], Items] = {}

    @abstractmethod
    def draw(self, split: Split, rng: np.random.Generator, n: int) -> Items:
        """``n`` items of a split, a pure function of the generator's state; () items where there is no such split."""

    @abstractmethod
    def n_items(self, split: Split) -> int:
        """How many different items a split has; 0 where that is not known."""

    def scored(self, items: Items) -> NDArray[np.bool_]:
        """(n, item_length) of which tokens are trained on and measured: by default the answer's."""
        mask = np.zeros(items.shape, np.bool_)
        mask[:, self.item_length - self.answer_length :] = True
        return mask

    def train_batch(self, step: int, batch_size: int, context: int, seed: int) -> Batch:
        """See ``Prepared``; raises ``InputError`` where an item is longer than the context."""
        rng = np.random.default_rng((seed, step, TRAIN_SALT))
        return self.batch(self.draw("train", rng, batch_size), context)

    def epochs(self, n_steps: int, batch_size: int, context: int) -> float:
        """Items seen over items there are; 0 where that is not known."""
        n = self.n_items("train")
        return n_steps * batch_size / n if n else 0.0

    def items(self, split: Split, n: int) -> Items:
        """The same ``n`` items of a split every time, fewer where the split has fewer."""
        if (split, n) not in self._drawn:
            self._drawn[split, n] = self.draw(split, np.random.default_rng((HELD_OUT_SALT, len(split))), n)
        return self._drawn[split, n]

    def batches(self, split: Split, n: int, batch_size: int, context: int) -> Iterator[Batch]:
        """The same, in batches of which the last may be short."""
        items = self.items(split, n)
        for first in range(0, len(items), batch_size):
            yield self.batch(items[first : first + batch_size], context)

    def validation_batches(self, batch_size: int, context: int, max_tokens: int) -> Iterator[Batch]:
        """See ``Prepared``: as many held-out items as fit into ``max_tokens``."""
        yield from self.batches("validation", max(1, max_tokens // context), batch_size, context)

    def batch(self, items: Items, context: int) -> Batch:
        """Inputs and targets, int64 (n, context); what is not scored and what pads a longer context is ``IGNORED``."""
        length = self.item_length - 1
        if context < length:
            raise InputError(
                tr("training.context: an item of {task} has {n} tokens before its last.", task=self.task, n=length),
                tr("Set training.context to {n}.", n=length),
            )
        inputs = np.zeros((len(items), context), np.int64)
        targets = np.full((len(items), context), IGNORED, np.int64)
        inputs[:, :length] = items[:, :-1]
        targets[:, :length] = np.where(self.scored(items)[:, 1:], items[:, 1:], IGNORED)
        return {"inputs": inputs, "targets": targets}

    def decode(self, tokens: NDArray[np.integer[Any]]) -> str:
        """The symbols of a token sequence."""
        return self.separator.join(self.vocabulary[int(token)] for token in tokens)

    def preview(self, n: int) -> list[Preview]:
        """The first ``n`` items of every split as text."""
        return [{"origin": split, "text": self.decode(item)} for split in SPLITS for item in self.items(split, n)]

    def _report(self) -> QualityReport:
        n_train, n_validation = self.n_items("train"), self.n_items("validation")
        notes = [tr("Made by a program; only the answers are trained on and measured.")]
        if not n_train:
            notes.append(tr("Items are drawn from a space too large to list; splits share none of them."))
        return QualityReport(
            n_documents=n_train + n_validation + self.n_items("ood"),
            n_train=n_train,
            n_validation=n_validation,
            bytes_train=0,
            bytes_validation=0,
            exact_duplicates=0,
            near_duplicates=0,
            leaked=0,
            notes=tuple(notes),
        )


class Stream(Procedural):
    """Items drawn at random, sorted into splits by a hash of their question, so that no question is in two."""

    def __init__(self, *args: Any, validation_fraction: float, test_fraction: float = 0.0, **kwargs: Any) -> None:
        self.validation_fraction, self.test_fraction = validation_fraction, test_fraction
        super().__init__(*args, **kwargs)

    @abstractmethod
    def sample(self, rng: np.random.Generator, n: int, *, ood: bool) -> Items:
        """``n`` items at random, of any split; with ``ood`` mostly, or only, such as ``is_ood`` holds for."""

    def is_ood(self, items: Items) -> NDArray[np.bool_]:
        """(n,) which items are out of distribution: never in training nor in validation. By default none."""
        return np.zeros(len(items), np.bool_)

    def key(self, items: Items) -> NDArray[np.uint64]:
        """(n,) a hash that equal questions share; override where questions that look different are the same."""
        return hash_rows(items[:, : self.item_length - self.answer_length])

    def split_of(self, items: Items) -> NDArray[np.int8]:
        """(n,) 0 for training, 1 for validation, 2 for out of distribution, 3 for tests: a function of the item."""
        keys, held_out = self.key(items), self.validation_fraction + self.test_fraction
        part = np.where(keys < np.uint64(self.test_fraction * 2.0**64), 3, keys < np.uint64(held_out * 2.0**64))
        return np.where(self.is_ood(items), 2, part).astype(np.int8)

    def never_trained_on(self, key: int, n: int, draw: Callable[[np.random.Generator, int], Items]) -> Items:
        """At most ``n`` different items of those that ``draw`` gives, none of training; equal keys give equal items.

        For items of one kind, such as of one length, that no split holds alone.
        """
        drawn = draw(np.random.default_rng((HELD_OUT_SALT, key)), int(n / self.validation_fraction * 1.2) + 64)
        kept = drawn[self.split_of(drawn) > 0]
        _, first = np.unique(hash_rows(kept), return_index=True)
        return kept[np.sort(first)[:n]]

    def draw(self, split: Split, rng: np.random.Generator, n: int) -> Items:
        """See ``Procedural``: draws until ``n`` of the split are found. Raises ``InputError`` where none is."""
        wanted = {"train": 0, "validation": 1, "ood": 2, "test": 3}[split]
        shares = {"validation": self.validation_fraction, "test": self.test_fraction, "ood": 0.5}
        share = shares.get(split, 1 - self.validation_fraction - self.test_fraction)
        if not share:
            return np.zeros((0, self.item_length), np.int64)
        found: list[Items] = []
        missing = n
        for _ in range(_ROUNDS):
            drawn = self.sample(rng, int(missing / share * 1.1) + 16, ood=split == "ood")
            some = drawn[self.split_of(drawn) == wanted][:missing]
            found.append(some)
            missing -= len(some)
            if not missing:
                return np.concatenate(found)
        raise InputError(tr("data: these settings of {task} leave no items for {split}.", task=self.task, split=split))


class Listed(Procedural):
    """Items that are all listed, in splits that are made once; an epoch passes over each training item once."""

    def __init__(self, *args: Any, splits: Mapping[Split, Items], **kwargs: Any) -> None:
        self._splits = {name: np.ascontiguousarray(items) for name, items in splits.items()}
        super().__init__(*args, **kwargs)

    def n_items(self, split: Split) -> int:
        return len(self._splits.get(split, ()))

    def all_items(self, split: Split) -> Items:
        """Every item of a split in its listed order."""
        return self._splits.get(split, np.zeros((0, self.item_length), np.int64))

    def draw(self, split: Split, rng: np.random.Generator, n: int) -> Items:
        """``n`` different items at random, all where there are fewer."""
        items = self.all_items(split)
        return items if n >= len(items) else items[rng.permutation(len(items))[:n]]

    def train_batch(self, step: int, batch_size: int, context: int, seed: int) -> Batch:
        """Without replacement, epoch after epoch; a batch as large as the split is the split."""
        items = self.all_items("train")
        if batch_size == len(items):
            return self.batch(items, context)
        first = step * batch_size
        places = np.arange(first, first + batch_size)
        rows = np.empty(batch_size, np.int64)
        for epoch in range(first // len(items), (first + batch_size - 1) // len(items) + 1):
            order = _epoch_order(seed, epoch, len(items))
            here = places // len(items) == epoch
            rows[here] = order[places[here] % len(items)]
        return self.batch(items[rows], context)


@lru_cache(maxsize=4)
def _epoch_order(seed: int, epoch: int, n: int) -> NDArray[np.int64]:
    """The order of an epoch; kept, since to shuffle millions takes longer than to train on a few."""
    return np.random.default_rng((seed, epoch, TRAIN_SALT)).permutation(n)


def hash_rows(rows: NDArray[np.integer[Any]]) -> NDArray[np.uint64]:
    """(n,) a 64-bit hash of each row of (n, m), the same on every machine.

    A multilinear hash (Carter & Wegman 1979) with fixed odd weights, finished with splitmix64 (Steele 2014).
    """
    weights = _weights(rows.shape[1])
    mixed: NDArray[np.uint64] = ((rows.astype(np.uint64) + np.uint64(1)) * weights).sum(1, dtype=np.uint64)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


@lru_cache(maxsize=64)
def _weights(n: int) -> NDArray[np.uint64]:
    return np.random.default_rng(0x5EED).integers(0, 2**63, n, dtype=np.uint64) * np.uint64(2) + np.uint64(1)


def token_shape(vocab_size: int, item_length: int, n_train: int = 0) -> DataShape:
    """The data shape of a procedural source, known from its settings alone."""
    return DataShape("tokens", vocab_size=vocab_size, min_context=item_length - 1, n_train_items=n_train)
