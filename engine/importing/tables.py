"""A table of anyone's results, wide or long, as runs: CSV, TSV, JSON lines or Parquet.

Wide: one row per run, with a column for each number. Long: one row per number, with columns ``capability``, ``metric``
and ``value``. With a column ``step`` the rows of a run are its curves and its last values the final ones.
"""

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.analysis.columns import NULLS, Column, Columns, match_headers, read_columns
from engine.errors import InputError
from engine.i18n import tr
from engine.importing.curves import add_curves
from engine.importing.found import (
    LANGUAGE_MODELLING,
    FoundRun,
    Header,
    LeftOut,
    Measured,
    parse_size,
    seed_in_name,
    size_in_name,
)
from engine.importing.peek import peek
from engine.study import Scalar

MAX_ROWS = 200_000
"""Rows of a table of final numbers."""
MAX_STEP_ROWS = 2_000_000
"""Rows of a table with a column ``step``."""
MAX_LISTED = 1_000
"""Rows left out that are named one by one."""
SIZES = ("n_params", "n_params_non_embedding", "tokens", "compute")
WANTED = (
    Column(
        "n_params",
        ("params", "parameters", "size", "model_size", "N", "num_params", "num_parameters", "total_params"),
        "text",
        False,
    ),
    Column(
        "n_params_non_embedding",
        ("non_embedding_params", "params_non_embedding", "non_embedding_parameters", "n_params_nonembedding"),
        "text",
        False,
    ),
    Column("tokens", ("tokens_seen", "n_tokens", "train_tokens", "training_tokens", "D"), "text", False),
    Column("compute", ("compute_flops", "flops", "train_flops", "training_flops"), "text", False),
    Column(
        "loss", ("val_loss", "validation_loss", "eval_loss", "test_loss", "final_loss", "val/loss"), "number", False
    ),
    Column("bits_per_byte", ("val_bits_per_byte", "bpb"), "number", False),
    Column("train_loss", ("training_loss", "train/loss"), "number", False),
    Column("step", ("steps", "iteration", "global_step"), "number", False),
    Column("seed", ("random_seed",), "number", False),
    Column("capability", ("task", "benchmark", "ability"), "text", False),
    Column("metric", ("metric_name",), "text", False),
    Column("value", ("score", "result", "accuracy", "acc"), "number", False),
    Column("stderr", ("std_err", "standard_error"), "number", False),
    Column("n", ("n_items", "n_samples", "items"), "number", False),
    Column("chance", ("chance_level", "random_baseline"), "number", False),
    Column("family", ("model_family", "architecture"), "text", False),
    Column("run", ("run_id", "run_name", "model", "model_name", "name", "checkpoint"), "text", False),
    Column("variant", (), "text", False),
)
KNOWN = tuple(column.name for column in WANTED)
_LOSSES = ("loss", "val_loss", "val/loss", "validation_loss", "eval_loss", "cross_entropy", "nll")
_LM = ("", "language-modelling", "language_modelling", "language-modeling", "language_modeling", "lm")


@dataclass(eq=False)
class Tables:
    """What came out of some tables."""

    runs: list[FoundRun] = field(default_factory=list)
    headers: tuple[Header, ...] = ()
    excluded: list[LeftOut] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@dataclass(eq=False)
class _Rows:
    """One table as arrays, (n_rows,) each."""

    columns: Columns
    extras: tuple[str, ...]
    """Columns that are each the score of a capability, as ``capability`` or ``capability/metric``."""
    sizes: dict[str, NDArray[np.float64]]
    good: NDArray[np.bool_]
    excluded: list[LeftOut]

    def text(self, name: str, row: int) -> str:
        return str(self.columns.texts[name][row] or "") if name in self.columns else ""

    def number(self, name: str, row: int) -> float:
        values = self.sizes.get(name, self.columns.numbers.get(name))
        return float(values[row]) if values is not None else float("nan")

    def leave_out(self, row: int, why: str) -> None:
        if self.good[row]:
            self.good[row] = False
            self.excluded.append(LeftOut(self.columns.path.name, row + 1, why))


