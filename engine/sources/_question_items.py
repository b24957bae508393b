"""Questions ready for fine-tuning: each with its text, a long one as several windows that overlap (Devlin 2019)."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.i18n import mark, tr
from engine.sources._label_table import Ints, listing
from engine.sources._question_rows import ENDINGS, Question, Questions, parts_of, read_rows
from engine.sources._token_rows import (
    TOKENIZER,
    TokenRows,
    load_fast_tokenizer,
    pad_of,
    report_of,
    save_arrays,
    tokenizer_digest,
)
from engine.sources.base import Batch, OnProgress, QualityReport

if TYPE_CHECKING:
    from engine.sources.question_table import QuestionTableSpec

META, TEXTS = "meta.json", "texts.msgpack"
AT_A_TIME = 256
"""Questions tokenised together."""
NOWHERE = 0
"""Place that is marked where a window holds no answer: its first token (Devlin 2019)."""
_ARRAYS = ("tokens", "targets", "begins", "stops", "questions", "ends", "parts", "offsets")


class Meta(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in ``meta.json`` beside the tokens."""

    digest: str
    pad: int
    report: QualityReport


class HeldOut(msgspec.Struct, frozen=True):
    """A question of the test split as a person reads it."""

    where: str
    context: str
    question: str
    answers: tuple[str, ...]


@dataclass(slots=True)
class QuestionItems(TokenRows):
    """Implements ``engine.sources.base.Prepared`` and ``TokenisedText``; its rows are windows."""

    folder: Path
    fingerprint: str
    report: QualityReport
    pad: int
    """The id that fills short rows."""
    tokens: NDArray[np.int32]
    """Question and text of every window, one window after another."""
    types: NDArray[np.uint8] | None
    """0 for tokens of the question and 1 for those of the text, where the tokenizer tells them apart."""
    targets: NDArray[np.int32]
    """(n, 2) first and last token of the answer, ``NOWHERE`` twice where the window does not hold it."""
    begins: Ints
    """(n,) where the tokens of the text begin in each window."""
    stops: Ints
    """(n,) where they stop."""
    questions: Ints
    """(n,) which question of its part each window is of: 0, 1, and so on."""
    ends: Ints
    """(n,) where each window ends."""
    parts: Ints
    """(n,) index of ``PARTS``."""
    offsets: NDArray[np.int32]
    """Characters of its context, first and stop, of every token of the test windows, one window after another."""
    bytes_per_token: float = math.nan

    def collate(self, rows: Ints) -> Batch:
        """``inputs``, ``mask`` and perhaps ``types``, int64 (batch, longest); ``targets`` int64 (batch, 2)."""
        return {**self.inputs(rows), "targets": self.targets[rows].astype(np.int64)}

    def shown(self, tokens: Ints, target: Any) -> Mapping[str, str]:
        """Question and text, and the answer that is marked."""
        first, last = target
        answer = self.decode(tokens[first : last + 1]) if last else tr("no answer here")
        return {"text": self.decode(tokens), "target": answer}

    def texts(self) -> list[HeldOut]:
        """The questions of the test split, in their order."""
        return msgspec.msgpack.decode((self.folder / TEXTS).read_bytes(), type=list[HeldOut])

    def characters(self) -> list[NDArray[np.int32]]:
        """(tokens, 2) of each test window, in the order of the rows: see ``offsets``."""
        stops = np.cumsum(self.lengths(self.rows("test")))
        return np.split(self.offsets, stops[:-1])


class Window(NamedTuple):
    """Question and a part of its text as tokens."""

    tokens: list[int]
    types: list[int]
    offsets: NDArray[np.int32]
    """(t, 2) characters of the context; of other tokens nothing."""
    begin: int
    stop: int


