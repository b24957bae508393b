"""What a metric is, by its name: threshold or continuous, up or down, a share of items or not."""

import re
from typing import Final

from engine.analysis.emergence.curve import Kind

_CONTINUOUS: Final = (
    *("likelihood", "logprob", "log_prob", "logp", "nll", "loss", "entropy", "perplexity", "ppl", "bits"),
    *("brier", "edit", "distance", "levenshtein", "token", "per_digit", "digit_accuracy", "per_char", "char_accuracy"),
    *("partial", "continuous", "bleu", "rouge", "margin", "mse", "error_per", "probability", "prob_correct"),
)
_THRESHOLD: Final = (
    *("exact", "threshold", "whole", "all_correct", "pass_at", "pass@", "solved", "sequence_accuracy", "full_match"),
)
_DOWN: Final = ("loss", "nll", "entropy", "perplexity", "ppl", "brier", "distance", "levenshtein", "mse", "bits")
_SHARES: Final = ("accuracy", "acc", "exact", "match", "rate", "fraction", "share", "solved", "correct", "em", "score")


def kind_of(name: str) -> Kind:
    """``continuous``, ``threshold``, or ``unknown`` where the name does not tell (``accuracy``, ``score``)."""
    plain = _plain(name)
    if any(word in plain for word in _CONTINUOUS):
        return "continuous"
    if any(word in plain for word in _THRESHOLD) or "em" in plain.split("_"):
        return "threshold"
    return "unknown"


def falls_with_ability(name: str) -> bool:
    """Whether less of it is better; an error of a distance turned into accuracy is not."""
    plain = _plain(name)
    parts = plain.split("_")
    if "accuracy" in parts or "similarity" in parts or "likelihood" in plain:
        return "negative" in parts and "likelihood" in plain
    return any(word in plain for word in _DOWN) or "error" in parts


def counts_items(name: str) -> bool:
    """Whether it is a share of items answered right, whose noise is binomial."""
    plain = _plain(name)
    if kind_of(name) == "continuous":
        return any(word in plain.split("_") for word in ("accuracy", "acc"))
    return True


def _plain(name: str) -> str:
    split = re.sub(r"([a-z])([A-Z])", r"\1_\2", name)
    return re.sub(r"[^a-z0-9@]+", "_", split.lower()).strip("_")
