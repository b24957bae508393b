"""The optimal split of compute from the lower envelope of loss curves (Hoffmann 2022, approach 1)."""

from dataclasses import replace
from typing import Any

import numpy as np

from engine.analysis.arrays import Bools, Floats, Ints
from engine.analysis.laws import checks
from engine.analysis.laws.base import (
    FitOptions,
    Points,
    forms,
)
from engine.analysis.laws.forms.isoflop import OptimumForm, optimum_rows, power_of
from engine.analysis.laws.result import DirectFit
from engine.errors import InputError
from engine.i18n import mark, tr

GRID = 400
"""Budgets looked at, evenly in ln C; Hoffmann 2022 took 1,500."""
FEWEST_SIZES = 4


@forms.register("envelope")
class Envelope(OptimumForm):
    name = "envelope"
    title = mark("Optimal size against compute, from the envelope of all curves")
    equation = "N*(C) = G (C/6)^a, D*(C) = C / (6 N*), L*(C) = lowest loss of any size at C"
    reference = "Hoffmann 2022, approach 1"

    def fit(self, points: Points, options: FitOptions) -> DirectFit:
        sizes, log_c, curves = curves_of(points)
        everyone = np.ones(len(sizes), dtype=np.bool_)
        best, inside = lowest(curves, everyone)
        if not inside.any() or len(np.unique(best[inside])) < 2:
            raise InputError(
                tr("No size between the smallest and the largest is ever the best, so there is no optimum to follow."),
                tr("Add larger and smaller models, trained to more and fewer tokens."),
            )
        log_n = np.log(sizes)
        point = _law(log_c, log_n, best, inside)
        samples = _resampled(log_c, log_n, curves, options)
        line = np.log(point[2]) + point[0] * (log_c - np.log(6.0))
        residuals = np.where(inside, log_n[best] - line, np.nan)
        shown = np.flatnonzero(inside)[:: max(1, int(inside.sum()) // 20)]
        fit = DirectFit(
            form=self.name,
            names=("a", "b", "G"),
            objective=float(np.nansum(residuals**2)),
            level=options.level,
            n_points=len(points),
            residuals=residuals[inside],
            covers=tr(
                "{percent}% intervals over resamples of the sizes; they do not cover the steps of the envelope from "
                "size to size, nor losses in mid-schedule.",
                percent=f"{100 * options.level:g}",
            ),
            resampling="pairs",
            point=point,
            samples=samples,
            warnings=(*self._warnings(points, sizes, best, inside, samples, options),),
            extra={
                "equation": self.equation,
                "minimised": "squares of ln N* over budgets",
                "optimum": optimum_rows(
                    point, samples, options.level, points["compute_flops"].max() * np.array([1, 10, 100.0])
                ),
                "residuals": {"sd": float(np.sqrt(np.nanmean(residuals**2))), "of": "ln N*"},
                "envelope": [_budget(log_c[i], sizes[best[i]], curves[best[i], i]) for i in shown],
            },
        )
        return replace(fit, heldout=self._heldout(log_c, log_n, curves, options) if options.holdout else None)

    def _heldout(self, log_c: Floats, log_n: Floats, curves: Floats, options: FitOptions) -> dict[str, Any] | None:
        """The largest budgets, a fifth of the envelope, from the smaller ones: the optimal size at the last."""
        best, inside = lowest(curves, np.ones(len(log_n), dtype=np.bool_))
        at = np.flatnonzero(inside)
        first, last = at[: -max(1, len(at) // 5)], int(at[-1])
        if len(first) < 2 or len(np.unique(best[first])) < 2:
            return None
        only = np.zeros_like(inside)
        only[first] = True
        a, _, g = _law(log_c, log_n, best, only)
        predicted = float(g * np.exp(a * (log_c[last] - np.log(6.0))))
        observed = float(np.exp(log_n[best[last]]))
        return {
            "compute_flops": float(np.exp(log_c[last])),
            "quantity": "n_params",
            "observed": observed,
            "predicted": predicted,
            "interval": None,
            "inside": None,
            "relative_error": predicted / observed - 1,
        }

    def _warnings(
        self, points: Points, sizes: Floats, best: Ints, inside: Bools, samples: Floats, options: FitOptions
    ) -> list[str]:
        warnings = []
        share = float(inside.mean())
        if share < 0.5:
            warnings.append(
                tr(
                    "At {percent:.0f}% of the budgets the best size is the smallest or the largest there was; "
                    "they are left out.",
                    percent=100 * (1 - share),
                )
            )
        used = len(np.unique(best[inside]))
        if used < 5:
            warnings.append(tr("Only {n} sizes are ever the best: the exponent rests on few steps.", n=used))
        if len(samples) < options.n_bootstrap // 2:
            warnings.append(tr("Half of the resamples of sizes have no envelope; the intervals are too narrow."))
        warnings += checks.narrow_range(points["compute_flops"], "compute_flops")
        return [*warnings, *checks.training_of(points), *checks.convention(points)]


def curves_of(points: Points) -> tuple[Floats, Floats, Floats]:
    """(S,) sizes, (GRID,) ln C, and (S, GRID) ln L of each size, interpolated in ln C; infinite outside its curve.

    Runs of one size and equal compute (its seeds) are averaged.
    """
    log_c, log_l = np.log(points["compute_flops"]), np.log(points["loss"])
    sizes = np.unique(points["n_params"])
    grid = np.linspace(log_c.min(), log_c.max(), GRID)
    curves = np.full((len(sizes), GRID), np.inf)
    for k, size in enumerate(sizes):
        mine = points["n_params"] == size
        at, group = np.unique(log_c[mine], return_inverse=True)
        if len(at) < 2:
            continue
        mean = np.bincount(group, log_l[mine]) / np.bincount(group)
        covered = (grid >= at[0]) & (grid <= at[-1])
        curves[k, covered] = np.interp(grid[covered], at, mean)
    usable = np.isfinite(curves).any(axis=1)
    if usable.sum() < FEWEST_SIZES:
        raise InputError(
            tr(
                "The envelope needs {n} sizes or more with losses at several budgets; there are {found}.",
                n=FEWEST_SIZES,
                found=int(usable.sum()),
            ),
            tr("Give the losses along each run, or runs of one size with different tokens."),
        )
    return sizes[usable], grid, curves[usable]


def lowest(curves: Floats, present: Bools) -> tuple[Ints, Bools]:
    """(GRID,) index of the best size, and whether a smaller and a larger one were there and worse."""
    masked = np.where(present[:, None], curves, np.inf)
    there = np.isfinite(masked)
    best = masked.argmin(axis=0)
    first, last = there.argmax(axis=0), len(curves) - 1 - there[::-1].argmax(axis=0)
    return best.astype(np.int64), there.any(axis=0) & (best > first) & (best < last)


def _law(log_c: Floats, log_n: Floats, best: Ints, inside: Bools) -> Floats:
    law: Floats = power_of(log_c, log_n[best][None], inside[None])[0]
    return law


def _resampled(log_c: Floats, log_n: Floats, curves: Floats, options: FitOptions) -> Floats:
    """(B, 3) of resamples of the sizes, without those that have no envelope."""
    rng = np.random.default_rng(options.seed)
    rows = []
    for _ in range(min(options.n_bootstrap, 1000)):
        present = np.bincount(rng.integers(0, len(log_n), len(log_n)), minlength=len(log_n)) > 0
        best, inside = lowest(curves, present)
        if len(np.unique(best[inside])) >= 2:
            rows.append(_law(log_c, log_n, best, inside))
    if len(rows) < 2:
        raise InputError(tr("Too few sizes for an interval of the envelope."), tr("Add runs of other sizes."))
    return np.array(rows)


def _budget(log_c: float, size: float, log_loss: float) -> dict[str, float]:
    return {"compute_flops": float(np.exp(log_c)), "n_params": float(size), "loss": float(np.exp(log_loss))}
