"""What the capabilities of language models share: one pass over held-out windows."""

from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.capabilities.base import ModelUnderTest
    from engine.sources.base import Prepared

TOKENS_PER_BATCH = 8_192


@dataclass(frozen=True, slots=True)
class Scored:
    """Held-out windows and what the model makes of every token, (n, context) each."""

    inputs: NDArray[np.int64]
    targets: NDArray[np.int64]
    nll: NDArray[np.float64]
    """Negative log-likelihood of the target in nats."""
    correct: NDArray[np.bool_]
    """Whether the target is the likeliest token."""
    vocab_size: int

    def __len__(self) -> int:
        return len(self.inputs)


_passes: "WeakKeyDictionary[Callable[[Tensor], Tensor], dict[tuple[str, int, int], Scored | None]]" = (
    WeakKeyDictionary()
)
"""What was scored, by the ``logits`` function of a model under test: it is made anew for every model measured."""


def score_windows(model: "ModelUnderTest", data: "Prepared", tokens: int) -> Scored | None:
    """Score about that many tokens of the validation split, once; None where there is not one window, or no model of
    what comes next."""
    if model.family is not None and not model.family.predicts_next:
        return None
    known = _passes.setdefault(model.logits, {})
    key = (data.fingerprint, model.context, tokens)
    if key not in known:
        known[key] = _score(model, data, tokens)
    return known[key]


def _score(model: "ModelUnderTest", data: "Prepared", tokens: int) -> Scored | None:
    context = model.context
    parts: list[tuple[NDArray[np.int64], ...]] = []
    vocab_size = 0
    for batch in data.validation_batches(max(1, TOKENS_PER_BATCH // context), context, tokens):
        inputs, targets = torch.from_numpy(batch["inputs"]), torch.from_numpy(batch["targets"])
        logits = model.logits(inputs)
        vocab_size = logits.shape[-1]
        flat = targets.to(logits.device).flatten()
        nll = F.cross_entropy(logits.flatten(0, 1), flat, reduction="none").view(targets.shape)
        correct = (logits.argmax(-1).flatten() == flat).view(targets.shape)
        parts.append((batch["inputs"], batch["targets"], nll.cpu().numpy(), correct.cpu().numpy()))
    if not parts:
        return None
    given, wanted, losses, hits = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Scored(given, wanted, losses.astype(np.float64), hits.astype(np.bool_), vocab_size)


def mean_and_stderr(values: NDArray[np.floating]) -> tuple[float, float | None]:
    """Mean of independent items and its standard error, None for a single item."""
    n = len(values)
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(n)) if n > 1 else None


def ratio_and_stderr(sums: NDArray[np.floating], counts: NDArray[np.integer]) -> tuple[float, float | None]:
    """Mean over tokens that come in independent clusters (windows, words), by the ratio estimator.

    ``sums`` and ``counts`` are per cluster; the standard error is that of sum / count by linearisation.
    """
    n, total = len(sums), float(counts.sum())
    ratio = float(sums.sum()) / total
    if n < 2:
        return ratio, None
    residual = sums - ratio * counts
    return ratio, float(np.sqrt(n / (n - 1) * np.square(residual).sum()) / total)


def most_frequent_share(tokens: NDArray[np.integer]) -> float:
    """What always guessing the most frequent token would score."""
    _, counts = np.unique(tokens, return_counts=True)
    return float(counts.max() / counts.sum())


def unigram_entropy(tokens: NDArray[np.integer]) -> float:
    """Loss in nats of guessing by the frequency of tokens alone."""
    _, counts = np.unique(tokens, return_counts=True)
    share = counts / counts.sum()
    return float(-(share * np.log(share)).sum())
