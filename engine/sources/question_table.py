"""Questions with texts that answer them, to fine-tune with: a table of one's own, SQuAD's files, or code found here."""

from pathlib import Path
from typing import Annotated

import msgspec

from engine.families.base import DataShape
from engine.i18n import mark
from engine.sources import _label_columns, _question_items, _question_rows, sources
from engine.sources._label_table import PIPELINE_VERSION, listing
from engine.sources._question_items import QuestionItems
from engine.sources._table_fields import (
    Encoding,
    Header,
    SkipBad,
    SplitColumn,
    SplitSeed,
    TestShare,
    TokenizerFolder,
    ValidationShare,
)
from engine.sources._token_rows import cached_rows
from engine.sources.base import OnProgress, Preview, Source
from engine.study import TableSpec

Column = mark("Name of the column, or its number from 1 on")


class QuestionTableSpec(TableSpec, frozen=True, kw_only=True):
    """Where questions, texts and answers are, how they are read, and how they are split."""

    path: Annotated[
        str,
        msgspec.Meta(
            title=mark("File"),
            description=mark(
                "A table, a file of SQuAD (.json), a folder of them, or a dataset saved by the datasets library; where "
                "none is given, installed Python code, asked for the values of its named fields"
            ),
        ),
    ] = ""
    context: Annotated[str, msgspec.Meta(title=mark("Column of texts"), description=Column)] = "context"
    question: Annotated[str, msgspec.Meta(title=mark("Column of questions"), description=Column)] = "question"
    answer: Annotated[
        str,
        msgspec.Meta(
            title=mark("Column of answers"),
            description=mark("As they stand in the text, one or a list of them; empty where the text holds none"),
        ),
    ] = "answer"
    answer_start: Annotated[
        str,
        msgspec.Meta(
            title=mark("Column of places"),
            description=mark(
                "At which character of the text, from 0 on, the answer begins; else its first place is taken"
            ),
        ),
    ] = ""
    group: Annotated[
        str,
        msgspec.Meta(
            title=mark("Group column"),
            description=mark(
                "Rows with the same value stay on one side of the split, as texts of one article; in SQuAD's files any "
                "word here does that for articles"
            ),
        ),
    ] = ""
    split: SplitColumn = ""
    header: Header = True
    encoding: Encoding = "utf-8"
    skip_bad: SkipBad = False
    validation_fraction: ValidationShare = 0.1
    test_fraction: TestShare = 0.2
    split_seed: SplitSeed = 0
    max_length: Annotated[
        int,
        msgspec.Meta(
            title=mark("Longest window"),
            description=mark("Tokens of a question and its text together"),
            ge=32,
            le=131_072,
        ),
    ] = 384
    stride: Annotated[
        int,
        msgspec.Meta(
            title=mark("Overlap"),
            description=mark("Tokens that two windows of a longer text share, at most a quarter of a window"),
            ge=0,
        ),
    ] = 128
    rows: Annotated[
        int,
        msgspec.Meta(
            title=mark("Questions about code"), description=mark("How many where no file is given"), ge=100, le=8_000
        ),
    ] = 1_280
    tokenizer: TokenizerFolder = ""


@sources.register("question-table")
class QuestionTable(Source):
    """Your own questions with texts that hold the answers: SQuAD's .json, .csv, .jsonl, .parquet or a saved dataset."""

    name = "question-table"
    version = 1
    title = mark("Questions with texts")
    Spec = QuestionTableSpec
    reads = _question_rows.ENDINGS

    def shape(self, spec: QuestionTableSpec) -> DataShape:
        """How many windows train; the table is read, split and, for a known tokenizer, tokenised once per process."""
        n_train = _question_items.n_windows(spec, 0)
        return DataShape("questions", fixed_context=spec.max_length, n_train_items=n_train)

    def prepare(self, spec: QuestionTableSpec, cache: Path, on_progress: OnProgress) -> QuestionItems:
        """Read, drop copies, split and tokenise; see ``Source.prepare``."""
        found = listing(spec, _question_rows.ENDINGS)
        versions = [self.name, self.version, _question_rows.PIPELINE_VERSION, PIPELINE_VERSION]
        make, opened = _question_items.make, _question_items.opened
        return cached_rows(
            cache, "questions", spec, versions, found, opened, lambda folder: make(spec, folder, on_progress)
        )

    def columns(self, spec: QuestionTableSpec, n: int = 2_000) -> _label_columns.Columns:
        """Names of the columns and the first ``n`` rows of the first file, whatever is mapped yet."""
        if spec.path and _question_rows.is_table(spec):
            return _label_columns.columns(spec, n)
        rows = tuple((q.context, q.question, " / ".join(q.answers)) for q in _question_rows.first_rows(spec, n))
        return _label_columns.Columns(("context", "question", "answer"), rows)

    def guess(self, found: _label_columns.Columns) -> dict[str, str]:
        """Field of the Spec -> the column that it likely is; empty where none is."""
        return _label_columns.guess_named(found, _NAMES)

    def preview(self, spec: QuestionTableSpec, n: int = 5) -> list[Preview]:
        """The first ``n`` questions with their texts and answers."""
        return [
            {"origin": q.where, "text": f"{q.question}\n\n{q.context}", "target": " / ".join(q.answers)}
            for q in _question_rows.first_rows(spec, n)
        ]


_NAMES = {
    "context": ("context", "passage", "paragraph", "text", "document"),
    "question": ("question", "query"),
    "answer": ("answer", "answers", "answer_text"),
    "answer_start": ("answer_start", "start"),
    "group": (),
}
