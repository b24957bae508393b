"""The law of a study as the figures need it: its line, its band and its words, under either count of parameters."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from engine.errors import InputError
from engine.figures.model import Floats
from engine.figures.ticks import format_parameter
from engine.figures.words import size_of
from engine.store import Reader, RunRow
from engine.study_laws import law_in_words

Document = dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Law:
    """A fitted law. ``x``, ``value``, ``lo`` and ``hi`` are (n,) and sorted by x; the last two are None where the
    document has no interval for the curve."""

    document: Document
    x: Floats
    value: Floats
    lo: Floats | None
    hi: Floats | None

    @property
    def largest(self) -> float:
        """The largest size that was fitted; beyond it the law is extrapolated."""
        ends = self.document.get("range")
        return float(ends[1]) if ends else float(self.x[-1])

    @property
    def heldout(self) -> Document | None:
        """The size left out, what was predicted for it and what came."""
        found: Document | None = self.document.get("heldout")
        return found

    @property
    def heldout_size(self) -> float | None:
        """Its number of parameters."""
        size = (self.heldout or {}).get(self.variable)
        return None if size is None else float(size)

    @property
    def variable(self) -> str:
        """The key under which the document keeps sizes."""
        return str(self.document.get("variable", "n_params"))

    @property
    def equation(self) -> str:
        """The law in one line of text."""
        p = {name: format_parameter(self.document["params"][name]) for name in ("E", "A", "alpha")}
        return f"L = {p['E']} + {p['A']} / N^{p['alpha']}"

    def at(self, sizes: Floats) -> Floats:
        """The law's loss at sizes (n,)."""
        return evaluate(self.document["params"], sizes)


def evaluate(params: Document, sizes: Floats) -> Floats:
    """E + A / N^alpha at sizes (n,)."""
    values: Floats = params["E"] + params["A"] * np.asarray(sizes, dtype=np.float64) ** -params["alpha"]
    return values


def law_of(reader: Reader, study_id: str, runs: Sequence[RunRow], convention: str) -> Law | None:
    """The stored law, or None. Under the other count of parameters the same fit is made again from the same runs."""
    document = law_in_words(reader, study_id)
    if document is None or document.get("params", {}).keys() != {"E", "A", "alpha"}:
        return None
    if document.get("convention", "non-embedding") != convention:
        points = tuple(
            (size_of(r, convention), r.val_loss, r.seed) for r in runs if r.val_loss is not None and not r.variant
        )
        document = _refitted(points, document.get("heldout") is not None)
    return None if document is None else _law(document)


@lru_cache(maxsize=16)
def _refitted(points: tuple[tuple[int, float, int], ...], holdout: bool) -> Document | None:
    from engine.analysis.laws import fit_ladder

    try:
        fit = fit_ladder([p[0] for p in points], [p[1] for p in points], [p[2] for p in points], holdout)
    except InputError:
        return None  # fewer than two sizes: there is no law to draw
    document: Document = fit.to_document()
    return document


def _law(document: Document) -> Law:
    variable = document.get("variable", "n_params")
    rows = document.get("curve")
    if rows:
        x, value, lo, hi = (
            np.array([row[k] for row in rows], dtype=np.float64) for k in (variable, "value", "lo", "hi")
        )
        return Law(document, x, value, lo, hi)
    first, last = document.get("range", (1e3, 1e6))
    x = np.geomspace(first, 3 * last, 61)
    return Law(document, x, evaluate(document["params"], x), None, None)
