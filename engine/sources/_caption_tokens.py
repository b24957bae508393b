"""Captions as tokens: words (or characters) of a list, then the end; what a tokenizer file of transformers does too."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.sources._captions import END, PAD

Kind = Literal["words", "characters"]
SPECIAL = ("<pad>", "<end>", "<unk>")
UNKNOWN = 2


class CaptionTokens:
    """Captions to ids and back.

    Args:
        words: the word of each id, ``PAD`` and ``END`` first.
        kind: whether captions are read by words and signs, or by characters; always in lower case.
        length: of every caption, its end included; longer ones are cut before their end.
        unknown: id of what is not in ``words``.
    """

    def __init__(self, words: Sequence[str], kind: Kind, length: int, unknown: int = UNKNOWN) -> None:
        from tokenizers import AddedToken, Tokenizer, decoders, models, processors

        self.words, self.kind, self.length, self.unknown = tuple(words), kind, length, unknown
        ids = {word: number for number, word in enumerate(self.words)}
        self._tokenizer = Tokenizer(models.WordLevel(ids, unk_token=self.words[unknown]))
        self._tokenizer.normalizer, self._tokenizer.pre_tokenizer = _reading(kind)
        if kind == "characters":
            self._tokenizer.decoder = decoders.Fuse()
        specials = [self.words[number] for number in sorted({PAD, END, unknown})]
        self._tokenizer.add_special_tokens([AddedToken(word, special=True) for word in specials])
        self._tokenizer.post_processor = processors.TemplateProcessing(
            single=f"$A {self.words[END]}", special_tokens=[(self.words[END], END)]
        )

    def encode(self, captions: Sequence[str]) -> tuple[NDArray[np.int32], int]:
        """(n, length) ids, ended and padded, and how many captions were cut."""
        self._tokenizer.enable_truncation(self.length)
        self._tokenizer.enable_padding(length=self.length, pad_id=PAD, pad_token=self.words[PAD])
        found = self._tokenizer.encode_batch(list(captions))
        ids = np.asarray([one.ids for one in found], np.int32).reshape(len(found), self.length)
        return ids, sum(bool(one.overflowing) for one in found)

    def decode(self, ids: NDArray[np.integer[Any]]) -> str:
        """The words of a caption up to its end."""
        words = []
        for number in ids.tolist():
            if number in (PAD, END):
                break
            words.append(self.words[number])
        return (" " if self.kind == "words" else "").join(words)

    def files(self) -> dict[str, str]:
        """``tokenizer.json`` and its settings, as ``AutoTokenizer`` reads them; every caption ends with its end."""
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        settings = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "clean_up_tokenization_spaces": False,
            "model_max_length": self.length,
            "pad_token": self.words[PAD],
            "eos_token": self.words[END],
            "unk_token": self.words[self.unknown],
        }
        described = msgspec.json.format(msgspec.json.encode(settings), indent=2).decode() + "\n"
        return {"tokenizer.json": self._tokenizer.to_str(), "tokenizer_config.json": described}


def commonest(captions: Iterable[str], kind: Kind, n: int) -> tuple[list[str], int]:
    """The ``n`` commonest words (or characters) of captions, by their spelling, and how many there are in all."""
    normalizer, pre_tokenizer = _reading(kind)
    counts: Counter[str] = Counter()
    for caption in captions:
        counts.update(word for word, _ in pre_tokenizer.pre_tokenize_str(normalizer.normalize_str(caption)))
    for word in SPECIAL:
        counts.pop(word, None)
    return sorted(sorted(counts, key=lambda word: (-counts[word], word))[:n]), len(counts)


def _reading(kind: Kind) -> tuple[Any, Any]:
    """How a caption is cut: lower case in one form of Unicode, into words and single signs or into characters."""
    from tokenizers import Regex, normalizers, pre_tokenizers

    plain = [normalizers.NFC(), normalizers.Lowercase(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
    if kind == "words":
        words = pre_tokenizers.Split(Regex(r"\w+|[^\w\s]"), "removed", invert=True)
        return normalizers.Sequence(plain), words
    return normalizers.Sequence(plain), pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
