"""Adding numbers: right as a whole, digit by digit, and by likelihood."""

from typing import TYPE_CHECKING

import numpy as np

from engine.capabilities import capabilities
from engine.capabilities._items import ItemsSpec, answer_metrics
from engine.capabilities.base import Capability, Metric, Score
from engine.i18n import mark

if TYPE_CHECKING:
    from engine.capabilities.base import ModelUnderTest
    from engine.sources.base import Prepared

MAX_PLACES = 9
"""Digits of the longest sum that the source makes."""


@capabilities.register("addition")
class Addition(Capability):
    """Sums never trained on, answered most significant digit first; the digits that need a carry are learned last.

    Out of distribution are the sums in which one carry ripples through every column, of which none was trained on.
    """

    name = "addition"
    version = 1
    title = mark("Addition")
    description = mark("Add two numbers it has never seen together, as a whole and digit by digit.")
    Spec = ItemsSpec
    metrics = (
        *answer_metrics(),
        *(
            Metric(f"digit_{i}", mark("Accuracy of digit {number} of the sum"), True, "threshold", number=i)
            for i in range(1, MAX_PLACES + 1)
        ),
        *answer_metrics("ood_", "ood"),
    )

    def evaluate(self, spec: ItemsSpec, model: "ModelUnderTest", data: "Prepared") -> list[Score]:
        """Nothing where the data are not sums."""
        from engine.capabilities._answers import answer, answer_scores, own_data
        from engine.capabilities._tokens import most_frequent_share
        from engine.sources.addition import AdditionItems

        sums = own_data(data, AdditionItems)
        if sums is None:
            return []
        answers = answer(model, sums, "validation", spec.items)
        n = len(answers)
        scores = answer_scores(answers)
        for place in range(answers.length):
            share = float(answers.correct[:, place].mean())
            chance = most_frequent_share(answers.targets[:, place])
            scores.append(Score(f"digit_{place + 1}", share, float(np.sqrt(share * (1 - share) / n)), n, chance))
        return scores + answer_scores(answer(model, sums, "ood", spec.items), "ood_")
