"""Fine-tuned classification: known scores, a text that is told by its letters, and what it leaves alone."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from engine.capabilities import capabilities
from engine.capabilities._finetune import fine_tune
from engine.capabilities.base import ModelUnderTest
from engine.capabilities.text_classification import macro, score
from engine.families import families
from engine.families.base import DataShape
from engine.sources._labelled import LabelledText, Snippets

CLASSIFY = capabilities["text-classification"]
GPT = families["gpt"]


def under_test(seed: int = 0) -> ModelUnderTest:
    shape = GPT.resolve(GPT.Spec(), 2_000, DataShape("tokens", 256), 32)
    model = GPT.build(shape, seed).eval()
    return ModelUnderTest(model, lambda x: model(x), torch.device("cpu"), 32, seed, GPT, shape)


class Letters:
    """Prepared text of two classes: letters of the first and of the second half of the alphabet."""

    def __init__(self, informative: bool) -> None:
        self.informative = informative

    def labelled(self, length: int, n_classes: int, n_train: int, n_test: int) -> LabelledText | None:
        def snippets(n: int, seed: int) -> Snippets:
            rng = np.random.default_rng(seed)
            labels = np.arange(n) % 2
            letters = rng.integers(97, 110, (n, length)) + (13 * labels[:, None] if self.informative else 0)
            return Snippets(letters, labels, np.arange(n) // 4)

        return LabelledText(("early", "late"), snippets(n_train, 0), snippets(n_test, 1))


def evaluated(data: Any, model: ModelUnderTest, **spec: int) -> dict[str, Any]:
    found = CLASSIFY.evaluate(CLASSIFY.Spec(train_items=160, test_items=64, **spec), model, data)
    assert {s.metric for s in found} == {m.name for m in CLASSIFY.metrics} or not found
    return {s.metric: s for s in found}


def test_what_the_letters_tell_is_learned_and_the_model_is_left_alone() -> None:
    model = under_test()
    before = {k: v.clone() for k, v in model.module.state_dict().items()}
    generator = torch.get_rng_state()
    with torch.no_grad():
        found = evaluated(Letters(True), model)
        again = evaluated(Letters(True), model)
    assert found["accuracy"].value > 0.9 and found["f1"].value > 0.9 and found["f1"].chance == 0.5
    assert found["log_likelihood"].value > -0.3
    assert found == again
    assert all(torch.equal(v, before[k]) for k, v in model.module.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generator)


def test_where_nothing_tells_it_stays_at_chance() -> None:
    found = evaluated(Letters(False), under_test(), epochs=1)
    assert abs(found["accuracy"].value - 0.5) < 4 * found["accuracy"].stderr
    assert found["log_likelihood"].value < -0.6


def test_text_without_labels_and_families_without_features() -> None:
    assert evaluated(object(), under_test()) == {}
    mlp = families["mlp"]
    shape = mlp.resolve(mlp.Spec(), 1_000, DataShape("vectors", n_classes=2, sample_shape=(32,)), 1)
    network = mlp.build(shape, 0)
    model = ModelUnderTest(network, network, torch.device("cpu"), 32, 0, mlp, shape)
    tokens = np.zeros((64, 32), np.int64)
    assert fine_tune(model, tokens, 2, lambda out, rows: out.sum(), epochs=1) is None


def test_known_scores() -> None:
    labels, files = np.array([0, 0, 1, 2]), np.array([5, 5, 7, 9])
    probabilities = np.eye(3)[[0, 1, 1, 1]] * 0.94 + 0.02
    found = {s.metric: s for s in score(probabilities, labels, files)}
    assert found["accuracy"].value == 0.5 and found["accuracy"].chance == pytest.approx(1 / 3)
    # Class 0: precision 1, recall 1/2; class 1: 1/3 and 1; class 2 is never predicted.
    assert found["precision"].value == pytest.approx((1 + 1 / 3 + 0) / 3)
    assert found["recall"].value == pytest.approx((1 / 2 + 1 + 0) / 3)
    assert found["f1"].value == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert found["log_likelihood"].value == pytest.approx((2 * math.log(0.96) + 2 * math.log(0.02)) / 4)
    right, wrong = 0.04**2 + 2 * 0.02**2, 0.98**2 + 0.96**2 + 0.02**2
    assert found["brier"].value == pytest.approx((right + wrong) / 2)


def test_scores_agree_with_scikit_learn() -> None:
    from sklearn.metrics import precision_recall_fscore_support

    rng = np.random.default_rng(0)
    truth, predicted = rng.integers(0, 4, 300), rng.integers(0, 4, 300)
    theirs = precision_recall_fscore_support(truth, predicted, average="macro")[:3]
    assert macro(np.bincount(truth * 4 + predicted, minlength=16).reshape(4, 4)) == pytest.approx(theirs)


def test_errors_are_over_files() -> None:
    """Of a hundred copies of one answer each, only the files count."""
    rng = np.random.default_rng(0)
    n_files, copies = 200, 100
    labels = np.repeat(np.arange(n_files) % 2, copies)
    right = np.repeat(rng.random(n_files) < 0.7, copies)
    predicted = np.where(right, labels, 1 - labels)
    found = {s.metric: s for s in score(np.eye(2)[predicted], labels, np.repeat(np.arange(n_files), copies))}
    binomial = math.sqrt(0.7 * 0.3 / n_files)
    assert found["accuracy"].stderr == pytest.approx(binomial, rel=0.2)
    assert found["f1"].stderr == pytest.approx(binomial, rel=0.25)
