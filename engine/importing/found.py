"""What was found in files, whatever their format, and how sizes are written in them."""

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from engine.errors import InputError
from engine.figures.ticks import format_count
from engine.i18n import tr
from engine.study import ImportedFile, Scalar

Format = Literal["table", "lm-eval", "tensorboard"]
LANGUAGE_MODELLING = "language-modelling"
MAX_RUNS = 2_000
"""Runs of one import: the window lists them all."""
MAX_POINTS = 2_000_000
"""Points of all curves together; written in some seconds."""
MAX_BUDGETS = 8
"""Amounts of training data told apart in the figures; more are told by the half decade."""
_LARGEST = 10**18
_UNITS = {"": 1.0, "K": 1e3, "M": 1e6, "B": 1e9, "G": 1e9, "T": 1e12}
_SIZE = re.compile(r"(\d[\d.,_ ]*(?:[eE][+-]?\d+)?)\s*([kKmMbBgGtT]?)")
_SIZE_IN_NAME = re.compile(r"(?<![A-Za-z0-9.])(\d+(?:\.\d+)?)([kKmMbB])(?![A-Za-z0-9])")
_SEED_IN_NAME = re.compile(r"seed[-_ =]?(\d{1,6})(?!\d)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Measured:
    """One final number of a run; ``stderr`` is of the mean over ``n`` items."""

    capability: str
    metric: str
    value: float
    stderr: float | None = None
    n: int | None = None
    chance: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """A metric over training: ``steps`` int64 (n,), strictly ascending, ``values`` float64 (n,)."""

    key: str
    steps: NDArray[np.int64]
    values: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class FoundRun:
    """A run as it was found. Where both sizes are None its size is still to be said."""

    name: str
    """What it is called in the file; empty where it has no name."""
    n_params: int | None = None
    n_params_non_embedding: int | None = None
    seed: int = 0
    family: str = ""
    tokens: int | None = None
    compute: float | None = None
    variant: Mapping[str, Scalar] = field(default_factory=dict)
    scores: tuple[Measured, ...] = ()
    curves: tuple[Curve, ...] = ()
    facts: Mapping[str, Scalar | None] = field(default_factory=dict)

    @property
    def has_size(self) -> bool:
        return self.n_params is not None or self.n_params_non_embedding is not None

    @property
    def loss(self) -> float | None:
        """The final validation loss, which the law is fitted to."""
        wanted = (LANGUAGE_MODELLING, "loss")
        return next((s.value for s in self.scores if (s.capability, s.metric) == wanted), None)


@dataclass(frozen=True, slots=True)
class Header:
    """A column of a table or a tag of TensorBoard: what it was read as (empty: not used) and its first values."""

    name: str
    read_as: str
    examples: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A row that could not be used. ``row`` counts from 1, below the header."""

    file: str
    row: int
    why: str


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Everything that was found in some files of one format."""

    format: Format
    files: tuple[ImportedFile, ...]
    runs: tuple[FoundRun, ...]
    digest: str
    headers: tuple[Header, ...] = ()
    excluded: tuple[LeftOut, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def without_size(self) -> tuple[str, ...]:
        """Names of the runs whose size is in no file and in no name."""
        return tuple(dict.fromkeys(run.name for run in self.runs if not run.has_size))

    @property
    def measured(self) -> tuple[tuple[str, str], ...]:
        """(capability, metric) of all final numbers, most often measured first."""
        counts: dict[tuple[str, str], int] = {}
        for run in self.runs:
            for score in run.scores:
                key = (score.capability, score.metric)
                counts[key] = counts.get(key, 0) + 1
        return tuple(sorted(counts, key=lambda key: -counts[key]))


def parse_size(text: str) -> float | None:
    """``124M``, ``1.4b``, ``1e9`` or ``124,439,808`` as a number; None for anything else."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        return None
    digits, unit = match.groups()
    plain = re.sub(r"[_ ]|,(?=\d{3}(\D|$))", "", digits.strip())
    try:
        value = float(plain) * _UNITS[unit.upper()]
    except ValueError:
        return None
    return value if value <= _LARGEST else None


def size_in_name(name: str) -> int | None:
    """The one size that a name tells (``gpt-124M``, ``EleutherAI/pythia-1.4b-deduped``), the last part of it first."""
    for part in reversed(re.split(r"[/\\]", name)):
        found = _SIZE_IN_NAME.findall(part)
        if len(found) == 1:
            return round(float(found[0][0]) * _UNITS[found[0][1].upper()])
        if found:
            return None
    return None


def seed_in_name(name: str) -> int:
    """The seed that a name tells (``pythia-160m-seed3``), else 0."""
    found = _SEED_IN_NAME.search(name)
    return int(found[1]) if found else 0


def describe_file(path: Path, name: str = "") -> ImportedFile:
    """A file by name, content and length; raises ``InputError`` where it cannot be read."""
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return ImportedFile(name=name or path.name, sha256=digest, n_bytes=path.stat().st_size)
    except OSError as error:
        raise unreadable(path, error) from None


def unreadable(path: Path, error: OSError) -> InputError:
    """The sentence for a file that the system does not give."""
    why = tr("no such file") if isinstance(error, FileNotFoundError) else (error.strerror or str(error))
    return InputError(tr("{path} cannot be read: {why}.", path=str(path), why=why))


def digest_of(files: Iterable[ImportedFile], columns: Mapping[str, str], sizes: Mapping[str, int]) -> str:
    """SHA-256 of contents and of how they were read, so that the same import is known again."""
    told: list[Any] = [sorted({file.sha256 for file in files}), sorted(columns.items()), sorted(sizes.items())]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def with_sizes(runs: Sequence[FoundRun], sizes: Mapping[str, int]) -> tuple[FoundRun, ...]:
    """Runs with the sizes that the user said; ``""`` stands for every run without one.

    Raises ``InputError`` for a name that no run has.
    """
    names = {run.name for run in runs}
    for name in sizes:
        if name and name not in names:
            raise InputError(
                tr("there is no run {name!r} to give a size to (there are: {known}).", name=name, known=_some(names))
            )

    def told(run: FoundRun) -> FoundRun:
        size = sizes.get(run.name) if run.name in sizes else (None if run.has_size else sizes.get(""))
        return run if size is None else replace(run, n_params=size, n_params_non_embedding=None)

    return tuple(told(run) for run in runs)


def as_ladder(runs: Sequence[FoundRun]) -> tuple[tuple[FoundRun, ...], list[str]]:
    """Runs, smallest first, with what else differs between them told as variants, and what is to be said of it."""
    runs = sorted(runs, key=lambda run: (run.n_params_non_embedding or run.n_params or 0, run.name, run.seed))
    warnings = []
    families = {run.family for run in runs}
    if len(families) > 1:
        runs = [replace(run, variant={**run.variant, "model.family": run.family or "imported"}) for run in runs]
        warnings.append(
            tr("There are {n} families; they are drawn apart, and no one law is fitted to them.", n=len(families))
        )
    runs, budgets = _tell_budgets(runs)
    if budgets > 1:
        warnings.append(tr("Models of one size were trained on different numbers of tokens: L(N, D) is fitted."))
    if len(runs) > MAX_RUNS:
        raise InputError(
            tr("there are {n:,} runs, and at most {most:,} can be imported at once.", n=len(runs), most=MAX_RUNS),
            tr("Keep one row per model, or give the steps of a run in a column step."),
        )
    return tuple(runs), warnings


def _tell_budgets(runs: list[FoundRun]) -> tuple[list[FoundRun], int]:
    """With several token budgets for one size the budget becomes a variant, as in a study of ours."""
    by_size: dict[tuple[object, ...], set[int]] = {}
    for run in runs:
        key = (run.n_params_non_embedding, run.n_params, run.seed, tuple(sorted(run.variant.items())))
        if run.tokens:
            by_size.setdefault(key, set()).add(run.tokens)
    most = max((len(tokens) for tokens in by_size.values()), default=1)
    if most < 2:
        return runs, most
    apart = len({run.tokens for run in runs}) <= MAX_BUDGETS

    def told(run: FoundRun) -> FoundRun:
        budget: Scalar = (run.tokens or 0) if apart else _half_decade(run.tokens)
        return replace(run, variant={**run.variant, "training.tokens": budget})

    return [told(run) for run in runs], most


def _half_decade(tokens: int | None) -> str:
    """Where there is a budget to each run: the half decade it lies in, so that a figure has a few groups."""
    if not tokens:
        return "?"
    low = math.floor(2 * math.log10(tokens))
    return f"{format_count(10 ** (low / 2))} to {format_count(10 ** ((low + 1) / 2))}"


def size_warnings(runs: Sequence[FoundRun]) -> list[str]:
    """What must be said of how parameters were counted."""
    warnings = []
    if any(run.facts.get("size_from") == "name" for run in runs):
        warnings.append(tr("Sizes are taken from names, which are rounded; give exact ones where you have them."))
    if any(run.n_params is not None and run.n_params_non_embedding is None for run in runs):
        warnings.append(tr("Parameters without embeddings are not given: all parameters stand for them."))
    return warnings


def _some(names: Iterable[str]) -> str:
    listed = sorted(name for name in names if name)
    return ", ".join(listed[:8]) + (", …" if len(listed) > 8 else "") or "-"
