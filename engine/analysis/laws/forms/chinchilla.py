"""Loss of parameters and tokens together (Hoffmann 2022, approach 3), and the optimum of compute that follows."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from engine.analysis.arrays import Floats, as_floats, percentile_interval
from engine.analysis.laws.base import (
    COMPUTE,
    FLOPS_PER_PARAMETER_AND_TOKEN,
    LOSS,
    N_PARAMS,
    NON_EMBEDDING,
    TOKENS,
    Points,
    forms,
    optional,
    with_tokens,
)
from engine.analysis.laws.forms.power_law import conventions
from engine.analysis.laws.models import PowerSum, power_sum
from engine.analysis.laws.parametric import ParametricForm
from engine.analysis.laws.result import Estimate, LawFit
from engine.i18n import mark, tr


@forms.register("chinchilla")
class Chinchilla(ParametricForm):
    name = "chinchilla"
    title = mark("Loss against parameters and tokens")
    equation = "L(N, D) = E + A / N^alpha + B / D^beta"
    reference = "Hoffmann 2022, approach 3; Besiroglu 2024"
    variables = ("n_params", "tokens")
    names = ("A", "B", "alpha", "beta", "E")
    exponents = ("alpha", "beta")
    fewest_settings = 6
    columns = (N_PARAMS, optional(TOKENS), optional(COMPUTE), LOSS, NON_EMBEDDING)
    positive = ("n_params", "tokens", "compute_flops", "loss")
    parameters: ClassVar[Mapping[str, str]] = {
        "E": mark("the floor: the loss of infinite parameters and data"),
        "A": mark("the scale of what few parameters cost"),
        "B": mark("the scale of what few tokens cost"),
        "alpha": mark("the exponent of parameters"),
        "beta": mark("the exponent of tokens"),
    }

    def prepare(self, points: Points) -> Points:
        return with_tokens(points, self.name)

    def model(self, points: Points) -> PowerSum:
        return power_sum(self.inputs(points), points["loss"])

    def warnings(self, fit: LawFit, points: Points) -> list[str]:
        found = [*super().warnings(fit, points), *conventions(self, fit, points)]
        if "tokens" not in points.headers:
            found.append(tr("Tokens were taken from compute as C / (6 N)."))
        if self.tied(points):
            found.append(tr("Parameters and tokens rise together in these runs: their two terms are not told apart."))
        return found

    @staticmethod
    def tied(points: Points) -> bool:
        """Whether ln N and ln D are so correlated that the law cannot tell which of them lowers the loss."""
        return bool(abs(np.corrcoef(np.log(points["n_params"]), np.log(points["tokens"]))[0, 1]) > 0.98)

    def extras(self, fit: LawFit, points: Points) -> dict[str, Any]:
        compute = points["compute_flops"] if "compute_flops" in points.headers else None
        if compute is None:
            compute = FLOPS_PER_PARAMETER_AND_TOKEN * points["n_params"] * points["tokens"]
        return {"optimum": optimum_of(fit, float(compute.max()) * np.array([1.0, 10.0, 100.0]))}

    def optimum(self, fit: Estimate, compute: Sequence[float] | Floats) -> dict[str, Any] | None:
        assert isinstance(fit, LawFit)
        return optimum_of(fit, compute)


def allocation(public: Floats, compute: Sequence[float] | Floats) -> tuple[Floats, Floats, Floats]:
    """The optimum of L(N, D) on 6 N D = C from ``public`` (B, 5) rows A, B, alpha, beta, E.

    Returns a (B,), G (B,) and N* (B, len(compute)): N* = G (C/6)^a, D* = C / (6 N*), a = beta / (alpha + beta),
    G = (alpha A / (beta B))^(1 / (alpha + beta)) (Hoffmann 2022, equation 4). NaN where an exponent is not positive.
    """
    a_scale, b_scale, alpha, beta = public[:, :4].T
    valid = (alpha > 0) & (beta > 0)
    alpha, beta = np.where(valid, alpha, np.nan), np.where(valid, beta, np.nan)
    a = beta / (alpha + beta)
    log_g = (np.log(alpha * a_scale) - np.log(beta * b_scale)) / (alpha + beta)
    log_c = np.log(as_floats(compute) / FLOPS_PER_PARAMETER_AND_TOKEN)
    return a, np.exp(log_g), np.exp(log_g[:, None] + a[:, None] * log_c)


def optimum_of(fit: LawFit, compute: Sequence[float] | Floats) -> dict[str, Any] | None:
    """The optimal split of each of ``compute`` with standard errors and intervals; None where the law has none."""
    with np.errstate(all="ignore"):
        a, g, n_star = allocation(fit.values[None], compute)
        if not np.isfinite(a).all():
            return None
        drawn_a, drawn_g, drawn_n = allocation(fit.draws_of_values, compute)
    usable = np.isfinite(drawn_a)
    if usable.sum() < 2:
        return None
    drawn_a, drawn_g, drawn_n = drawn_a[usable], drawn_g[usable], drawn_n[usable]
    samples = fit.samples[usable]
    compute = as_floats(compute)
    rows = []
    for k, flops in enumerate(compute.tolist()):
        n = float(n_star[0, k])
        d = flops / (FLOPS_PER_PARAMETER_AND_TOKEN * n)
        drawn_d = flops / (FLOPS_PER_PARAMETER_AND_TOKEN * drawn_n[:, k])
        rows.append(
            {
                "compute_flops": flops,
                "n_params": n,
                "tokens": d,
                "tokens_per_param": d / n,
                "loss": fit.predict([n, d])[0],
                "interval": {
                    "n_params": _interval(drawn_n[:, k], fit.level),
                    "tokens": _interval(drawn_d, fit.level),
                    "tokens_per_param": _interval(drawn_d / drawn_n[:, k], fit.level),
                    "loss": _interval(_losses(fit, samples, drawn_n[:, k], drawn_d), fit.level),
                },
            }
        )
    return {
        "rule": "N* = G (C/6)^a, D* = C / (6 N*)",
        "a": float(a[0]),
        "b": float(1 - a[0]),
        "G": float(g[0]),
        "stderr": {"a": float(drawn_a.std(ddof=1)), "b": float(drawn_a.std(ddof=1)), "G": float(drawn_g.std(ddof=1))},
        "interval": {
            "a": _interval(drawn_a, fit.level),
            "b": _interval(1 - drawn_a, fit.level),
            "G": _interval(drawn_g, fit.level),
        },
        "resamples_without": int((~usable).sum()),
        "at": rows,
    }


def _losses(fit: LawFit, samples: Floats, n_params: Floats, tokens: Floats) -> Floats:
    """(B,) the loss of each resample at its own optimum."""
    public = fit.model.public(samples)
    a_scale, b_scale, alpha, beta, floor = public.T
    losses: Floats = floor + a_scale * n_params**-alpha + b_scale * tokens**-beta
    return losses


def _interval(samples: Floats, level: float) -> list[float]:
    low, high = percentile_interval(samples, level)
    return [float(low), float(high)]
