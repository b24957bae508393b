"""Fields that every text source has, and what a document is before it is split and tokenised."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Literal, NamedTuple

import msgspec

from engine.families.base import DataShape
from engine.i18n import mark
from engine.study import TableSpec

BYTE_VOCAB = 256
MAX_LISTED = 100
"""Skipped files named in the report; the rest are only counted."""


class TextSpec(TableSpec, frozen=True, kw_only=True):
    """How text becomes tokens and what is held out; base of the Spec of every text source."""

    tokenizer: Annotated[
        Literal["bytes", "bpe"],
        msgspec.Meta(
            title=mark("Tokenizer"),
            description=mark("bytes: one token per byte; bpe: byte-level BPE trained on the training split only"),
        ),
    ] = "bytes"
    vocab_size: Annotated[
        int,
        msgspec.Meta(
            title=mark("Vocabulary"),
            description=mark("Size of the BPE vocabulary; the bytes tokenizer always has 256"),
            ge=257,
            le=65_536,
        ),
    ] = 1024
    validation_fraction: Annotated[
        float,
        msgspec.Meta(
            title=mark("Validation share"),
            description=mark("Share of the bytes held out; near-duplicates always fall on the same side"),
            gt=0,
            le=0.5,
        ),
    ] = 0.05
    unique_tokens: Annotated[
        Annotated[int, msgspec.Meta(ge=1_000)] | None,
        msgspec.Meta(
            title=mark("Unique tokens"),
            description=mark("Train on only the first so many tokens, over and over; by default on all there are"),
        ),
    ] = None

    @property
    def labelled(self) -> bool:
        """Whether the user named a class for each document, so that the report tells how many there are of each."""
        return False


class Document(NamedTuple):
    """One text, UTF-8. Consecutive documents of equal ``origin`` are pieces of one file."""

    origin: str
    text: bytes
    label: str = ""
    """The class it belongs to, for what is fine-tuned with labels; empty where there is none."""


@dataclass(slots=True)
class Skipped:
    """What was met in reading: what could not be read, the first hundred by name, and the encodings of the files."""

    listed: list[tuple[str, str]] = field(default_factory=list)
    n: int = 0
    encodings: Counter[str] = field(default_factory=Counter)

    def add(self, where: str, why: str) -> None:
        """Record one file or row."""
        self.n += 1
        if len(self.listed) < MAX_LISTED:
            self.listed.append((where, why))


def token_shape(spec: TextSpec) -> DataShape:
    """The data shape of a text source, known from its spec alone."""
    return DataShape("tokens", vocab_size=BYTE_VOCAB if spec.tokenizer == "bytes" else spec.vocab_size)


def cut(text: bytes, size: int) -> Iterator[bytes]:
    """Pieces of at most ``size`` bytes, cut after a line where there is one, never inside a UTF-8 character."""
    start = 0
    while len(text) - start > size:
        end = text.rfind(b"\n", start + size // 2, start + size) + 1
        if end == 0:
            end = start + size
            while text[end] & 0xC0 == 0x80:
                end -= 1
        yield text[start:end]
        start = end
    yield text[start:]