def read_tables(paths: Sequence[Path], names: Mapping[str, str]) -> Tables:
    """The runs of some tables, which share the meaning of their headers.

    ``names`` maps to a header a column of ``KNOWN``, or ``capability`` or ``capability/metric`` for a column of scores;
    an empty header means that the column is not to be looked for.

    Raises:
        InputError: a table cannot be read or holds no usable row, no size or no result.
    """
    found = Tables()
    builders: dict[tuple[Any, ...], _Run] = {}
    unused: list[str] = []
    for path in paths:
        rows = _read(path, names)
        if "step" in rows.columns:
            found.runs += _runs_with_curves(rows)
        else:
            _gather(rows, builders)
        found.excluded += sorted(rows.excluded, key=lambda left: left.row)
        found.headers = found.headers or _headers(path, rows)
        unused += [header for header in rows.columns.unused if header not in unused]
    found.runs += [run.done() for run in builders.values()]
    if not found.runs:
        first = found.excluded[0] if found.excluded else None
        why = tr("row {row}: {why}", row=first.row, why=first.why) if first else "-"
        raise InputError(tr("{path} has no row that can be used: {why}", path=paths[0].name, why=why))
    if unused:
        found.warnings.append(tr("Columns not used: {names}.", names=", ".join(unused[:20])))
    if len(found.excluded) > MAX_LISTED:
        found.warnings.append(
            tr("{n:,} rows were left out; the first {m:,} are named.", n=len(found.excluded), m=MAX_LISTED)
        )
        del found.excluded[MAX_LISTED:]
    return found


def guess(path: Path) -> tuple[Header, ...]:
    """The headers of a table with what they would be read as, even where a needed one is missing."""
    headers, cells = peek(path)
    found = match_headers(headers, WANTED, {})
    return _as_headers(headers, cells, {header: name for name, header in found.items()})


def _read(path: Path, names: Mapping[str, str]) -> _Rows:
    headers, _ = peek(path, 1)
    extras = tuple(name for name in names if name not in KNOWN)
    for name in extras:
        near = difflib.get_close_matches(name, KNOWN, n=1, cutoff=0.8)
        if near:
            raise InputError(
                tr("--columns names {name!r}; did you mean {near!r}?", name=name, near=near[0]),
                tr("Give a column of scores the name of its capability, such as hellaswag/acc."),
            )
    wanted = [column for column in WANTED if names.get(column.name) != ""]
    wanted += [Column(name, (), "number") for name in extras]
    names = {name: header for name, header in names.items() if header}
    stepped = "step" in names or any(h.lower() in ("step", "steps", "iteration", "global_step") for h in headers)
    columns = read_columns(path, wanted, names, MAX_STEP_ROWS if stepped else MAX_ROWS)
    _check(columns, extras)
    rows = _Rows(columns, extras, {}, np.ones(columns.n_rows, dtype=np.bool_), [])
    for name in SIZES:
        if name in columns:
            rows.sizes[name] = _numbers(columns, name)
    _check_sizes(rows)
    return rows


def _check(columns: Columns, extras: Sequence[str]) -> None:
    there = ", ".join([*columns.headers.values(), *columns.unused][:20])
    if not any(name in columns for name in ("n_params", "n_params_non_embedding", "run")):
        raise InputError(
            tr("There is no column {name!r} (there are: {headers}).", name="n_params", headers=there),
            tr("Say which it is with --columns {name}={header}.", name="n_params", header="HEADER"),
        )
    if not extras and not any(name in columns for name in ("loss", "value", "bits_per_byte")):
        raise InputError(
            tr("There is no column with a loss or a score (there are: {headers}).", headers=there),
            tr("Say which it is with --columns loss=HEADER, or name a capability: --columns hellaswag/acc=HEADER."),
        )


