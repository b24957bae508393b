"""A study's results as one long table, and a study as TOML text."""

import csv
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from engine.errors import InputError
from engine.files import replacing
from engine.i18n import tr
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
CURVE_NAMES = {"val/loss": "loss", "train/loss": "train_loss", "val/bits_per_byte": "bits_per_byte"}
"""Curves under the headers that tables of results are known by."""
_OF_CURVES = ("family", "seed", "n_params", "n_params_non_embedding")
EVALUATION_COLUMNS = ("capability", "metric", "value", "stderr", "n", "chance")


def rows(reader: "Reader", study_id: str) -> list[dict[str, Any]]:
    """One row per run and final metric; a run without any has one row with these empty."""
    table = []
    for run in study_document(reader, study_id)["runs"]:
        base = {name: run[name] for name in RUN_COLUMNS} | {"variant": json.dumps(run["variant"])}
        for evaluation in run["evaluations"] or [dict.fromkeys(EVALUATION_COLUMNS)]:
            table.append(base | {name: evaluation[name] for name in EVALUATION_COLUMNS})
    return table


def run_rows(reader: "Reader", study_id: str) -> list[dict[str, Any]]:
    """One row per run: its size, its last figures, its recipe and what was found out when it started."""
    table = []
    for run in reader.runs(study_id):
        recipe = json.loads(run.spec_json).get("training", {})
        row = {name: getattr(run, name if name != "run_id" else "id") for name in RUN_COLUMNS}
        row |= {"variant": run.variant_json, "label": run.label}
        row |= {f"training.{name}": value for name, value in recipe.items()}
        table.append(row | {f"facts.{name}": value for name, value in sorted(run.facts.items())})
    return _filled(table)


def curve_rows(reader: "Reader", study_id: str) -> list[dict[str, Any]]:
    """One row per run and step, with a column for each curve; empty where a curve has no point at that step."""
    table = []
    for run in reader.runs(study_id):
        per_step = run.tokens_seen / max(1, run.step)
        at: dict[int, dict[str, Any]] = {}
        for key in reader.metric_keys(run.id):
            for step, value in zip(*(a.tolist() for a in reader.curve_full(run.id, key)), strict=True):
                at.setdefault(step, {})[CURVE_NAMES.get(key, key)] = value
        base = {"run": run.label, **{name: getattr(run, name) for name in _OF_CURVES}, "variant": run.variant_json}
        table += [base | {"step": step, "tokens": step * per_step, **at[step]} for step in sorted(at)]
    return _filled(table)


def _filled(table: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every row with every column, in the order they first appear."""
    columns = dict.fromkeys(name for row in table for name in row)
    return [dict.fromkeys(columns) | row for row in table]


CONTENTS: Mapping[str, Callable[["Reader", str], list[dict[str, Any]]]] = {
    "results": rows,
    "curves": curve_rows,
    "runs": run_rows,
}
"""What a table of a study can hold."""


def write_table(
    reader: "Reader", study_id: str, path: Path, kind: Literal["csv", "parquet"] | str, content: str = "results"
) -> None:
    """Write one of ``CONTENTS`` to ``path``, whole or not at all.

    Raises ``InputError`` where there is nothing to write and ``ResourceError`` where it cannot be written.
    """
    table = CONTENTS[content](reader, study_id)
    if not table:
        raise InputError(tr("nothing of {study} has been measured yet.", study=study_id))
    with replacing(path) as temporary:
        _write_rows(table, temporary, kind)


def _write_rows(table: list[dict[str, Any]], path: Path, kind: str) -> None:
    if kind == "parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(table), path)
        return
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(table[0]))
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
