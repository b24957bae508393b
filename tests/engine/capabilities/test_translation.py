"""Capability ``translation``: known answers, chance, standard errors, and a model that has learned a few pairs."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.capabilities import capabilities
from engine.capabilities._translations import Translated, corpus_scores, reference_scores
from engine.capabilities.base import ModelUnderTest, Score
from engine.capabilities.translation import TranslationSpec
from engine.families import families
from engine.sources import sources
from engine.sources._pairs import PairItems
from engine.training.evaluate import evaluating

TRANSLATION = capabilities["translation"]


def made_of(references: list[str], made: list[str], nll: float = 0.5) -> Translated:
    targets = [np.array([*range(4, 4 + len(text)), 2]) for text in references]
    right = [len(t) if a == b else len(t) - 1 for t, a, b in zip(targets, made, references, strict=True)]
    lengths = np.array([len(t) for t in targets])
    return Translated(np.zeros(len(made), np.int64), references, made, targets, nll * lengths, np.array(right))


def by_name(scores: list[Score]) -> dict[str, Score]:
    return {score.metric: score for score in scores}


def test_what_is_right_scores_all_there_is() -> None:
    texts = [f"2025年{month}月{day}日" for month in range(1, 13) for day in (3, 17)]
    found = by_name([*reference_scores(made_of(texts, texts, 0.0)), *corpus_scores(made_of(texts, texts))])
    for name, best in (("exact_match", 1), ("expected_exact_match", 1), ("token_accuracy", 1), ("log_likelihood", 0)):
        assert found[name].value == pytest.approx(best) and found[name].stderr == pytest.approx(0)
    assert found["bleu"].value == pytest.approx(100) and found["chrf"].value == pytest.approx(100)
    assert found["bleu"].stderr == pytest.approx(0)


def test_every_other_text_wrong() -> None:
    texts = [f"am {n} im {m}" for n in range(10) for m in range(10)]
    made = [text if i % 2 else text[:-1] + "x" for i, text in enumerate(texts)]
    done = made_of(texts, made)
    found = by_name([*reference_scores(done), *corpus_scores(done)])
    assert found["exact_match"].value == 0.5 and found["exact_match"].stderr == pytest.approx(0.5 / 99**0.5)
    accuracy = 1 - 0.5 / 10
    assert found["token_accuracy"].value == pytest.approx(accuracy)
    assert found["expected_exact_match"].value == pytest.approx(accuracy**10)
    assert found["log_likelihood"].value == pytest.approx(-0.5)
    assert 50 < found["chrf"].value < 100 and 0 < found["bleu"].value < 100
    assert found["exact_match"].chance == 0.01


def test_chance_is_saying_the_commonest_reference() -> None:
    texts = ["aaaa bbbb"] * 30 + [f"text {n}" for n in range(70)]
    done = made_of(texts, ["aaaa bbbb"] * 100)
    found = by_name([*reference_scores(done), *corpus_scores(done)])
    for name in ("exact_match", "bleu", "chrf"):
        assert found[name].chance == pytest.approx(found[name].value)
    assert found["exact_match"].value == 0.3


def test_the_bootstrap_error_is_that_of_more_texts() -> None:
    """chrF of texts right or wrong at random varies about as 1 / sqrt(n)."""
    rng = np.random.default_rng(0)
    error = {}
    for n in (100, 1_600):
        texts = [f"am {i:05}" for i in range(n)]
        made = [text if lucky else "zzz" for text, lucky in zip(texts, rng.random(n) < 0.5, strict=True)]
        error[n] = by_name(corpus_scores(made_of(texts, made)))["chrf"].stderr or math.nan
    assert error[100] / error[1_600] == pytest.approx(4.0, rel=0.4)


def test_a_model_is_measured_on_every_split_and_kind() -> None:
    """Eighty steps teach more than none, with one beam and with three, and every metric is described."""
    source, family = sources["cldr-pairs"], families["seq2seq"]
    spec = source.Spec(items=300, units=False, names=False, source_length=30, target_length=18)
    data = source.prepare(spec, Path(), lambda step, fraction: None)
    assert isinstance(data, PairItems)
    shape = family.resolve(family.Spec(d_model=16, n_layers=1), 8_000, source.shape(spec), 18)
    model = family.build(shape, 0)
    subject = ModelUnderTest(model, lambda x: x, torch.device("cpu"), 18, 0, family, shape)

    def scores(beams: int) -> dict[str, Score]:
        with evaluating(model):
            return by_name(TRANSLATION.evaluate(TranslationSpec(items=60, beams=beams), subject, data))

    before = scores(1)
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for step in range(80):
        batch = {name: torch.from_numpy(array) for name, array in data.train_batch(step, 32, 18, 0).items()}
        optimizer.zero_grad()
        family.loss(model, batch).loss.backward()
        optimizer.step()
    for beams in (1, 3):
        after = scores(beams)
        assert after["log_likelihood"].value > before["log_likelihood"].value + 1
        assert after["chrf"].value > before["chrf"].value + 10
        assert set(after) <= {metric.name for metric in TRANSLATION.metrics}
        kinds = ["exact_match_dates", "exact_match_numbers", "exact_match_currencies"]
        assert sum(after[kind].n or 0 for kind in kinds) == after["exact_match"].n == 60
        assert "exact_match_units" not in after and after["ood_exact_match_dates"].n
        assert all(score.chance is not None and score.stderr is not None for score in after.values())


def test_other_data_are_not_measured() -> None:
    model = ModelUnderTest(torch.nn.Identity(), lambda x: x, torch.device("cpu"), 8, 0)
    assert TRANSLATION.evaluate(TranslationSpec(), model, object()) == []  # type: ignore[arg-type]
