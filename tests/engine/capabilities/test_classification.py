"""F1 of single classes: as scikit-learn has it, bounded, and known by name wherever metrics are shown."""

import numpy as np
import pytest

from engine.analysis.abilities import judged
from engine.analysis.forecasts.trend import scale_of
from engine.capabilities import capabilities, higher_is_better, metric_of
from engine.capabilities._classification import MOST_CLASSES, Classified, class_f1_scores
from engine.figures.words import metric_title


def classified(n: int, k: int, *, absent: int = -1) -> Classified:
    draw = np.random.default_rng(0)
    targets = draw.integers(0, k, n)
    targets[targets == absent] = 0
    scores = draw.normal(size=(n, k))
    scores[np.arange(n), targets] += 1.0
    return Classified(targets, scores - np.log(np.exp(scores).sum(axis=1, keepdims=True)))


def test_each_class_that_occurs_has_its_f1_with_an_error_and_its_items() -> None:
    from sklearn.metrics import f1_score

    found = classified(400, 4, absent=2)
    scores = class_f1_scores("f1", ("a", "b", "c", "d, e"), found)
    assert [score.metric for score in scores] == ["f1[a]", "f1[b]", "f1[d, e]"]
    theirs = f1_score(found.targets, found.predicted, average=None, labels=[0, 1, 3])
    assert [score.value for score in scores] == pytest.approx(theirs)
    assert [score.n for score in scores] == [int((found.targets == k).sum()) for k in (0, 1, 3)]
    # What naming the commonest class gives: precision its share, recall 1.
    share = (found.targets == 0).mean()
    assert [score.chance for score in scores] == pytest.approx([2 * share / (1 + share), 0, 0])
    drawn = []
    rng = np.random.default_rng(1)
    for _ in range(400):
        rows = rng.integers(0, 400, 400)
        drawn.append(f1_score(found.targets[rows], found.predicted[rows], average=None, labels=[1])[0])
    assert scores[1].stderr == pytest.approx(np.std(drawn), rel=0.2)


def test_very_many_classes_are_not_stored_one_by_one() -> None:
    for k, n in ((MOST_CLASSES, MOST_CLASSES), (MOST_CLASSES + 1, 0)):
        assert len(class_f1_scores("f1", [str(i) for i in range(k)], classified(2_000, k))) == n


def test_a_class_is_known_by_its_metric_and_not_judged_as_an_ability() -> None:
    found = metric_of("classification", "f1[a [odd] name]")
    assert found is not None and found.of == "a [odd] name" and "a [odd] name" in found.words()
    assert "spam" in metric_title("classification", "f1[spam]")
    assert higher_is_better("classification", "f1[spam]") and not higher_is_better("classification", "ece")
    assert scale_of("classification", "f1[spam]", np.array([0.5])) == "logit"
    assert metric_of("classification", "ece[spam]") is None and metric_of("nothing", "f1[spam]") is None
    assert not capabilities["classification"].measures("accuracy[spam]", None)  # type: ignore[arg-type]
    assert judged("f1") and not judged("f1[spam]") and not judged("ood_f1")
