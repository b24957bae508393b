"""Recalling random strings: the metric's jump, and how many bits a parameter holds."""

import math
from typing import TYPE_CHECKING

from engine.capabilities import capabilities
from engine.capabilities._items import ItemsSpec, answer_metrics
from engine.capabilities.base import Capability, Metric, Score
from engine.i18n import mark

if TYPE_CHECKING:
    from engine.capabilities.base import ModelUnderTest
    from engine.sources.base import Prepared


@capabilities.register("random-facts")
class RandomFacts(Capability):
    """Recall of facts that were trained on; the one capability that is measured on training items, as it must be.

    Exact match of a string of length k is close to p^k for a per-token accuracy of p (Schaeffer 2023). Bits stored are
    what the strings hold less what the model still needs to be told, its loss (Allen-Zhu & Li 2024).
    """

    name = "random-facts"
    version = 1
    title = mark("Recall of facts")
    description = mark("Recall random strings it was trained on; names without a fact are the control.")
    Spec = ItemsSpec
    metrics = (
        *answer_metrics(),
        Metric("bits_per_parameter", mark("Bits stored per parameter"), True, "continuous", mark("bits per parameter")),
        Metric("bits", mark("Bits stored"), True, "continuous", mark("bits")),
        *answer_metrics("ood_", "ood"),
    )

    def evaluate(self, spec: ItemsSpec, model: "ModelUnderTest", data: "Prepared") -> list[Score]:
        """Nothing where the data are not facts. Bits are of all facts, all parameters counted."""
        from engine.capabilities._answers import answer, answer_scores, own_data
        from engine.sources.random_facts import RandomFactsItems

        facts = own_data(data, RandomFactsItems)
        if facts is None:
            return []
        answers = answer(model, facts, "validation", spec.items)
        scores = answer_scores(answers)
        likelihood = next(score for score in scores if score.metric == "log_likelihood")
        n_params = sum(p.numel() for p in model.module.parameters())
        per_nat = facts.n_items("train") * answers.length / math.log(2)
        bits = facts.bits + likelihood.value * per_nat
        error = (likelihood.stderr or 0.0) * per_nat
        scores += [
            Score("bits_per_parameter", bits / n_params, error / n_params, len(answers), 0.0),
            Score("bits", bits, error, len(answers), 0.0),
        ]
        if facts.n_items("ood"):
            scores += answer_scores(answer(model, facts, "ood", spec.items), "ood_")
        return scores
