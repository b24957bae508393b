"""What a form of law is, the points it is fitted to, and the registry: adding a form is adding a file to ``forms``."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import numpy as np

from engine.analysis.arrays import Bools, Floats, Ints
from engine.analysis.columns import Column, Columns
from engine.analysis.laws.result import Estimate
from engine.errors import InputError
from engine.i18n import mark, tr
from engine.registry import Registry

MAX_POINTS = 100_000
"""A law is fitted to runs; beyond this many points a file is a log of steps and its points are not independent."""
FLOPS_PER_PARAMETER_AND_TOKEN = 6.0
"""C = 6 N D: forward and backward of the matrix products (Kaplan 2020)."""

N_PARAMS = Column(
    "n_params", ("params", "parameters", "num_params", "model_size", "size", "N", "n_params_non_embedding")
)
TOKENS = Column(
    "tokens",
    ("n_tokens", "num_tokens", "train_tokens", "training_tokens", "training_data", "tokens_seen", "D"),
)
COMPUTE = Column("compute_flops", ("compute", "flops", "training_flop", "training_flops", "C"))
LOSS = Column("loss", ("val_loss", "validation_loss", "eval_loss", "test_loss", "final_loss", "L"))
SEED = Column("seed", ("run_seed",), "text", required=False)
LEARNING_RATE = Column("lr", ("learning_rate", "peak_lr", "max_lr"), "text", required=False)
CONVERGED = Column("converged", ("decayed", "finished"), "text", required=False)
NON_EMBEDDING = Column("n_params_non_embedding", ("non_embedding_params", "n_non_embedding"), required=False)
ALWAYS = (SEED, LEARNING_RATE, CONVERGED)
"""Columns every form reads where they are there: for its warnings."""


def optional(column: Column) -> Column:
    """The same column where it is not required."""
    return replace(column, required=False)


@dataclass(frozen=True, eq=False)
class Points:
    """Points that can be fitted. ``values`` are (n,) positive numbers by column, ``rows`` (n,) where they were."""

    values: dict[str, Floats]
    rows: Ints
    texts: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)

    def __contains__(self, name: object) -> bool:
        return name in self.values

    def __getitem__(self, name: str) -> Floats:
        return self.values[name]

    def where(self, mask: Bools) -> "Points":
        """The points where ``mask`` (n,) holds."""
        return replace(
            self,
            values={name: values[mask] for name, values in self.values.items()},
            rows=self.rows[mask],
            texts={name: values[mask] for name, values in self.texts.items()},
        )

    def with_column(self, name: str, values: Floats) -> "Points":
        """The same points with one more column."""
        return replace(self, values={**self.values, name: values})


@dataclass(frozen=True)
class FitOptions:
    """How to fit. ``resample`` is ``pairs``, ``noise``, or ``auto``: pairs from twenty points a parameter."""

    n_bootstrap: int = 4000
    level: float = 0.9
    seed: int = 0
    resample: Literal["auto", "pairs", "noise"] = "auto"
    holdout: bool = True
    chance: float | None = None
    """The score of guessing, where a form has one and it is known."""


class Form(ABC):
    """One form of law. Subclasses say what they read, what they estimate, and fit it."""

    name: ClassVar[str]
    title: ClassVar[str]
    equation: ClassVar[str]
    reference: ClassVar[str]
    columns: ClassVar[tuple[Column, ...]]
    parameters: ClassVar[Mapping[str, str]]
    """What each parameter means."""

    @property
    def wanted(self) -> tuple[Column, ...]:
        """Every column to look for in a file."""
        return (*self.columns, *(c for c in ALWAYS if c.name not in {d.name for d in self.columns}))

    positive: ClassVar[tuple[str, ...]]
    """Columns whose values must be above zero."""
    finite: ClassVar[tuple[str, ...]] = ()
    """Columns that must be numbers."""

    @property
    def target(self) -> str:
        """The column that is predicted."""
        return "loss"

    @abstractmethod
    def fit(self, points: Points, options: FitOptions) -> Estimate:
        """Fit; raises ``InputError`` where the points cannot give this law."""

    def prepare(self, points: Points) -> Points:
        """Columns that follow from others."""
        return points

    def optimum(self, fit: Estimate, compute: Sequence[float] | Floats) -> dict[str, Any] | None:
        """The optimal split of each of ``compute`` FLOPs, where the form has one."""
        return None


forms: Registry[Form] = Registry(mark("form"), "engine.analysis.laws.forms", Form)
"""Every form by name."""


def points_of(form: Form, table: Columns) -> tuple[Points, list[dict[str, Any]]]:
    """The rows of a table that ``form`` can use, and those it cannot with the reason.

    Raises ``InputError`` where more than half cannot be used: then a column is not what it seems.
    """
    good, excluded = table.usable(positive=form.positive, finite=form.finite)
    if not good.sum() * 2 >= table.n_rows:
        first = excluded[0]
        raise InputError(
            tr(
                "{n} of {total} rows cannot be used; row {row}: {why}",
                n=int((~good).sum()),
                total=table.n_rows,
                row=first["row"],
                why=first["why"],
            ),
            tr("A law is fitted on logarithms: sizes and losses must be above zero."),
        )
    rows = np.flatnonzero(good).astype(np.int64)
    points = Points(
        values={name: values[good] for name, values in table.numbers.items()},
        rows=rows + 1,
        texts={name: values[good] for name, values in table.texts.items()},
        headers=table.headers,
    )
    return form.prepare(points), excluded


def with_tokens(points: Points, form: str) -> Points:
    """Tokens from compute, or compute from tokens, by C = 6 N D; ``InputError`` where neither is there."""
    if "tokens" in points and "compute_flops" not in points:
        return points.with_column(
            "compute_flops", FLOPS_PER_PARAMETER_AND_TOKEN * points["n_params"] * points["tokens"]
        )
    if "tokens" in points:
        return points
    if "compute_flops" in points:
        tokens = points["compute_flops"] / (FLOPS_PER_PARAMETER_AND_TOKEN * points["n_params"])
        return points.with_column("tokens", tokens)
    raise InputError(
        tr("{form} needs a column of tokens, or of compute to take them from.", form=form),
        tr("Say which it is with --columns tokens=HEADER."),
    )


def distinct(points: Points, name: str, at_least: int, form: str) -> None:
    """``InputError`` unless the column has ``at_least`` different values."""
    found = len(np.unique(points[name]))
    if found < at_least:
        raise InputError(
            tr(
                "{form} needs {n} different values of {column} or more; there are {found}.",
                form=form,
                n=at_least,
                column=points.headers.get(name, name),
                found=found,
            ),
            tr("Add runs of other sizes."),
        )


def enough(points: Points, at_least: int, form: str, names: Sequence[str]) -> None:
    """``InputError`` unless there are ``at_least`` different settings of the columns ``names``."""
    found = len(settings(points, names)[0])
    if found < at_least:
        raise InputError(
            tr("{form} needs {n} different points or more; there are {found}.", form=form, n=at_least, found=found),
            tr("Add runs, or fit a form with fewer parameters."),
        )


def settings(points: Points, names: Sequence[str]) -> tuple[Floats, Ints]:
    """(m, K) the different settings of the columns ``names`` and (n,) which one each point has."""
    table = np.stack([points[name] for name in names], axis=1)
    found, group = np.unique(table, axis=0, return_inverse=True)
    return found, group.reshape(-1).astype(np.int64)
