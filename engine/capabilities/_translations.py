"""What ``translation`` measures from: held-out texts, what a model makes of them, and how likely it finds the truth."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from engine.capabilities._tokens import mean_and_stderr, most_frequent_share, ratio_and_stderr, unigram_entropy
from engine.capabilities.base import Score
from engine.families._translating import translate

if TYPE_CHECKING:
    from engine.capabilities.base import ModelUnderTest
    from engine.sources._pairs import PairItems
    from engine.sources._procedural import Split

TEXTS_PER_BATCH = 256
RESAMPLES = 200
"""Bootstrap samples of texts behind the standard errors of BLEU and chrF."""
BOOTSTRAP_SALT = 0xB1E0
HAN, KANA_OR_HANGUL = re.compile("[\u4e00-\u9fff]"), re.compile("[\u3040-\u30ff\uac00-\ud7af]")


@dataclass(frozen=True, slots=True)
class Translated:
    """Held-out texts, (n,) each."""

    kinds: NDArray[np.int64]
    references: list[str]
    made: list[str]
    targets: list[NDArray[np.int64]]
    """Tokens of each reference, its end included."""
    nll: NDArray[np.float64]
    """Negative log-likelihood of each reference in nats, summed over its tokens."""
    right: NDArray[np.int64]
    """Tokens of each reference that are the likeliest given those before."""

    def __len__(self) -> int:
        return len(self.references)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each reference."""
        return np.array([len(target) for target in self.targets], np.int64)

    @property
    def exact(self) -> NDArray[np.bool_]:
        """Which translations are their reference, letter for letter."""
        return np.array([a == b for a, b in zip(self.made, self.references, strict=True)], np.bool_)


def translations(model: "ModelUnderTest", data: "PairItems", split: "Split", n: int, beams: int) -> Translated:
    """Translate the same ``n`` texts of a split every time, all where it has fewer."""
    items = data.items(split, n)
    made, targets, nll, right = [], [], [], []
    for first in range(0, len(items), TEXTS_PER_BATCH):
        batch = data.batch(items[first : first + TEXTS_PER_BATCH], model.context)
        source, decoder_inputs, wanted = (
            torch.from_numpy(batch[name]).to(model.device) for name in ("inputs", "decoder_inputs", "targets")
        )
        logits = model.module(source, decoder_inputs).float()
        cost = F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="none").view(wanted.shape)
        nll.append(cost.double().sum(1).cpu().numpy())
        right.append((logits.argmax(-1) == wanted).sum(1).cpu().numpy())
        made += [data.decode(row) for row in translate(model.module, source, wanted.shape[1], beams).cpu().numpy()]
        targets += [row[row >= 0] for row in batch["targets"]]
    references = [target for _, target in data.texts(items)]
    kinds = items[:, 0].astype(np.int64)
    return Translated(kinds, references, made, targets, np.concatenate(nll), np.concatenate(right))


def reference_scores(done: Translated, prefix: str = "") -> list[Score]:
    """Exact match, what accuracy per token would make it were errors independent, that accuracy, and log-likelihood.

    Per token are ratios over all tokens of all references. Chance does not read the source: the commonest reference,
    the commonest token, the frequencies of tokens. Standard errors are over texts, of the expected match by the delta
    method.
    """
    n, lengths = len(done), done.lengths
    tokens = np.concatenate(done.targets)
    accuracy, error = ratio_and_stderr(done.right.astype(np.float64), lengths)
    share = most_frequent_share(tokens)
    slope = float((lengths * accuracy ** (lengths - 1.0)).mean())
    likelihood, likelihood_error = ratio_and_stderr(-done.nll, lengths)
    return [
        exact_match(done, f"{prefix}exact_match", np.ones(n, np.bool_)),
        Score(
            f"{prefix}expected_exact_match",
            float((accuracy**lengths).mean()),
            None if error is None else slope * error,
            n,
            float((share**lengths).mean()),
        ),
        Score(f"{prefix}token_accuracy", accuracy, error, n, share),
        Score(f"{prefix}log_likelihood", likelihood, likelihood_error, n, -unigram_entropy(tokens)),
    ]


def exact_match(done: Translated, name: str, mask: NDArray[np.bool_]) -> Score:
    """Share of the texts under ``mask`` that are translated letter for letter; chance says the commonest reference."""
    exact = done.exact[mask].astype(np.float64)
    references = Counter(text for text, kept in zip(done.references, mask, strict=True) if kept)
    commonest = references.most_common(1)[0][1] / len(exact)
    return Score(name, *mean_and_stderr(exact), len(exact), commonest)


def corpus_scores(done: Translated, prefix: str = "", names: Sequence[str] = ("bleu", "chrf")) -> list[Score]:
    """BLEU and chrF, 0 to 100, of all texts together, with bootstrap standard errors over texts.

    Chance is what saying the commonest reference every time scores.
    """
    commonest = Counter(done.references).most_common(1)[0][0]
    n, scores = len(done), []
    for name in names:
        metric = _metric(name, done.references)
        # Counts of each text, of whose sums a score is made: so a resampled corpus costs one sum. sacrebleu's own
        # bootstrap fails on a resample that scores 0.
        counts = np.array(metric._extract_corpus_statistics(done.made, [done.references]))  # noqa: SLF001
        rng = np.random.default_rng(BOOTSTRAP_SALT)
        drawn = [counts[rng.integers(n, size=n)].sum(axis=0) for _ in range(RESAMPLES)]
        value, *others = (
            metric._compute_score_from_stats(sums.tolist()).score  # noqa: SLF001
            for sums in (counts.sum(axis=0), *drawn)
        )
        guess = metric.corpus_score([commonest] * n, [done.references]).score
        scores.append(Score(f"{prefix}{name}", float(value), float(np.std(others, ddof=1)), n, float(guess)))
    return scores


def _metric(name: str, references: Sequence[str]) -> Any:
    """sacrebleu's own; BLEU's words are what the references' script asks: characters where there are no spaces."""
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    if name == "chrf":
        return CHRF()
    text = "".join(references)
    return BLEU(tokenize="char" if KANA_OR_HANGUL.search(text) else "zh" if HAN.search(text) else "13a")