def _numbers(columns: Columns, name: str) -> NDArray[np.float64]:
    """A column of sizes, ``124M`` or ``1.3e9``, as floats with NaN for empty cells."""
    words = columns.texts[name]
    known: dict[str, float] = {}
    for row, word in enumerate(words.tolist()):
        if word in known:
            continue
        text = (word or "").strip()
        value = float("nan") if text in NULLS else parse_size(text)
        if value is None:
            value = _plain_number(text, columns.headers[name], row)
        known[word] = value
    values: NDArray[np.float64] = np.array([known[word] for word in words.tolist()], dtype=np.float64)
    return values


def _plain_number(text: str, header: str, row: int) -> float:
    try:
        return float(text)  # negative, infinite or too large: a row to leave out, not a table to refuse
    except ValueError:
        raise InputError(
            tr("Row {row}, column {column!r}: {value!r} is not a number.", row=row + 1, column=header, value=text[:40]),
            tr("Write plain numbers, such as 1.3e9."),
        ) from None


def _check_sizes(rows: _Rows) -> None:
    """Leave out rows whose size is zero, negative, infinite or missing; a name may still tell a missing one."""
    n_rows = rows.columns.n_rows
    present = np.zeros(n_rows, dtype=np.bool_)
    for name in ("n_params", "n_params_non_embedding"):
        values = rows.sizes.get(name)
        if values is None:
            continue
        header = rows.columns.headers[name]
        wrong = ~np.isnan(values) & ~((values >= 1) & (values <= 1e18))
        for row in np.flatnonzero(wrong).tolist():
            rows.leave_out(row, tr("{column} is {value:g}, which is no size.", column=header, value=values[row]))
        present |= np.isfinite(values) & ~wrong
    named = rows.columns.texts.get("run")
    if named is not None:
        present |= np.array([bool(str(word).strip()) for word in named.tolist()], dtype=np.bool_)
    for row in np.flatnonzero(~present).tolist():
        rows.leave_out(row, tr("the row has no size."))


# -- tables of final numbers ----------------------------------------------------------------------------------------


@dataclass(eq=False)
class _Run:
    """A run being gathered from rows."""

    first: FoundRun
    scores: dict[tuple[str, str], Measured] = field(default_factory=dict)

    def done(self) -> FoundRun:
        return replace(self.first, scores=tuple(self.scores.values()))


def _gather(rows: _Rows, builders: dict[tuple[Any, ...], _Run]) -> None:
    """Add every usable row to its run. Without a column of seeds, rows that repeat a run are its seeds."""
    seeded = "seed" in rows.columns
    repeats: dict[tuple[Any, ...], int] = {}
    for row in range(rows.columns.n_rows):
        if not rows.good[row]:
            continue
        scores, problem = _scores(rows, row)
        if not scores:
            rows.leave_out(row, problem or tr("the row has no loss and no score."))
            continue
        key = _identity(rows, row)
        if seeded:
            seed = rows.number("seed", row)
            number = int(seed) if np.isfinite(seed) and seed >= 0 else 0
        else:
            asked = (key, rows.text("capability", row), rows.text("metric", row))
            number = repeats[asked] = repeats.get(asked, -1) + 1
            number += seed_in_name(rows.text("run", row))
        run = builders.get((key, number))
        if run is None:
            run = builders[key, number] = _Run(_first(rows, row, number))
        for score in scores:
            before = run.scores.setdefault((score.capability, score.metric), score)
            if before.value != score.value:
                rows.leave_out(
                    row, tr("it gives {metric} of a run again.", metric=f"{score.capability}/{score.metric}")
                )
            elif before.n is None and before.stderr is None:
                run.scores[score.capability, score.metric] = score  # the row of a score knows more than its column


def _identity(rows: _Rows, row: int) -> tuple[Any, ...]:
    numbers = tuple(_whole(rows.number(name, row)) for name in SIZES[:3])
    return (*numbers, rows.text("run", row), rows.text("family", row), rows.text("variant", row))


