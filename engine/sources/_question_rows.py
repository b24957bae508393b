"""Questions with texts that hold their answers: read, checked, and split so that no text is on two sides."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from engine.errors import InputError
from engine.i18n import tr
from engine.sources import _code_questions, _readers
from engine.sources._label_table import ENDINGS as TABLES
from engine.sources._label_table import (
    Ints,
    Row,
    Table,
    file_rows,
    files,
    listing,
    part_of,
    part_of_name,
    split_table,
    together,
)
from engine.sources._spec import Skipped

if TYPE_CHECKING:
    from engine.sources.question_table import QuestionTableSpec

PIPELINE_VERSION = 1
"""Raised whenever equal files would no longer give equal rows or another split."""
SQUAD = ".json"
ENDINGS = (*TABLES, SQUAD)


class Question(NamedTuple):
    """One question. Without answers its context holds none."""

    where: str
    context: str
    question: str
    answers: tuple[str, ...]
    """As they stand in the context; any of them is right, and the first is learnt."""
    starts: tuple[int, ...]
    """Character of the context at which each begins."""
    part: int
    """Index of ``PARTS``, -1 where the table does not say."""
    group: str = ""


@dataclass(frozen=True, slots=True)
class Questions:
    """Questions without copies and their table, whose rows have context and question as ``texts``."""

    questions: tuple[Question, ...]
    table: Table


class _Given(NamedTuple):
    """A question before it is checked; ``starts`` may be missing."""

    where: str
    context: Any
    question: Any
    answers: Any
    starts: Any
    part: int
    group: str


def read_rows(spec: "QuestionTableSpec") -> Questions:
    """Read and split, or give what was read before where no file has changed since.

    Raises ``InputError`` naming file and row, or the column, for what cannot be used.
    """
    neutral = msgspec.structs.replace(spec, max_length=384, stride=128, tokenizer="")
    return _read_rows(neutral, tuple(listing(spec, ENDINGS)))


def first_rows(spec: "QuestionTableSpec", n: int) -> list[Question]:
    """The first rows of the table."""
    found = (_of_code(asked) for asked in _code_questions.first()) if not spec.path else _rows(spec, Skipped(), [])
    return list(islice(found, n))


def is_table(spec: "QuestionTableSpec") -> bool:
    """Whether the first file has columns with names."""
    return files(spec, ENDINGS)[0][1].suffix.lower() != SQUAD


@lru_cache(maxsize=2)
def _read_rows(spec: "QuestionTableSpec", _files: tuple[tuple[str, int, int], ...]) -> Questions:
    skipped, repeated = Skipped(), list[str]()
    if spec.path:
        found = list(_rows(spec, skipped, repeated))
    else:
        found = [_of_code(asked) for asked in _code_questions.questions(spec.rows)]
    unlike: dict[tuple[str, str, tuple[str, ...]], Question] = {}
    for question in found:
        unlike.setdefault((question.context, question.question, question.answers), question)
    kept = tuple(unlike.values())
    if not kept:
        raise InputError(tr("data.path: {path} has no rows that can be used.", path=spec.path))
    without = sum(not question.answers for question in kept)
    if without == len(kept):
        raise InputError(
            tr("data.answer: no question has an answer."),
            tr("Name the column that holds the answers with data.answer."),
        )
    return Questions(kept, _split(spec, kept, len(found) - len(kept), skipped, _notes(kept, without, repeated)))


def _split(
    spec: "QuestionTableSpec", kept: Sequence[Question], copies: int, skipped: Skipped, notes: tuple[str, ...]
) -> Table:
    """By context: all questions of one are on one side, and so are near-duplicates and what shares a group."""
    units: dict[tuple[str, int], int] = {}
    unit_of = np.asarray([units.setdefault((q.context, q.part), len(units)) for q in kept], np.int64)
    _, where_first = np.unique(unit_of, return_index=True)
    rows = [Row(kept[i].where, (kept[i].context,), "", kept[i].part) for i in where_first]
    # Questions of one group join the contexts that they are asked of.
    pairs = unit_of[together(q.group for q in kept)].reshape(-1, 2)
    contexts = split_table(spec, rows, np.zeros(len(rows), np.int64), copies, skipped, pairs)
    return Table(
        rows=tuple(Row(q.where, (q.context, q.question), "", q.part) for q in kept),
        names=(),
        labels=np.zeros(len(kept), np.int64),
        parts=contexts.parts[unit_of],
        copies=copies,
        near_duplicates=contexts.near_duplicates,
        leaked=contexts.leaked,
        skipped=skipped,
        notes=(*notes, *contexts.notes),
    )


def _notes(kept: Sequence[Question], without: int, repeated: Sequence[str]) -> tuple[str, ...]:
    notes = []
    if without:
        notes.append(tr("{n:,} of {of:,} questions have no answer in their context.", n=without, of=len(kept)))
    if repeated:
        notes.append(
            tr(
                "{n:,} answers stand several times in their context; the first place is taken, as in {where}.",
                n=len(repeated),
                where=repeated[0],
            )
        )
    return tuple(notes)


def _of_code(asked: _code_questions.Asked) -> Question:
    return Question(asked.where, asked.context, asked.question, (asked.answer,), (asked.start,), -1, asked.file)


def _rows(spec: "QuestionTableSpec", skipped: Skipped, repeated: list[str]) -> Iterator[Question]:
    """Every row that can be used; bad ones raise ``InputError`` naming file and row, or are recorded."""
    on_bad = _readers.stop_or_skip(spec.skip_bad, skipped)
    found = files(spec, ENDINGS)
    for name, path in found:
        if path.suffix.lower() == SQUAD:
            given = _of_squad(spec, name, path, part_of_name(path, found), on_bad, skipped)
        else:
            given = _of_table(spec, name, path, on_bad, skipped)
        for row in given:
            question = _checked(spec, row, on_bad, repeated)
            if question is not None:
                yield question


def _of_table(
    spec: "QuestionTableSpec", name: str, path: Path, on_bad: _readers.OnBad, skipped: Skipped
) -> Iterator[_Given]:
    more = [column for column in (spec.answer_start, spec.group, spec.split) if column]
    columns = (spec.context, spec.question, spec.answer, *more)
    for where, values, part in file_rows(spec, name, path, columns, on_bad, skipped):
        named = dict(zip(columns, values, strict=True))
        if spec.split:
            part = part_of(named[spec.split], where, on_bad)
            if part < 0:
                continue
        answers: Any = values[2]
        starts = named.get(spec.answer_start)
        if isinstance(answers, dict):  # as the datasets library keeps SQuAD
            answers, starts = answers.get("text"), answers.get("answer_start", starts)
        yield _Given(where, values[0], values[1], answers, starts, part, str(named.get(spec.group, "")))


def _of_squad(
    spec: "QuestionTableSpec", name: str, path: Path, part: int, on_bad: _readers.OnBad, skipped: Skipped
) -> Iterator[_Given]:
    """Questions of a file as SQuAD's own are: data, paragraphs, qas."""
    try:
        skipped.encodings["utf-8"] += 1
        document = msgspec.json.decode(path.read_bytes(), type=_Squad)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return on_bad(name, tr("is no file as SQuAD's are ({why})", why=str(error)))
    except OSError as error:
        return on_bad(name, tr("cannot be read ({why})", why=error.strerror or str(error)))
    for article in document.data:
        for paragraph in article.paragraphs:
            for asked in paragraph.qas:
                where = tr("{file}, question {id}", file=name, id=asked.id or repr(asked.question[:40]))
                answers = [] if asked.is_impossible else asked.answers
                texts, starts = [a.text for a in answers], [a.answer_start for a in answers]
                group = article.title if spec.group else ""
                yield _Given(where, paragraph.context, asked.question, texts, starts, part, group)


