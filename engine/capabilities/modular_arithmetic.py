"""Arithmetic modulo a prime on pairs never trained on, beside the pairs that were: the two curves of grokking."""

from typing import TYPE_CHECKING

from engine.capabilities import capabilities
from engine.capabilities._items import ItemsSpec
from engine.capabilities.base import Capability, Metric, Score
from engine.i18n import mark

if TYPE_CHECKING:
    from engine.capabilities.base import ModelUnderTest
    from engine.sources.base import Prepared


@capabilities.register("modular-arithmetic")
class ModularArithmetic(Capability):
    """Held-out pairs of the table (Power 2022). Training accuracy says what is memorised, held-out what is understood.

    An answer is one token, so that exact match and accuracy per token are one; the continuous metric is likelihood.
    """

    name = "modular-arithmetic"
    version = 1
    title = mark("Modular arithmetic")
    description = mark("Do arithmetic modulo a prime on pairs it has never seen.")
    Spec = ItemsSpec
    metrics = (
        Metric("exact_match", mark("Accuracy on held-out pairs"), True, "threshold"),
        Metric("log_likelihood", mark("Log-likelihood on held-out pairs"), True, "continuous", mark("nats per answer")),
        Metric("train_exact_match", mark("Accuracy on training pairs"), True, "threshold"),
        Metric("train_log_likelihood", mark("Log-likelihood on training pairs"), True, "continuous",
               mark("nats per answer")),
    )  # fmt: skip

    def evaluate(self, spec: ItemsSpec, model: "ModelUnderTest", data: "Prepared") -> list[Score]:
        """Nothing where the data are no table."""
        from engine.capabilities._answers import answer, answer_scores, own_data
        from engine.sources.modular_arithmetic import ModularArithmeticItems

        table = own_data(data, ModularArithmeticItems)
        if table is None:
            return []
        known = {metric.name for metric in self.metrics}
        held_out = answer_scores(answer(model, table, "validation", spec.items))
        trained = answer_scores(answer(model, table, "train", spec.items), "train_")
        return [score for score in (*held_out, *trained) if score.metric in known]
