"""Which documents are held out: whole groups of near-duplicates, chosen by a hash of their text."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.errors import InputError
from engine.i18n import tr
from engine.sources import _minhash

MIN_FILES = 20
"""From this many files on, the pieces of one file stay together; below it a book must be cut to hold any out."""


@dataclass(frozen=True, slots=True)
class Split:
    """Masks over documents, bool (n,). Documents in neither were dropped because they would have leaked."""

    train: NDArray[np.bool_]
    validation: NDArray[np.bool_]
    near_duplicates: int
    n_leaked: int
    n_dropped: int
    whole_files: bool


def split(
    signatures: _minhash.Signatures,
    sizes: NDArray[np.int64],
    order_keys: NDArray[np.uint64],
    origins: NDArray[np.int64],
    fraction: float,
) -> Split:
    """Hold out about ``fraction`` of the bytes so that no near-duplicate crosses.

    ``sizes`` bytes, ``order_keys`` a hash of the text and ``origins`` the file number, each (n,).
    Raises ``InputError`` where everything is one group.
    """
    n = len(sizes)
    pairs = _minhash.near_pairs(signatures)
    near = n - int(_minhash.groups(n, pairs).max(initial=-1)) - 1
    whole_files = len(np.unique(origins)) >= MIN_FILES
    if whole_files:
        _, first, inverse = np.unique(origins, return_index=True, return_inverse=True)
        pairs = np.concatenate([pairs, np.stack([np.arange(n), first[inverse]], axis=1)])
    labels = _minhash.groups(n, pairs)
    validation = _choose(labels, sizes, order_keys, fraction)
    train = ~validation
    # Hashing can miss a pair; the exhaustive check cannot. What it finds is dropped, never trained on.
    leaking = _minhash.leaked(signatures, validation, train)
    validation[leaking] = False
    if not validation.any():
        raise _too_alike()
    n_leaked = len(_minhash.leaked(signatures, validation, train)) if len(leaking) else 0
    return Split(train, validation, near, n_leaked, len(leaking), whole_files)


def _choose(
    labels: NDArray[np.int64], sizes: NDArray[np.int64], order_keys: NDArray[np.uint64], fraction: float
) -> NDArray[np.bool_]:
    n_groups = int(labels.max()) + 1
    if n_groups < 2:
        raise _too_alike()
    group_sizes = np.bincount(labels, weights=sizes, minlength=n_groups)
    group_keys = np.full(n_groups, np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(group_keys, labels, order_keys)
    target = fraction * float(group_sizes.sum())
    chosen = np.zeros(n_groups, np.bool_)
    taken = 0.0
    for group in np.argsort(group_keys, kind="stable"):
        if taken + group_sizes[group] <= target:
            chosen[group] = True
            taken += group_sizes[group]
        if taken > 0.99 * target:
            break
    if not chosen.any():
        chosen[np.argmin(group_sizes)] = True
    return chosen[labels]


def _too_alike() -> InputError:
    return InputError(
        tr("the text cannot be split: every document is a near-duplicate of the others, or there is only one."),
        tr("Add more, and more varied, text."),
    )