class _Answer(msgspec.Struct):
    text: str
    answer_start: int


class _Asked(msgspec.Struct):
    question: str
    id: str = ""
    answers: list[_Answer] = []
    is_impossible: bool = False


class _Paragraph(msgspec.Struct):
    context: str
    qas: list[_Asked]


class _Article(msgspec.Struct):
    paragraphs: list[_Paragraph]
    title: str = ""


class _Squad(msgspec.Struct):
    data: list[_Article]


def _checked(spec: "QuestionTableSpec", given: _Given, on_bad: _readers.OnBad, repeated: list[str]) -> Question | None:
    """A question whose answers stand in its context; None, and ``on_bad`` is told, where they do not."""
    where = given.where
    texts = [_readers.as_text(text, where, column, on_bad) for text, column in _texts(spec, given)]
    if texts[0] is None or texts[1] is None:
        return None
    context, question = texts[0], texts[1].strip()
    empty = spec.context if not context.strip() else spec.question if not question else ""
    if empty:
        on_bad(where, tr("field {column!r} is empty", column=empty))
        return None
    answers = _answers(given.answers)
    starts = _starts(given.starts, len(answers or ()))
    if answers is None or starts is None:
        column = spec.answer if answers is None else spec.answer_start
        on_bad(where, tr("field {column!r} holds no answers that can be read", column=column))
        return None
    places = []
    for answer, start in zip(answers, starts, strict=True):
        answer = answer.strip() if start < 0 else answer
        place = context.find(answer) if start < 0 else start
        if place < 0 or context[place : place + len(answer)] != answer:
            on_bad(where, _not_there(answer, start))
            return None
        places.append((answer, place))
    if answers and starts[0] < 0 and context.count(places[0][0]) > 1:
        repeated.append(where)
    said, begin = tuple(answer for answer, _ in places), tuple(place for _, place in places)
    return Question(where, context, question, said, begin, given.part, given.group)


def _texts(spec: "QuestionTableSpec", given: _Given) -> tuple[tuple[Any, str], tuple[Any, str]]:
    return (given.context, spec.context), (given.question, spec.question)


def _not_there(answer: str, start: int) -> str:
    shown = answer[:60]
    if start < 0:
        return tr("the answer {answer!r} does not stand in the context", answer=shown)
    return tr("the answer {answer!r} does not stand at character {start} of the context", answer=shown, start=start)


def _answers(value: Any) -> tuple[str, ...] | None:
    """One answer or several, none where the field is empty; None where it holds anything else."""
    if value is None:
        return ()
    listed = value if isinstance(value, list) else [value]
    if not all(isinstance(one, str) for one in listed):
        return None
    return tuple(one for one in listed if one.strip())


def _starts(value: Any, n: int) -> list[int] | None:
    """Where each of ``n`` answers begins, -1 where it is to be looked for; None where that cannot be read."""
    if value is None or value == "" or n == 0:
        return [-1] * n
    listed = value if isinstance(value, list) else [value]
    try:
        found = [int(one) for one in listed]
    except (TypeError, ValueError):
        return None
    return found if len(found) == n else None


def parts_of(found: Questions, part: int) -> Ints:
    """Places of the questions of a part."""
    return np.flatnonzero(found.table.parts == part)
