"""How well a model predicts held-out text."""

import math
from typing import TYPE_CHECKING, Annotated

import msgspec

from engine.capabilities import capabilities
from engine.capabilities.base import Capability, Metric, Score
from engine.i18n import mark
from engine.study import TableSpec

if TYPE_CHECKING:
    from engine.capabilities.base import ModelUnderTest
    from engine.sources.base import Prepared


class LanguageModellingSpec(TableSpec, frozen=True, kw_only=True):
    """How much held-out text is read."""

    tokens: Annotated[
        int,
        msgspec.Meta(
            title=mark("Tokens"),
            description=mark("Held-out tokens to predict; more give a smaller standard error."),
            ge=64,
        ),
    ] = 131_072


@capabilities.register("language-modelling")
class LanguageModelling(Capability):
    """Predicting every next token of held-out text; errors are over windows, which are nearly independent."""

    name = "language-modelling"
    version = 1
    title = mark("Language modelling")
    description = mark("How well the model predicts the next token of text it has never seen.")
    Spec = LanguageModellingSpec
    metrics = (
        Metric("loss", mark("Loss"), False, "continuous", mark("nats per token")),
        Metric("bits_per_byte", mark("Bits per byte"), False, "continuous", mark("bits per byte")),
        Metric("accuracy", mark("Next-token accuracy"), True, "threshold"),
    )

    def evaluate(self, spec: LanguageModellingSpec, model: "ModelUnderTest", data: "Prepared") -> list[Score]:
        """Chance is guessing by the held-out tokens' own frequencies."""
        from engine.capabilities._tokens import most_frequent_share, ratio_and_stderr, score_windows, unigram_entropy

        scored = score_windows(model, data, spec.tokens)
        if scored is None:
            return []
        counts = (scored.targets >= 0).sum(axis=1)
        targets = scored.targets[scored.targets >= 0]
        n = int(counts.sum())
        loss, loss_error = ratio_and_stderr(scored.nll.sum(axis=1), counts)
        accuracy, accuracy_error = ratio_and_stderr(scored.correct.sum(axis=1).astype(float), counts)
        chance = unigram_entropy(targets)
        scores = [
            Score("loss", loss, loss_error, n, chance),
            Score("accuracy", accuracy, accuracy_error, n, most_frequent_share(targets)),
        ]
        per_byte = 1 / math.log(2) / data.bytes_per_token
        if math.isfinite(per_byte):
            error = None if loss_error is None else loss_error * per_byte
            scores.insert(1, Score("bits_per_byte", loss * per_byte, error, n, chance * per_byte))
        return scores
