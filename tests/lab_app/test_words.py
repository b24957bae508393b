"""Numbers in words, and a law in sentences."""

import math

import pytest

from engine.events import PhaseName, RunState
from engine.i18n import tr
from lab_app import law_words, words


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"), (999, "999"), (999.6, "1k"), (1000, "1k"), (21_400, "21.4k"), (99_950, "100k"),
        (999_600, "1M"), (3_140_000, "3.14M"), (124e6, "124M"), (7e9, "7B"), (2.5e12, "2.5T"), (0.5, "0.50"),
        (-2500, "-2.5k"), (None, "–"), (math.nan, "–"), (math.inf, "–"),
    ],
)  # fmt: skip
def test_counts(number: float | None, text: str) -> None:
    assert words.count(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.4, "59 s"), (60, "1 min"), (220, "3 min 40 s"), (3600, "1 h"), (7500, "2 h 5 min"),
     (90_000, "1 d 1 h"), (-3, "0 s"), (None, "–"), (math.inf, "–")],
)  # fmt: skip
def test_durations(seconds: float | None, text: str) -> None:
    assert words.duration(seconds) == text


def test_powers_sizes_and_values() -> None:
    assert words.power(3.2e12) == "3.2×10¹²"
    assert words.power(0) == words.power(None) == "–"
    assert [words.size(n) for n in (None, 12, 2048, 1.2 * 2**30)] == ["–", "12 B", "2.0 KiB", "1.2 GiB"]
    assert [words.value(v) for v in (None, math.nan, 1.23456)] == ["–", "–", "1.235"]


def test_every_state_and_phase_has_its_word() -> None:
    assert set(words.STATES) == set(RunState) and set(words.PHASES) == set(PhaseName)
    assert words.state("running") == tr("running")


LAW = {
    "params": {"E": 1.2, "A": 40.0, "alpha": 0.5},
    "interval": {"alpha": (0.45, 0.55), "E": (1.1, 1.3)},
    "heldout": {"n_params": 25_000, "predicted": 1.45, "observed": 1.46, "interval": (1.4, 1.5)},
    "range": (2000, 25_000),
    "n_points": 6,
    "warnings": ["Only six sizes."],
}


def test_a_law_is_said_in_sentences() -> None:
    said = law_words.sentences(LAW)
    assert law_words.equation(LAW) == "L(N) = 1.2 + 40 / N^0.5"
    assert said[0] == "The exponent is 0.5 (90% interval 0.45 to 0.55)."
    assert "leave 32% of the loss" in said[1] and "takes 4 times" in said[1]
    assert said[2].startswith("However large the model, a loss of 1.2 remains")
    assert "It holds." in said[3] and "25k" in said[3]
    assert said[4] == "Fitted to 6 points from 2k to 25k parameters."
    assert law_words.warnings(LAW) == ["Only six sizes."]


def test_a_law_that_misses_says_so_and_what_is_not_known_is_not_said() -> None:
    missed = LAW | {"heldout": LAW["heldout"] | {"observed": 1.9}}
    assert law_words.sentences(missed)[3].endswith("It does not hold.")
    bare = {"params": {"E": 1.0, "A": 1.0, "alpha": -0.1}}
    assert len(law_words.sentences(bare)) == 2
