"""The optimal split of compute from parabolas at fixed compute (Hoffmann 2022, approach 2)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from engine.analysis.arrays import Bools, Floats, Ints, as_floats, percentile_interval
from engine.analysis.laws import checks
from engine.analysis.laws.base import (
    COMPUTE,
    FLOPS_PER_PARAMETER_AND_TOKEN,
    LOSS,
    N_PARAMS,
    TOKENS,
    FitOptions,
    Form,
    Points,
    forms,
    optional,
    with_tokens,
)
from engine.analysis.laws.noise import Noise
from engine.analysis.laws.result import DirectFit, Estimate
from engine.errors import InputError
from engine.i18n import mark, tr

SAME_BUDGET = 0.1
"""Runs whose compute differs by less than this fraction from the next share a budget."""
WIDE_GRID = 1.2
FAR_FROM_CENTRE = 0.4
"""Decades. On Chinchilla's law a parabola over +-1 decade puts N* 1.3% off and over +-1.5 decades 3% (measured)."""


@dataclass(frozen=True, eq=False)
class Budget:
    """Runs of one compute: ``members`` (n,) indices, ``x`` ln N less ``center``, and the parabola's (3, n) solver."""

    compute: float
    members: Ints
    x: Floats
    center: float
    solver: Floats

    def coefficients(self, loss: Floats) -> Floats:
        """(B, 3) curvature, slope and level of parabolas through (B, n) losses."""
        found: Floats = loss @ self.solver.T
        return found

    def minimum(self, loss: Floats) -> tuple[Floats, Bools]:
        """(B,) ln N at the minimum, and whether there is one inside the grid."""
        curvature, slope, _ = self.coefficients(loss).T
        opens = curvature > 1e-12
        at = -slope / (2 * np.where(opens, curvature, 1.0))
        return at + self.center, opens & (at >= self.x.min()) & (at <= self.x.max())

    def design(self) -> Floats:
        """(n, 3) of the parabola."""
        return np.stack([self.x**2, self.x, np.ones_like(self.x)], axis=1)


class OptimumForm(Form):
    """What approaches 1 and 2 share: they know the optimal size for a budget, not the loss of every size."""

    columns = (N_PARAMS, optional(TOKENS), optional(COMPUTE), LOSS)
    positive = ("n_params", "tokens", "compute_flops", "loss")
    parameters: ClassVar[Mapping[str, str]] = {
        "a": mark("the exponent of the optimal number of parameters"),
        "b": mark("the exponent of the optimal number of tokens, 1 - a"),
        "G": mark("the scale of the optimal number of parameters"),
    }

    def prepare(self, points: Points) -> Points:
        return with_tokens(points, self.name)

    def optimum(self, fit: Estimate, compute: Sequence[float] | Floats) -> dict[str, Any] | None:
        return optimum_rows(fit.values, fit.draws_of_values, fit.level, as_floats(compute))


