"""Sorting or reversing strings: right as a whole, letter by letter, and how many letters would have to be changed."""

from typing import TYPE_CHECKING

from engine.capabilities import capabilities
from engine.capabilities._items import ItemsSpec, answer_metrics
from engine.capabilities.base import Capability, Metric, Score
from engine.i18n import mark

if TYPE_CHECKING:
    from engine.capabilities.base import ModelUnderTest
    from engine.sources.base import Prepared


@capabilities.register("sorting")
class Sorting(Capability):
    """Strings never trained on, sorted or reversed.

    Out of distribution are strings with few different letters. The share of letters that are wrong is the edit
    distance, in substitutions and given the true letters before, over the length (Schaeffer 2023).
    """

    name = "sorting"
    version = 1
    title = mark("Sorting")
    description = mark("Sort, or turn round, a string it has never seen.")
    Spec = ItemsSpec
    metrics = (
        *answer_metrics(),
        Metric("edit_distance", mark("Letters to change"), False, "continuous", mark("share of letters")),
        *answer_metrics("ood_", "ood"),
    )

    def evaluate(self, spec: ItemsSpec, model: "ModelUnderTest", data: "Prepared") -> list[Score]:
        """Nothing where the data are not strings to sort."""
        from engine.capabilities._answers import answer, answer_scores, own_data
        from engine.sources.sorting import SortingItems

        strings = own_data(data, SortingItems)
        if strings is None:
            return []
        scores = answer_scores(answer(model, strings, "validation", spec.items))
        accuracy = next(score for score in scores if score.metric == "token_accuracy")
        chance = None if accuracy.chance is None else 1 - accuracy.chance
        scores.append(Score("edit_distance", 1 - accuracy.value, accuracy.stderr, accuracy.n, chance))
        return scores + answer_scores(answer(model, strings, "ood", spec.items), "ood_")
