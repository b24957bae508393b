"""Sorting and the formal language: answers checked by another program, and what is out of distribution."""

from typing import Any

import numpy as np
import pytest

from engine.sources.formal_language import QUESTIONS, FormalLanguageItems, FormalLanguageSpec
from engine.sources.sorting import SortingItems, SortingSpec


@pytest.mark.parametrize("task", ["sort", "reverse"])
@pytest.mark.parametrize("split", ["train", "validation", "ood"])
def test_strings_are_sorted_or_reversed(task: Any, split: Any) -> None:
    data = SortingItems(SortingSpec(task=task))
    for item in data.items(split, 100):
        given, answer = data.decode(item).split(">")
        assert answer == ("".join(sorted(given)) if task == "sort" else given[::-1])
        assert (len(set(given)) <= 4) == (split == "ood")


def parse(text: str) -> tuple[list[str], str, str]:
    *string, question, answer = text.split(" ")
    return [bracket for bracket in string if bracket != "_"], question, answer


def open_brackets(string: list[str]) -> list[str] | None:
    """What is open at the end, None where a bracket closes what is not open."""
    pairs, stack = {")": "(", "]": "[", "}": "{", ">": "<"}, []
    for bracket in string:
        if bracket not in pairs:
            stack.append(bracket)
        elif not stack or stack.pop() != pairs[bracket]:
            return None
    return stack


@pytest.mark.parametrize("kinds", [2, 3, 4])
@pytest.mark.parametrize("split", ["train", "ood"])
def test_questions_about_brackets_are_answered_right(kinds: int, split: Any) -> None:
    data = FormalLanguageItems(FormalLanguageSpec(kinds=kinds))
    closing = {"(": ")", "[": "]", "{": "}", "<": ">"}
    answers: dict[str, set[str]] = {question: set() for question in QUESTIONS}
    for item in data.items(split, 400):
        string, question, answer = parse(data.decode(item))
        stack = open_brackets(string)
        answers[question].add(answer)
        if question == "legal?":
            assert answer == ("no" if stack is None else "yes")
        elif question == "depth?":
            assert stack is not None and answer == str(len(stack))
        else:
            assert stack is not None and answer == (closing[stack[-1]] if stack else "none")
        assert len(string) in (15, 16)
    assert answers["legal?"] == {"yes", "no"} and len(answers["depth?"]) >= 3
    assert len(answers["close?"]) == kinds + 1


def test_nesting_in_training_stays_below_that_out_of_distribution() -> None:
    data = FormalLanguageItems(FormalLanguageSpec(depth=3))
    assert set(data.depths(data.items("train", 500)).tolist()) <= {1, 2, 3}
    assert set(data.depths(data.items("ood", 500)).tolist()) == {4, 5}
    asked = np.bincount(data.questions(data.items("train", 3_000)))
    assert np.abs(asked / 3_000 - 1 / 3).max() < 0.04
