"""Which kind of form predicts a size it has not seen: no change, smooth, or with a break.

Every form is fitted to all sizes but one and scored on the runs of that one by their log-likelihood (the log
predictive density, in nats; Vehtari 2017 for why differences of it compare models). Within a kind, forms, places of
the break and dispersions are averaged by how well they fit the other sizes.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import logsumexp

from engine.analysis.arrays import Floats, Ints
from engine.analysis.emergence import broken as breaks
from engine.analysis.emergence import mixed
from engine.analysis.emergence import smooth as smooths
from engine.analysis.emergence.curve import Curve
from engine.analysis.emergence.noise import Likelihood

_TREND_PRIOR = 0.3
_SMOOTH_PARAMETERS, _STEP_PARAMETERS = 4.0, 3.0


@dataclass(frozen=True, eq=False)
class Kind:
    """One kind of form: (I,) log predictive density of each left-out size, and how much each member counts."""

    heldout: Floats
    weights: Floats
    """(K,) weights of the kind's members under all sizes, summing to 1."""

    @property
    def score(self) -> float:
        """The sum over left-out sizes, in nats."""
        return float(self.heldout.sum())


@dataclass(frozen=True, eq=False)
class Comparison:
    """The three kinds on one curve."""

    curve: Curve
    flat: Kind
    smooth: Kind
    broken: Kind
    theta: Floats
    """(forms, 4) of the smooth forms fitted to all sizes."""
    forms: tuple[smooths.Form, ...]
    steps: breaks.Steps
    trend: Floats
    """(I - 1, 3) level, jump and trend of the jumps on a trend, fitted to all sizes."""
    mixture: mixed.Mixture | None

    @cached_property
    def unexplained(self) -> int:
        """Sizes where the plateaus of the break do not hold.

        They are predicted worse than one would knowing nothing, and not because their seeds lie closer together
        than seeds do elsewhere: most of them are off both plateaus.
        """
        anywhere = Likelihood(self.curve).anywhere
        nothing = logsumexp(anywhere, axis=0) - np.log(len(anywhere))
        off = self.broken.heldout < nothing - 0.5
        if self.mixture is not None:
            off &= self.mixture.on_plateau < 0.5
        return int(off.sum())

    @cached_property
    def break_gain(self) -> float:
        """Nats by which the break predicts left-out sizes better than the smooth forms."""
        return self.broken.score - self.smooth.score

    @cached_property
    def rise_gain(self) -> float:
        """Nats by which the better of both beats no change at all."""
        return max(self.broken.score, self.smooth.score) - self.flat.score


def compare(curve: Curve, forms: tuple[smooths.Form, ...] = smooths.FORMS) -> Comparison:
    """Fit and score every kind. Needs three sizes or more."""
    likelihood = Likelihood(curve)
    folds = np.vstack([np.ones(curve.n_sizes), 1 - np.eye(curve.n_sizes)])
    weight = folds * curve.weight
    theta, mu = smooth_fits(curve, forms, weight)
    shape = (len(folds), len(forms), likelihood.n_dispersions, curve.n_sizes)
    smooth_terms = likelihood.robust(likelihood.sizes(mu.reshape(-1, curve.n_sizes)).reshape(shape))
    steps = breaks.places(curve)
    step_terms = breaks.log_likelihood(likelihood, steps, weight)
    level = (weight @ curve.mean) / weight.sum(axis=1)
    level = breaks.limited(curve, level, weight.sum(axis=1))
    flat_mu = np.repeat(level[:, None], curve.n_sizes, axis=1)
    flat_terms = likelihood.robust(likelihood.sizes(flat_mu))[:, None]
    trend_terms, trend = breaks.trended(likelihood, steps, weight)
    gap_prior = np.log(curve.spacing / curve.spacing.sum())
    members = [
        (step_terms, steps.log_prior, _STEP_PARAMETERS),
        (trend_terms, gap_prior + np.log(_TREND_PRIOR), _STEP_PARAMETERS + 1),
    ]
    mixture = None
    if curve.n_runs.max() > 1:
        mixture = mixed.fit(likelihood, folds)
    return Comparison(
        curve=curve,
        flat=_kind(likelihood, folds, [(flat_terms, np.zeros(1), 1.0)]),
        smooth=_kind(likelihood, folds, [(smooth_terms, np.zeros(len(forms)), _SMOOTH_PARAMETERS)]),
        broken=_kind(likelihood, folds, members, mixture),
        theta=theta[0],
        forms=forms,
        steps=steps,
        trend=trend[0],
        mixture=mixture,
    )