@forms.register("isoflop")
class IsoFlop(OptimumForm):
    name = "isoflop"
    title = mark("Optimal size against compute, from IsoFLOP parabolas")
    equation = "N*(C) = G (C/6)^a, D*(C) = C / (6 N*)"
    reference = "Hoffmann 2022, approach 2"

    def fit(self, points: Points, options: FitOptions) -> DirectFit:
        found = budgets(points)
        used, minima = self._inside(points, found)
        fit = self._fitted(points, used, options)
        heldout = self._heldout(points, used, options) if options.holdout else None
        warnings = [*self._warnings(points, found, used, minima), *fit.warnings]
        if heldout and not heldout["inside"]:
            warnings.append(tr("Fitted without the largest budget, the law misses its optimal size."))
        grid = [self._shown(points, budget, budget in used) for budget in found]
        extra = {**fit.extra, "isoflops": grid}
        return replace(fit, heldout=heldout, warnings=tuple(warnings), extra=extra)

    def _inside(self, points: Points, found: list[Budget]) -> tuple[list[Budget], list[float]]:
        """Budgets whose parabola has its minimum inside the grid, with ln N of the minimum."""
        used, minima = [], []
        for budget in found:
            at, inside = budget.minimum(points["loss"][budget.members][None])
            # A parabola may bend up inside a grid on which the loss only falls or only rises.
            if inside[0] and _sizes_beside(budget, _observed_lowest(budget, points["loss"])):
                used.append(budget)
                minima.append(float(at[0]))
        if len(used) < 2:
            raise InputError(
                tr("Only {n} budgets have their minimum inside the grid of sizes; two are needed.", n=len(used)),
                tr("Train larger or smaller models at each budget until the loss rises on both sides."),
            )
        return used, minima

    def _fitted(self, points: Points, used: list[Budget], options: FitOptions) -> DirectFit:
        loss = points["loss"]
        fitted, residuals = _parabolas(used, loss)
        degrees = sum(max(len(b.members) - 3, 0) for b in used)
        pooled = float(np.sqrt((residuals**2).sum() / degrees)) if degrees else 0.0
        rng = np.random.default_rng(options.seed)
        spread, _ = Noise(pooled, 0.0, degrees, 0, 1.0).draw(rng, options.n_bootstrap)
        log_c = np.log([b.compute for b in used])
        lowest = np.array([b.minimum(loss[b.members][None])[0][0] for b in used])
        drawn, there = _drawn_minima(rng, used, fitted, spread)
        drawn += _extra_scatter(rng, log_c, lowest, drawn)
        point = power_of(log_c, lowest[None], np.ones((1, len(used)), dtype=np.bool_))[0]
        samples = power_of(log_c, drawn, there)
        samples = samples[np.isfinite(samples).all(axis=1)]
        warnings = []
        if not degrees:
            warnings.append(tr("Three sizes at each budget leave no residuals: the intervals know nothing of noise."))
        members = np.concatenate([b.members for b in used])
        return DirectFit(
            form=self.name,
            names=("a", "b", "G"),
            objective=float((residuals**2).sum()),
            level=options.level,
            n_points=len(members),
            residuals=residuals,
            covers=tr(
                "{percent}% intervals over resamples of the noise around the parabolas; they do not cover the bias "
                "of a parabola on a wide grid.",
                percent=f"{100 * options.level:g}",
            ),
            rows=points.rows[members],
            point=point,
            samples=samples,
            warnings=tuple(warnings),
            extra={
                "equation": self.equation,
                "minimised": "squares of L around a parabola in ln N at each C, then squares of ln N*",
                "optimum": optimum_rows(point, samples, options.level, np.exp(log_c.max()) * np.array([1, 10, 100.0])),
            },
        )

    def _heldout(self, points: Points, used: list[Budget], options: FitOptions) -> dict[str, Any] | None:
        """The optimal size of the largest budget from the others."""
        if len(used) < 3:
            return None
        last = max(used, key=lambda b: b.compute)
        fit = self._fitted(points, [b for b in used if b is not last], options)
        observed = float(np.exp(last.minimum(points["loss"][last.members][None])[0][0]))
        log_c = np.log(last.compute / FLOPS_PER_PARAMETER_AND_TOKEN)
        predicted = float(fit.point[2] * np.exp(fit.point[0] * log_c))
        low, high = percentile_interval(fit.samples[:, 2] * np.exp(fit.samples[:, 0] * log_c), options.level)
        return {
            "compute_flops": last.compute,
            "quantity": "n_params",
            "observed": observed,
            "predicted": predicted,
            "interval": [float(low), float(high)],
            "inside": bool(low <= observed <= high),
            "relative_error": predicted / observed - 1,
            "runs": len(last.members),
        }

    def _warnings(self, points: Points, found: list[Budget], used: list[Budget], minima: list[float]) -> list[str]:
        warnings = []
        alone = len(points) - sum(len(b.members) for b in found)
        if alone:
            warnings.append(tr("{n} runs share their compute with fewer than two other sizes: not used.", n=alone))
        left_out = [b.compute for b in found if b not in used]
        if left_out:
            shown = ", ".join(f"{c:.3g}" for c in left_out)
            warnings.append(tr("The minimum is outside the grid at C = {compute}; left out of the law.", compute=shown))
        loss = points["loss"]
        beside = [
            min(_sizes_beside(b, at), _sizes_beside(b, _observed_lowest(b, loss)))
            for b, at in zip(used, minima, strict=True)
        ]
        edge = [b.compute for b, sizes in zip(used, beside, strict=True) if sizes < 2]
        if edge:
            shown = ", ".join(f"{c:.3g}" for c in edge)
            warnings.append(tr("The minimum is at the edge of the grid at C = {compute}.", compute=shown))
        width = max(np.ptp(b.x) / 2 / np.log(10) for b in used)
        offset = max(
            abs(at - b.center - (b.x.min() + b.x.max()) / 2) / np.log(10) for b, at in zip(used, minima, strict=True)
        )
        if width > WIDE_GRID or offset > FAR_FROM_CENTRE:
            warnings.append(
                tr(
                    "The grids reach ±{width:.2g} decades, {offset:.2g} off their minimum: a parabola is biased there "
                    "(on Chinchilla's law 1.3% in N* at ±1, 3% at ±1.5).",
                    width=width,
                    offset=offset,
                )
            )
        warnings += checks.narrow_range(np.array([b.compute for b in used]), "compute_flops")
        return [*warnings, *checks.training_of(points), *checks.convention(points)]

    def _shown(self, points: Points, budget: Budget, used: bool) -> dict[str, Any]:
        at, _ = budget.minimum(points["loss"][budget.members][None])
        return {
            "compute_flops": budget.compute,
            "n_params": points["n_params"][budget.members].tolist(),
            "loss": points["loss"][budget.members].tolist(),
            "minimum": float(np.exp(at[0])) if used else None,
            "used": used,
            "half_width_decades": float(np.ptp(budget.x) / 2 / np.log(10)),
        }


