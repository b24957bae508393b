"""Sums: right, written as documented, with the ripple held out."""

import numpy as np
import pytest

from engine.sources.addition import AdditionItems, AdditionSpec


def numbers(text: str) -> tuple[int, int, int]:
    question, answer = text.split("=")
    a, b = question.split("+")
    return int(a), int(b), int(answer)


@pytest.mark.parametrize("digits", [2, 3, 5])
@pytest.mark.parametrize("split", ["train", "validation", "ood"])
def test_sums_are_right(digits: int, split: str) -> None:
    data = AdditionItems(AdditionSpec(digits=digits))
    for item in data.items(split, 40):
        text = data.decode(item)
        a, b, c = numbers(text)
        assert a + b == c and text == f"{a:0{digits}}+{b:0{digits}}={c:0{digits + 1}}"


def test_a_ripple_is_never_trained_on() -> None:
    data = AdditionItems(AdditionSpec(digits=2))
    every = np.array([[a // 10, a % 10, 10, b // 10, b % 10, 11, 0, 0, 0] for a in range(100) for b in range(100)])
    ripples = data.is_ood(every)
    assert ripples.sum() == data.n_items("ood") == 450
    a, b = every[ripples, 0] * 10 + every[ripples, 1], every[ripples, 3] * 10 + every[ripples, 4]
    assert ((a + b >= 100) & (every[ripples, 0] + every[ripples, 3] == 9)).all()
    held_out = (data.split_of(every) == 1).mean()
    assert held_out == pytest.approx(0.05, abs=0.01)
    assert sum((data.split_of(every) == i).sum() for i in range(3)) == 10_000


def test_a_plus_b_is_the_question_b_plus_a() -> None:
    data = AdditionItems(AdditionSpec())
    items = data.items("train", 100)
    a, b = data.addends(items)
    turned = items.copy()
    turned[:, :3], turned[:, 4:7] = b, a
    assert (data.key(turned) == data.key(items)).all()


def test_carries_happen_as_often_as_they_should() -> None:
    """Of two even digits 45 of 100 pairs carry out of the units; the leading carry comes in 0.4995 of all sums."""
    data = AdditionItems(AdditionSpec())
    items = data.draw("train", np.random.default_rng(1), 40_000)
    a, b = data.addends(items)
    assert (a[:, -1] + b[:, -1] > 9).mean() == pytest.approx(0.45, abs=0.01)
    assert items[:, 8].mean() == pytest.approx(0.4995, abs=0.015)
