"""Documentation strings of installed packages, each with the package it is of: a labelled table on every machine."""

import ast
import hashlib
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import islice
from pathlib import Path

import numpy as np

from engine.errors import InputError
from engine.i18n import tr
from engine.sources import _minhash
from engine.sources.python_text import File, candidates, package

PACKAGES = ("networkx", "numpy", "python", "scipy", "sklearn", "sympy", "torch", "transformers")
"""The classes: what the lab itself or torch needs, so that they are there wherever the lab is. Sorted."""
SHORTEST = 60
"""Characters below which a documentation string says too little."""
LONGEST = 4_000
_LARGEST_FILE = 200_000
_PER_FILE = 8
"""Strings taken of one file at most: neighbours resemble each other."""
_SPARE = 2.0
"""How many more are read than wanted, for the near-duplicates among them."""


def docstrings(n_each: int) -> list[tuple[str, str, str]]:
    """(where, text, package), ``n_each`` of each package, without near-duplicates; the package's own name is hidden.

    The same on every machine with the same versions installed. Raises ``InputError`` where there are too few.
    """
    return list(_docstrings(n_each))


@lru_cache(maxsize=2)
def _docstrings(n_each: int) -> tuple[tuple[str, str, str], ...]:
    found = _different(list(_read(int(n_each * _SPARE) + 1)))
    by_package: dict[str, list[tuple[str, str, str]]] = {name: [] for name in PACKAGES}
    for row in found:
        by_package[row[2]].append(row)
    few = min(PACKAGES, key=lambda name: len(by_package[name]))
    if len(by_package[few]) < n_each:
        raise InputError(
            tr(
                "the installed package {package} has only {n} documentation strings, and data.rows asks for {wanted}.",
                package=few,
                n=len(by_package[few]),
                wanted=n_each,
            ),
            tr("Set data.rows lower, or give a table of your own with data.path."),
        )
    return tuple(row for name in PACKAGES for row in by_package[name][:n_each])


def first(n: int) -> list[tuple[str, str, str]]:
    """The first few of those that are read, for a look at them."""
    return list(islice(_read(n), n))


def _read(n_each: int) -> Iterator[tuple[str, str, str]]:
    taken: Counter[str] = Counter()
    for file in candidates():
        name = package(file.name)
        if name not in PACKAGES or taken[name] >= n_each or file.size > _LARGEST_FILE:
            continue
        strings = islice(_of_file(file), min(_PER_FILE, n_each - taken[name]))
        for where, text in strings:
            taken[name] += 1
            yield where, _hidden(text, name), name
        if len(taken) == len(PACKAGES) and min(taken.values()) >= n_each:
            return


def _of_file(file: File) -> Iterator[tuple[str, str]]:
    """(where, text) in an order that a hash of the text sets."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes that are no escapes in old sources
            tree = ast.parse(Path(file.path).read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module):
            text = (ast.get_docstring(node) or "").encode("utf-8", "replace").decode()  # of unpaired surrogates
            if len(text) >= SHORTEST:
                found.append((f"{file.name}: {getattr(node, 'name', '')}".rstrip(": "), text[:LONGEST]))
    yield from sorted(found, key=lambda pair: hashlib.sha256(pair[1].encode()).digest())


def _hidden(text: str, name: str) -> str:
    """Without the package's own name, which would give the answer away."""
    short = {
        "numpy": "numpy|np",
        "sklearn": "sklearn|scikit-learn",
        "networkx": "networkx|nx",
        "torch": "pytorch|torch",
    }
    return re.sub(rf"\b(?:{short.get(name, name)})\b", "_", text, flags=re.IGNORECASE)


def _different(rows: Sequence[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """One of each group of near-duplicates."""
    signatures = np.stack([_minhash.signature(text.encode()) for _, text, _ in rows])
    labels = _minhash.groups(len(rows), _minhash.near_pairs(signatures))
    _, kept = np.unique(labels, return_index=True)
    return [rows[i] for i in sorted(kept)]


def files() -> list[tuple[str, File]]:
    """(name, file) of all that may be read."""
    return [(file.name, file) for file in candidates() if package(file.name) in PACKAGES]
