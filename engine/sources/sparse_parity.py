"""Multitask sparse parity (Michaud 2023): many small skills, each met less often than the one before."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.errors import StudyError
from engine.families.base import DataShape
from engine.i18n import mark, tr
from engine.sources import sources
from engine.sources._procedural import HELD_OUT_SALT, Items, ProceduralSpec, Split, Stream, hash_rows
from engine.sources.base import Batch, OnProgress, Source

SUBSETS_SALT = 0x9A17
OOD_BIAS = 0.85
"""Chance of the commoner bit in items drawn out of distribution, before those that are not lopsided are left out."""
_WANTED: dict[Split, int] = {"train": 0, "validation": 1, "ood": 2}


class SparseParitySpec(ProceduralSpec, frozen=True, kw_only=True):
    """How many subtasks there are, how hard each is and how unequally often they come."""

    subtasks: Annotated[
        int,
        msgspec.Meta(
            title=mark("Subtasks"), description=mark("How many different parities there are to learn."), ge=1, le=1_000
        ),
    ] = 64
    bits: Annotated[
        int,
        msgspec.Meta(
            title=mark("Bits"),
            description=mark("Bits of every item, of which a subtask looks at a few."),
            ge=8,
            le=48,
        ),
    ] = 24
    relevant: Annotated[
        int,
        msgspec.Meta(
            title=mark("Relevant bits"),
            description=mark("How many bits a subtask takes the parity of; more are far harder to find."),
            ge=1,
            le=8,
        ),
    ] = 3
    alpha: Annotated[
        float,
        msgspec.Meta(
            title=mark("Frequency exponent"),
            description=mark("The subtask of rank r comes with a frequency that falls as r^-(1 + alpha)."),
            ge=0,
            le=4,
        ),
    ] = 0.2
    draw: Annotated[
        int,
        msgspec.Meta(
            title=mark("Draw"), description=mark("Another number gives other subtasks of the same kind."), ge=0
        ),
    ] = 0


class SparseParityItems(Stream):
    """A subtask, a string of bits and the parity of the bits that this subtask looks at.

    The model reads one vector: which subtask it is, one of ``subtasks`` set to 1, followed by the bits as -1 and 1.
    Out of distribution are the lopsided strings, at least three quarters of whose bits are equal: none was trained on.
    """

    def __init__(self, spec: SparseParitySpec) -> None:
        self.subtasks, self.bits, self.alpha = spec.subtasks, spec.bits, spec.alpha
        self.subsets = _subsets(spec)
        frequency = np.arange(1, spec.subtasks + 1, dtype=np.float64) ** -(1.0 + spec.alpha)
        self.frequency: NDArray[np.float64] = frequency / frequency.sum()
        """(subtasks,) how often each comes, the commonest first; sums to 1."""
        self._up_to = np.cumsum(self.frequency)
        self._balanced: dict[tuple[Split, int], Items] = {}
        super().__init__(
            "sparse-parity",
            SparseParity.version,
            spec,
            ("0", "1"),
            item_length=spec.bits + 2,
            answer_length=1,
            validation_fraction=spec.validation_fraction,
        )

    def sample(self, rng: np.random.Generator, n: int, *, ood: bool) -> Items:
        """See ``Stream``; the subtask of an item is drawn by frequency."""
        subtask = np.searchsorted(self._up_to, rng.random(n)).clip(max=self.subtasks - 1)
        return self.answered(subtask, self._strings(rng, n, ood=ood))

    def answered(self, subtask: NDArray[np.int64], strings: NDArray[np.int8]) -> Items:
        """Items of subtasks (n,) and strings of 0 and 1 (n, bits), with their parities."""
        answer = np.take_along_axis(strings, self.subsets[subtask], axis=1).sum(axis=1) % 2
        items = np.empty((len(strings), self.item_length), np.int64)
        items[:, 0], items[:, 1:-1], items[:, -1] = subtask, strings, answer
        return items

    def balanced(self, split: Split, n: int) -> Items:
        """The same ``n`` items of every subtask every time, (subtasks * n, item_length), subtask by subtask."""
        if (split, n) not in self._balanced:
            rng = np.random.default_rng((HELD_OUT_SALT, _WANTED[split], n))
            parts = [self._of_subtask(subtask, split, rng, n) for subtask in range(self.subtasks)]
            self._balanced[split, n] = np.concatenate(parts)
        return self._balanced[split, n]

    def _of_subtask(self, subtask: int, split: Split, rng: np.random.Generator, n: int) -> Items:
        share = {"train": 1.0, "validation": self.validation_fraction, "ood": 1.0}[split]
        found = np.zeros((0, self.bits), np.int8)
        while len(found) < n:
            strings = self._strings(rng, int(1.2 * n / share) + 16, ood=split == "ood")
            where = self._split(np.full(len(strings), subtask), strings)
            found = np.concatenate([found, strings[where == _WANTED[split]]])
        return self.answered(np.full(n, subtask), found[:n])

    def _split(self, subtask: NDArray[np.int64], strings: NDArray[np.int8]) -> NDArray[np.int8]:
        """``split_of`` for questions that are not made into items."""
        held_out = _hash(subtask, strings) < np.uint64(self.validation_fraction * 2.0**64)
        return np.where(self._lopsided(strings), 2, held_out).astype(np.int8)

    def _strings(self, rng: np.random.Generator, n: int, *, ood: bool) -> NDArray[np.int8]:
        """(n, bits) of 0 and 1: even, or each string mostly of one of the two."""
        if not ood:
            return rng.integers(0, 2, (n, self.bits), dtype=np.int8)
        common = rng.integers(0, 2, (n, 1), dtype=np.int8)
        return common ^ (rng.random((n, self.bits)) > OOD_BIAS).astype(np.int8)

    def is_ood(self, items: Items) -> NDArray[np.bool_]:
        """Whether at least three quarters of the bits are equal."""
        return self._lopsided(items[:, 1:-1])

    def key(self, items: Items) -> NDArray[np.uint64]:
        """Of subtask and string."""
        return _hash(items[:, 0], items[:, 1:-1])

    def _lopsided(self, strings: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
        ones = strings.sum(axis=1, dtype=np.int64)
        return np.asarray(2 * np.abs(2 * ones - self.bits) >= self.bits, np.bool_)

    def n_items(self, split: Split) -> int:
        """Subtasks times strings; how many of them the hash holds out is known but for the sampling of a hash."""
        n_lopsided = sum(
            math.comb(self.bits, k) for k in range(self.bits + 1) if 2 * abs(2 * k - self.bits) >= self.bits
        )
        rest = self.subtasks * (2**self.bits - n_lopsided)
        held_out = round(rest * self.validation_fraction)
        counts: dict[Split, int] = {
            "train": rest - held_out,
            "validation": held_out,
            "ood": self.subtasks * n_lopsided,
        }
        return counts[split]

    def batch(self, items: Items, context: int) -> Batch:
        """Vectors float32 (n, subtasks + bits) and parities int64 (n,)."""
        inputs = np.zeros((len(items), self.subtasks + self.bits), np.float32)
        inputs[np.arange(len(items)), items[:, 0]] = 1.0
        inputs[:, self.subtasks :] = 2 * items[:, 1:-1] - 1
        return {"inputs": inputs, "targets": np.ascontiguousarray(items[:, -1])}

    def decode(self, tokens: NDArray[np.integer[Any]]) -> str:
        """An item in words; what a model reads is no text."""
        if tokens.shape != (self.item_length,):
            raise TypeError("vectors are not text")
        looked_at = self.subsets[int(tokens[0])]
        string = "".join(f"[{bit}]" if place in looked_at else str(bit) for place, bit in enumerate(tokens[1:-1]))
        return f"{int(tokens[0]) + 1}: {string} = {int(tokens[-1])}"


def _hash(subtask: NDArray[np.int64], strings: NDArray[np.integer[Any]]) -> NDArray[np.uint64]:
    """(n,) of subtask and string; the string in bytes, which is four times as fast."""
    packed = np.packbits(strings.astype(np.uint8, copy=False), axis=1)
    return hash_rows(np.concatenate([subtask[:, None], packed], axis=1))


def _subsets(spec: SparseParitySpec) -> NDArray[np.int64]:
    """(subtasks, relevant) the places each subtask looks at, no two alike."""
    there_are = math.comb(spec.bits, spec.relevant)
    if there_are < spec.subtasks:
        raise StudyError(
            tr(
                "data.subtasks: {bits} bits have {n:,} subsets of {relevant}, too few for {subtasks:,} subtasks.",
                bits=spec.bits,
                n=there_are,
                relevant=spec.relevant,
                subtasks=spec.subtasks,
            )
        )
    rng = np.random.default_rng((SUBSETS_SALT, spec.draw))
    found: dict[tuple[int, ...], None] = {}
    while len(found) < spec.subtasks:
        found[tuple(sorted(rng.permutation(spec.bits)[: spec.relevant].tolist()))] = None
    return np.array(list(found), np.int64)


@sources.register("sparse-parity")
class SparseParity(Source):
    """Parities of a few bits out of many, one subtask after the other rarer: many skills, all or nothing each."""

    name = "sparse-parity"
    version = 1
    title = mark("Sparse parity")
    Spec = SparseParitySpec
    procedural = True

    def shape(self, spec: SparseParitySpec) -> DataShape:
        """One vector in, two classes out."""
        return DataShape("vectors", n_classes=2, sample_shape=(spec.subtasks + spec.bits,), fixed_context=1)

    def prepare(self, spec: SparseParitySpec, cache: Path, on_progress: OnProgress) -> SparseParityItems:
        """Nothing to load; see ``Source.prepare``."""
        return SparseParityItems(spec)

    def preview(self, spec: SparseParitySpec, n: int = 5) -> list[Mapping[str, str]]:
        """The first ``n`` items of each split, the bits that count in brackets."""
        return SparseParityItems(spec).preview(n)
