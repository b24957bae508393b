"""What the capabilities of procedural tasks have in common before anything is measured: their Spec and metrics."""

from typing import Annotated

import msgspec

from engine.capabilities.base import Metric
from engine.i18n import mark
from engine.study import TableSpec

DEFAULT_ITEMS = 4_096
"""Enough to resolve a probability of 1/1,000 within a factor of two."""


class ItemsSpec(TableSpec, frozen=True, kw_only=True):
    """How many held-out items are asked; base of the Spec of every procedural capability."""

    items: Annotated[
        int,
        msgspec.Meta(
            title=mark("Items"),
            description=mark("Items to answer of each split, the same every time; all where there are fewer."),
            ge=100,
        ),
    ] = DEFAULT_ITEMS


_TITLES = {
    "": (
        mark("Exact match"),
        mark("Exact match if tokens erred alone"),
        mark("Accuracy per token"),
        mark("Log-likelihood per token"),
    ),
    "ood": (
        mark("Exact match, out of distribution"),
        mark("Exact match if tokens erred alone, out of distribution"),
        mark("Accuracy per token, out of distribution"),
        mark("Log-likelihood per token, out of distribution"),
    ),
    "train": (
        mark("Exact match, training items"),
        mark("Exact match if tokens erred alone, training items"),
        mark("Accuracy per token, training items"),
        mark("Log-likelihood per token, training items"),
    ),
}


def answer_metrics(prefix: str = "", of: str = "") -> tuple[Metric, ...]:
    """The metrics that ``answer_scores`` gives, with a prefix for a split."""
    exact, expected, accuracy, likelihood = _TITLES[of]
    return (
        Metric(f"{prefix}exact_match", exact, True, "threshold"),
        Metric(f"{prefix}expected_exact_match", expected, True, "threshold"),
        Metric(f"{prefix}token_accuracy", accuracy, True, "threshold"),
        Metric(f"{prefix}log_likelihood", likelihood, True, "continuous", mark("nats per token")),
    )
