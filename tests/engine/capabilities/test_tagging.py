"""Tagging: spans by the rules of the CoNLL shared tasks, scores as published examples have them, errors and chance."""

from itertools import chain

import numpy as np
import pytest

from engine.capabilities import capabilities
from engine.capabilities._chunks import chunks, name_spans
from engine.capabilities.tagging import Tagged, score
from engine.families.base import DataShape


def text_of(words: str, tags: str) -> list[str]:
    """``[KIND words]`` for every span."""
    given = words.split()
    return [f"[{kind} {' '.join(given[first : last + 1])}]" for kind, first, last in chunks(tags.split())]


def test_the_chunks_of_conll_2000() -> None:
    """The example on the page of the shared task (Tjong Kim Sang & Buchholz 2000), IOB2."""
    words = "He reckons the current account deficit will narrow to only # 1.8 billion in September ."
    tags = "B-NP B-VP B-NP I-NP I-NP I-NP B-VP I-VP B-PP B-NP I-NP I-NP I-NP B-PP B-NP O"
    assert text_of(words, tags) == [
        "[NP He]", "[VP reckons]", "[NP the current account deficit]", "[VP will narrow]", "[PP to]",
        "[NP only # 1.8 billion]", "[PP in]", "[NP September]",
    ]  # fmt: skip


def test_the_entities_of_conll_2003() -> None:
    """The example of the shared task's paper (Tjong Kim Sang & De Meulder 2003), IOB1: B only between neighbours."""
    found = text_of("U.N. official Ekeus heads for Baghdad .", "I-ORG O I-PER O O I-LOC O")
    assert found == ["[ORG U.N.]", "[PER Ekeus]", "[LOC Baghdad]"]


@pytest.mark.parametrize(
    ("tags", "spans"),
    [
        ("B-A B-A I-A", [("A", 0, 0), ("A", 1, 2)]),
        ("I-A I-B B-B", [("A", 0, 0), ("B", 1, 1), ("B", 2, 2)]),  # a new kind begins a span without a B
        ("B-A I-A E-A S-B E-A", [("A", 0, 2), ("B", 3, 3), ("A", 4, 4)]),  # IOBES
        ("B-A I-A L-A U-B O", [("A", 0, 2), ("B", 3, 3)]),  # BILOU
        ("E-A E-A I-A", [("A", 0, 0), ("A", 1, 1), ("A", 2, 2)]),  # after an end the next begins anew
        ("B I O I", [("", 0, 1), ("", 3, 3)]),
        ("B-per-son I-per-son", [("per-son", 0, 1)]),
        ("O O", []),
        ("", []),
    ],
)
def test_every_scheme(tags: str, spans: list[tuple[str, int, int]]) -> None:
    assert chunks(tags.split()) == spans


@pytest.mark.parametrize(
    ("tags", "do"),
    [
        (["O", "B-PER", "I-PER"], True), (["O", "I-PER"], True), (["O", "B", "I"], True), (["O", "S-X", "E-X"], True),
        (["NOUN", "VERB"], False), (["O", "NOUN"], False), (["O"], False), (["B-X", "I-X"], False),
        (["DAY", "MONTH", "O"], False),
    ],
)  # fmt: skip
def test_tags_that_name_spans_are_told_from_others(tags: list[str], do: bool) -> None:
    assert name_spans(tags) is do
    shape = DataShape("tagged", n_classes=len(tags), class_names=tuple(tags))
    assert capabilities["tagging"].measures("entity_f1", shape) is do
    assert capabilities["tagging"].measures("accuracy", shape)


def tagged(true: list[list[str]], said: list[list[str]]) -> Tagged:
    names = tuple(sorted({tag for some in (*true, *said) for tag in some}, key=lambda tag: (tag != "O", tag)))
    targets, predicted = ([names.index(tag) for some in rows for tag in some] for rows in (true, said))
    known = np.log(np.full((len(targets), len(names)), 0.1))
    known[np.arange(len(targets)), predicted] = np.log(0.9)
    of = np.repeat(np.arange(len(true)), [len(some) for some in true])
    return Tagged(names, np.asarray(targets), known, of, len(true))


def test_scores_are_those_of_seqeval() -> None:
    """The example of seqeval's README: accuracy 0.80, F1 of MISC 0 and of PER 1, micro and macro 0.50."""
    true = ["O O O B-MISC I-MISC I-MISC O", "B-PER I-PER O"]
    said = ["O O B-MISC I-MISC I-MISC I-MISC O", "B-PER I-PER O"]
    scores = {s.metric: s for s in score(tagged([t.split() for t in true], [t.split() for t in said]))}
    assert scores["accuracy"].value == scores["micro_f1"].value == pytest.approx(0.8)
    for metric in ("entity_precision", "entity_recall", "entity_f1", "entity_macro_f1"):
        assert scores[metric].value == pytest.approx(0.5)
        assert scores[metric].chance == 0
    assert scores["accuracy"].chance == pytest.approx(0.5)  # O is on 5 of 10 words
    assert scores["entity_f1[MISC]"].value == 0
    assert (scores["entity_f1[PER]"].value, scores["entity_f1[PER]"].n) == (1, 1)
    single = {name for name in scores if "[" in name}
    assert {m.name for m in capabilities["tagging"].metrics} == set(scores) - single
    assert all(capabilities["tagging"].metric(name).of in ("PER", "MISC") for name in single)
    assert all(scores[name].n == 2 for name in set(scores) - single)


def test_a_lenient_reading_takes_spans_without_a_beginning() -> None:
    """As seqeval's README has it of y_pred I-NP I-NP O: 1.00 by the rules of conlleval."""
    scores = {s.metric: s.value for s in score(tagged([["B-NP", "I-NP", "O"]] * 2, [["I-NP", "I-NP", "O"]] * 2))}
    assert scores["entity_f1"] == 1
    assert scores["accuracy"] == pytest.approx(2 / 3)


def test_parts_of_speech_have_no_entities_and_errors_are_over_sentences() -> None:
    from sklearn.metrics import f1_score

    draw = np.random.default_rng(0)
    tags = np.asarray(["NOUN", "VERB", "ADJ"])
    true = [tags[draw.integers(0, 3, 8)].tolist() for _ in range(40)]
    # Half of the sentences are wholly right, half wholly wrong: words of a sentence are no independent items.
    other = {"NOUN": "VERB", "VERB": "ADJ", "ADJ": "NOUN"}
    said = [some if i % 2 else [other[tag] for tag in some] for i, some in enumerate(true)]
    scores = {s.metric: s for s in score(tagged(true, said))}
    single = {f"tag_f1[{tag}]" for tag in tags}
    assert set(scores) == {"accuracy", "macro_f1", "micro_f1", "log_likelihood", *single}
    flat = [list(chain.from_iterable(rows)) for rows in (true, said)]
    assert scores["macro_f1"].value == pytest.approx(f1_score(*flat, average="macro"))
    assert scores["micro_f1"].value == pytest.approx(f1_score(*flat, average="micro"))
    right = np.asarray([np.mean([a == b for a, b in zip(*pair, strict=True)]) for pair in zip(true, said, strict=True)])
    assert scores["accuracy"].stderr == pytest.approx(right.std(ddof=1) / np.sqrt(40), rel=0.2)
