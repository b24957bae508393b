"""Synthetic curves of known kind, with binomial noise and seeds: what the verdict is measured against.

Kinds, and what is the right word for each:

smooth   a logistic in log size whose 10-90% rise is at least two spacings of the grid wide -> ``smooth``
metric   the error per token falls as a power law and exact match of k tokens starts at its floor -> ``metric``
break    two plateaus with the rise in one gap (or half a spacing wide), two sizes or more on each side; in a part of
         the cases the sizes next to it have seeds on both plateaus -> ``break``; ``insufficient`` with one seed
noise    no change with size -> ``insufficient``

Between one and two spacings a rise is neither: such curves are borderline and not drawn here.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

KINDS = ("smooth", "metric", "break", "noise")


@dataclass
class Case:
    """One table of results as anyone would bring it."""

    kind: str
    expected: str
    size: list[float] = field(default_factory=list)
    score: list[float] = field(default_factory=list)
    seed: list[float] = field(default_factory=list)
    n: list[float] = field(default_factory=list)
    metric: list[str] = field(default_factory=list)
    truth: dict[str, float] = field(default_factory=dict)

    def add(self, metric: str, sizes: np.ndarray, scores: np.ndarray, n: int) -> None:
        """Scores (I, S) of one metric."""
        for i, size in enumerate(sizes):
            for seed, score in enumerate(scores[i]):
                self.size.append(float(size))
                self.score.append(float(score))
                self.seed.append(float(seed))
                self.n.append(float(n))
                self.metric.append(metric)

    def columns(self) -> dict[str, list]:
        """The columns as keyword arguments of ``judge``."""
        return {"size": self.size, "score": self.score, "seed": self.seed, "n": self.n, "metric": self.metric}


def cases(number: int, rng_seed: int) -> Iterator[Case]:
    """``number`` cases, the kinds in turn; the same seed gives the same cases."""
    rng = np.random.default_rng(rng_seed)
    for index in range(number):
        yield draw(KINDS[index % len(KINDS)], rng)


def draw(kind: str, rng: np.random.Generator) -> Case:
    """One case of a kind, with its grid, noise, chance level and ceiling drawn at random."""
    x = _grid(rng)
    n_seeds = int(rng.choice([1, 2, 3, 5, 8], p=[0.15, 0.2, 0.3, 0.25, 0.1]))
    n = int(rng.choice([100, 200, 500, 1000, 2000]))
    spread = float(rng.choice([0.0, rng.uniform(0.0, 0.3)]))
    shock = rng.normal(0, spread, (len(x), n_seeds))
    makers = {"smooth": _smooth, "metric": _metric, "break": _break, "noise": _noise}
    return makers[kind](rng, x, n, shock)


def _grid(rng: np.random.Generator) -> np.ndarray:
    """6 to 12 log sizes over 1.5 to 4 decades, evenly spaced or not quite."""
    n_sizes = int(rng.integers(6, 13))
    spacing = rng.uniform(1.5, 4.0) / (n_sizes - 1)
    jitter = rng.choice([0.0, 0.15]) * spacing
    return rng.uniform(3, 6) + spacing * np.arange(n_sizes) + rng.uniform(-jitter, jitter, n_sizes)


def _measured(rng: np.random.Generator, level: np.ndarray, shock: np.ndarray, n: int) -> np.ndarray:
    """Proportions (I, S) of n items around levels (I,) or (I, S), with the seeds' shocks in logits."""
    level = np.clip(level if level.ndim == 2 else level[:, None], 1e-9, 1 - 1e-9)
    p = 1 / (1 + np.exp(-(np.log(level / (1 - level)) + shock)))
    return rng.binomial(n, np.broadcast_to(p, shock.shape)) / n


def _levels(rng: np.random.Generator) -> tuple[float, float]:
    chance = float(rng.choice([0.0, 0.1, 0.25, 0.5, rng.uniform(0, 0.5)]))
    return chance, float(rng.uniform(0.85, 1.0))


