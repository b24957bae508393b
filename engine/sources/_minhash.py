"""Near-duplicate detection: one-permutation MinHash over byte shingles, locality-sensitive hashing, union-find.

Li, Owen and Zhang, "One Permutation Hashing" (2012); empty bins are filled by rotation as in Shrivastava and Li,
"Densifying One Permutation Hashing" (2014). All in numpy, so that a core signs tens of megabytes in seconds.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

N_BINS = 64
SHINGLE = 16
"""Bytes of a shingle, white space left out and ASCII case folded."""
THRESHOLD = 0.5
"""Estimated Jaccard similarity from which two documents count as near-duplicates."""

Signatures = NDArray[np.uint32]
"""One row of ``N_BINS`` per document."""

_BIN_SHIFT = np.uint64(58)
_BIN_STARTS = np.arange(N_BINS, dtype=np.uint64) << _BIN_SHIFT
_MULTIPLIER = 0x9E3779B97F4A7C15
_FEW_DOCUMENTS = 20_000
_PAIRS_AT_A_TIME = 100_000
_EXHAUSTIVE_COMPARISONS = 500_000_000
_MOST_CANDIDATES = 256
"""Training documents that one validation document is compared with per band."""


def _fold_table() -> NDArray[np.uint8]:
    table = np.arange(256, dtype=np.uint8)
    table[ord("A") : ord("Z") + 1] += 32
    table[: ord(" ") + 1] = 0
    return table


_FOLD = _fold_table()


def signature(text: bytes) -> Signatures:
    """MinHash signature, uint32 (N_BINS,): the share of equal places estimates the Jaccard similarity."""
    hashes = _shingle_hashes(text)
    if hashes.size > 16 * N_BINS:
        # Only the least of each bin is wanted: keep the eight or so that could be it, sort those alone.
        limit = np.uint64((8 * N_BINS * 2**58) // hashes.size)
        few = np.sort(hashes[(hashes & np.uint64(2**58 - 1)) < limit])
        places = np.searchsorted(few, _BIN_STARTS)
        if np.all(np.diff(np.append(places, few.size)) > 0):
            return _values(few[places])
    ordered = np.sort(hashes)
    places = np.searchsorted(ordered, _BIN_STARTS)
    filled = np.flatnonzero(np.diff(np.append(places, ordered.size)) > 0)
    values = np.zeros(N_BINS, np.uint32)
    values[filled] = _values(ordered[places[filled]])
    if filled.size == N_BINS:
        return values
    empty = np.setdiff1d(np.arange(N_BINS), filled)
    donor = filled[np.searchsorted(filled, empty) % filled.size]
    distance = ((donor - empty) % N_BINS).astype(np.uint32)
    values[empty] = values[donor] + distance * np.uint32(0x85EBCA6B)
    return values


def _values(hashes: NDArray[np.uint64]) -> Signatures:
    return ((hashes >> np.uint64(26)) & np.uint64(0xFFFFFFFF)).astype(np.uint32)


def _shingle_hashes(text: bytes) -> NDArray[np.uint64]:
    """A well-mixed 64-bit hash of each run of ``SHINGLE`` folded bytes."""
    folded = _FOLD[np.frombuffer(text, np.uint8)]
    folded = folded[folded != 0]
    if folded.size < SHINGLE:
        folded = np.pad(folded, (0, SHINGLE - folded.size))
    hashes: NDArray[np.uint64] = folded.astype(np.uint64)
    power, width = _MULTIPLIER, 1
    while width < SHINGLE:  # doubling: the hash of 2w bytes out of two hashes of w bytes
        hashes = hashes[:-width] * np.uint64(power) + hashes[width:]
        power, width = power * power % 2**64, width * 2
    hashes ^= hashes >> np.uint64(33)
    hashes *= np.uint64(0xFF51AFD7ED558CCD)
    hashes ^= hashes >> np.uint64(29)
    hashes *= np.uint64(0xC4CEB9FE1A85EC53)
    hashes ^= hashes >> np.uint64(32)
    return hashes


def near_pairs(signatures: Signatures) -> NDArray[np.int64]:
    """Pairs (m, 2) of rows whose estimated similarity reaches ``THRESHOLD``.

    Up to 20,000 documents bands of two rows find a pair at the threshold with probability 0.9999; above that bands
    of four keep the work linear and find pairs of similarity 0.7 with probability 0.99.
    """
    n = len(signatures)
    few = n <= _FEW_DOCUMENTS
    rows, max_lag = (2, 64) if few else (4, 8)
    found = [np.empty((0, 2), np.int64)]
    for first in range(0, N_BINS, rows):
        keys = _band_keys(signatures, first, rows)
        order = np.argsort(keys, kind="stable")
        ordered = keys[order]
        for lag in range(1, min(max_lag, n - 1) + 1):
            same = ordered[:-lag] == ordered[lag:]
            if not same.any():
                break
            pairs = np.stack([order[:-lag][same], order[lag:][same]], axis=1)
            found.append(pairs[_similar(signatures, pairs)])
    return np.unique(np.concatenate(found), axis=0)


def _similar(signatures: Signatures, pairs: NDArray[np.int64]) -> NDArray[np.bool_]:
    parts = []
    for start in range(0, len(pairs), _PAIRS_AT_A_TIME):
        some = pairs[start : start + _PAIRS_AT_A_TIME]
        equal = signatures[some[:, 0]] == signatures[some[:, 1]]
        parts.append(equal.mean(axis=1) >= THRESHOLD)
    return np.concatenate(parts) if parts else np.empty(0, np.bool_)


def groups(n: int, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Connected components: int64 (n,), equal labels for documents joined by a chain of ``pairs``."""
    ones = np.ones(len(pairs), np.int8)
    graph: Any = coo_array((ones, (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    labels = connected_components(graph, directed=False)[1]
    return np.asarray(labels, np.int64)


def leaked(signatures: Signatures, validation: NDArray[np.bool_], train: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Rows of ``validation`` that have a near-duplicate among ``train``.

    Every pair is compared where that takes less than half a billion comparisons. Above that, those that share a
    band of two rows are: a pair at the threshold is then found with probability 0.9999.
    """
    held, kept = np.flatnonzero(validation), np.flatnonzero(train)
    if len(held) * len(kept) * N_BINS > _EXHAUSTIVE_COMPARISONS:
        return _leaked_by_bands(signatures, held, kept)
    against = np.ascontiguousarray(signatures[kept].T)
    bad = []
    for row in held:
        equal = np.zeros(len(kept), np.uint8)
        for column in range(N_BINS):
            equal += against[column] == signatures[row, column]
        if len(kept) and equal.max() >= THRESHOLD * N_BINS:
            bad.append(row)
    return np.asarray(bad, np.int64)


def _leaked_by_bands(signatures: Signatures, held: NDArray[np.int64], kept: NDArray[np.int64]) -> NDArray[np.int64]:
    bad: list[NDArray[np.int64]] = []
    for first in range(0, N_BINS, 2):
        keys = _band_keys(signatures, first, 2)
        order = kept[np.argsort(keys[kept], kind="stable")]
        ordered = keys[order]
        low = np.searchsorted(ordered, keys[held], "left")
        high = np.searchsorted(ordered, keys[held], "right")
        for lag in range(_MOST_CANDIDATES):
            more = low + lag < high
            if not more.any():
                break
            pairs = np.stack([held[more], order[low[more] + lag]], axis=1)
            bad.append(pairs[_similar(signatures, pairs), 0])
    return np.unique(np.concatenate(bad)) if bad else np.empty(0, np.int64)


def _band_keys(signatures: Signatures, first: int, rows: int) -> NDArray[np.uint64]:
    """One hash of ``rows`` neighbouring places for each document, (n,)."""
    keys = np.zeros(len(signatures), np.uint64)
    for column in range(first, first + rows):
        keys = keys * np.uint64(_MULTIPLIER) + signatures[:, column].astype(np.uint64)
    return keys
