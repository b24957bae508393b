"""Forms whose loss is one formula of a few columns: fitted on ln L, with resamples, warnings and a held-out size."""

from abc import abstractmethod
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from engine.analysis.arrays import Floats, as_floats
from engine.analysis.laws import checks
from engine.analysis.laws.base import FitOptions, Form, Points, distinct, enough, settings
from engine.analysis.laws.fitting import (
    HELDOUT_RESAMPLES,
    Problem,
    fit_problem,
    held_out,
    missed,
    rolling_origin,
)
from engine.analysis.laws.models import LawModel
from engine.analysis.laws.result import LawFit
from engine.analysis.laws.solver import HUBER_DELTA
from engine.errors import InputError

_QUICK = 2
"""Resamples where only the fit itself is wanted."""


class ParametricForm(Form):
    """A form that is a ``LawModel`` over ``variables``; the first of them is held out and extrapolated."""

    variables: ClassVar[tuple[str, ...]]
    names: ClassVar[tuple[str, ...]]
    exponents: ClassVar[tuple[str, ...]] = ("alpha",)
    fewest_settings: ClassVar[int]
    """Different settings below which it is refused."""
    fewest_values: ClassVar[int] = 2
    """Different values each of ``variables`` must have."""

    @abstractmethod
    def model(self, points: Points) -> LawModel:
        """The law over the points, ready to fit."""

    def inputs(self, points: Points) -> Floats:
        """(n, K) columns of the law at points."""
        return np.stack([points[name] for name in self.variables], axis=1)

    def problem(self, points: Points) -> Problem:
        """The points as the fit wants them."""
        return Problem(
            form=self.name,
            model=self.model(points),
            y=np.log(points[self.target]),
            group=settings(points, self.variables)[1],
            names=self.names,
            variables=self.variables,
            variable=self.variables[0],
            x=points[self.variables[0]],
            rows=points.rows,
        )

    def check(self, points: Points) -> None:
        """``InputError`` where the points cannot give this law."""
        for name in self.variables:
            distinct(points, name, self.fewest_values, self.name)
        enough(points, self.fewest_settings, self.name, self.variables)

    def solved(self, points: Points, options: FitOptions) -> LawFit:
        """The fit with its resamples alone."""
        self.check(points)
        return fit_problem(self.problem(points), options.n_bootstrap, options.level, options.seed, options.resample)

    def fit(self, points: Points, options: FitOptions) -> LawFit:
        fit = self.solved(points, options)
        heldout = self.heldout(points, options) if options.holdout else None
        warnings = [*fit.warnings, *self.warnings(fit, points)]
        if heldout and not heldout["inside"]:
            warnings.append(missed(heldout))
        return replace(
            fit,
            heldout=heldout,
            warnings=tuple(warnings),
            extra={**self.described(points), **fit.extra, **self.extras(fit, points)},
        )

    def described(self, points: Points) -> dict[str, Any]:
        """What was fitted and how, for the document."""
        return {
            "equation": self.equation,
            "columns": {name: points.headers.get(name, name) for name in (*self.variables, self.target)},
            "minimised": f"sum of Huber(delta={HUBER_DELTA:g}) of ln L",
            "ranges": {n: [float(points[n].min()), float(points[n].max())] for n in self.variables},
        }

    def warnings(self, fit: LawFit, points: Points) -> list[str]:
        """What must be said beside this fit."""
        found = []
        for name in self.variables:
            found += checks.narrow_range(points[name], points.headers.get(name, name))
        x = points[self.variables[0]]
        if len(self.variables) == 1 and fit.resampling == "noise":
            found += checks.few_sizes(x, len(self.names))
            found += checks.repeats(x, _seeds(points))
        return [
            *found,
            *checks.training_of(points),
            *checks.convention(points),
            *checks.identified(fit, float(points[self.target].min()), self.exponents),
        ]

    def extras(self, fit: LawFit, points: Points) -> dict[str, Any]:
        """More keys for the document."""
        return {}

    def heldout(self, points: Points, options: FitOptions) -> dict[str, Any] | None:
        """The largest value of the first variable left out, predicted and compared; None where too little is left."""
        x = points[self.variables[0]]
        rest = points.where(x < x.max())
        left = points.where(x == x.max())
        n = min(options.n_bootstrap, HELDOUT_RESAMPLES)
        try:
            fit = self.solved(rest, replace(options, n_bootstrap=n))
        except InputError:
            return None
        return held_out(fit, self.problem(left), self.inputs(left))[0]

    def errors_ahead(self, points: Points, n_last: int = 3) -> Floats:
        """ln(observed) - ln(predicted) of the largest sizes, each predicted from the smaller ones alone."""

        def predict(mask: Any) -> Floats | None:
            try:
                fit = self.solved(points.where(mask), FitOptions(n_bootstrap=_QUICK, resample="pairs"))
            except InputError:
                return None
            x = points[self.variables[0]]
            following = points.where(x == x[~mask].min())
            return held_out(fit, self.problem(following), self.inputs(following))[1]

        return rolling_origin(points[self.variables[0]], predict, n_last)


def _seeds(points: Points) -> Floats | None:
    words = points.texts.get("seed")
    if words is None:
        return None
    return as_floats(np.unique(words.astype(str), return_inverse=True)[1])