def _smooth(rng: np.random.Generator, x: np.ndarray, n: int, shock: np.ndarray) -> Case:
    case = Case("smooth", "smooth")
    low, high = _levels(rng)
    span, gap = x[-1] - x[0], np.diff(x).max()
    width = float(np.exp(rng.uniform(np.log(2 * gap), np.log(1.5 * span))))
    middle = x[0] + span * rng.uniform(0.25, 0.75)
    level = low + (high - low) / (1 + np.exp(-2 * np.log(9) * (x - middle) / width))
    case.truth = {"middle": middle, "width": width, "gap": gap}
    if rng.random() < 0.5:
        case.add("accuracy", 10**x, _measured(rng, level, shock, n), n)
    else:
        case.add("exact_match", 10**x, _measured(rng, level, shock, n), n)
        case.add("token_accuracy", 10**x, _measured(rng, level, shock, n), n)
    return case


def _metric(rng: np.random.Generator, x: np.ndarray, n: int, shock: np.ndarray) -> Case:
    case = Case("metric", "metric")
    k = int(rng.integers(4, 25))
    first, last = rng.uniform(0.25, 0.95) * 0.03 ** (1 / k), rng.uniform(0.5, 0.95) ** (1 / k)
    rate = np.log((1 - first) / (1 - last)) / (x[-1] - x[0])
    p = 1 - (1 - first) * np.exp(-rate * (x - x[0]))
    seeds = 1 / (1 + np.exp(-(np.log(p / (1 - p))[:, None] + shock)))
    zero = np.zeros_like(shock)
    case.add("exact_match", 10**x, _measured(rng, seeds**k, zero, n), n)
    case.add("token_accuracy", 10**x, rng.binomial(n * k, seeds) / (n * k), n)
    case.truth = {"k": k}
    return case


def _break(rng: np.random.Generator, x: np.ndarray, n: int, shock: np.ndarray) -> Case:
    n_seeds = shock.shape[1]
    case = Case("break", "break" if n_seeds > 1 else "insufficient")
    gap_index = int(rng.integers(1, len(x) - 2))
    gap = x[gap_index + 1] - x[gap_index]
    critical = float(rng.uniform(x[gap_index], x[gap_index + 1]))
    case.truth = {"critical": critical, "mixed": 0.0}
    learned = np.repeat((x > critical).astype(float)[:, None], n_seeds, axis=1)
    style = rng.random()
    if style < 0.25 and n_seeds >= 3:
        chance = 1 / (1 + np.exp(-(x - critical) / (0.5 * gap)))
        learned = (rng.random(shock.shape) < chance[:, None]).astype(float)
        case.truth["mixed"] = 1.0
    elif style < 0.5:
        learned = np.repeat(1 / (1 + np.exp(-2 * np.log(9) * (x - critical) / (0.5 * gap)))[:, None], n_seeds, axis=1)
    low, high = _levels(rng)
    if rng.random() < 0.5:
        case.add("accuracy", 10**x, _measured(rng, low + (high - low) * learned, shock, n), n)
        return case
    k = int(rng.integers(2, 11))
    first, last = rng.uniform(0.2, 0.6), rng.uniform(0.6, 0.98) ** (1 / k)
    p = first + (last - first) * learned
    seeds = 1 / (1 + np.exp(-(np.log(p / (1 - p)) + shock)))
    case.add("exact_match", 10**x, _measured(rng, seeds**k, np.zeros_like(shock), n), n)
    case.add("token_accuracy", 10**x, rng.binomial(n * k, seeds) / (n * k), n)
    return case


def _noise(rng: np.random.Generator, x: np.ndarray, n: int, shock: np.ndarray) -> Case:
    case = Case("noise", "insufficient")
    low, _ = _levels(rng)
    level = np.full(len(x), max(low, float(rng.choice([0.0, 0.01]))))
    case.add("exact_match", 10**x, _measured(rng, level, shock, n), n)
    if rng.random() < 0.5:
        case.add("token_accuracy", 10**x, _measured(rng, np.full(len(x), rng.uniform(0.1, 0.5)), shock, n), n)
    return case
