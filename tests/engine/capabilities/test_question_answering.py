"""Answers as spans: SQuAD's own rules, one answer out of several windows, chance, and questions without an answer."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from engine.capabilities import capabilities
from engine.capabilities._squad import exact, f1, normalised
from engine.capabilities.question_answering import Reply, ask, score
from engine.sources._question_items import HeldOut, QuestionItems


def test_texts_are_compared_as_squad_compares_them() -> None:
    assert normalised("The  Cat's, a DOG!") == "cats dog"
    assert exact("the cat.", ["Cat"]) == 1
    assert exact("cat", ["dog", "a cat"]) == 1
    assert exact("", []) == 1
    assert exact("cat", []) == 0
    assert f1("the big cat", ["cat"]) == pytest.approx(2 / 3)
    assert f1("cat", ["dog", "cat sat"]) == pytest.approx(2 / 3)  # the answer that it is most like
    assert f1("cat cat", ["cat"]) == pytest.approx(2 / 3)  # a word counts as often as it is there
    assert f1("", ["cat"]) == f1("cat", []) == 0
    assert f1("", []) == 1


def held(context: str, *answers: str) -> HeldOut:
    return HeldOut("here", context, "what", answers)


def reply(text: str, score: float = 1.0, nothing: float = 0.0) -> Reply:
    return Reply(text, score, nothing, (-1.0,), (-4.0,))


def test_scores_errors_and_chance() -> None:
    questions = [held("one two three four", "two"), held("five six", "six"), held("a red cat sat", "red cat")]
    scores = {s.metric: s for s in score(questions, [reply("two"), reply("five"), reply("cat")])}
    assert set(scores) == {"exact_match", "f1", "log_likelihood"}
    assert scores["exact_match"].value == pytest.approx(1 / 3)
    assert scores["f1"].value == pytest.approx((1 + 0 + 2 / 3) / 3)
    assert scores["exact_match"].stderr == pytest.approx(np.std([1, 0, 0], ddof=1) / np.sqrt(3))
    assert scores["exact_match"].chance == pytest.approx((1 / 4 + 1 / 2 + 0) / 3)  # a word of each text at random
    assert (scores["log_likelihood"].value, scores["log_likelihood"].chance) == (-1, -4)


def test_nothing_is_said_only_where_there_are_questions_without_an_answer() -> None:
    unsure = [reply("two", 1.0, 2.0), reply("six", 3.0, 2.0)]
    always = {s.metric: s for s in score([held("one two", "two"), held("five six", "six")], unsure)}
    assert always["exact_match"].value == 1
    mixed = [held("one two three four five"), held("five six", "six"), held("b c")]
    scores = {s.metric: s for s in score(mixed, [*unsure, reply("b", 5.0, 1.0)])}
    assert scores["exact_match"].value == pytest.approx(2 / 3)
    assert (scores["unanswerable_accuracy"].value, scores["unanswerable_accuracy"].n) == (0.5, 2)
    assert (scores["answered_exact_match"].value, scores["answered_f1"].value) == (1, 1)
    # To say of all that they have none is right more often than a word at random.
    assert scores["exact_match"].chance == scores["f1"].chance == pytest.approx(2 / 3)
    assert (scores["answered_f1"].chance, scores["unanswerable_accuracy"].chance) == (0, 1)
    assert set(scores) == {m.name for m in capabilities["question-answering"].metrics}


def test_the_best_span_of_all_windows_is_the_answer(tmp_path: Path) -> None:
    """Two windows of one question; what the question itself and the padding score does not count."""
    context = "aa bb cc dd ee ff"
    characters = np.asarray([[i, i + 2] for i in range(0, 18, 3)], np.int32)
    first, second = characters[:4], characters[2:]
    none = np.zeros((2, 2), np.int32)
    report: Any = None
    data = QuestionItems(
        folder=tmp_path, fingerprint="", report=report, pad=0, tokens=np.arange(12, dtype=np.int32), types=None,
        targets=np.asarray([[0, 0], [4, 5]], np.int32), begins=np.asarray([2, 2]), stops=np.asarray([6, 6]),
        questions=np.asarray([0, 0]), ends=np.asarray([6, 12]), parts=np.asarray([2, 2]),
        offsets=np.concatenate([none, first, none, second]),
    )  # fmt: skip
    scores = torch.zeros(2, 6, 2)
    scores[:, 1] = 99  # a token of the question
    scores[0, 3] = 2  # bb, in the first window
    scores[1, 4, 0], scores[1, 5, 1] = 4, 4  # ee ff, in the second
    scores[1, 2, 1] = 9  # an end before every beginning that is likely
    scores[1, 0] = -1
    model: Any = SimpleNamespace(outputs=lambda batch: scores, device=torch.device("cpu"))
    question = HeldOut("here", context, "what", ("ee ff",))
    (found,) = ask(model, data, [question], 3)
    assert (found.text, found.score, found.nothing) == ("cc", 9.0, -2.0)
    scores[1, 2, 1] = 0
    (found,) = ask(model, data, [question], 3)
    assert (found.text, found.score) == ("ee ff", 8.0)
    assert found.guesses == pytest.approx((-2 * np.log(5),) * 2)
    known = scores.double().log_softmax(1)
    assert found.log_likelihoods == pytest.approx((float(known[0, 0].sum()), float(known[1, 4, 0] + known[1, 5, 1])))
    (found,) = ask(model, data, [question], 1)
    assert found.text == "bb" or found.score == 4.0  # one token at most
