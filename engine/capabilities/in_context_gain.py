"""What a model gains from reading on: the plainest sign of adaptivity."""

from typing import TYPE_CHECKING, Annotated

import msgspec

from engine.capabilities import capabilities
from engine.capabilities.base import Capability, Metric, Score
from engine.i18n import mark
from engine.study import TableSpec

if TYPE_CHECKING:
    from engine.capabilities.base import ModelUnderTest
    from engine.sources.base import Prepared


class InContextGainSpec(TableSpec, frozen=True, kw_only=True):
    """Which parts of the context are compared."""

    tokens: Annotated[
        int,
        msgspec.Meta(title=mark("Tokens"), description=mark("Held-out tokens to predict."), ge=64),
    ] = 131_072
    part: Annotated[
        float,
        msgspec.Meta(
            title=mark("Part compared"),
            description=mark("Share of the context that counts as early, and as late, in 0..0.5."),
            gt=0,
            le=0.5,
        ),
    ] = 0.25


@capabilities.register("in-context-gain")
class InContextGain(Capability):
    """Loss early in the context minus loss late in it (Kaplan 2020; Olsson 2022), in pairs by window."""

    name = "in-context-gain"
    version = 1
    title = mark("In-context gain")
    description = mark("How much better the model predicts late in its context than early: what reading on taught it.")
    Spec = InContextGainSpec
    metrics = (
        Metric("gain", mark("Gain"), True, "continuous", mark("nats per token")),
        Metric("early_loss", mark("Loss early in the context"), False, "continuous", mark("nats per token")),
        Metric("late_loss", mark("Loss late in the context"), False, "continuous", mark("nats per token")),
    )

    def evaluate(self, spec: InContextGainSpec, model: "ModelUnderTest", data: "Prepared") -> list[Score]:
        """A model that makes no use of its context gains 0."""
        from engine.capabilities._tokens import mean_and_stderr, score_windows

        scored = score_windows(model, data, spec.tokens)
        if scored is None or model.context < 2:
            return []
        part = max(1, int(model.context * spec.part))
        early, late = scored.nll[:, :part].mean(axis=1), scored.nll[:, -part:].mean(axis=1)
        n = len(scored)
        return [
            Score("gain", *mean_and_stderr(early - late), n, 0.0),
            Score("early_loss", *mean_and_stderr(early), n),
            Score("late_loss", *mean_and_stderr(late), n),
        ]
