"""Prompts with the responses that a language model is to give, or texts that it is to go on writing."""

from pathlib import Path
from typing import Annotated

import msgspec

from engine.families.base import DataShape
from engine.i18n import mark
from engine.sources import _instruction_items, _instruction_rows, _label_columns, _label_table, sources
from engine.sources._instruction_items import InstructionItems
from engine.sources._table_fields import (
    DocumentStrings,
    Encoding,
    Header,
    LongestText,
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

PROMPT_NAMES = ("prompt", "instruction", "question", "input", "query")
RESPONSE_NAMES = ("response", "output", "answer", "completion", "target")
TEXT_NAMES = ("text", "content", "document", "story")
PIPELINE_VERSION = 1
"""Raised whenever equal files would no longer give equal tokens."""


class InstructionTableSpec(TableSpec, frozen=True, kw_only=True):
    """Where prompts and responses are, how they are read, and how they are split."""

    path: Annotated[
        str,
        msgspec.Meta(
            title=mark("File"),
            description=mark(
                "A table, a folder of tables, or a dataset saved by the datasets library; where none is given, "
                "documentation strings of installed packages, to be answered with the package's name"
            ),
        ),
    ] = ""
    prompt: Annotated[
        str,
        msgspec.Meta(title=mark("Prompt column"), description=mark("Name of the column, or its number from 1 on")),
    ] = "prompt"
    response: Annotated[
        str,
        msgspec.Meta(title=mark("Response column"), description=mark("Name of the column, or its number from 1 on")),
    ] = "response"
    text: Annotated[
        str,
        msgspec.Meta(
            title=mark("Text column"),
            description=mark("Of tables of texts alone: all of each is learnt, and prompt and response are not read"),
        ),
    ] = ""
    split: SplitColumn = ""
    header: Header = True
    encoding: Encoding = "utf-8"
    skip_bad: SkipBad = False
    validation_fraction: ValidationShare = 0.1
    test_fraction: TestShare = 0.2
    split_seed: SplitSeed = 0
    max_length: LongestText = 256
    rows: DocumentStrings = 2_560
    tokenizer: TokenizerFolder = ""


@sources.register("instruction-table")
class InstructionTable(Source):
    """Your own prompts and responses, or texts alone: .csv, .tsv, .jsonl, .parquet or a saved dataset."""

    name = "instruction-table"
    version = 1
    title = mark("Prompts and responses")
    Spec = InstructionTableSpec
    reads = tuple(_label_table.ENDINGS)

    def shape(self, spec: InstructionTableSpec) -> DataShape:
        """How many rows train; the table is read and split for it, once per process."""
        n_train = int((_instruction_rows.read_rows(spec).parts == 0).sum())
        return DataShape("instructions", fixed_context=spec.max_length, n_train_items=n_train)

    def prepare(self, spec: InstructionTableSpec, cache: Path, on_progress: OnProgress) -> InstructionItems:
        """Read, drop copies, split and tokenise; see ``Source.prepare``."""
        listing = _label_table.listing(spec)
        versions = [self.name, self.version, PIPELINE_VERSION, _label_table.PIPELINE_VERSION]
        make, opened = _instruction_items.make, _instruction_items.opened
        return cached_rows(
            cache, "instructions", spec, versions, listing, opened, lambda folder: make(spec, folder, on_progress)
        )

    def columns(self, spec: InstructionTableSpec, n: int = 2_000) -> _label_columns.Columns:
        """Names of the columns and the first ``n`` rows of the first file, whatever is mapped yet."""
        if not spec.path:
            rows = tuple((row.texts[0], row.texts[1]) for row in _instruction_rows.first_rows(spec, n))
            return _label_columns.Columns(("prompt", "response"), rows)
        return _label_columns.columns(spec, n)

    def guess(self, found: _label_columns.Columns) -> dict[str, str]:
        """Field -> the column that it likely is; of a table without responses the text, all of which is learnt."""
        named = {"prompt": PROMPT_NAMES, "response": RESPONSE_NAMES, "text": TEXT_NAMES}
        guessed = _label_columns.guess_named(found, named)
        if guessed["prompt"] and guessed["response"]:
            guessed["text"] = ""
        return guessed

    def preview(self, spec: InstructionTableSpec, n: int = 5) -> list[Preview]:
        """The first ``n`` prompts with their responses, or texts."""
        rows = _instruction_rows.first_rows(spec, n)
        if spec.path and spec.text:
            return [{"origin": row.where, "text": row.texts[1]} for row in rows]
        return [{"origin": row.where, "text": row.texts[0], "target": row.texts[1]} for row in rows]