def budgets(points: Points) -> list[Budget]:
    """Groups of runs with the same compute and three sizes or more, smallest compute first."""
    order = np.argsort(points["compute_flops"], kind="stable")
    log_c = np.log(points["compute_flops"][order])
    starts = np.flatnonzero(np.diff(log_c, prepend=-np.inf) > np.log1p(SAME_BUDGET))
    found = []
    for members in np.split(order, starts[1:]):
        x = np.log(points["n_params"][members])
        if len(np.unique(x)) < 3:
            continue
        members = members[np.argsort(x, kind="stable")]
        x = np.log(points["n_params"][members])
        center = float(x.mean())
        x = x - center
        design = np.stack([x**2, x, np.ones_like(x)], axis=1)
        compute = float(np.exp(np.log(points["compute_flops"][members]).mean()))
        found.append(Budget(compute, members.astype(np.int64), x, center, as_floats(np.linalg.pinv(design))))
    if len(found) < 2:
        raise InputError(
            tr("isoflop needs two budgets of compute with three sizes each or more; there are {n}.", n=len(found)),
            tr("Group runs by equal compute, or fit chinchilla, which needs no groups."),
        )
    return found


def power_of(log_c: Floats, log_n: Floats, there: Bools) -> Floats:
    """(B, 3) a, b and G of N* = G (C/6)^a by least squares over (B, m) minima, where ``there``."""
    log_c = log_c - np.log(FLOPS_PER_PARAMETER_AND_TOKEN)
    weight = there.astype(np.float64)
    count = weight.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_c = (weight @ log_c) / count
        mean_n = (weight * np.where(there, log_n, 0.0)).sum(axis=1) / count
        away = (log_c - mean_c[:, None]) * weight
        a = (away * np.where(there, log_n, 0.0)).sum(axis=1) / (away**2).sum(axis=1)
        g = np.exp(mean_n - a * mean_c)
    a = np.where(count >= 2, a, np.nan)
    return np.stack([a, 1 - a, g], axis=1)


def optimum_rows(point: Floats, samples: Floats, level: float, compute: Floats) -> dict[str, Any]:
    """The optimal split of each compute from a, b, G (3,) and resamples (B, 3) of them."""
    rows = []
    for flops in compute.tolist():
        log_c = np.log(flops / FLOPS_PER_PARAMETER_AND_TOKEN)
        n = float(point[2] * np.exp(point[0] * log_c))
        low, high = percentile_interval(samples[:, 2] * np.exp(samples[:, 0] * log_c), level)
        d = flops / (FLOPS_PER_PARAMETER_AND_TOKEN * n)
        interval = {"n_params": [float(low), float(high)]}
        rows.append(
            {"compute_flops": flops, "n_params": n, "tokens": d, "tokens_per_param": d / n, "interval": interval}
        )
    return {"rule": IsoFlop.equation, "a": float(point[0]), "b": float(point[1]), "G": float(point[2]), "at": rows}


def _parabolas(used: list[Budget], loss: Floats) -> tuple[list[Floats], Floats]:
    """(n_k,) fitted losses of each budget, and all residuals joined."""
    fitted = [b.design() @ b.coefficients(loss[b.members][None])[0] for b in used]
    residuals = np.concatenate([loss[b.members] - f for b, f in zip(used, fitted, strict=True)])
    return fitted, residuals


def _drawn_minima(
    rng: np.random.Generator, used: list[Budget], fitted: list[Floats], spread: Floats
) -> tuple[Floats, Bools]:
    """(B, m) ln N* of noisy redraws, and where there is a minimum."""
    minima, there = [], []
    for budget, curve in zip(used, fitted, strict=True):
        drawn = curve + spread[:, None] * rng.standard_normal((len(spread), len(curve)))
        at, _ = budget.minimum(drawn)
        # The interval may leave the grid, but not without end: a flat parabola has its minimum anywhere.
        near = np.abs(at - budget.center) <= 2 * np.ptp(budget.x)
        minima.append(at)
        there.append((budget.coefficients(drawn)[:, 0] > 1e-12) & near)
    return np.stack(minima, axis=1), np.stack(there, axis=1)


def _extra_scatter(rng: np.random.Generator, log_c: Floats, lowest: Floats, drawn: Floats) -> Floats:
    """(B, m) scatter of the minima around the power law beyond what the noise of the losses explains."""
    degrees = len(lowest) - 2
    if degrees < 1:
        return np.zeros_like(drawn)
    line = np.polynomial.polynomial.polyfit(log_c, lowest, 1)
    seen = float(((lowest - line[0] - line[1] * log_c) ** 2).sum()) / degrees
    explained = float(np.median(np.median((drawn - np.median(drawn, axis=0)) ** 2, axis=0)) / 0.4549)
    extra = Noise(max(seen - explained, 0.0) ** 0.5, 0.0, degrees, 0, 1.0).draw(rng, len(drawn))[0]
    scatter: Floats = extra[:, None] * rng.standard_normal(drawn.shape)
    return scatter


def _sizes_beside(budget: Budget, ln_n: float) -> int:
    """How many sizes lie on the emptier side of ``ln_n``."""
    sizes = np.unique(budget.x + budget.center)
    return int(min((sizes < ln_n - 1e-9).sum(), (sizes > ln_n + 1e-9).sum()))


def _observed_lowest(budget: Budget, loss: Floats) -> float:
    """ln N of the lowest loss seen."""
    return float(budget.x[loss[budget.members].argmin()] + budget.center)
