"""Datasets that the datasets library saved with ``save_to_disk``: Arrow files, read without that library."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from engine.errors import InputError
from engine.i18n import tr
from engine.sources._readers import OnBad, no_column

ENDING = ".arrow"
INFO, STATE, SPLITS = "dataset_info.json", "state.json", "dataset_dict.json"


def is_saved(folder: Path) -> bool:
    """Whether a folder holds a saved dataset, or several splits of one."""
    return folder.is_dir() and ((folder / STATE).is_file() or (folder / SPLITS).is_file())


def files(folder: Path) -> list[tuple[str, Path]]:
    """(name, path) of its Arrow files, in order; of several splits each in a folder that is named after it."""
    found = sorted(folder.glob(f"*{ENDING}")) or sorted(folder.glob(f"*/*{ENDING}"))
    return [(path.relative_to(folder).as_posix(), path) for path in found]


def names(path: Path, name: str) -> tuple[str, ...]:
    """The columns of an Arrow file; raises ``InputError`` where it is none."""
    import pyarrow as pa

    try:
        with pa.OSFile(str(path)) as file, pa.ipc.open_stream(file) as stream:
            return tuple(stream.schema.names)
    except pa.ArrowException as error:
        why = str(error).partition("\n")[0].rstrip(".")
        raise InputError(f"{name}: {tr('is not a valid Arrow file ({why})', why=why)}.") from None


def rows(
    path: Path, name: str, columns: Sequence[str], label: str, on_bad: OnBad
) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """(where, values of ``columns``) of each row of an Arrow file; a class label gets its name."""
    import pyarrow as pa

    names = _class_names(path.parent, label)
    number = 0
    try:
        # As a stream of batches: a mapped file that is cut short would end the process.
        with pa.OSFile(str(path)) as file, pa.ipc.open_stream(file) as stream:
            missing = [column for column in columns if column not in stream.schema.names]
            if missing:
                on_bad(name, no_column(missing[0], list(stream.schema.names)))
                return
            for batch in stream:
                for values in zip(*(batch.column(column).to_pylist() for column in columns), strict=True):
                    number += 1
                    yield (
                        tr("{file}, row {row}", file=name, row=number),
                        tuple(_named(v, names) if c == label else v for c, v in zip(columns, values, strict=True)),
                    )
    except pa.ArrowException as error:
        first = str(error).partition("\n")[0].rstrip(".")
        on_bad(name, tr("is not a valid Arrow file ({why})", why=first))


def _class_names(folder: Path, column: str) -> list[str]:
    """Names of a column of a ClassLabel or of lists of it; none where the column holds what it says."""
    try:
        info = json.loads((folder / INFO).read_text(encoding="utf-8"))
        found = info["features"][column]
        found = found[0] if isinstance(found, list) else found.get("feature", found)
        return [str(name) for name in found["names"]] if found.get("_type") == "ClassLabel" else []
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []


def _named(value: object, names: list[str]) -> object:
    """The name of a class, or of each of a list; a number outside of the names is no label, as -1 is where none is."""
    if names and isinstance(value, list):
        return [_named(one, names) for one in value]
    if not names or not isinstance(value, int):
        return value
    return names[value] if 0 <= value < len(names) else None
