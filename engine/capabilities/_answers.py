"""What the capabilities of procedural tasks share: one forward pass that scores the answers of held-out items."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from engine.capabilities._tokens import mean_and_stderr, most_frequent_share, unigram_entropy
from engine.capabilities.base import Score
from engine.sources._procedural import Procedural, Split

if TYPE_CHECKING:
    from collections.abc import Iterable

    from engine.capabilities.base import ModelUnderTest
    from engine.sources.base import Batch, Prepared

P = TypeVar("P", bound=Procedural)

TOKENS_PER_BATCH = 32_768


@dataclass(frozen=True, slots=True)
class Answers:
    """Items and what the model makes of their answers, (n, k) each for answers of k tokens."""

    targets: NDArray[np.int64]
    nll: NDArray[np.float64]
    """Negative log-likelihood of each answer token in nats, given the true tokens before it."""
    correct: NDArray[np.bool_]
    """Whether it is the likeliest. Greedy decoding gives exactly the answer if, and only if, all of them are."""

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def length(self) -> int:
        """Tokens per answer."""
        return int(self.targets.shape[1])

    @property
    def exact(self) -> NDArray[np.bool_]:
        """(n,) which answers are right as a whole."""
        return np.asarray(self.correct.all(axis=1), np.bool_)

    def token_accuracy(self) -> float:
        """Share of answer tokens that are right."""
        return float(self.correct.mean())


def own_data(data: "Prepared", kind: type[P]) -> P | None:
    """The data as its own class, or None where a capability is asked of data of another task."""
    return data if isinstance(data, kind) else None


def answer(model: "ModelUnderTest", data: Procedural, split: Split, n: int) -> Answers:
    """Answer the same ``n`` items of a split every time, all where it has fewer."""
    size = max(1, TOKENS_PER_BATCH // model.context)
    return answer_batches(model, data.batches(split, n, size, model.context))


def answer_batches(model: "ModelUnderTest", batches: "Iterable[Batch]") -> Answers:
    """The same for batches at hand, in which every row scores equally many tokens."""
    parts: list[tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_]]] = []
    for batch in batches:
        rows = len(batch["inputs"])
        row, column = np.nonzero(batch["targets"] >= 0)
        logits = model.logits(torch.from_numpy(batch["inputs"]))
        logits = logits[torch.from_numpy(row), torch.from_numpy(column)]
        targets = torch.from_numpy(batch["targets"][row, column]).to(logits.device)
        nll = F.cross_entropy(logits, targets, reduction="none").double()
        hits = logits.argmax(-1) == targets
        shape = (rows, -1)
        parts.append(
            (
                targets.cpu().numpy().reshape(shape),
                nll.cpu().numpy().reshape(shape),
                hits.cpu().numpy().reshape(shape),
            )
        )
    return Answers(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def answer_scores(answers: Answers, prefix: str = "") -> list[Score]:
    """Exact match, what per-token accuracy to the power of the length would make it, accuracy, log-likelihood.

    Chance is the best guess without reading the question: the commonest answer, and at each place of the answer the
    commonest token and the frequencies of tokens there. Standard errors are over items; that of the power is by the
    delta method.
    """
    n, k = len(answers), answers.length
    exact, by_item = float(answers.exact.mean()), answers.correct.mean(axis=1)
    accuracy, accuracy_error = mean_and_stderr(by_item)
    columns = answers.targets.T
    commonest = float(np.unique(answers.targets, axis=0, return_counts=True)[1].max() / n)
    token_chance = float(np.mean([most_frequent_share(column) for column in columns]))
    entropy = float(np.mean([unigram_entropy(column) for column in columns]))
    return [
        Score(f"{prefix}exact_match", exact, float(np.sqrt(exact * (1 - exact) / n)), n, commonest),
        Score(
            f"{prefix}expected_exact_match",
            accuracy**k,
            None if accuracy_error is None else k * accuracy ** (k - 1) * accuracy_error,
            n,
            token_chance**k,
        ),
        Score(f"{prefix}token_accuracy", accuracy, accuracy_error, n, token_chance),
        Score(f"{prefix}log_likelihood", *mean_and_stderr(-answers.nll.mean(axis=1)), n, -entropy),
    ]
