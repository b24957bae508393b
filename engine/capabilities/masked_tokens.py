"""Finding tokens that are hidden in held-out text."""

from typing import TYPE_CHECKING, Annotated

import msgspec
import numpy as np

from engine.capabilities import capabilities
from engine.capabilities.base import Capability, Metric, Score
from engine.i18n import mark
from engine.study import TableSpec

if TYPE_CHECKING:
    from engine.capabilities.base import ModelUnderTest
    from engine.sources.base import Prepared


class MaskedTokensSpec(TableSpec, frozen=True, kw_only=True):
    """How much held-out text is read."""

    tokens: Annotated[
        int,
        msgspec.Meta(
            title=mark("Tokens"),
            description=mark("Held-out tokens to read; as large a share of them is hidden as in training."),
            ge=64,
        ),
    ] = 131_072


@capabilities.register("masked-tokens")
class MaskedTokens(Capability):
    """Every chosen token stands behind the mask: the same of the same windows every time. Errors are over windows."""

    name = "masked-tokens"
    version = 1
    title = mark("Masked tokens")
    description = mark("Find tokens that are hidden in text the model has never seen, from what stands around them.")
    Spec = MaskedTokensSpec
    metrics = (
        Metric("log_likelihood", mark("Log-likelihood per masked token"), True, "continuous", mark("nats per token")),
        Metric("accuracy", mark("Masked-token accuracy"), True, "threshold"),
    )

    def evaluate(self, spec: MaskedTokensSpec, model: "ModelUnderTest", data: "Prepared") -> list[Score]:
        """Nothing of families that fill nothing in. Chance is guessing by the hidden tokens' own frequencies."""
        import torch
        import torch.nn.functional as F

        from engine.capabilities._tokens import (
            TOKENS_PER_BATCH,
            most_frequent_share,
            ratio_and_stderr,
            unigram_entropy,
        )
        from engine.families._masking import FillsIn, choose, fixed_generator, n_masked

        family: object = model.family
        context = model.context
        if not isinstance(family, FillsIn):
            return []
        n = n_masked(context, family.masked_fraction(model.module))
        generator = fixed_generator()
        columns: tuple[list[torch.Tensor], ...] = ([], [], [])
        for batch in data.validation_batches(max(1, TOKENS_PER_BATCH // context), context, spec.tokens):
            inputs = torch.from_numpy(batch["inputs"])
            places = choose(inputs, n, generator)
            logits = model.logits(inputs.scatter(1, places, family.mask_token(model.module))).cpu()
            logits = logits.take_along_dim(places[..., None], 1)
            wanted = inputs.gather(1, places)
            nll = F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="none").view(wanted.shape)
            for column, part in zip(columns, (wanted, nll, logits.argmax(-1) == wanted), strict=True):
                column.append(part)
        if not columns[0]:
            return []
        hidden, losses, hits = (torch.cat(column).double().numpy() for column in columns)
        counts = np.full(len(hidden), n)
        asked = hidden.astype(np.int64)
        chances = (-unigram_entropy(asked), most_frequent_share(asked))
        return [
            Score(metric.name, *ratio_and_stderr(values.sum(axis=1), counts), hidden.size, chance)
            for metric, values, chance in zip(self.metrics, (-losses, hits), chances, strict=True)
        ]
