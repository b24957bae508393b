"""A task's score in two stages: the loss from size, the score from the loss (Gadre 2024; Bhagia 2024)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from engine.analysis.arrays import Floats, as_floats, percentile_interval
from engine.analysis.columns import Column
from engine.analysis.laws.base import (
    COMPUTE,
    LOSS,
    N_PARAMS,
    TOKENS,
    FitOptions,
    Form,
    Points,
    distinct,
    enough,
    forms,
    optional,
)
from engine.analysis.laws.fitting import HELDOUT_RESAMPLES, affordable, scheme
from engine.analysis.laws.noise import Noise
from engine.analysis.laws.parametric import ParametricForm
from engine.analysis.laws.resample import Draws, optimum, pair_draws
from engine.analysis.laws.result import DirectFit, LawFit, covers_text
from engine.analysis.laws.sigmoid import SCORE_DELTA, Sigmoid
from engine.analysis.laws.solver import solve
from engine.errors import InputError
from engine.i18n import mark, tr

SCORE = Column("score", ("accuracy", "acc", "acc_norm", "exact_match"))
ITEMS = Column("n", ("n_items", "items"), required=False)
CHANCE = Column("chance", ("chance_level",), required=False)
NAMES = ("chance", "ceiling", "k", "L_0")


@dataclass(frozen=True, kw_only=True)
class TaskFit(DirectFit):
    """The two stages of one task: ``loss`` as fitted, ``curve`` with ``theta`` (4,) and (n_bootstrap, 4) draws."""

    loss: LawFit
    curve: Sigmoid
    theta: Floats
    curves: Floats
    spread: Floats
    """(n_bootstrap,) scatter of scores around the curve."""

    def predict_many(self, x: Any, new_runs: int = 0) -> tuple[Floats, Floats, Floats]:
        """Score and interval at (m, K) columns of the first stage, of the law itself or of ``new_runs`` new runs."""
        draws = self.draws(x, new_runs)
        low, high = percentile_interval(draws, self.level)
        loss = self.loss.predict_many(x)[0]
        return self.curve.at(loss[:, None]).log_loss(self.theta[None])[0], low, high

    def draws(self, x: Any, new_runs: int = 0) -> Floats:
        """(n_bootstrap, m) scores: every resample of the curve read at the loss of a resample of the law."""
        losses = self.loss.draws(x, new_runs)
        scores = np.stack(
            [self.curve.at(at[:, None]).log_loss(theta[None])[0] for at, theta in zip(losses, self.curves, strict=True)]
        )
        if new_runs:
            rng = np.random.default_rng(len(scores))
            scores += self.spread[:, None] / np.sqrt(new_runs) * rng.standard_normal(scores.shape)
        clipped: Floats = np.clip(scores, 0.0, 1.0)
        return clipped


@forms.register("task-through-loss")
class TaskThroughLoss(Form):
    name = "task-through-loss"
    title = mark("A task's score through the loss")
    equation = "score = chance + (ceiling - chance) / (1 + exp(k (L - L_0))), L from size by its own law"
    reference = "Gadre 2024; Bhagia 2024"
    columns = (optional(N_PARAMS), optional(TOKENS), optional(COMPUTE), LOSS, SCORE, ITEMS, CHANCE)
    positive = ("n_params", "tokens", "compute_flops", "loss")
    finite = ("score",)
    parameters: ClassVar[Mapping[str, str]] = {
        "chance": mark("the score of guessing"),
        "ceiling": mark("the score that no loss goes above"),
        "k": mark("how fast the score rises as the loss falls"),
        "L_0": mark("the loss half-way between"),
    }

    @property
    def target(self) -> str:
        return "score"

    def first_stage(self, points: Points) -> ParametricForm:
        """The law of the loss over whatever sizes the file has."""
        if {"n_params", "tokens"} <= points.values.keys():
            name = "chinchilla"
        elif "compute_flops" in points:
            name = "power-law-c"
        elif "n_params" in points:
            name = "power-law-n"
        elif "tokens" in points:
            name = "power-law-d"
        else:
            raise InputError(
                tr("{form} needs a column of parameters, tokens or compute.", form=self.name),
                tr("Say which it is with --columns n_params=HEADER."),
            )
        form = forms[name]
        assert isinstance(form, ParametricForm)
        return form

    def check(self, points: Points) -> None:
        """``InputError`` where the points cannot give this law."""
        scores = points["score"]
        if scores.min() < 0 or scores.max() > 1:
            raise InputError(
                tr(
                    "Scores must lie in 0 to 1; there are {low:.4g} to {high:.4g}.", low=scores.min(), high=scores.max()
                ),
                tr("Divide percentages by 100."),
            )
        distinct(points, "score", 3, self.name)
        enough(points, 5, self.name, ("loss", "score"))

    def fit(self, points: Points, options: FitOptions) -> TaskFit:
        first = self.first_stage(points)
        points = first.prepare(points)
        fit = self.solved(points, options)
        heldout = self._heldout(points, options) if options.holdout else None
        warnings = [*fit.warnings, *first.warnings(fit.loss, points), *self._warnings(fit, points)]
        if heldout and not heldout["inside"]:
            warnings.append(tr("Fitted without the largest size, the score is missed."))
        return replace(fit, heldout=heldout, warnings=tuple(dict.fromkeys(warnings)))

    def solved(self, points: Points, options: FitOptions) -> TaskFit:
        """Both stages with their resamples."""
        self.check(points)
        first = self.first_stage(points)
        loss = first.solved(points, options)
        score = points["score"]
        curve = Sigmoid(
            points["loss"][:, None],
            (float(points["loss"].min()), float(points["loss"].max())),
            _chance(points, options),
        )
        best = optimum(curve, score, SCORE_DELTA)
        kind = scheme(len(score), 4, options.resample)
        rng = np.random.default_rng(options.seed + 1)
        n = affordable(len(score), options.n_bootstrap)
        drawn = (
            pair_draws(curve, score, best, rng, n, SCORE_DELTA)
            if kind == "pairs"
            else _noisy(curve, score, best.theta, rng, n)
        )
        residuals = score - curve.log_loss(best.theta[None])[0]
        return TaskFit(
            form=self.name,
            names=(*NAMES, *loss.names),
            objective=best.objective,
            level=options.level,
            n_points=len(score),
            residuals=residuals,
            covers=covers_text(options.level, kind),
            rows=points.rows,
            resampling=kind,
            point=np.concatenate([curve.public(best.theta[None])[0], loss.values]),
            samples=np.concatenate([curve.public(drawn.samples), loss.draws_of_values], axis=1),
            loss=loss,
            curve=curve,
            theta=best.theta,
            curves=drawn.samples,
            spread=drawn.between,
            warnings=loss.warnings,
            extra=self._extras(points, loss, residuals),
        )

    def _extras(self, points: Points, loss: LawFit, residuals: Floats) -> dict[str, Any]:
        extra: dict[str, Any] = {
            "equation": self.equation,
            "minimised": f"sum of Huber(delta={SCORE_DELTA:g}) of the score",
            "loss_stage": {
                "form": loss.form,
                "params": loss.params,
                "interval": loss.interval,
                "objective": loss.objective,
                "residual_sd": float(np.sqrt(np.mean(loss.residuals**2))),
            },
        }
        if "n" in points:
            score, n = points["score"], points["n"]
            extra["binomial_sd"] = float(np.sqrt(np.nanmean(score * (1 - score) / n)))
            extra["score_residual_sd"] = float(np.sqrt(np.mean(residuals**2)))
        return extra

    def _heldout(self, points: Points, options: FitOptions) -> dict[str, Any] | None:
        """The score of the largest size, predicted through its predicted loss."""
        first = self.first_stage(points)
        variable = first.variables[0]
        x = points[variable]
        left = points.where(x == x.max())
        n = min(options.n_bootstrap, HELDOUT_RESAMPLES)
        try:
            fit = self.solved(points.where(x < x.max()), replace(options, n_bootstrap=n))
        except InputError:
            return None
        at = first.inputs(left)
        predicted = float(fit.predict_many(at)[0].mean())
        draws = fit.draws(at).mean(axis=1)
        rng = np.random.default_rng(n)
        draws = draws + fit.spread / np.sqrt(len(left)) * rng.standard_normal(len(draws))
        low, high = percentile_interval(draws, options.level)
        observed = float(left["score"].mean())
        return {
            variable: float(x.max()),
            "quantity": "score",
            "observed": observed,
            "predicted": predicted,
            "interval": [float(low), float(high)],
            "inside": bool(low <= observed <= high),
            "error": predicted - observed,
            "runs": len(left),
        }

    def _warnings(self, fit: TaskFit, points: Points) -> list[str]:
        found = []
        low, high = fit.interval["ceiling"]
        if high - low > 0.3:
            found.append(tr("The scores do not show a ceiling: it may be {low:.2g} to {high:.2g}.", low=low, high=high))
        score = points["score"]
        if score.max() < fit.params["chance"] + 0.5 * (fit.params["ceiling"] - fit.params["chance"]):
            found.append(tr("No score is half-way up yet: where the rise ends is extrapolated."))
        if fit.interval["k"][0] <= 0.1:
            found.append(tr("The score does not clearly rise as the loss falls."))
        return found


def _chance(points: Points, options: FitOptions) -> float | None:
    if options.chance is not None:
        return options.chance
    if "chance" not in points:
        return None
    levels = np.unique(points["chance"][np.isfinite(points["chance"])])
    if len(levels) != 1:
        raise InputError(
            tr("The chance level must be the same for every row of one task."), tr("Fit one task at a time.")
        )
    return float(levels[0])


def _noisy(curve: Sigmoid, score: Floats, theta: Floats, rng: np.random.Generator, n: int) -> Draws:
    """Scores drawn anew around the curve with the scatter that was seen and Student-like doubt about it."""
    fitted = curve.log_loss(theta[None])[0]
    free = 4 if curve.chance is None else 3
    degrees = max(len(score) - free, 1)
    sd = float(np.sqrt(((score - fitted) ** 2).sum() / degrees))
    spread, _ = Noise(sd, 0.0, degrees, 0, 1.0).draw(rng, n)
    drawn = np.clip(fitted + spread[:, None] * rng.standard_normal((n, len(score))), 0.0, 1.0)
    others = curve.others(theta)
    found = solve(
        curve, as_floats(np.tile(drawn, (len(others), 1))), np.repeat(others, n, axis=0), delta=SCORE_DELTA, widen=False
    )
    row = found.objective.reshape(len(others), n).argmin(axis=0)
    best: Floats = found.theta.reshape(len(others), n, -1)[row, np.arange(n)]
    return Draws(best, spread, np.zeros(n), float(found.converged.mean()))
