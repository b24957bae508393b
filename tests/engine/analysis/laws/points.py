"""Synthetic point sets with a known law, for the tests of the laws."""

import numpy as np
from numpy.typing import NDArray

from engine.analysis.laws.base import Points

E, A, B, ALPHA, BETA = 1.817218, 477.83, 2143.42, 0.347310, 0.367172
"""The law of Hoffmann's points as replicated by Besiroglu 2024."""
TRUTH = {"E": E, "A": A, "B": B, "alpha": ALPHA, "beta": BETA}
OPTIMAL_A = BETA / (ALPHA + BETA)

Array = NDArray[np.float64]


def loss(n_params: Array, tokens: Array) -> Array:
    """The noise-free loss."""
    found: Array = E + A / n_params**ALPHA + B / tokens**BETA
    return found


def points(noise: Array | None = None, **columns: Array) -> Points:
    """Points with the loss of the law, times exp(noise)."""
    if "loss" not in columns:
        columns["loss"] = loss(columns["n_params"], columns["tokens"])
    if noise is not None:
        columns["loss"] = columns["loss"] * np.exp(noise)
    n = len(columns["loss"])
    return Points(columns, np.arange(1, n + 1), headers={name: name for name in columns})


def cloud(rng: np.random.Generator, n: int) -> tuple[Array, Array]:
    """Sizes and tokens as in the published set: nine budgets of compute, many sizes, sensible tokens per parameter."""
    compute = np.resize(np.geomspace(6e18, 3e21, 9), n)
    n_params = np.empty(n)
    todo = np.ones(n, dtype=bool)
    while todo.any():
        n_params[todo] = np.exp(rng.uniform(np.log(5e7), np.log(1.2e10), int(todo.sum())))
        ratio = compute / 6 / n_params**2
        todo = (ratio < 0.3) | (ratio > 2000)
    return n_params, compute / 6 / n_params
