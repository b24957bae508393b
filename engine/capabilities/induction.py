"""Copying what came before: accuracy on the copy, the loss that the copy saves, and the heads that do it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine.capabilities import capabilities
from engine.capabilities._items import ItemsSpec
from engine.capabilities.base import Capability, Metric, Score
from engine.i18n import mark

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from engine.capabilities.base import ModelUnderTest
    from engine.sources.base import Prepared
    from engine.sources.induction import InductionItems

HEAD_ITEMS = 256
"""Items over which attention is averaged for the scores of heads; their standard error is below 0.01."""


@dataclass(frozen=True, slots=True)
class HeadScores:
    """Mean attention that each head pays, float64 (n_layers, n_heads) each, in 0..1."""

    induction: "NDArray[np.float64]"
    """From a token of the copy to the one after its earlier occurrence (prefix matching, Olsson 2022)."""
    previous: "NDArray[np.float64]"
    """From a token to the one before it."""


@capabilities.register("induction")
class Induction(Capability):
    """Continuing a segment of random tokens that came before (Olsson 2022).

    Nothing but the context tells the next token. An induction head finds the earlier occurrence of the last token and
    looks at what followed it, which takes an earlier layer that tells each token its predecessor: two layers.
    """

    name = "induction"
    version = 1
    title = mark("Induction")
    description = mark("Continue a random segment that stood earlier in the context.")
    Spec = ItemsSpec
    metrics = (
        Metric("copy_accuracy", mark("Copy accuracy"), True, "threshold"),
        Metric("segment_match", mark("Whole segment copied"), True, "threshold"),
        Metric("copy_loss", mark("Loss on the copy"), False, "continuous", mark("nats per token")),
        Metric("first_loss", mark("Loss on the first occurrence"), False, "continuous", mark("nats per token")),
        Metric("gain", mark("Loss saved by the copy"), True, "continuous", mark("nats per token")),
        Metric("induction_score", mark("Induction score of the best head"), True, "continuous"),
        Metric("previous_token_score", mark("Previous-token score of the best head"), True, "continuous"),
        Metric("induction_layer", mark("Layer of the best induction head"), True, "continuous"),
        Metric("ood_copy_accuracy", mark("Copy accuracy, longer gap"), True, "threshold"),
        Metric("ood_copy_loss", mark("Loss on the copy, longer gap"), False, "continuous", mark("nats per token")),
    )

    def evaluate(self, spec: ItemsSpec, model: "ModelUnderTest", data: "Prepared") -> list[Score]:
        """Nothing where the data are not copies. Chance names one of the different tokens of the context."""
        import math

        import numpy as np

        from engine.capabilities._answers import answer, own_data
        from engine.capabilities._tokens import mean_and_stderr
        from engine.sources.induction import InductionItems

        copies = own_data(data, InductionItems)
        if copies is None:
            return []
        answers, n_copied = answer(model, copies, "validation", spec.items), copies.answer_length
        n, segment = len(answers), copies.spec.segment
        copied = answers.correct[:, -n_copied:]
        loss = answers.nll[:, -n_copied:].mean(axis=1)
        share = float(copied.all(axis=1).mean())
        chance, uniform = 1 / (copies.free + segment), math.log(copies.free + segment)
        far = answer(model, copies, "ood", spec.items)
        scores = [
            Score("copy_accuracy", *mean_and_stderr(copied.mean(axis=1)), n, chance),
            Score("segment_match", share, float(np.sqrt(share * (1 - share) / n)), n, chance**n_copied),
            Score("copy_loss", *mean_and_stderr(loss), n, uniform),
            Score("ood_copy_accuracy", *mean_and_stderr(far.correct[:, -n_copied:].mean(axis=1)), len(far), chance),
            Score("ood_copy_loss", *mean_and_stderr(far.nll[:, -n_copied:].mean(axis=1)), len(far), uniform),
        ]
        if copies.spec.trained_on == "all":
            # The first occurrence but for its first token; where it stands differs from item to item.
            starts = copies.free - copies.gaps(copies.items("validation", spec.items))
            first = np.take_along_axis(answers.nll, starts[:, None] + np.arange(segment - 1), axis=1).mean(axis=1)
            scores += [
                Score("first_loss", *mean_and_stderr(first), n),
                Score("gain", *mean_and_stderr(first - loss), n, 0.0),
            ]
        heads = head_scores(model.module, copies, model.device)
        if heads is not None:
            even = 1 / np.arange(1, copies.item_length)  # what a head pays that looks everywhere alike
            layer = int(heads.induction.max(axis=1).argmax()) + 1
            best = float(heads.induction.max()), float(heads.previous.max())
            scores += [
                Score("induction_score", best[0], None, HEAD_ITEMS, float(even[-n_copied:].mean())),
                Score("previous_token_score", best[1], None, HEAD_ITEMS, float(even[1:].mean())),
                Score("induction_layer", float(layer), None, HEAD_ITEMS),
            ]
        return scores


def head_scores(module: Any, data: "InductionItems", device: Any) -> HeadScores | None:
    """Scores of every head over held-out items; None for a model that does not show its attention."""
    import numpy as np
    import torch

    if not hasattr(module, "attention_probabilities"):
        return None
    items = data.items("validation", HEAD_ITEMS)
    patterns = module.attention_probabilities(torch.from_numpy(items[:, :-1]).to(device))
    segment, free = data.spec.segment, data.free
    # From position free + segment + j, which holds the copy's token j, to where the first occurrence has j + 1.
    queries = np.arange(free + segment, free + 2 * segment - 1)
    keys = (free - data.gaps(items))[:, None] + np.arange(1, segment)
    rows = np.arange(len(items))[:, None]
    later = np.arange(1, items.shape[1] - 1)
    found: list[NDArray[np.float64]] = []
    before: list[NDArray[np.float64]] = []
    for pattern in patterns:
        attention = pattern.double().cpu().numpy()
        found.append(attention[rows, :, queries[None, :], keys].mean(axis=(0, 1)))
        before.append(attention[:, :, later, later - 1].mean(axis=(0, 2)))
    return HeadScores(np.stack(found), np.stack(before))