def _first(rows: _Rows, row: int, seed: int) -> FoundRun:
    """The run that a row is of, without its numbers."""
    name = rows.text("run", row).strip()
    n_params, non_embedding, tokens = (_whole(rows.number(n, row)) for n in SIZES[:3])
    facts: dict[str, Scalar | None] = {"imported": True, "file": rows.columns.path.name}
    if n_params is None and non_embedding is None:
        n_params = size_in_name(name)
        if n_params is not None:
            facts["size_from"] = "name"
    compute = rows.number("compute", row)
    return FoundRun(
        name="" if name.isdecimal() else name,
        n_params=n_params,
        n_params_non_embedding=non_embedding,
        seed=seed,
        family=rows.text("family", row).strip(),
        tokens=tokens,
        compute=compute if np.isfinite(compute) and compute > 0 else None,
        variant=_variant(rows.text("variant", row)),
        facts=facts,
    )


def _variant(text: str) -> dict[str, Scalar]:
    """What our own exports write there, or a word of someone else's."""
    if not text.strip() or text.strip() == "{}":
        return {}
    try:
        told = json.loads(text)
    except ValueError:
        told = None
    if isinstance(told, dict) and all(isinstance(v, str | int | float | bool) for v in told.values()):
        return {str(k): v for k, v in told.items()}
    return {"variant": text.strip()}


def _scores(rows: _Rows, row: int) -> tuple[list[Measured], str]:
    """What a row measures, and what is wrong with it."""
    scores: list[Measured] = []
    problem = ""
    columns = rows.columns
    for name in ("loss", "bits_per_byte"):
        if name in columns:
            value = rows.number(name, row)
            if value > 0 and np.isfinite(value):
                scores.append(Measured(LANGUAGE_MODELLING, name, value))
            elif not np.isnan(value):
                problem = tr(
                    "{column} is {value:g}, and must be above zero.", column=columns.headers[name], value=value
                )
    for name in rows.extras:
        value = rows.number(name, row)
        if np.isfinite(value):
            scores.append(Measured(*split_name(name), value))
    if "value" in columns:
        value = rows.number("value", row)
        capability, metric = measure_name(rows, row)
        loss = (capability, metric) == (LANGUAGE_MODELLING, "loss")
        if np.isfinite(value) and not (loss and value <= 0):
            scores.append(Measured(capability, metric, value, *_precision(rows, row)))
        elif not np.isnan(value):
            problem = tr("{column} is {value:g}.", column=columns.headers["value"], value=value)
    return ([] if problem else scores), problem


def measure_name(rows: _Rows, row: int) -> tuple[str, str]:
    """Capability and metric of a long row; a loss under any of its names is ours."""
    capability, metric = rows.text("capability", row).strip(), rows.text("metric", row).strip()
    header = rows.columns.headers["value"].strip().lower()
    plain = metric.lower().replace(" ", "_")
    if capability.lower() in _LM and plain in _LOSSES:
        return LANGUAGE_MODELLING, "loss"
    if capability.lower() in _LM and plain in ("bits_per_byte", "bpb"):
        return LANGUAGE_MODELLING, "bits_per_byte"
    return capability or "score", metric or (header if header in ("accuracy", "acc") else "score")


def split_name(name: str) -> tuple[str, str]:
    """``hellaswag/acc`` as capability and metric; without a metric it is ``score``."""
    capability, _, metric = name.partition("/")
    return capability, metric or "score"


def _precision(rows: _Rows, row: int) -> tuple[float | None, int | None, float | None]:
    stderr, n, chance = (rows.number(name, row) for name in ("stderr", "n", "chance"))
    return (
        stderr if np.isfinite(stderr) and stderr >= 0 else None,
        int(n) if np.isfinite(n) and n >= 1 else None,
        chance if np.isfinite(chance) else None,
    )


def _whole(value: float) -> int | None:
    return round(value) if np.isfinite(value) and value >= 1 else None


# -- tables with steps ----------------------------------------------------------------------------------------------


