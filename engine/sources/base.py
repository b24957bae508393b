"""What a data source is: a Spec for the form, a shape known in advance, and prepared data read by step.

A batch is a pure function of (spec, seed, step): resuming needs no iterator state, only the step.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from engine.families.base import DataShape
from engine.i18n import mark
from engine.study import TableSpec

Batch = dict[str, NDArray[Any]]
"""Named arrays whose first axis is the sample: tokens are ``inputs`` and ``targets``, int64 (batch, context)."""

OnProgress = Callable[[str, float], None]
"""Called with a step's name in English (``tr`` it to show it) and a fraction in 0..1.

What it raises ends the preparation, which leaves nothing half made behind: so a person cancels.
"""

Preview = Mapping[str, Any]
"""One document or sample to look at: ``origin``, the file and row or the split it is from, and what there is of

- ``text``, and ``target``: the text that belongs to it, where the data is pairs;
- ``label``: the name of its class;
- ``image``: pixels, uint8 (height, width, 3), at the size that a model sees;
- ``sound``: a wave, float32 (n,) in -1..1, with ``rate``, its samples per second.
"""


@dataclass(frozen=True, slots=True)
class QualityReport:
    """What a person should know of the data before training on it. Counts are of documents unless said."""

    n_documents: int
    n_train: int
    n_validation: int
    bytes_train: int
    bytes_validation: int
    exact_duplicates: int
    near_duplicates: int
    leaked: int
    """Validation documents with a near-duplicate in training, after the split; 0 is the promise."""
    skipped: tuple[tuple[str, str], ...] = ()
    """(file, why) of what could not be read, at most 100."""
    n_skipped: int = 0
    length_quantiles: tuple[float, ...] = ()
    """``length_unit`` per document at 5, 25, 50, 75, 95 %."""
    notes: tuple[str, ...] = ()
    length_unit: str = mark("bytes")
    label_counts: tuple[tuple[str, int], ...] = ()
    """(class, documents of both splits) in the order of the labels, for labelled data."""
    encodings: tuple[tuple[str, int], ...] = ()
    """(encoding or file format, files), where the data came from files."""


class Prepared(Protocol):
    """Data ready for training. Cheap to open, safe in several processes at once."""

    fingerprint: str
    """SHA-256 over the data and everything that shaped it."""
    report: QualityReport
    bytes_per_token: float
    """Of the validation split, for bits per byte; 1 for bytes, nan where it means nothing."""

    def train_batch(self, step: int, batch_size: int, context: int, seed: int) -> Batch:
        """The batch of a step: windows without replacement in an order set by the seed, epoch after epoch."""
        ...

    def epochs(self, n_steps: int, batch_size: int, context: int) -> float:
        """How many times the training split is passed over in that many steps."""
        ...

    def validation_batches(self, batch_size: int, context: int, max_tokens: int) -> Iterator[Batch]:
        """The same held-out windows every time, spread over the whole validation split."""
        ...

    def decode(self, tokens: NDArray[np.integer[Any]]) -> str:
        """Text of a token sequence, for samples; raises ``TypeError`` where the data is not text."""
        ...


@runtime_checkable
class TokenisedText(Protocol):
    """Prepared data that is text, and so has a tokenizer to go with a finished model."""

    def tokenizer_files(self) -> dict[str, str]:
        """Text of each file, by name, that transformers' ``AutoTokenizer`` reads."""
        ...


class Source(ABC):
    """One source of data. Stateless; one instance is registered by name."""

    name: ClassVar[str]
    version: ClassVar[int]
    title: ClassVar[str]
    Spec: ClassVar[type[TableSpec]]
    procedural: ClassVar[bool] = False
    """True where the data is made by a program; said wherever its results are shown."""
    reads: ClassVar[tuple[str, ...]] = ()
    """Endings of the user's files it reads, ``(".txt", ".csv")``: a folder dropped on the window is offered to it."""

    @abstractmethod
    def shape(self, spec: Any) -> DataShape:
        """What the data will look like, without loading it."""

    @abstractmethod
    def prepare(self, spec: Any, cache: Path, on_progress: OnProgress) -> Prepared:
        """Load, clean, split and tokenise, or open what an earlier call left under ``cache``.

        Raises ``InputError`` for data that cannot be used and ``ResourceError`` for a full disk.
        """

    def preview(self, spec: Any, n: int = 5) -> list[Preview]:
        """A few documents or samples, for the Data page: the first that are found, read in well under a second."""
        raise NotImplementedError(self.name)
