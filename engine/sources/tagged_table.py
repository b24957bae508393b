"""Sentences with a tag for each word, to fine-tune with: the user's table or CoNLL files, or code on this machine."""

from pathlib import Path
from typing import Annotated

import msgspec

from engine.families.base import DataShape
from engine.i18n import mark
from engine.sources import _label_columns, _tagged_items, _tagged_rows, sources
from engine.sources._label_table import PIPELINE_VERSION, listing
from engine.sources._table_fields import (
    Encoding,
    GroupColumn,
    Header,
    LongestText,
    SkipBad,
    SplitColumn,
    SplitSeed,
    TestShare,
    TokenizerFolder,
    ValidationShare,
)
from engine.sources._tagged_items import TaggedItems
from engine.sources._token_rows import cached_rows
from engine.sources.base import OnProgress, Preview, Source
from engine.study import TableSpec


class TaggedTableSpec(TableSpec, frozen=True, kw_only=True):
    """Where sentences and tags are, how they are read, and how they are split."""

    path: Annotated[
        str,
        msgspec.Meta(
            title=mark("File"),
            description=mark(
                "A table, CoNLL files, a folder of them, or a dataset saved by the datasets library; where none is "
                "given, lines of installed Python code, whose names are told apart by their role"
            ),
        ),
    ] = ""
    words: Annotated[
        str,
        msgspec.Meta(
            title=mark("Column of words"),
            description=mark("Name of the column, or its number from 1 on; lists, or words with spaces between"),
        ),
    ] = "words"
    tags: Annotated[
        str,
        msgspec.Meta(
            title=mark("Column of tags"),
            description=mark("Name of the column, or its number from 1 on; as many for each row as it has words"),
        ),
    ] = "tags"
    group: GroupColumn = ""
    split: SplitColumn = ""
    header: Header = True
    encoding: Encoding = "utf-8"
    skip_bad: SkipBad = False
    validation_fraction: ValidationShare = 0.1
    test_fraction: TestShare = 0.2
    split_seed: SplitSeed = 0
    max_length: LongestText = 128
    rows: Annotated[
        int,
        msgspec.Meta(
            title=mark("Lines of code"), description=mark("How many where no file is given"), ge=100, le=8_000
        ),
    ] = 2_560
    tokenizer: TokenizerFolder = ""


@sources.register("tagged-table")
class TaggedTable(Source):
    """Your own sentences with a tag for each word: .conll, .conllu, .csv, .tsv, .jsonl, .parquet or a saved dataset."""

    name = "tagged-table"
    version = 1
    title = mark("Tagged sentences")
    Spec = TaggedTableSpec
    reads = _tagged_rows.ENDINGS

    def shape(self, spec: TaggedTableSpec) -> DataShape:
        """The tags and how many rows train; the table is read and split for it, once per process."""
        table = _tagged_rows.read_rows(spec)
        return DataShape(
            "tagged",
            n_classes=len(table.names),
            fixed_context=spec.max_length,
            n_train_items=int((table.parts == 0).sum()),
            class_names=table.names,
            class_counts=_tagged_rows.tag_counts(table, 0),
        )

    def prepare(self, spec: TaggedTableSpec, cache: Path, on_progress: OnProgress) -> TaggedItems:
        """Read, drop copies, split and tokenise; see ``Source.prepare``."""
        found = listing(spec, _tagged_rows.ENDINGS)
        versions = [self.name, self.version, _tagged_rows.PIPELINE_VERSION, PIPELINE_VERSION]
        make, opened = _tagged_items.make, _tagged_items.opened
        return cached_rows(
            cache, "tagged", spec, versions, found, opened, lambda folder: make(spec, folder, on_progress)
        )

    def columns(self, spec: TaggedTableSpec, n: int = 2_000) -> _label_columns.Columns:
        """Names of the columns and the first ``n`` rows of the first file, whatever is mapped yet."""
        if spec.path and _tagged_rows.is_table(spec):
            return _label_columns.columns(spec, n)
        rows = _tagged_rows.first_rows(spec, n)
        return _label_columns.Columns(
            ("words", "tags"), tuple((" ".join(row.texts), " ".join(_tagged_rows.tags_of(row))) for row in rows)
        )

    def guess(self, found: _label_columns.Columns) -> dict[str, str]:
        """Field of the Spec -> the column that it likely is; empty where none is."""
        return _label_columns.guess_named(found, {"words": _WORDS, "tags": _TAGS, "group": ()})

    def preview(self, spec: TaggedTableSpec, n: int = 5) -> list[Preview]:
        """The first ``n`` sentences with their tags."""
        return [
            {"origin": row.where, "text": " ".join(row.texts), "target": " ".join(_tagged_rows.tags_of(row))}
            for row in _tagged_rows.first_rows(spec, n)
        ]


_WORDS = ("words", "tokens", "sentence", "text", "form")
_TAGS = ("tags", "ner_tags", "ner", "labels", "label", "pos_tags", "upos", "pos", "chunk_tags")
