"""Likelihood of whole documents, each begun anew: windows that roll over it as lm-evaluation-harness rolls them.

A document of n tokens t is read as (prefix, t_1 .. t_n) and every t_i is predicted once. The first window predicts the
first ``context`` tokens after the prefix; each later one the next ``context`` tokens, and the last, which may be
shorter, is given as much of what stands before as the context holds.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from engine.sources._prepared import PreparedText
from engine.sources._tokenizers import END_OF_TEXT, SEPARATOR

if TYPE_CHECKING:
    from torch import Tensor

    from engine.sources.base import Prepared

TOKENS_PER_BATCH = 8_192


@dataclass(frozen=True, slots=True)
class Text:
    """A document as text and as ids, int64 (n,)."""

    text: str
    tokens: NDArray[np.int64]

    @property
    def n_words(self) -> int:
        """Pieces between white space, counted as the harness counts them."""
        return len(re.split(r"\s+", self.text))

    @property
    def n_bytes(self) -> int:
        """Of UTF-8."""
        return len(self.text.encode())


def held_out(data: "Prepared", n: int) -> list[Text]:
    """At most ``n`` documents spread evenly over the validation split, the same every time; none where it is no text.

    Left out are those whose text would not give the same ids again: broken characters, or a separator spelled out.
    """
    if not isinstance(data, PreparedText):
        return []
    stream = np.asarray(data.validation)
    ends = np.flatnonzero(stream == SEPARATOR)
    begins = np.concatenate([[0], ends[:-1] + 1]) if len(ends) else ends
    places = np.unique(np.linspace(0, len(ends) - 1, min(n, len(ends))).round().astype(np.int64)) if len(ends) else ends
    found = []
    for begin, end in zip(begins[places].tolist(), ends[places].tolist(), strict=True):
        tokens = stream[begin:end].astype(np.int64)
        text = data.decode(tokens)
        if text.strip() and END_OF_TEXT not in text and np.array_equal(data.encode(text), tokens):
            found.append(Text(text, tokens))
    return found


def log_likelihoods(
    logits: "Callable[[Tensor], Tensor]", documents: Sequence[Text], prefix: int, context: int
) -> NDArray[np.float64]:
    """Of each document in nats, (n_documents,). ``logits`` maps ids (b, t) to (b, t, vocab), each of the id after."""
    import torch
    import torch.nn.functional as F

    totals = np.zeros(len(documents))
    windows = [(number, *w) for number, d in enumerate(documents) for w in _windows(d.tokens, prefix, context)]
    windows.sort(key=lambda window: len(window[1]))  # batches of equal lengths, but for where they change
    rows = max(1, TOKENS_PER_BATCH // context)
    for start in range(0, len(windows), rows):
        some = windows[start : start + rows]
        longest = len(some[-1][1])
        inputs = torch.zeros(len(some), longest, dtype=torch.int64)
        targets = torch.full((len(some), longest), -100)
        for row, (_, read, wanted) in enumerate(some):  # padding stands after what is scored, and is never seen
            inputs[row, : len(read)] = torch.from_numpy(read)
            targets[row, len(read) - len(wanted) : len(read)] = torch.from_numpy(wanted)
        out = logits(inputs)
        flat = targets.to(out.device).flatten()
        nll = F.cross_entropy(out.flatten(0, 1).float(), flat, reduction="none", ignore_index=-100)
        sums = nll.view(targets.shape).double().sum(dim=1).cpu().numpy()
        np.subtract.at(totals, [number for number, _, _ in some], sums)
    return totals


def _windows(
    tokens: NDArray[np.int64], prefix: int, context: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """What is read, and which of the ids after it are scored: the last ones."""
    whole = np.concatenate([[prefix], tokens])
    for first in range(0, len(tokens), context):
        end = min(first + context, len(tokens))
        yield whole[max(0, end - context) : end], whole[first + 1 : end + 1]
