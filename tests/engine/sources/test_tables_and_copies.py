"""Random facts, modular arithmetic and induction: what their items are, and that splits are what they say."""

from typing import Any

import numpy as np
import pytest

from engine.errors import InputError
from engine.sources.induction import InductionItems, InductionSpec
from engine.sources.modular_arithmetic import ModularArithmetic, ModularArithmeticItems, ModularArithmeticSpec
from engine.sources.random_facts import RandomFactsItems, RandomFactsSpec


def test_facts_have_different_names_and_letters_that_are_independent() -> None:
    data = RandomFactsItems(RandomFactsSpec())
    known, unknown = data.all_items("train"), data.all_items("ood")
    names = {item[:3].tobytes() for item in np.concatenate([known, unknown])}
    assert len(known) == len(unknown) == 1024 and len(names) == 2048
    assert (known[:, 3] == 16).all() and data.decode(known[0])[3] == ":"
    letters = known[:, 4:]
    counts = np.bincount(letters.ravel(), minlength=16)
    assert len(counts) == 16 and np.abs(counts / letters.size - 1 / 16).max() < 0.02
    for a in range(4):
        table = np.histogram2d(letters[:, a], letters[:, a + 1], bins=16)[0]
        expected = table.sum() / 256
        assert ((table - expected) ** 2 / expected).sum() < 340, "chi-squared with 225 degrees of freedom, p = 1e-6"


def test_facts_that_run_out_of_names_are_refused() -> None:
    with pytest.raises(InputError, match=r"data\.name_length"):
        RandomFactsItems(RandomFactsSpec(letters=4, name_length=2, facts=20))
    few = RandomFactsItems(RandomFactsSpec(letters=4, name_length=2, facts=12))
    assert few.n_items("ood") == 4


def test_names_of_a_large_space_are_different_too() -> None:
    data = RandomFactsItems(RandomFactsSpec(name_length=10, facts=3_000))
    assert len({item[:10].tobytes() for item in data.all_items("train")}) == 3_000


def answer_of(text: str, modulus: int) -> int:
    a, sign, b, _, _ = text.split()
    return {"+": int(a) + int(b), "-": int(a) - int(b), "*": int(a) * int(b)}[sign] % modulus


@pytest.mark.parametrize("operation", ["add", "subtract", "multiply"])
def test_the_table_is_right_and_whole(operation: Any) -> None:
    data = ModularArithmeticItems(ModularArithmeticSpec(modulus=13, operation=operation))
    texts = [data.decode(item) for split in ("train", "validation") for item in data.all_items(split)]
    assert len(set(texts)) == 169
    assert all(int(text.split()[-1]) == answer_of(text, 13) for text in texts)


@pytest.mark.parametrize("operation", ["add", "multiply"])
def test_a_pair_and_the_same_turned_round_are_on_one_side(operation: Any) -> None:
    data = ModularArithmeticItems(ModularArithmeticSpec(modulus=31, operation=operation, fraction=0.3))
    sides = [{(i[0], i[2]) for i in data.all_items(split).tolist()} for split in ("train", "validation")]
    assert all({(b, a) for a, b in side} == side for side in sides)
    assert data.n_items("train") == pytest.approx(0.3 * 31**2, abs=16)


def test_a_larger_share_holds_a_smaller_one_and_another_seed_another_part() -> None:
    def trained(**spec: Any) -> set[bytes]:
        items = ModularArithmeticItems(ModularArithmeticSpec(modulus=31, **spec)).all_items("train")
        return {item.tobytes() for item in items}

    assert trained(fraction=0.3) < trained(fraction=0.5)
    assert trained(fraction=0.3) != trained(fraction=0.3, split_seed=1)


def test_a_full_batch_is_every_training_pair_once() -> None:
    spec = ModularArithmeticSpec(modulus=31)
    data = ModularArithmeticItems(spec)
    n = ModularArithmetic().shape(spec).n_train_items
    batch = data.train_batch(7, n, 4, 0)
    assert n == data.n_items("train") == len(np.unique(batch["inputs"], axis=0)) and data.epochs(5, n, 4) == 5
    small = [data.train_batch(step, 100, 4, 0)["inputs"] for step in range(n // 100)]
    assert len(np.unique(np.concatenate(small), axis=0)) == n // 100 * 100, "without replacement"


def test_copies_are_copies_at_a_distance_that_varies() -> None:
    data = InductionItems(InductionSpec())
    items = data.items("train", 2_000)
    gaps = data.gaps(items)
    assert set(gaps.tolist()) == set(range(13))
    assert np.bincount(gaps).min() > 100
    for item, gap in zip(items[:200], gaps[:200], strict=True):
        copy, before = item[-12:], item[-24 - gap : -12 - gap]
        assert (copy == before).all() and len(set(item[:-12].tolist())) == len(item) - 12
    assert set(data.gaps(data.items("ood", 500)).tolist()) == {13, 14, 15, 16}


def test_too_few_symbols_are_refused() -> None:
    with pytest.raises(InputError, match=r"data\.symbols"):
        InductionItems(InductionSpec(symbols=27))
