"""Near-duplicate detection and the split that keeps near-duplicates together."""

import random

import numpy as np
import pytest

from engine.errors import InputError
from engine.sources import _minhash
from engine.sources._split import split


def words(seed: int, n: int = 300) -> list[str]:
    generator = random.Random(seed)
    return ["".join(generator.choices("abcdefghijklmnop", k=generator.randint(3, 9))) for _ in range(n)]


def jaccard(a: str, b: str) -> float:
    def shingles(text: str) -> set[str]:
        folded = "".join(text.lower().split())
        return {folded[i : i + _minhash.SHINGLE] for i in range(len(folded) - _minhash.SHINGLE + 1)}

    one, other = shingles(a), shingles(b)
    return len(one & other) / len(one | other)


@pytest.mark.parametrize("changed", [0, 5, 20, 60, 300])
@pytest.mark.parametrize("n", [12, 300, 3000])
def test_signatures_estimate_jaccard(n: int, changed: int) -> None:
    errors = []
    for seed in range(8):
        first = words(seed, n)
        second = first[: n - n * changed // 300] + words(seed + 999, n * changed // 300)
        a, b = " ".join(first), " ".join(second)
        estimate = float((_minhash.signature(a.encode()) == _minhash.signature(b.encode())).mean())
        errors.append(estimate - jaccard(a, b))
    assert abs(float(np.mean(errors))) < 0.08  # standard error of 64 bins and 8 repeats is below 0.025


def test_white_space_and_case_do_not_matter() -> None:
    text = " ".join(words(1))
    other = text.upper().replace(" ", "\n\t ")
    assert np.array_equal(_minhash.signature(text.encode()), _minhash.signature(other.encode()))


def test_short_texts_have_signatures() -> None:
    assert _minhash.signature(b"a").shape == (_minhash.N_BINS,)
    assert np.array_equal(_minhash.signature(b"a"), _minhash.signature(b"a "))
    assert not np.array_equal(_minhash.signature(b"a"), _minhash.signature(b"b"))


def corpus(n: int) -> list[str]:
    """``n`` unlike texts, every fourth with a near-duplicate after it."""
    texts = []
    for seed in range(n):
        body = words(seed, 120)
        texts.append(" ".join(body))
        if seed % 4 == 0:
            texts.append(" ".join([*body[:-6], *words(seed + 5000, 6)]))
    return texts


def arrays(texts: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    signatures = np.stack([_minhash.signature(t.encode()) for t in texts])
    sizes = np.array([len(t) for t in texts], np.int64)
    keys = np.array([random.Random(t).getrandbits(64) for t in texts], np.uint64)
    return signatures, sizes, keys


def test_no_near_duplicate_crosses_the_split() -> None:
    texts = corpus(80)
    signatures, sizes, keys = arrays(texts)
    parts = split(signatures, sizes, keys, np.arange(len(texts)), 0.2)
    assert parts.near_duplicates == 20
    assert parts.n_leaked == 0
    assert not (parts.train & parts.validation).any()
    assert 0.1 < sizes[parts.validation].sum() / sizes.sum() <= 0.2
    for held in np.flatnonzero(parts.validation):
        assert max(jaccard(texts[held], texts[kept]) for kept in np.flatnonzero(parts.train)) < 0.4


def test_the_check_finds_a_planted_leak() -> None:
    texts = corpus(8)
    signatures, _, _ = arrays(texts)
    validation = np.zeros(len(texts), bool)
    validation[1] = True  # its near-duplicate is document 0
    assert _minhash.leaked(signatures, validation, ~validation).tolist() == [1]
    validation[0] = True
    assert _minhash.leaked(signatures, validation, ~validation).tolist() == []


def test_the_check_above_the_exhaustive_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_minhash, "_EXHAUSTIVE_COMPARISONS", 0)
    test_the_check_finds_a_planted_leak()


def test_many_documents_use_the_linear_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_minhash, "_FEW_DOCUMENTS", 1)
    signatures, _, _ = arrays(corpus(40))
    assert len(_minhash.near_pairs(signatures)) == 10


def test_a_missed_pair_is_dropped_not_leaked(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = corpus(40)
    signatures, sizes, keys = arrays(texts)
    monkeypatch.setattr(_minhash, "near_pairs", lambda _signatures: np.empty((0, 2), np.int64))
    parts = split(signatures, sizes, keys, np.arange(len(texts)), 0.3)
    assert parts.n_dropped > 0
    assert parts.n_leaked == 0
    assert (~parts.train & ~parts.validation).sum() == parts.n_dropped


def test_pieces_of_a_file_stay_together() -> None:
    texts = [" ".join(words(seed, 60)) for seed in range(90)]
    signatures, sizes, keys = arrays(texts)
    origins = np.arange(90) // 3
    parts = split(signatures, sizes, keys, origins, 0.2)
    assert parts.whole_files
    assert not set(origins[parts.validation]) & set(origins[parts.train])


def test_text_that_is_all_alike_cannot_be_split() -> None:
    texts = [" ".join([*words(1, 200), str(n)]) for n in range(30)]
    signatures, sizes, keys = arrays(texts)
    with pytest.raises(InputError, match="cannot be split"):
        split(signatures, sizes, keys, np.arange(30), 0.1)
