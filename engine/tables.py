"""A study's results as one long table, and a study as TOML text."""

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from engine.results import study_document

if TYPE_CHECKING:
    from engine.store import Reader

RUN_COLUMNS = (
    "study_id",
    "run_id",
    "family",
    "seed",
    "state",
    "n_params",
    "n_params_non_embedding",
    "tokens_seen",
    "compute_flops",
    "val_loss",
    "val_bits_per_byte",
    "seconds",
    "tokens_per_second",
)
EVALUATION_COLUMNS = ("capability", "metric", "value", "stderr", "n", "chance")


def rows(reader: "Reader", study_id: str) -> list[dict[str, Any]]:
    """One row per run and final metric; a run without any has one row with these empty."""
    table = []
    for run in study_document(reader, study_id)["runs"]:
        base = {name: run[name] for name in RUN_COLUMNS} | {"variant": json.dumps(run["variant"])}
        for evaluation in run["evaluations"] or [dict.fromkeys(EVALUATION_COLUMNS)]:
            table.append(base | {name: evaluation[name] for name in EVALUATION_COLUMNS})
    return table


def write_table(reader: "Reader", study_id: str, path: Path, kind: Literal["csv", "parquet"] | str) -> None:
    """Write ``rows`` to ``path``; raises ``OSError`` where it cannot be written."""
    table = rows(reader, study_id)
    if kind == "parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(table), path)
        return
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*RUN_COLUMNS, "variant", *EVALUATION_COLUMNS])
        writer.writeheader()
        writer.writerows(table)


def to_toml(table: Mapping[str, Any]) -> str:
    """A study's table as TOML. Handles what studies are made of: scalars, lists, tables and lists of tables."""
    lines: list[str] = []
    _write(table, (), lines)
    return "\n".join(lines).strip() + "\n"


def _write(table: Mapping[str, Any], path: tuple[str, ...], lines: list[str]) -> None:
    later = []
    for key, value in table.items():
        if isinstance(value, Mapping) or _is_tables(value):
            later.append((key, value))
        else:
            lines.append(f"{_key(key)} = {_value(value)}")
    for key, value in later:
        name = ".".join(_key(part) for part in (*path, key))
        for item in [value] if isinstance(value, Mapping) else value:
            lines += ["", f"[{name}]" if isinstance(value, Mapping) else f"[[{name}]]"]
            _write(item, (*path, key), lines)


def _is_tables(value: object) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(item, Mapping) for item in value)


def _key(key: str) -> str:
    plain = key and all(c.isascii() and (c.isalnum() or c in "-_") for c in key)
    return key if plain else json.dumps(key)


def _value(value: object) -> str:
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    # JSON's strings, numbers and booleans are TOML's, save that DEL must be escaped there too.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
