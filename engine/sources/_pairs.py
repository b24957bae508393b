"""What sources of pairs of texts share: a joint vocabulary, items of fixed length and the batches made of them.

A batch is ``inputs`` int64 (b, s), the source; ``decoder_inputs`` (b, t), the target after ``BEGIN``; and ``targets``
(b, t), the target with ``END``, ``IGNORED`` where it is padded. Texts are padded with ``PAD`` at their end.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.families.base import DataShape
from engine.i18n import mark
from engine.sources._procedural import IGNORED, SPLITS, Items, Listed, Split
from engine.sources.base import Batch, Preview, QualityReport
from engine.study import TableSpec

PAD, BEGIN, END, UNKNOWN = range(4)
SPECIAL = ("<pad>", "<s>", "</s>", "<unk>")
"""How a tokenizer file spells them."""
BYTES = 256


class PairsSpec(TableSpec, frozen=True, kw_only=True):
    """How pairs become tokens; base of the Spec of every source of pairs."""

    tokens: Annotated[
        Literal["characters", "bytes"],
        msgspec.Meta(
            title=mark("Tokens"),
            description=mark("One token per character, or per byte of UTF-8; both texts share one vocabulary"),
        ),
    ] = "characters"
    source_length: Annotated[
        int,
        msgspec.Meta(
            title=mark("Longest source"),
            description=mark("Tokens of a source, its end included; longer pairs are left out and counted"),
            ge=4,
            le=4_096,
        ),
    ] = 48
    target_length: Annotated[
        int,
        msgspec.Meta(
            title=mark("Longest target"),
            description=mark("Tokens of a target, its end included; longer pairs are left out and counted"),
            ge=4,
            le=4_096,
        ),
    ] = 48
    padding: Annotated[
        Literal["fixed", "dynamic"],
        msgspec.Meta(
            title=mark("Padding"),
            description=mark("fixed: every batch has the longest length; dynamic: only that of its longest texts"),
        ),
    ] = "fixed"
    validation_fraction: Annotated[
        float,
        msgspec.Meta(
            title=mark("Validation share"),
            description=mark("Share of all pairs that are never trained on, chosen by a hash of what they are about"),
            gt=0,
            le=0.5,
        ),
    ] = 0.1


class Vocabulary:
    """Texts to ids and back: four special ids, then one for each character (or byte).

    ``size`` may be more than there are characters: a model's vocabulary is fixed before the data are read.
    """

    def __init__(self, characters: Sequence[str] | None, size: int = 0) -> None:
        self.characters = None if characters is None else tuple(characters)
        known = BYTES if characters is None else len(characters)
        self.size = max(size, len(SPECIAL) + known)
        self._ids = {c: len(SPECIAL) + i for i, c in enumerate(self.characters or ())}

    def encode(self, text: str) -> list[int]:
        """Ids of a text, without an end."""
        if self.characters is None:
            return [len(SPECIAL) + byte for byte in text.encode()]
        return [self._ids.get(character, UNKNOWN) for character in text]

    def decode(self, ids: Iterable[int]) -> str:
        """Text up to the first ``END``; what is unknown is shown as U+FFFD."""
        kept: list[int] = []
        for token in ids:
            if token == END:
                break
            if token not in (PAD, BEGIN):
                kept.append(int(token) - len(SPECIAL))
        if self.characters is None:
            return bytes(b for b in kept if 0 <= b < BYTES).decode("utf-8", "replace")
        return "".join(self.characters[i] if 0 <= i < len(self.characters) else "\ufffd" for i in kept)

    def files(self, longest: int) -> dict[str, str]:
        """``tokenizer.json`` and its settings, as ``AutoTokenizer`` reads them; every text ends with ``END``."""
        from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors

        specials = {name: number for number, name in enumerate(SPECIAL)}
        if self.characters is None:
            names = [f"<0x{byte:02X}>" for byte in range(BYTES)]
            vocab = specials | {name: len(SPECIAL) + byte for byte, name in enumerate(names)}
            tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[], byte_fallback=True, unk_token=SPECIAL[UNKNOWN]))
            tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
        else:
            tokenizer = Tokenizer(models.WordLevel(specials | self._ids, unk_token=SPECIAL[UNKNOWN]))
            tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
            tokenizer.decoder = decoders.Fuse()
        tokenizer.add_special_tokens([AddedToken(name, special=True) for name in SPECIAL])
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"$A {SPECIAL[END]}", special_tokens=[(SPECIAL[END], END)]
        )
        settings = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "clean_up_tokenization_spaces": False,
            "model_max_length": longest,
            "pad_token": SPECIAL[PAD],
            "bos_token": SPECIAL[BEGIN],
            "eos_token": SPECIAL[END],
            "unk_token": SPECIAL[UNKNOWN],
        }
        described = msgspec.json.format(msgspec.json.encode(settings), indent=2).decode() + "\n"
        return {"tokenizer.json": tokenizer.to_str(), "tokenizer_config.json": described}


def commonest(texts: Iterable[str], n: int) -> list[str]:
    """The ``n`` commonest characters of texts, in the order of their code points."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    return sorted(character for character, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:n])