class Windows:
    """How a tokenizer's model reads a question and its text, in at most ``longest`` tokens."""

    def __init__(self, tokenizer: Any, longest: int, stride: int) -> None:
        self.tokenizer, self.longest = tokenizer, longest
        self.stride = min(stride, longest // 4)  # a window must leave the one before behind it
        self.n_shortened = 0

    def of(self, questions: Sequence[Question]) -> list[list[Window]]:
        """The windows of each."""
        found = self.tokenizer(
            [self._fitting(q.question) for q in questions],
            [q.context for q in questions],
            truncation="only_second",
            max_length=self.longest,
            stride=self.stride,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )
        windows: list[list[Window]] = [[] for _ in questions]
        for number, of in enumerate(found["overflow_to_sample_mapping"]):
            tokens = found["input_ids"][number]
            inside = np.flatnonzero([kind == 1 for kind in found.sequence_ids(number)])
            if not len(inside):  # a text of nothing that the tokenizer reads
                continue
            types = found["token_type_ids"][number] if "token_type_ids" in found else [0] * len(tokens)
            offsets = np.asarray(found["offset_mapping"][number], np.int32)
            windows[of].append(Window(tokens, types, offsets, int(inside[0]), int(inside[-1]) + 1))
        return windows

    def _fitting(self, question: str) -> str:
        """Without the end that would leave less than half of a window to the text."""
        found = self.tokenizer(question, add_special_tokens=False, return_offsets_mapping=True)
        most = self.longest // 2 - 4
        if len(found["input_ids"]) <= most:
            return question
        self.n_shortened += 1
        return question[: found["offset_mapping"][most - 1][1]]


def marked(window: Window, question: Question) -> tuple[int, int]:
    """First and last token of the answer in a window, ``NOWHERE`` twice where it is not wholly there."""
    if not question.answers:
        return NOWHERE, NOWHERE
    start = question.starts[0]
    stop = start + len(question.answers[0])
    inside = window.offsets[window.begin : window.stop]
    if start < inside[0, 0] or stop > inside[-1, 1]:
        return NOWHERE, NOWHERE
    first = int(np.searchsorted(inside[:, 0], start, side="right")) - 1
    last = int(np.searchsorted(inside[:, 1], stop, side="left"))
    return window.begin + first, window.begin + max(first, last)


def n_windows(spec: "QuestionTableSpec", part: int) -> int:
    """Windows of a part with the spec's tokenizer; questions where it names none yet."""
    if not spec.tokenizer:
        return len(parts_of(read_rows(spec), part))
    return _n_windows(spec, part, tuple(listing(spec, ENDINGS)), tokenizer_digest(spec.tokenizer))


@lru_cache(maxsize=8)
def _n_windows(spec: "QuestionTableSpec", part: int, _files: tuple[Any, ...], _tokenizer: str) -> int:
    found = read_rows(spec)
    reading = Windows(load_fast_tokenizer(spec.tokenizer), spec.max_length, spec.stride)
    return sum(len(some) for _, some in _windows(found, parts_of(found, part), reading, lambda step, done: None))


def _windows(
    found: Questions, places: Ints, reading: Windows, on_progress: OnProgress
) -> Iterator[tuple[int, list[Window]]]:
    """(place, windows) of the questions at some places of the table."""
    for first in range(0, len(places), AT_A_TIME):
        some = places[first : first + AT_A_TIME].tolist()
        yield from zip(some, reading.of([found.questions[place] for place in some]), strict=True)
        on_progress(mark("writing tokens"), min(1.0, (first + AT_A_TIME) / len(places)))


def make(spec: "QuestionTableSpec", folder: Path, on_progress: OnProgress) -> None:
    """Fill a folder of the cache: windows, marks, split, the test questions, the tokenizer and the report.

    Raises ``InputError`` where the table cannot be used or there is no tokenizer to read it with.
    """
    on_progress(mark("reading"), 0.0)
    found = read_rows(spec)
    tokenizer = load_fast_tokenizer(spec.tokenizer)
    reading = Windows(tokenizer, spec.max_length, spec.stride)
    arrays, notes, lengths = _arrays(found, reading, on_progress)
    notes += [tr("{n:,} questions are cut to half a window.", n=reading.n_shortened)] if reading.n_shortened else []
    held_out = [HeldOut(*found.questions[place][:4]) for place in parts_of(found, 2)]
    (folder / TEXTS).write_bytes(msgspec.msgpack.encode(held_out))
    tokenizer.save_pretrained(folder / TOKENIZER)
    report = report_of(found.table, lengths, *notes)
    meta = Meta(digest=save_arrays(folder, arrays), pad=pad_of(spec.tokenizer), report=report)
    (folder / META).write_bytes(msgspec.json.encode(meta))


def opened(folder: Path) -> QuestionItems | None:
    """The entry of the cache, None where there is none."""
    try:
        meta = msgspec.json.decode((folder / META).read_bytes(), type=Meta)
        arrays = {name: np.load(folder / f"{name}.npy") for name in _ARRAYS}
        types = np.load(folder / "types.npy") if (folder / "types.npy").is_file() else None
    except (OSError, ValueError, msgspec.DecodeError):
        return None
    return QuestionItems(folder, meta.digest, meta.report, meta.pad, types=types, **arrays)


def _arrays(
    found: Questions, reading: Windows, on_progress: OnProgress
) -> tuple[dict[str, NDArray[Any]], list[str], Ints]:
    """What is kept of all windows, notes on them, and the tokens of each question."""
    tokens: list[NDArray[np.int32]] = []
    types: list[NDArray[np.uint8]] = []
    offsets: list[NDArray[np.int32]] = [np.zeros((0, 2), np.int32)]
    rows: list[tuple[int, int, int, int, int, int]] = []
    lengths = np.zeros(len(found.questions), np.int64)
    number_in_part = _numbers(found.table.parts)
    several = missed = 0
    for place, windows in _windows(found, np.arange(len(found.questions)), reading, on_progress):
        question, part = found.questions[place], int(found.table.parts[place])
        several += len(windows) > 1
        marks = [marked(window, question) for window in windows]
        missed += bool(question.answers) and not any(last for _, last in marks)
        for window, (first, last) in zip(windows, marks, strict=True):
            lengths[place] += len(window.tokens)
            tokens.append(np.asarray(window.tokens, np.int32))
            types.append(np.asarray(window.types, np.uint8))
            rows.append((first, last, window.begin, window.stop, int(number_in_part[place]), part))
            if part == 2:
                offsets.append(window.offsets)
    first, last, begins, stops, numbers, parts = np.asarray(rows, np.int64).T
    arrays: dict[str, NDArray[Any]] = {
        "tokens": np.concatenate(tokens),
        "targets": np.stack([first, last], axis=1).astype(np.int32),
        "begins": begins,
        "stops": stops,
        "questions": numbers,
        "ends": np.cumsum([len(some) for some in tokens]),
        "parts": parts,
        "offsets": np.concatenate(offsets),
    }
    kinds = np.concatenate(types)
    if kinds.any():
        arrays["types"] = kinds
    notes = [tr("{n:,} of {of:,} texts are read in several windows.", n=several, of=len(lengths))]
    if missed:
        notes.append(tr("{n:,} answers are whole in no window and cannot be learnt.", n=missed))
    return arrays, notes, lengths


def _numbers(parts: Ints) -> Ints:
    """(n,) the how many-th of its part each question is, from 0 on."""
    numbers = np.zeros(len(parts), np.int64)
    for part in range(3):
        inside = np.flatnonzero(parts == part)
        numbers[inside] = np.arange(len(inside))
    return numbers
