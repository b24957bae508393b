"""The user's own text: a folder, or one file, of .txt, .md, .py, .jsonl, .csv, .tsv and .parquet."""

import os
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from engine.errors import InputError
from engine.families.base import DataShape
from engine.i18n import mark, tr
from engine.sources import _readers, sources
from engine.sources._prepare import cache_key, prepare
from engine.sources._prepared import PreparedText
from engine.sources._spec import Document, Skipped, TextSpec, token_shape
from engine.sources.base import OnProgress, Preview, Source

_PARQUET_RATIO = 4
"""Bytes of text that one byte of Parquet may unpack to; only for the check of free disk."""


@sources.register("text-folder")
class TextFolder(Source):
    """A folder of your own text files. Rows of tables are documents, other files are one each."""

    name = "text-folder"
    version = 1
    title = mark("Text folder")
    reads = _readers.ENDINGS

    class Spec(TextSpec, frozen=True, kw_only=True):
        """Where the text is and how it is read."""

        path: Annotated[
            str, msgspec.Meta(title=mark("Folder"), description=mark("A folder, read with its subfolders, or one file"))
        ] = ""
        text_column: Annotated[
            str,
            msgspec.Meta(
                title=mark("Text column"),
                description=mark("Field of .jsonl, .csv, .tsv and .parquet that holds the text"),
                min_length=1,
            ),
        ] = "text"
        label_column: Annotated[
            str,
            msgspec.Meta(
                title=mark("Label column"),
                description=mark("Field of a table that holds the class of each text, for what is learned from labels"),
            ),
        ] = ""
        classes: Annotated[
            Literal["none", "folders"],
            msgspec.Meta(
                title=mark("Classes"),
                description=mark(
                    "Folders: the subfolder that a file lies in is its class, for what is learned from labels"
                ),
            ),
        ] = "none"
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

        @property
        def labelled(self) -> bool:
            """Whether texts have a class: in a column, or by the folder they lie in."""
            return bool(self.label_column) or self.classes == "folders"

    def shape(self, spec: Spec) -> DataShape:
        """Tokens; 256 ids for bytes, ``vocab_size`` for BPE."""
        return token_shape(spec)

    def prepare(self, spec: Spec, cache: Path, on_progress: OnProgress) -> PreparedText:
        """Read, deduplicate, split and tokenise; see ``Source.prepare``."""
        files = list_files(spec.path)
        listing, expected = [], 0
        for name, path in files:
            status = path.stat()
            listing.append((name, status.st_size, status.st_mtime_ns))
            expected += status.st_size * (_PARQUET_RATIO if path.suffix.lower() == ".parquet" else 1)
        key = cache_key(self.name, self.version, spec, listing)
        return prepare(spec, key, lambda skipped: documents(spec, files, skipped), expected, cache, on_progress)

    def preview(self, spec: Spec, n: int = 5) -> list[Preview]:
        """The first ``n`` documents, at most 4,000 bytes of each."""
        found = islice(documents(spec, list_files(spec.path), Skipped()), n)
        shown: list[Preview] = []
        for document in found:
            text = document.text[:4000].decode("utf-8", "ignore")
            label = {"label": document.label} if document.label else {}
            shown.append({"origin": document.origin, "text": text, **label})
        return shown


def documents(spec: TextFolder.Spec, files: list[tuple[str, Path]], skipped: Skipped) -> Iterator[Document]:
    """The documents of some files as they stand there, before duplicates are found and long ones are cut."""
    for name, path in files:
        folder, _, inside = name.partition("/")
        label = folder if spec.classes == "folders" and inside else ""
        column, encoding = spec.label_column, spec.encoding
        for document in _readers.read(path, name, spec.text_column, spec.skip_bad, skipped, encoding, column):
            yield document._replace(label=document.label or label)


def list_files(given: str, read: Sequence[str] = _readers.ENDINGS) -> list[tuple[str, Path]]:
    """(name, path) of every file with one of the endings, by name. Raises ``InputError`` where there is none."""
    endings = ", ".join(read)
    if not given:
        raise InputError(tr("data.path: choose a folder of text."))
    root = Path(given).expanduser()
    if root.is_file():
        if root.suffix.lower() not in read:
            raise InputError(tr("data.path: {path} is none of {endings}.", path=given, endings=endings))
        return [(root.name, root)]
    if not root.is_dir():
        raise InputError(tr("data.path: there is no folder {path}.", path=given))
    found = []
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = sorted(s for s in subfolders if not s.startswith("."))
        for name in names:
            path = Path(folder, name)
            if path.suffix.lower() in read and not name.startswith(".") and path.is_file():
                found.append((path.relative_to(root).as_posix(), path))
    if not found:
        raise InputError(
            tr("data.path: the folder {path} holds no text files.", path=given),
            tr("Files that are read: {endings}.", endings=endings),
        )
    return sorted(found)
