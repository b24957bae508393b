"""Linear functions to be inferred from examples in the prompt (Garg 2022): learning that happens in the context."""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.families.base import DataShape
from engine.i18n import mark, tr
from engine.sources import sources
from engine.sources._procedural import HELD_OUT_SALT, TRAIN_SALT
from engine.sources.base import Batch, OnProgress, QualityReport, Source
from engine.study import TableSpec

Kind = Literal["validation", "scaled", "skewed"]
_KINDS: tuple[Kind, ...] = ("validation", "scaled", "skewed")
Floats = NDArray[np.float64]


class LinearRegressionSpec(TableSpec, frozen=True, kw_only=True):
    """How many numbers an input has, how many examples a prompt, and how noisy they are."""

    dimensions: Annotated[
        int,
        msgspec.Meta(
            title=mark("Dimensions"), description=mark("Numbers of one input; so many examples settle it."), ge=1, le=64
        ),
    ] = 4
    pairs: Annotated[
        int,
        msgspec.Meta(title=mark("Pairs"), description=mark("Inputs with their outputs in one prompt."), ge=2, le=256),
    ] = 13
    noise: Annotated[
        float,
        msgspec.Meta(
            title=mark("Noise"),
            description=mark("Standard deviation of what is added to every output, whose own is 1."),
            ge=0,
            le=10,
        ),
    ] = 0.0
    scale: Annotated[
        float,
        msgspec.Meta(
            title=mark("Scale out of distribution"),
            description=mark("Inputs of the scaled prompts are this many times as large as in training."),
            gt=0,
            le=100,
        ),
    ] = 2.0


class Prompts:
    """Prompts of one split. Inputs are x (n, pairs, dimensions), outputs y (n, pairs)."""

    def __init__(self, x: Floats, y: Floats, unit: float) -> None:
        self.x, self.y = x, y
        self.unit = unit
        """Variance of an output without noise: what errors are told in."""


