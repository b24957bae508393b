"""Labels that any text has: which of the held-out documents a snippet comes from."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from engine.sources._tokenizers import SEPARATOR

if TYPE_CHECKING:
    from engine.sources._labelled import Labelled

MIN_SNIPPETS = 16
"""Snippets of a document, in each half, below which it is not asked about."""
BLOCK = 8
"""Snippets in a row that count as one group when some are held back: neighbours resemble each other."""
SALT = 0xD0C5


@dataclass(frozen=True, slots=True)
class Items:
    """Labelled items of one split."""

    inputs: NDArray[Any]
    """As the family reads them, (n, ...)."""
    labels: NDArray[np.int64]
    groups: NDArray[np.int64]
    """(n,), equal for items that resemble each other, such as snippets of one file."""


def of_documents(
    stream: NDArray[Any], length: int, n_documents: int, n_train: int, n_test: int
) -> tuple[Items, Items] | None:
    """Snippets of ``length`` tokens from the longest documents of a stream that separators end, as many of each.

    Those to learn from are of each document's first half and those to test on of its second; the same every time. None
    where fewer than two documents are long enough.
    """
    ends = np.flatnonzero(np.asarray(stream) == SEPARATOR)
    begins = np.concatenate([[0], ends[:-1] + 1])
    n_windows = (ends - begins) // length
    longest = np.argsort(-n_windows, kind="stable")[:n_documents]
    longest = longest[n_windows[longest] >= 2 * MIN_SNIPPETS]
    if len(longest) < 2:
        return None
    half = int(n_windows[longest].min()) // 2
    generator = np.random.default_rng(SALT)
    parts: list[tuple[list[NDArray[np.int64]], int]] = [([], n_train), ([], n_test)]
    for document in longest:
        first = int(n_windows[document]) // 2
        for (chosen, n), low, high in zip(parts, (0, first), (first, int(n_windows[document])), strict=True):
            places = low + np.sort(generator.permutation(high - low)[: min(half, n // len(longest))])
            chosen.append(begins[document] + places * length)
    train, test = (_cut(stream, np.stack(chosen), length) for chosen, _ in parts)
    return train, test


def of_classes(data: "Labelled", length: int, n_classes: int, n_train: int, n_test: int) -> tuple[Items, Items] | None:
    """Snippets with the labels that the source gives; see ``Labelled``."""
    text = data.labelled(length, n_classes, n_train, n_test)
    if text is None:
        return None
    train, test = (Items(part.tokens, part.labels, part.files) for part in (text.train, text.test))
    return train, test


def _cut(stream: NDArray[Any], starts: NDArray[np.int64], length: int) -> Items:
    """Snippets at (documents, n) starts, labelled by document."""
    tokens = np.asarray(stream[starts.reshape(-1, 1) + np.arange(length)], np.int64)
    labels = np.repeat(np.arange(len(starts)), starts.shape[1])
    _, groups = np.unique(np.stack([labels, starts.ravel() // (BLOCK * length)]), axis=1, return_inverse=True)
    return Items(tokens, labels, groups)