class PairItems(Listed):
    """Pairs of texts as rows: the number of their kind, then source and target, ended and padded.

    Args:
        kinds: what the pairs are about, by number.
        digest: of the items, where it is known; of what they hold otherwise.
        See ``Procedural`` and ``Listed`` for the others.
    """

    def __init__(
        self,
        task: str,
        version: int,
        spec: PairsSpec,
        vocabulary: Vocabulary,
        *,
        kinds: Sequence[str],
        splits: Mapping[Split, Items],
        report: QualityReport,
        digest: str = "",
    ) -> None:
        self.spec, self.kinds, self._texts, self._given = spec, tuple(kinds), vocabulary, report
        s, t = spec.source_length, spec.target_length
        super().__init__(task, version, spec, (), item_length=1 + s + t, answer_length=t, splits=splits)
        if not digest:
            seen = hashlib.sha256()
            for name in SPLITS:
                seen.update(self.all_items(name).data)
            digest = seen.hexdigest()
        self.fingerprint = hashlib.sha256(f"{self.fingerprint} {digest}".encode()).hexdigest()

    def _report(self) -> QualityReport:
        return self._given

    def batch(self, items: Items, context: int) -> Batch:
        """See the top of the file; the lengths are the Spec's or, with dynamic padding, those of the longest texts."""
        s = self.spec.source_length
        source, target = items[:, 1 : 1 + s], items[:, 1 + s :]
        if self.spec.padding == "dynamic":
            source, target = (part[:, : max(1, int((part != PAD).sum(axis=1).max()))] for part in (source, target))
        decoder_inputs = np.full(target.shape, BEGIN, np.int64)
        decoder_inputs[:, 1:] = np.where(target[:, :-1] == END, PAD, target[:, :-1])
        targets = np.where(target == PAD, IGNORED, target).astype(np.int64)
        return {"inputs": source.astype(np.int64), "decoder_inputs": decoder_inputs, "targets": targets}

    def texts(self, items: Items) -> list[tuple[str, str]]:
        """(source, target) of items."""
        s = self.spec.source_length
        return [(self.decode(row[1 : 1 + s]), self.decode(row[1 + s :])) for row in items]

    def decode(self, tokens: NDArray[np.integer[Any]]) -> str:
        """Text up to its end."""
        return self._texts.decode(tokens.tolist())

    def tokenizer_files(self) -> dict[str, str]:
        """See ``TokenisedText``."""
        return self._texts.files(self.spec.source_length)

    def preview(self, n: int) -> list[Preview]:
        """The first ``n`` pairs of every split."""
        found: list[Preview] = []
        for split in SPLITS:
            texts = self.texts(self.items(split, n))
            found += [{"origin": split, "text": source, "target": target} for source, target in texts]
        return found


def rows(spec: PairsSpec, vocabulary: Vocabulary, pairs: Iterable[tuple[int, str, str]]) -> tuple[Items, int]:
    """Items of (kind, source, target), int64 (n, 1 + s + t), and how many pairs were left out as too long."""
    s, t = spec.source_length, spec.target_length
    found: list[Items] = []
    too_long = 0
    for kind, source, target in pairs:
        a, b = vocabulary.encode(source), vocabulary.encode(target)
        if len(a) >= s or len(b) >= t:
            too_long += 1
            continue
        row = np.full(1 + s + t, PAD, np.int64)
        row[0] = kind
        row[1 : 2 + len(a)] = [*a, END]
        row[1 + s : 2 + s + len(b)] = [*b, END]
        found.append(row)
    return (np.stack(found) if found else np.zeros((0, 1 + s + t), np.int64)), too_long


def key_of(*texts: str) -> int:
    """64 bits that depend on the texts alone, the same on every machine."""
    return int.from_bytes(hashlib.blake2b("\0".join(texts).encode(), digest_size=8).digest(), "big")


def hash_of(*texts: str) -> float:
    """The same as a number in 0..1."""
    return key_of(*texts) / 2**64


def pairs_shape(spec: PairsSpec, vocab_size: int) -> DataShape:
    """The data shape of pairs: a run's tokens are positions of the target, padding among them."""
    lengths = (spec.source_length, spec.target_length)
    return DataShape("pairs", vocab_size=vocab_size, sample_shape=lengths, fixed_context=spec.target_length)
