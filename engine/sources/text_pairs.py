"""The user's own pairs of texts: a table, or a folder of them, with a column to read and a column to write."""

from itertools import islice
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from engine.families.base import DataShape
from engine.i18n import mark
from engine.sources import _readers, _table_pairs, sources
from engine.sources._cache import cached, entry_key
from engine.sources._pairs import PairItems, PairsSpec, Vocabulary, pairs_shape
from engine.sources._spec import Skipped
from engine.sources.base import OnProgress, Preview, Source
from engine.sources.text_folder import list_files

_TOKEN_RATIO = 8
"""Bytes of the cache that one byte of a table may take: four a token, and padding; only for the check of free disk."""


class TextPairsSpec(PairsSpec, frozen=True, kw_only=True):
    """Where the pairs are and how they are read."""

    path: Annotated[
        str, msgspec.Meta(title=mark("File"), description=mark("A table, or a folder of tables with its subfolders"))
    ] = ""
    source_column: Annotated[
        str,
        msgspec.Meta(
            title=mark("Source column"),
            description=mark("Name of the column that is read, or its number from 1 on"),
            min_length=1,
        ),
    ] = "source"
    target_column: Annotated[
        str,
        msgspec.Meta(
            title=mark("Target column"),
            description=mark("Name of the column that is to be written, or its number from 1 on"),
            min_length=1,
        ),
    ] = "target"
    header: Annotated[
        bool,
        msgspec.Meta(
            title=mark("Header"), description=mark("Whether the first row of .csv and .tsv holds names, not a pair")
        ),
    ] = True
    encoding: Annotated[
        Literal["utf-8", "gb18030", "big5", "shift_jis", "cp1252"],
        msgspec.Meta(
            title=mark("Encoding"),
            description=mark("Of files that are not UTF-8 and have no byte order mark; UTF-8 stops at them"),
        ),
    ] = "utf-8"
    skip_bad: Annotated[
        bool,
        msgspec.Meta(
            title=mark("Skip bad data"),
            description=mark("Leave out files and rows that cannot be read and list them, instead of stopping"),
        ),
    ] = False
    vocab_size: Annotated[
        int,
        msgspec.Meta(
            title=mark("Characters"),
            description=mark("How many of the commonest characters of the training split have a token of their own"),
            ge=2,
            le=65_536,
        ),
    ] = 1_024


@sources.register("text-pairs")
class TextPairs(Source):
    """Your own translations: .csv, .tsv, .jsonl and .parquet with two columns of text."""

    name = "text-pairs"
    version = 1
    title = mark("Text pairs")
    Spec = TextPairsSpec
    reads = tuple(_readers.TABLES)

    def shape(self, spec: TextPairsSpec) -> DataShape:
        """Pairs over a vocabulary whose size the spec says."""
        return pairs_shape(spec, _table_pairs.vocab_size(spec) or Vocabulary(None).size)

    def prepare(self, spec: TextPairsSpec, cache: Path, on_progress: OnProgress) -> PairItems:
        """Read, drop copies, split and tokenise; see ``Source.prepare``."""
        files = list_files(spec.path, self.reads)
        listing = [(name, s.st_size, s.st_mtime_ns) for name, s in ((name, path.stat()) for name, path in files)]
        settings = msgspec.structs.asdict(msgspec.structs.replace(spec, path="", padding="fixed"))
        key = entry_key([self.name, self.version, _table_pairs.PIPELINE_VERSION, settings], listing)
        return cached(
            cache,
            f"pairs-{key}",
            lambda folder: _table_pairs.opened(spec, self.name, self.version, folder),
            lambda folder: _table_pairs.make(spec, files, folder, on_progress),
            _TOKEN_RATIO * sum(size for _, size, _ in listing),
        )

    def preview(self, spec: TextPairsSpec, n: int = 5) -> list[Preview]:
        """The first ``n`` pairs with their files and rows."""
        found = islice(_table_pairs.read_pairs(spec, list_files(spec.path, self.reads), Skipped()), n)
        return [{"origin": where, "text": source, "target": target} for where, source, target in found]
