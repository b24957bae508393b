"""Text to token ids and back: plain bytes, or byte-level BPE trained on the training split."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.errors import InputError
from engine.i18n import tr
from engine.sources._spec import BYTE_VOCAB, TextSpec

SEPARATOR = 0
"""Id put after every document, in both tokenizers; the byte 0 never occurs in cleaned text."""
END_OF_TEXT = "<|endoftext|>"
TRAINING_BYTES = 16_000_000
"""Text that BPE learns its merges from; more changes the merges little and costs seconds."""


class Tokenizer(Protocol):
    """Ids of a document's UTF-8 text, without the separator, and text of ids."""

    vocab_size: int

    def encode_batch(self, texts: Sequence[bytes]) -> list[NDArray[np.integer[Any]]]: ...

    def decode(self, ids: NDArray[np.integer[Any]]) -> str: ...


class ByteTokenizer:
    """One id per byte of UTF-8."""

    vocab_size = BYTE_VOCAB

    def encode_batch(self, texts: Sequence[bytes]) -> list[NDArray[np.integer[Any]]]:
        """uint8 ids of each text."""
        return [np.frombuffer(text, np.uint8) for text in texts]

    def decode(self, ids: NDArray[np.integer[Any]]) -> str:
        """Text; the separator is shown as a line break, a broken character as U+FFFD."""
        return np.asarray(ids).astype(np.uint8).tobytes().replace(b"\0", b"\n").decode("utf-8", "replace")


class BpeTokenizer:
    """Byte-level BPE read from a ``tokenizer.json``. Id 0 is the separator."""

    def __init__(self, file: Path) -> None:
        from tokenizers import Tokenizer as HfTokenizer

        self._tokenizer: Any = HfTokenizer.from_file(str(file))
        # Text that happens to spell the separator (the code of tokenizers does) is text, not a separator.
        self._tokenizer.encode_special_tokens = True
        self.vocab_size = int(self._tokenizer.get_vocab_size())

    def encode_batch(self, texts: Sequence[bytes]) -> list[NDArray[np.integer[Any]]]:
        """uint16 ids of each text."""
        encoded = self._tokenizer.encode_batch_fast([t.decode("utf-8") for t in texts], add_special_tokens=False)
        return [np.asarray(e.ids, np.uint16) for e in encoded]

    def decode(self, ids: NDArray[np.integer[Any]]) -> str:
        """Text; the separator is shown as a line break."""
        pieces, start = [], 0
        array = np.asarray(ids)
        for end in [*np.flatnonzero(array == SEPARATOR), len(array)]:
            pieces.append(self._tokenizer.decode(array[start:end].tolist(), skip_special_tokens=False))
            start = end + 1
        return "\n".join(pieces)


def train_bpe(texts: Iterable[bytes], vocab_size: int, file: Path) -> None:
    """Learn merges from ``texts`` (the training split) and write ``tokenizer.json``. Deterministic."""
    from tokenizers import Tokenizer as HfTokenizer
    from tokenizers import decoders, models, pre_tokenizers, trainers

    tokenizer = HfTokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_some(texts), trainer)
    if tokenizer.get_vocab_size() > vocab_size:
        raise InputError(tr("data.vocab_size: {size} is too small for BPE.", size=vocab_size))
    tokenizer.save(str(file))


def _some(texts: Iterable[bytes]) -> Iterator[str]:
    total = 0
    for text in texts:
        yield text.decode("utf-8")
        total += len(text)
        if total >= TRAINING_BYTES:
            return


def open_tokenizer(kind: str, folder: Path) -> Tokenizer:
    """The tokenizer of prepared data in ``folder``."""
    return ByteTokenizer() if kind == "bytes" else BpeTokenizer(folder / "tokenizer.json")


def write_byte_tokenizer(file: Path) -> None:
    """A ``tokenizer.json`` that maps text to its bytes: BPE without merges that falls back to bytes."""
    from tokenizers import Tokenizer as HfTokenizer
    from tokenizers import decoders, models

    vocab = {f"<0x{byte:02X}>": byte for byte in range(BYTE_VOCAB)}
    tokenizer = HfTokenizer(models.BPE(vocab=vocab, merges=[], byte_fallback=True))
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.save(str(file))


def config(kind: str) -> str:
    """The text of ``tokenizer_config.json``, with which plain ``AutoTokenizer.from_pretrained`` reads the tokenizer."""
    settings: dict[str, object] = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    if kind == "bpe":
        settings["eos_token"] = END_OF_TEXT
    return msgspec.json.format(msgspec.json.encode(settings), indent=2).decode() + "\n"


def token_dtype(spec: TextSpec) -> type[np.uint8] | type[np.uint16]:
    """What a token file stores one id in."""
    return np.uint8 if spec.tokenizer == "bytes" else np.uint16