class LinearPrompts:
    """Implements ``Prepared``. y = w x / sqrt(dimensions) + noise, w and x standard normal, w anew for each prompt.

    A model reads x1 y1 x2 y2 … xP, one vector each: an input followed by 0, an output after as many 0. It predicts at
    every input the output that follows. Prompts are drawn from continuous distributions by generators of their own for
    each split, so that none is in two.

    Out of distribution: ``scaled`` inputs are ``scale`` times as large; ``skewed`` ones lie mostly along one random
    direction, their variances falling as 1 / i^2 with an unchanged sum (Garg 2022).
    """

    bytes_per_token = float("nan")

    def __init__(self, spec: LinearRegressionSpec) -> None:
        self.spec = spec
        self.context = 2 * spec.pairs - 1
        self.fingerprint = hashlib.sha256(
            msgspec.json.encode(["linear-regression", LinearRegression.version, spec])
        ).hexdigest()
        notes = (tr("Made by a program; every prompt has a function of its own, and no two prompts are alike."),)
        self.report = QualityReport(0, 0, 0, 0, 0, 0, 0, 0, notes=notes)

    def train_batch(self, step: int, batch_size: int, context: int, seed: int) -> Batch:
        """See ``Prepared``; ``context`` is the prompt's."""
        rng = np.random.default_rng((seed, step, TRAIN_SALT))
        return self.batch(self._draw(rng, batch_size, "validation"))

    def epochs(self, n_steps: int, batch_size: int, context: int) -> float:
        """0: every prompt is new."""
        return 0.0

    def validation_batches(self, batch_size: int, context: int, max_tokens: int) -> Iterator[Batch]:
        """See ``Prepared``: as many prompts as fit into ``max_tokens``."""
        batch = self.batch(self.prompts("validation", max(1, max_tokens // self.context)))
        n = len(batch["inputs"])
        for first in range(0, n, batch_size):
            yield {name: array[first : first + batch_size] for name, array in batch.items()}

    def prompts(self, kind: Kind, n: int) -> Prompts:
        """The same ``n`` held-out prompts of a kind every time."""
        return self._draw(np.random.default_rng((HELD_OUT_SALT, _KINDS.index(kind))), n, kind)

    def batch(self, prompts: Prompts) -> Batch:
        """Vectors float32 (n, 2 pairs - 1, dimensions + 1) and targets (n, 2 pairs - 1, 1), nan but at the inputs."""
        n, pairs, dimensions = prompts.x.shape
        inputs = np.zeros((n, 2 * pairs - 1, dimensions + 1), np.float32)
        inputs[:, ::2, :-1] = prompts.x
        inputs[:, 1::2, -1] = prompts.y[:, :-1]
        targets = np.full((n, 2 * pairs - 1, 1), np.nan, np.float32)
        targets[:, ::2, 0] = prompts.y
        return {"inputs": inputs, "targets": targets}

    def decode(self, tokens: NDArray[np.integer[Any]]) -> str:
        """Raises ``TypeError``: vectors are not text."""
        raise TypeError("vectors are not text")

    def _draw(self, rng: np.random.Generator, n: int, kind: Kind) -> Prompts:
        spec = self.spec
        x = rng.standard_normal((n, spec.pairs, spec.dimensions))
        unit = 1.0
        if kind == "scaled":
            x *= spec.scale
            unit = spec.scale**2
        elif kind == "skewed":
            variance = np.arange(1, spec.dimensions + 1, dtype=np.float64) ** -2
            x *= np.sqrt(variance / variance.mean())
            turn = np.linalg.qr(rng.standard_normal((n, spec.dimensions, spec.dimensions)))[0]
            x = x @ turn
        w = rng.standard_normal((n, spec.dimensions, 1))
        y = (x @ w)[:, :, 0] / spec.dimensions**0.5 + spec.noise * rng.standard_normal((n, spec.pairs))
        return Prompts(x, y, unit)


def least_squares(prompts: Prompts, noise: float) -> Floats:
    """(n, pairs) the best guess of each output from the pairs before it: nothing can have a smaller expected error.

    The mean of the posterior over w, ridge regression with penalty ``dimensions * noise^2`` on the coefficients of x;
    without noise the solution of least norm. The first guess is 0.
    """
    n, pairs, dimensions = prompts.x.shape
    guesses = np.zeros((n, pairs))
    for k in range(1, pairs):
        x, y = prompts.x[:, :k], prompts.y[:, :k, None]
        if noise:
            gram = x.transpose(0, 2, 1) @ x + dimensions * noise**2 * np.eye(dimensions)
            w = np.linalg.solve(gram, x.transpose(0, 2, 1) @ y)
        else:
            w = np.linalg.pinv(x) @ y
        guesses[:, k] = (prompts.x[:, k, None] @ w)[:, 0, 0]
    return guesses


@sources.register("linear-regression")
class LinearRegression(Source):
    """Prompts of pairs (x, w x) with another w in every prompt: what w is can only be learned from the prompt."""

    name = "linear-regression"
    version = 1
    title = mark("In-context linear regression")
    Spec = LinearRegressionSpec
    procedural = True

    def shape(self, spec: LinearRegressionSpec) -> DataShape:
        """Sequences of vectors, one number to predict at a position."""
        context = 2 * spec.pairs - 1
        return DataShape("vectors", sample_shape=(context, spec.dimensions + 1), n_outputs=1, fixed_context=context)

    def prepare(self, spec: LinearRegressionSpec, cache: Path, on_progress: OnProgress) -> LinearPrompts:
        """Nothing to load; see ``Source.prepare``."""
        return LinearPrompts(spec)

    def preview(self, spec: LinearRegressionSpec, n: int = 5) -> list[Mapping[str, str]]:
        """The first three pairs of ``n`` prompts of each kind."""
        data = LinearPrompts(spec)
        shown: list[Mapping[str, str]] = []
        for kind in _KINDS:
            prompts = data.prompts(kind, n)
            for x, y in zip(prompts.x[:, :3], prompts.y[:, :3], strict=True):
                pairs = (f"({', '.join(f'{v:.2f}' for v in row)}) → {out:.2f}" for row, out in zip(x, y, strict=True))
                shown.append({"origin": kind, "text": "   ".join(pairs)})
        return shown
