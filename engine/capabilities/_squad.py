"""How SQuAD scores answers (Rajpurkar 2016): what is compared, exact match and F1 over words."""

import re
import string
from collections import Counter
from collections.abc import Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_MARKS = str.maketrans("", "", string.punctuation)


def normalised(text: str) -> str:
    """In small letters, without punctuation and English articles, single spaces between words."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_MARKS)).split())


def exact(given: str, answers: Sequence[str]) -> float:
    """1 where an answer is the same after normalisation; no answers are the one answer that says nothing."""
    return float(any(normalised(given) == normalised(answer) for answer in answers or ("",)))


def f1(given: str, answers: Sequence[str]) -> float:
    """Overlap in words with the answer that it is most like; 1 or 0 where either says nothing."""
    return max(_overlap(normalised(given).split(), normalised(answer).split()) for answer in answers or ("",))


def _overlap(given: list[str], answer: list[str]) -> float:
    if not given or not answer:
        return float(given == answer)
    same = sum((Counter(given) & Counter(answer)).values())
    return 2 * same / (len(given) + len(answer))
