"""From paths to what is in them: which of the formats a file is, and the one way in for all of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import InputError
from engine.i18n import tr
from engine.importing import lm_eval, tables, tensorboard
from engine.importing.folders import refuse_pickle
from engine.importing.found import (
    MAX_POINTS,
    Format,
    Found,
    FoundRun,
    Header,
    LeftOut,
    as_ladder,
    describe_file,
    digest_of,
    size_warnings,
    unreadable,
    with_sizes,
)
from engine.model_folders import PICKLED
from engine.study import ImportedFile

MAX_BYTES = 1 << 30
"""Of all files together."""
MAX_JSON_BYTES = 256 << 20
"""JSON lines are held in memory."""
_TABLES = (".csv", ".tsv", ".txt", ".jsonl", ".ndjson", ".json", ".parquet", ".pq")
_MAX_RESULTS_FILES = 2_000


def read(
    paths: Sequence[Path], columns: Mapping[str, str] | None = None, sizes: Mapping[str, int] | None = None
) -> Found:
    """Read files, or folders of them, all of one format. Nothing is written.

    ``columns`` says which header (or tag) is which column; ``sizes`` gives parameters by the run's name, ``""``
    standing for all runs without a size. Runs may be left without one: ``Found.without_size``.

    Raises:
        InputError: a file is missing, damaged, too large, of another format, or holds nothing that can be used.
    """
    columns, sizes = dict(columns or {}), dict(sizes or {})
    format_, files, documents = _recognise([Path(path).expanduser() for path in paths])
    _check_bytes([path for path, _ in files])
    described = tuple(describe_file(path, _shown(path, folder)) for path, folder in files)
    runs: list[FoundRun]
    headers: tuple[Header, ...] = ()
    excluded: list[LeftOut] = []
    if format_ == "table":
        table = tables.read_tables([path for path, _ in files], columns)
        runs, headers, excluded, warnings = table.runs, table.headers, table.excluded, table.warnings
    elif format_ == "tensorboard":
        runs, headers, warnings = tensorboard.read_tensorboard(files, columns)
    else:
        if columns:
            raise InputError(tr("--columns is for tables and TensorBoard; results of lm-evaluation-harness need none."))
        runs, warnings = lm_eval.read_lm_eval(documents)
    return _found(format_, described, runs, headers, excluded, warnings, columns, sizes)


@dataclass(frozen=True, slots=True)
class Look:
    """What a look at some files gave: what was found, or why nothing was, with the headers to mend it by."""

    found: Found | None
    headers: tuple[Header, ...] = ()
    problem: InputError | None = None


def look(
    paths: Sequence[Path], columns: Mapping[str, str] | None = None, sizes: Mapping[str, int] | None = None
) -> Look:
    """The same for a person who can still say what is what: a problem is part of the answer."""
    try:
        found = read(paths, columns, sizes)
    except InputError as error:
        return Look(None, _headers_of(paths), error)
    return Look(found, found.headers)


def _headers_of(paths: Sequence[Path]) -> tuple[Header, ...]:
    try:
        format_, files, _ = _recognise([Path(path).expanduser() for path in paths])
        return tables.guess(files[0][0]) if format_ == "table" else ()
    except InputError:
        return ()


def _found(
    format_: Format,
    files: tuple[ImportedFile, ...],
    runs: Sequence[FoundRun],
    headers: tuple[Header, ...],
    excluded: Sequence[LeftOut],
    warnings: Sequence[str],
    columns: Mapping[str, str],
    sizes: Mapping[str, int],
) -> Found:
    if sum(len(curve.steps) for run in runs for curve in run.curves) > MAX_POINTS:
        raise InputError(tr("there are more than {n:,} points, too many to import.", n=MAX_POINTS))
    ladder, more = as_ladder(with_sizes(runs, sizes))
    if not any(run.scores or run.curves for run in ladder):
        raise InputError(tr("there is no result in {path}.", path=files[0].name))
    return Found(
        format=format_,
        files=files,
        runs=ladder,
        digest=digest_of(files, columns, sizes),
        headers=headers,
        excluded=tuple(excluded),
        warnings=(*warnings, *more, *size_warnings(ladder)),
    )


Files = list[tuple[Path, Path | None]]
Documents = list[tuple[Path, dict[str, Any]]]


def lm_eval_documents(paths: Sequence[Path]) -> "Documents":
    """The results files of lm-evaluation-harness among files or in folders; none where they are of another format."""
    format_, _, documents = _recognise([Path(path).expanduser() for path in paths])
    return documents if format_ == "lm-eval" else []


def _recognise(paths: Sequence[Path]) -> tuple[Format, Files, Documents]:
    """The format of the files and the files themselves, each with the folder it was found under."""
    if not paths:
        raise InputError(tr("no file is given."))
    files: Files = []
    documents: Documents = []
    formats: dict[Format, Path] = {}
    for path in dict.fromkeys(paths):
        format_, found, parsed = _recognise_folder(path) if path.is_dir() else _recognise_file(path)
        formats.setdefault(format_, path)
        files += found
        documents += parsed
    if len(formats) > 1:
        (one, first), (other, second) = list(formats.items())[:2]
        raise InputError(
            tr(
                "{first} is {one} and {second} is {other}.",
                first=first.name,
                second=second.name,
                one=_words(one),
                other=_words(other),
            ),
            tr("Import files of one kind at a time."),
        )
    return next(iter(formats)), files, documents


def _recognise_folder(folder: Path) -> tuple[Format, Files, Documents]:
    try:
        events = tensorboard.event_files(folder)
        if events:
            return "tensorboard", [(path, folder) for path in events], []
        candidates = sorted(path for path in folder.rglob("*.json") if path.is_file())[: _MAX_RESULTS_FILES + 1]
    except OSError as error:
        raise unreadable(folder, error) from None
    if len(candidates) > _MAX_RESULTS_FILES:
        raise InputError(tr("{path} holds more than {n:,} JSON files.", path=str(folder), n=_MAX_RESULTS_FILES))
    documents = [(path, found) for path in candidates if (found := lm_eval.parse_results(path)) is not None]
    if not documents:
        raise InputError(
            tr("{path} holds neither TensorBoard events nor results of lm-evaluation-harness.", path=str(folder)),
            tr("Give tables by their file names."),
        )
    return "lm-eval", [(path, folder) for path, _ in documents], documents


def _recognise_file(path: Path) -> tuple[Format, Files, Documents]:
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except OSError as error:
        raise unreadable(path, error) from None
    if tensorboard.is_event_file(path):
        return "tensorboard", [(path, None)], []
    if head[:4] == b"PK\x03\x04":
        raise InputError(
            tr("{path} is a zip archive, which is imported by itself where it is a study bundle.", path=path.name),
            tr("Unpack it and import the tables in it."),
        )
    if path.suffix.lower() == ".json" or head.lstrip()[:1] == b"{":
        document = lm_eval.parse_results(path)
        if document is not None:
            return "lm-eval", [(path, None)], [(path, document)]
    if path.suffix.lower() in PICKLED:
        raise refuse_pickle(path)
    if b"\0" in head and head[:4] != b"PAR1" and head[:2] not in (b"\xff\xfe", b"\xfe\xff"):
        raise InputError(
            tr("{path} is no table, no results file of lm-evaluation-harness and no event file.", path=path.name),
            tr("Tables are CSV, TSV, JSON lines or Parquet."),
        )
    return "table", [(path, None)], []


def _check_bytes(paths: Sequence[Path]) -> None:
    total = 0
    for path in paths:
        size = path.stat().st_size
        total += size
        json_lines = path.suffix.lower() in (".jsonl", ".ndjson", ".json")
        if total > MAX_BYTES or (json_lines and size > MAX_JSON_BYTES):
            raise InputError(
                tr("{path} is too large to import ({mb:,.0f} MB).", path=path.name, mb=size / 1e6),
                tr("Keep one row per run (its last), or a sample of the rows."),
            )


def _shown(path: Path, folder: Path | None) -> str:
    return path.name if folder is None else f"{folder.resolve().name}/{path.relative_to(folder).as_posix()}"


def _words(format_: Format) -> str:
    return {
        "table": tr("a table"),
        "lm-eval": tr("a results file of lm-evaluation-harness"),
        "tensorboard": tr("TensorBoard events"),
    }[format_]


def is_importable(path: Path) -> bool:
    """Whether a path looks like something to import, by its name alone: for what is dropped on the window."""
    return path.is_dir() or path.suffix.lower() in (*_TABLES, ".zip") or "tfevents" in path.name
