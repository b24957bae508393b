"""Many small skills at once: each is learned or not, their sum falls smoothly."""

import math
from typing import TYPE_CHECKING, Annotated

import msgspec
import numpy as np

from engine.capabilities import capabilities
from engine.capabilities.base import Capability, Metric, Score
from engine.i18n import mark
from engine.study import TableSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from engine.capabilities.base import ModelUnderTest
    from engine.sources._procedural import Split
    from engine.sources.base import Prepared
    from engine.sources.sparse_parity import SparseParityItems

    Floats = NDArray[np.float64]

LISTED = 32
"""Subtasks, from the commonest, that are reported one by one; the rest only count in the totals."""
ITEMS_PER_BATCH = 8_192


class SparseParitySpec(TableSpec, frozen=True, kw_only=True):
    """How many items of each subtask are asked, and when it counts as learned."""

    items: Annotated[
        int,
        msgspec.Meta(
            title=mark("Items per subtask"),
            description=mark("Held-out items to answer of every subtask and split, the same every time."),
            ge=50,
        ),
    ] = 500
    threshold: Annotated[
        float,
        msgspec.Meta(
            title=mark("Learned from"),
            description=mark("Accuracy from which a subtask counts as learned; guessing scores a half."),
            gt=0.5,
            lt=1,
        ),
    ] = 0.9


@capabilities.register("sparse-parity")
class SparseParity(Capability):
    """Overall loss and accuracy by the frequency of the subtasks, and each subtask for itself (Michaud 2023).

    If subtasks are all or nothing, the loss is ln 2 times how often a subtask comes that is not learned: ``explained``
    is that over the loss. Out of distribution are strings most of whose bits are equal.
    """

    name = "sparse-parity"
    version = 1
    title = mark("Sparse parity")
    description = mark("Tell the parity of the few bits that matter, in many subtasks of which some come rarely.")
    Spec = SparseParitySpec
    metrics = (
        Metric("loss", mark("Loss"), False, "continuous", mark("nats per item")),
        Metric("accuracy", mark("Accuracy"), True, "threshold"),
        Metric("subtasks_learned", mark("Subtasks learned"), True, "threshold"),
        Metric(
            "unlearned_loss", mark("Loss if only unlearned subtasks cost"), False, "threshold", mark("nats per item")
        ),
        Metric("explained", mark("Share of the loss that unlearned subtasks explain"), True, "threshold"),
        *(
            Metric(f"loss_{i}", mark("Loss of subtask {number}"), False, "continuous", mark("nats per item"), i)
            for i in range(1, LISTED + 1)
        ),
        *(
            Metric(f"accuracy_{i}", mark("Accuracy of subtask {number}"), True, "threshold", "", i)
            for i in range(1, LISTED + 1)
        ),
        Metric("ood_loss", mark("Loss, out of distribution"), False, "continuous", mark("nats per item")),
        Metric("ood_accuracy", mark("Accuracy, out of distribution"), True, "threshold"),
    )

    def evaluate(self, spec: SparseParitySpec, model: "ModelUnderTest", data: "Prepared") -> list[Score]:
        """Nothing where the data are not parities."""
        from engine.sources.sparse_parity import SparseParityItems

        if not isinstance(data, SparseParityItems):
            return []
        nll, correct = answer_all(model, data, "validation", spec.items)
        scores = [
            *_overall(data, "validation", nll, correct),
            *learned_scores(data.frequency, nll, correct, spec.threshold),
        ]
        for metric, values, chance in (("loss", nll, math.log(2)), ("accuracy", correct, 0.5)):
            for i, row in enumerate(values[:LISTED]):
                scores.append(Score(f"{metric}_{i + 1}", float(row.mean()), _stderr(row), spec.items, chance))
        return scores + _overall(data, "ood", *answer_all(model, data, "ood", spec.items), "ood_")


def answer_all(model: "ModelUnderTest", data: "SparseParityItems", split: "Split", n: int) -> "tuple[Floats, Floats]":
    """Loss in nats, and 1 where the answer is right: (subtasks, n) each, on the same items every time."""
    import torch
    import torch.nn.functional as F

    items = data.balanced(split, n)
    nll, correct = [], []
    for first in range(0, len(items), ITEMS_PER_BATCH):
        batch = data.batch(items[first : first + ITEMS_PER_BATCH], 1)
        logits = model.logits(torch.from_numpy(batch["inputs"]))
        targets = torch.from_numpy(batch["targets"]).to(logits.device)
        nll.append(F.cross_entropy(logits, targets, reduction="none").double().cpu().numpy())
        correct.append((logits.argmax(-1) == targets).double().cpu().numpy())
    return np.concatenate(nll).reshape(-1, n), np.concatenate(correct).reshape(-1, n)


def learned_scores(frequency: "Floats", nll: "Floats", correct: "Floats", threshold: float) -> list[Score]:
    """How many subtasks are learned, what the others would cost alone, and the share of the loss that this explains.

    Which side of the threshold a subtask is on is known up to the binomial noise of its items (Agresti & Coull 1998:
    two successes and two failures added); the standard errors are of that, and for the share of the loss as well.
    """
    n = correct.shape[1]
    accuracy = (correct.sum(axis=1) + 2) / (n + 4)
    doubt = np.array([0.5 * math.erfc((threshold - a) / math.sqrt(2 * a * (1 - a) / (n + 4))) for a in accuracy])
    variance = doubt * (1 - doubt)
    learned = correct.mean(axis=1) >= threshold
    cost = math.log(2) * frequency
    alone = float(cost[~learned].sum())
    alone_error = float(np.sqrt((np.square(cost) * variance).sum()))
    loss, loss_error = _weighted(frequency, nll)
    total = int(correct.size)
    scores = [
        Score("subtasks_learned", float(learned.sum()), float(np.sqrt(variance.sum())), total, 0.0),
        Score("unlearned_loss", alone, alone_error, total, math.log(2)),
    ]
    if loss > 0:
        explained_error = math.hypot(alone_error, alone * loss_error / loss) / loss
        scores.append(Score("explained", alone / loss, explained_error, total, 1.0))
    return scores


def _overall(
    data: "SparseParityItems", split: "Split", nll: "Floats", correct: "Floats", prefix: str = ""
) -> list[Score]:
    """Loss and accuracy by frequency; chance guesses by how often the answer is 1."""
    n, total = nll.shape[1], int(nll.size)
    ones = float(data.frequency @ data.balanced(split, n)[:, -1].reshape(-1, n).mean(axis=1))
    entropy = -sum(share * math.log(share) for share in (ones, 1 - ones) if share)
    return [
        Score(f"{prefix}loss", *_weighted(data.frequency, nll), total, entropy),
        Score(f"{prefix}accuracy", *_weighted(data.frequency, correct), total, max(ones, 1 - ones)),
    ]


def _weighted(frequency: "Floats", values: "Floats") -> tuple[float, float]:
    """Mean by frequency over (subtasks, n) and its standard error, that of a stratified sample."""
    per_subtask = values.var(axis=1, ddof=1) / values.shape[1]
    return float(frequency @ values.mean(axis=1)), float(np.sqrt(np.square(frequency) @ per_subtask))


def _stderr(values: "Floats") -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values)))
