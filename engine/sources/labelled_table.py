"""Texts and the class each is of, to fine-tune with: the user's table, or documentation strings on this machine."""

from pathlib import Path
from typing import Annotated

import msgspec

from engine.families.base import DataShape
from engine.i18n import mark
from engine.sources import _label_columns, _label_table, _labelled_items, sources
from engine.sources._labelled_items import LabelledItems
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


class LabelledTableSpec(TableSpec, frozen=True, kw_only=True):
    """Where the texts are, how they are read, and how they are split."""

    path: Annotated[
        str,
        msgspec.Meta(
            title=mark("File"),
            description=mark(
                "A table, a folder of tables, or a dataset saved by the datasets library; where none is given, "
                "documentation strings of installed packages, to be told apart by package"
            ),
        ),
    ] = ""
    text: Annotated[
        str,
        msgspec.Meta(title=mark("Text column"), description=mark("Name of the column, or its number from 1 on")),
    ] = "text"
    label: Annotated[
        str,
        msgspec.Meta(title=mark("Label column"), description=mark("Name of the column, or its number from 1 on")),
    ] = "label"
    text_pair: Annotated[
        str,
        msgspec.Meta(
            title=mark("Second text column"),
            description=mark("Of tables in which the class is that of two texts together"),
        ),
    ] = ""
    split: SplitColumn = ""
    header: Header = True
    encoding: Encoding = "utf-8"
    skip_bad: SkipBad = False
    validation_fraction: ValidationShare = 0.1
    test_fraction: TestShare = 0.2
    split_seed: SplitSeed = 0
    max_length: LongestText = 128
    rows: DocumentStrings = 2_560
    tokenizer: TokenizerFolder = ""


@sources.register("labelled-table")
class LabelledTable(Source):
    """Your own labelled texts: .csv, .tsv, .jsonl, .parquet or a saved dataset; or documentation strings."""

    name = "labelled-table"
    version = 1
    title = mark("Labelled table")
    Spec = LabelledTableSpec
    reads = tuple(_label_table.ENDINGS)

    def shape(self, spec: LabelledTableSpec) -> DataShape:
        """The classes and how many rows train; the user's table is read and split for it, once per process."""
        names, counts = _label_table.classes(spec)
        return DataShape(
            "labelled",
            n_classes=len(names),
            fixed_context=spec.max_length,
            n_train_items=sum(counts),
            class_names=names,
            class_counts=counts,
        )

    def prepare(self, spec: LabelledTableSpec, cache: Path, on_progress: OnProgress) -> LabelledItems:
        """Read, drop copies, split and tokenise; see ``Source.prepare``."""
        listing = _label_table.listing(spec)
        versions = [self.name, self.version, _label_table.PIPELINE_VERSION]
        make, opened = _labelled_items.make, _labelled_items.opened
        return cached_rows(
            cache, "labelled", spec, versions, listing, opened, lambda folder: make(spec, folder, on_progress)
        )

    def columns(self, spec: LabelledTableSpec, n: int = 2_000) -> _label_columns.Columns:
        """Names of the columns and the first ``n`` rows of the first file, whatever is mapped yet."""
        if spec.path:
            return _label_columns.columns(spec, n)
        rows = tuple((row.texts[0], row.label) for row in _label_table.first_rows(spec, n))
        return _label_columns.Columns(("text", "label"), rows)

    def guess(self, found: _label_columns.Columns) -> dict[str, str]:
        """Field -> the column that it likely is: the text, the label, the second text and the split."""
        return _label_columns.guess(found)._asdict()

    def preview(self, spec: LabelledTableSpec, n: int = 5) -> list[Preview]:
        """The first ``n`` rows with their classes."""
        return [
            {"origin": row.where, "text": "\n\n".join(row.texts), "label": row.label}
            for row in _label_table.first_rows(spec, n)
        ]
