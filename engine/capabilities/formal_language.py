"""Questions about strings of nested brackets: whether they are legal, how deep they are, what must come next."""

from typing import TYPE_CHECKING

import numpy as np

from engine.capabilities import capabilities
from engine.capabilities._items import ItemsSpec
from engine.capabilities.base import Capability, Metric, Score
from engine.i18n import mark

if TYPE_CHECKING:
    from engine.capabilities.base import ModelUnderTest
    from engine.sources.base import Prepared

ASKED = ("legal", "depth", "close")


@capabilities.register("formal-language")
class FormalLanguage(Capability):
    """Three questions about strings of a Dyck language that were never trained on; answers are one token.

    Out of distribution are strings nested two deeper than any in training.
    """

    name = "formal-language"
    version = 1
    title = mark("Formal language")
    description = mark("Answer questions about nested brackets that it has never seen.")
    Spec = ItemsSpec
    metrics = (
        Metric("exact_match", mark("Exact match"), True, "threshold"),
        Metric("log_likelihood", mark("Log-likelihood per token"), True, "continuous", mark("nats per token")),
        Metric("legal_accuracy", mark("Accuracy on legal or not"), True, "threshold"),
        Metric("depth_accuracy", mark("Accuracy on the depth"), True, "threshold"),
        Metric("close_accuracy", mark("Accuracy on what closes next"), True, "threshold"),
        Metric("ood_exact_match", mark("Exact match, out of distribution"), True, "threshold"),
        Metric("ood_log_likelihood", mark("Log-likelihood per token, out of distribution"), True, "continuous",
               mark("nats per token")),
    )  # fmt: skip

    def evaluate(self, spec: ItemsSpec, model: "ModelUnderTest", data: "Prepared") -> list[Score]:
        """Nothing where the data are not such strings. Chance is the commonest answer to each question."""
        from engine.capabilities._answers import answer, answer_scores, own_data
        from engine.capabilities._tokens import most_frequent_share
        from engine.sources.formal_language import FormalLanguageItems

        strings = own_data(data, FormalLanguageItems)
        if strings is None:
            return []
        known = {metric.name for metric in self.metrics}
        answers = answer(model, strings, "validation", spec.items)
        scores = answer_scores(answers)
        asked = strings.questions(strings.items("validation", spec.items))
        for number, name in enumerate(ASKED):
            right, truth = answers.exact[asked == number], answers.targets[asked == number, 0]
            share, n = float(right.mean()), len(right)
            error = float(np.sqrt(share * (1 - share) / n))
            scores.append(Score(f"{name}_accuracy", share, error, n, most_frequent_share(truth)))
        scores += answer_scores(answer(model, strings, "ood", spec.items), "ood_")
        return [score for score in scores if score.metric in known]
