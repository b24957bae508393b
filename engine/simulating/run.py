"""One run of a simulated study: draw ladders from the true law with noise, fit each, count what the intervals hold."""

import math
import time
from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from engine import events
from engine.events import Command, RunState
from engine.simulating.spec import CAPABILITY, LadderTable, LawTable
from engine.study import RunSpec, convert
from engine.task import Outcome, Task

if TYPE_CHECKING:
    from engine.analysis.arrays import Floats
    from engine.events import Control, Reporter

BEYOND = 10.0
"""How far past the largest size the forecast is made."""
TOKENS_PER_PARAM = 20.0
"""At which it is made: Hoffmann 2022."""
CHECKED = ("alpha", "beta", "E", "optimum", "forecast")


def run_one(task: Task, reporter: "Reporter", control: "Control") -> Outcome:
    """Draw and fit ``n_steps`` ladders; leave the share of intervals that held the truth as evaluations.

    A stopped run starts again: a ladder takes half a second.
    """
    law = convert(dict(task.spec.shape), LawTable)
    ladder = convert(dict(task.spec.data), LadderTable)
    rng = np.random.default_rng([task.spec.seed, task.spec.size])
    found: dict[str, list[float]] = defaultdict(list)
    begun, n_sets = time.monotonic(), task.spec.training.n_steps
    for index in range(n_sets):
        command = control.poll()
        while command is Command.PAUSE:
            command = control.wait(1.0)
        if command in (Command.STOP, Command.CANCEL):
            return Outcome(task.run_id, RunState.INTERRUPTED if command is Command.STOP else RunState.CANCELLED)
        for name, value in _one_ladder(law, ladder, task.spec.size, rng).items():
            found[name].append(value)
        reporter.emit(events.Progress(task.run_id, index + 1, n_sets, 0, time.monotonic() - begun, 0.0))
    for name, values in found.items():
        reporter.emit(_evaluation(task.run_id, name, values, ladder.level))
    return Outcome(task.run_id, RunState.FINISHED)


def seconds_per_ladder(spec: RunSpec) -> float:
    """How long drawing and fitting one ladder takes here, the second of two."""
    law, ladder = convert(dict(spec.shape), LawTable), convert(dict(spec.data), LadderTable)
    rng = np.random.default_rng(0)
    for _ in range(2):
        begun = time.monotonic()
        _one_ladder(law, ladder, spec.size, rng)
    return time.monotonic() - begun


def true_loss(law: LawTable, n_params: "Floats", tokens: "Floats") -> "Floats":
    """The law without noise."""
    loss: Floats = law.E + law.A / n_params**law.alpha + law.B / tokens**law.beta
    return loss


def _one_ladder(law: LawTable, ladder: LadderTable, largest: int, rng: np.random.Generator) -> dict[str, float]:
    """1 or 0 for each checked quantity whose interval holds the truth, and how wide and how wrong the fit is."""
    from engine.analysis.laws.base import FitOptions, Points, forms
    from engine.analysis.laws.parametric import ParametricForm

    form = forms["chinchilla"]
    assert isinstance(form, ParametricForm)
    sizes = np.geomspace(ladder.smallest, largest, ladder.n_sizes)
    ratios = np.geomspace(ladder.fewest_tokens_per_param, ladder.most_tokens_per_param, ladder.n_budgets)
    n_params, ratio = (grid.ravel() for grid in np.meshgrid(sizes, ratios))
    tokens = n_params * ratio
    loss = true_loss(law, n_params, tokens) * np.exp(ladder.noise * rng.standard_normal(len(tokens)))
    points = Points(
        values={"n_params": n_params, "tokens": tokens, "loss": loss},
        rows=np.arange(1, len(loss) + 1),
        headers={"n_params": "n_params", "tokens": "tokens", "loss": "loss"},
    )
    options = FitOptions(ladder.resamples, ladder.level, int(rng.integers(2**31)), holdout=False)
    fit = form.solved(points, options)
    intervals = {name: (ends[0], ends[1]) for name, ends in fit.interval.items()}
    alpha, beta = (fit.draws_of_values[:, fit.names.index(name)] for name in ("alpha", "beta"))
    tail = (1 - ladder.level) / 2
    a = beta / (alpha + beta)
    lowest, highest = np.quantile(a[np.isfinite(a)], [tail, 1 - tail]).tolist()
    intervals["optimum"] = (lowest, highest)
    n_next = BEYOND * largest
    predicted, low, high = fit.predict([n_next, TOKENS_PER_PARAM * n_next])
    intervals["forecast"] = (low, high)
    truth = {"alpha": law.alpha, "beta": law.beta, "E": law.E, "optimum": law.beta / (law.alpha + law.beta)}
    truth["forecast"] = float(true_loss(law, np.array(n_next), np.array(TOKENS_PER_PARAM * n_next)))
    held = {name: float(intervals[name][0] <= truth[name] <= intervals[name][1]) for name in CHECKED}
    return held | {
        "alpha_width": intervals["alpha"][1] - intervals["alpha"][0],
        "forecast_error": abs(predicted / truth["forecast"] - 1),
    }


def _evaluation(run_id: int, name: str, values: list[float], level: float) -> events.Evaluation:
    """The mean over ladders with its standard error; beside a coverage stands the level it ought to be."""
    n, mean = len(values), float(np.mean(values))
    if name in CHECKED:
        return events.Evaluation(run_id, CAPABILITY, name, mean, math.sqrt(mean * (1 - mean) / n), n, level)
    error = float(np.std(values, ddof=1) / math.sqrt(n)) if n > 1 else None
    return events.Evaluation(run_id, CAPABILITY, name, mean, error, n, None)