def _runs_with_curves(rows: _Rows) -> list[FoundRun]:
    """Rows of equal size, name, family, variant and seed are one run; its columns are curves over ``step``."""
    steps = rows.columns["step"]
    for row in np.flatnonzero(~(np.isfinite(steps) & (steps >= 0) & (steps < 2**62))).tolist():
        rows.leave_out(row, tr("{column} is no step.", column=rows.columns.headers["step"]))
    used = np.flatnonzero(rows.good)
    found = []
    for index in _grouped(_codes(rows)[used]):
        at = used[index]
        seed = rows.number("seed", int(at[0]))
        run = _first(
            rows,
            int(at[0]),
            int(seed) if np.isfinite(seed) and seed >= 0 else seed_in_name(rows.text("run", int(at[0]))),
        )
        series = [*_wide_series(rows, at), *_long_series(rows, at)]
        made = add_curves(run, [(key, steps[where], values) for key, where, values in series])
        if made is None:
            rows.leave_out(int(at[0]), tr("the row has no loss and no score."))
        else:
            found.append(_at_the_end(made, rows, at))
    return found


def _at_the_end(run: FoundRun, rows: _Rows, at: NDArray[np.intp]) -> FoundRun:
    """Tokens and compute count up over training: the last ones are the run's."""
    last: dict[str, float] = {}
    for name in ("tokens", "compute"):
        values = rows.sizes.get(name)
        if values is not None and np.isfinite(values[at]).any():
            last[name] = float(np.nanmax(values[at]))
    tokens = _whole(last.get("tokens", float("nan")))
    return replace(run, tokens=tokens, compute=last.get("compute"))


def _wide_series(rows: _Rows, at: NDArray[np.intp]) -> Iterable[tuple[str, NDArray[np.intp], NDArray[np.float64]]]:
    keys = {"loss": "val/loss", "train_loss": "train/loss", "bits_per_byte": "val/bits_per_byte"}
    for name in ("loss", "train_loss", "bits_per_byte", *rows.extras):
        values = rows.columns.numbers.get(name)
        if values is not None:
            yield keys.get(name) or "/".join(split_name(name)), at, values[at]


def _long_series(rows: _Rows, at: NDArray[np.intp]) -> Iterable[tuple[str, NDArray[np.intp], NDArray[np.float64]]]:
    values = rows.columns.numbers.get("value")
    if values is None:
        return
    names: dict[tuple[str, str], list[int]] = {}
    for row in at.tolist():
        names.setdefault((rows.text("capability", row), rows.text("metric", row)), []).append(row)
    for where in names.values():
        capability, metric = measure_name(rows, where[0])
        key = f"val/{metric}" if capability == LANGUAGE_MODELLING else f"{capability}/{metric}"
        chosen = np.array(where, dtype=np.intp)
        yield key, chosen, values[chosen]


def _codes(rows: _Rows) -> NDArray[np.int64]:
    """A number for each run, (n_rows,)."""
    codes = np.zeros(rows.columns.n_rows, dtype=np.int64)
    parts: list[NDArray[Any]] = [rows.sizes[n] for n in SIZES[:2] if n in rows.sizes]
    parts += [rows.columns.texts[n].astype(str) for n in ("run", "family", "variant") if n in rows.columns]
    parts += [rows.columns["seed"]] if "seed" in rows.columns else []
    for part in parts:
        inverse = np.unique(part, return_inverse=True)[1].astype(np.int64)
        codes = np.unique(codes * (int(inverse.max()) + 1) + inverse, return_inverse=True)[1].astype(np.int64)
    return codes


def _grouped(codes: NDArray[np.int64]) -> list[NDArray[np.intp]]:
    order = np.argsort(codes, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(codes[order])) + 1) if len(codes) else []


def _headers(path: Path, rows: _Rows) -> tuple[Header, ...]:
    return _as_headers(*peek(path), {header: name for name, header in rows.columns.headers.items()})


def _as_headers(
    headers: Sequence[str], cells: Sequence[Sequence[str]], read_as: Mapping[str, str]
) -> tuple[Header, ...]:
    return tuple(Header(h, read_as.get(h, ""), tuple(row[i] for row in cells)) for i, h in enumerate(headers))
