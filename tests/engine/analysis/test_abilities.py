"""Which of a capability's metrics may be called the threshold of another."""

from engine.analysis.abilities import _kinds
from engine.store import EvaluationRow


def row(metric: str) -> EvaluationRow:
    return EvaluationRow(
        run_id=1,
        capability="x",
        metric=metric,
        step=None,
        value=0.5,
        stderr=None,
        n=10,
        chance=None,
        seed=0,
        size_index=0,
        n_params=1,
        n_params_non_embedding=1,
    )


def test_metrics_of_the_same_items_keep_what_they_are() -> None:
    assert _kinds("image-classification", [row("top1")]) == {"top1": "threshold"}


def test_metrics_of_whole_distributions_are_no_thresholds_of_each_other() -> None:
    kinds = _kinds("image-generation", [row("frechet_distance"), row("precision")])
    assert kinds == {"frechet_distance": "continuous", "precision": "continuous"}
