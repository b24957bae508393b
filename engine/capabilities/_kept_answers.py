"""Answers of a model to items of the test split, kept with its run, to be read beside what was wanted.

Any capability whose answers are text keeps them in this form; ``engine.analysis.answers`` reads it.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from engine.capabilities.base import ModelUnderTest

KIND, FILE = "answers", "answers.json"
SHOWN = 20
"""Answers kept of the best, and of the worst."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """One item: what was asked, what was to come, and what came. Empty ``prompt`` where nothing was asked."""

    origin: str
    """File and row."""
    prompt: str
    wanted: str
    given: str
    score: float = 0.0
    """What the item is ordered by, higher is better; ``keep`` fills it in."""


class Answers(msgspec.Struct, frozen=True, kw_only=True):
    """The file. ``score`` says what the scores are, a literal passed through ``mark``; ``n`` counts all items."""

    score: str
    n: int
    best: tuple[Answer, ...]
    worst: tuple[Answer, ...]


def keep(
    model: "ModelUnderTest", score: str, scores: "NDArray[np.float64]", answer: Callable[[Sequence[int]], list[Answer]]
) -> None:
    """Have the items of the best and of the worst ``scores`` (n,) answered and keep them, where the model is finished.

    ``answer`` is given places of items and answers them in that order; no item is among both.
    """
    if model.keep is None:
        return
    order = np.argsort(-scores, kind="stable")
    each = min(SHOWN, (len(order) + 1) // 2)
    best, worst = order[:each].tolist(), order[each:][::-1][:SHOWN].tolist()
    found = [
        msgspec.structs.replace(one, score=float(scores[place]))
        for one, place in zip(answer([*best, *worst]), [*best, *worst], strict=True)
    ]
    kept = Answers(score=score, n=len(scores), best=tuple(found[: len(best)]), worst=tuple(found[len(best) :]))
    model.keep(KIND, FILE, msgspec.json.encode(kept))
