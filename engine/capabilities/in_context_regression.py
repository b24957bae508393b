"""Learning a linear function from the examples in the prompt, against the best that can be done with them."""

from typing import TYPE_CHECKING

import numpy as np

from engine.capabilities import capabilities
from engine.capabilities._items import ItemsSpec
from engine.capabilities.base import Capability, Metric, Score
from engine.i18n import mark

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from engine.capabilities.base import ModelUnderTest
    from engine.sources.base import Prepared
    from engine.sources.linear_regression import LinearPrompts, Prompts

    Floats = NDArray[np.float64]

LISTED = 24
"""Numbers of examples that are reported one by one."""
CLOSE = 0.2
"""A prediction counts as a hit within this many standard deviations of an output."""
PROMPTS_PER_BATCH = 512


@capabilities.register("in-context-regression")
class InContextRegression(Capability):
    """Squared error in units of the variance of an output, so that predicting 0 scores 1 (Garg 2022's per dimension).

    ``least_squares`` is the error of the best guess from the same examples on the same prompts, and ``gap`` how far the
    model's predictions are from that guess, which stays at 0 for a model that does least squares, whatever the noise.
    """

    name = "in-context-regression"
    version = 1
    title = mark("In-context regression")
    description = mark("Infer a linear function from examples in the prompt and apply it, with no weight changed.")
    Spec = ItemsSpec
    metrics = (
        Metric("error_last", mark("Error at the last pair"), False, "continuous", mark("variances of an output")),
        Metric("error", mark("Mean error"), False, "continuous", mark("variances of an output")),
        Metric("least_squares_last", mark("Error of least squares at the last pair"), False, "continuous"),
        Metric("least_squares", mark("Mean error of least squares"), False, "continuous"),
        Metric("gap_last", mark("Distance from least squares at the last pair"), False, "continuous"),
        Metric("hits_last", mark("Predictions within 0.2 at the last pair"), True, "threshold"),
        *(
            Metric(f"error_{k}", mark("Error after {number} examples"), False, "continuous", "", k)
            for k in range(LISTED + 1)
        ),
        Metric("scaled_error_last", mark("Error at the last pair, larger inputs"), False, "continuous"),
        Metric("scaled_hits_last", mark("Predictions within 0.2, larger inputs"), True, "threshold"),
        Metric("skewed_error_last", mark("Error at the last pair, skewed inputs"), False, "continuous"),
        Metric("skewed_hits_last", mark("Predictions within 0.2, skewed inputs"), True, "threshold"),
        Metric("skewed_least_squares_last", mark("Error of least squares, skewed inputs"), False, "continuous"),
    )

    def evaluate(self, spec: ItemsSpec, model: "ModelUnderTest", data: "Prepared") -> list[Score]:
        """Nothing where the data are not such prompts. Chance is predicting 0."""
        from engine.sources.linear_regression import LinearPrompts, least_squares

        if not isinstance(data, LinearPrompts):
            return []
        prompts = data.prompts("validation", spec.items)
        guessed, best = _predict(model, data, prompts), least_squares(prompts, data.spec.noise)
        error, best_error = np.square(guessed - prompts.y), np.square(best - prompts.y)
        nothing = np.square(prompts.y)
        scores = [
            _score("error_last", error[:, -1], nothing[:, -1]),
            _score("error", error.mean(axis=1), nothing.mean(axis=1)),
            _score("least_squares_last", best_error[:, -1], nothing[:, -1]),
            _score("least_squares", best_error.mean(axis=1), nothing.mean(axis=1)),
            _score("gap_last", np.square(guessed - best)[:, -1], np.square(best[:, -1])),
            _hits("hits_last", error[:, -1], nothing[:, -1]),
        ]
        for k in range(min(LISTED + 1, error.shape[1])):
            scores.append(_score(f"error_{k}", error[:, k], nothing[:, k]))
        return scores + _elsewhere(model, data, spec.items)


def _elsewhere(model: "ModelUnderTest", data: "LinearPrompts", n: int) -> list[Score]:
    """Out of distribution, in units of the variance that outputs have there."""
    from engine.sources.linear_regression import least_squares

    scaled, skewed = data.prompts("scaled", n), data.prompts("skewed", n)
    scores = []
    for name, prompts in (("scaled", scaled), ("skewed", skewed)):
        error = np.square(_predict(model, data, prompts) - prompts.y)[:, -1] / prompts.unit
        nothing = np.square(prompts.y[:, -1]) / prompts.unit
        scores += [_score(f"{name}_error_last", error, nothing), _hits(f"{name}_hits_last", error, nothing)]
    best_error = np.square(least_squares(skewed, data.spec.noise) - skewed.y)[:, -1]
    return [*scores, _score("skewed_least_squares_last", best_error, np.square(skewed.y[:, -1]))]


def _predict(model: "ModelUnderTest", data: "LinearPrompts", prompts: "Prompts") -> "Floats":
    """(n, pairs) what the model says at each input."""
    import torch

    inputs = torch.from_numpy(data.batch(prompts)["inputs"])
    parts = [model.logits(part)[:, ::2, 0].double().cpu().numpy() for part in torch.split(inputs, PROMPTS_PER_BATCH)]
    return np.concatenate(parts)


def _score(metric: str, errors: "Floats", nothing: "Floats") -> Score:
    """Mean over prompts with its standard error; chance is what predicting 0 scores."""
    n = len(errors)
    return Score(metric, float(errors.mean()), float(errors.std(ddof=1) / n**0.5), n, float(nothing.mean()))


def _hits(metric: str, errors: "Floats", nothing: "Floats") -> Score:
    """Share of squared errors within ``CLOSE``."""
    n, share = len(errors), float((errors <= CLOSE**2).mean())
    return Score(metric, share, float((share * (1 - share) / n) ** 0.5), n, float((nothing <= CLOSE**2).mean()))