def _kind(
    likelihood: Likelihood,
    folds: Floats,
    members: list[tuple[Floats, Floats, float]],
    mixture: mixed.Mixture | None = None,
) -> Kind:
    """Average members (F, K, D, I) within each fold by their fit to its sizes; fold 0 holds all of them.

    Dispersions compete with what fitting takes away from the scatter given back, one degree per parameter.
    """
    logs, heldout = [], []
    for terms, log_prior, parameters in members:
        fit = (terms * folds[:, None, None, :]).sum(axis=3)
        log = fit + parameters * likelihood.inflation + log_prior[:, None] - np.log(likelihood.n_dispersions)
        logs.append(logsumexp(log, axis=2))
        left_out = np.einsum("fkdf->fkd", terms[1:])
        heldout.append(logsumexp(log[1:] + left_out, axis=2) - logs[-1][1:])
    if mixture is not None:
        logs.append(mixture.log_weight + _STEP_PARAMETERS * mixture.inflation)
        heldout.append(mixture.heldout)
    log_weight, left_out = np.concatenate(logs, axis=1), np.concatenate(heldout, axis=1)
    log_weight = log_weight - logsumexp(log_weight, axis=1, keepdims=True)
    return Kind(logsumexp(log_weight[1:] + left_out, axis=1), np.exp(log_weight[0]))


def smooth_fits(curve: Curve, forms: tuple[smooths.Form, ...], weight: Floats) -> tuple[Floats, Floats]:
    """(F, forms, 4) theta and (F, forms, I) levels of each form under weights (F, I), row 0 first from many starts."""
    form, theta = smooths.starts(curve, forms)
    best, runner_up = _two_best(curve, forms, form, weight[:1].repeat(len(form), axis=0), theta)
    n_folds, n_forms = len(weight), len(forms)
    again = np.concatenate([best, runner_up])
    form = np.tile(np.arange(n_forms), 2 * n_folds)
    fold = np.repeat(np.arange(n_folds), 2 * n_forms)
    problems = _problems(curve, forms, form, weight[fold])
    theta, value = smooths.solve(problems, np.tile(again, (n_folds, 1)))
    mu = problems.level(theta)
    value = value.reshape(n_folds, 2, n_forms)
    first = (value[:, 0] <= value[:, 1])[..., None]
    theta, mu = theta.reshape(n_folds, 2, n_forms, 4), mu.reshape(n_folds, 2, n_forms, -1)
    return np.where(first, theta[:, 0], theta[:, 1]), np.where(first, mu[:, 0], mu[:, 1])


def _problems(curve: Curve, forms: tuple[smooths.Form, ...], form: Ints, weight: Floats) -> smooths.Problems:
    low, high = smooths.bounds(curve, forms, form)
    return smooths.Problems(curve, forms, form, weight, low, high)


def _two_best(
    curve: Curve, forms: tuple[smooths.Form, ...], form: Ints, weight: Floats, theta: Floats
) -> tuple[Floats, Floats]:
    """For each form the best optimum of its starts, and the best of those at another width or middle."""
    theta, value = smooths.solve(_problems(curve, forms, form, weight), theta)
    best, second = [], []
    for index in range(len(forms)):
        mine = np.flatnonzero(form == index)
        order = mine[np.argsort(value[mine])]
        top = theta[order[0]]
        other = [i for i in order[1:] if np.abs(theta[i, 2:] - top[2:]).max() > 0.1]
        best.append(top)
        second.append(theta[other[0]] if other else theta[order[-1]])
    return np.array(best), np.array(second)
