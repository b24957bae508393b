"""What a law answers in practice: the split of a budget, the size for a loss, what more data would buy.

Every answer has its interval, from the resamples of the fit, and refuses where the law does not pin it down.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.analysis.arrays import Floats, as_floats, percentile_interval
from engine.analysis.forecasts.trend import Trend
from engine.analysis.laws.base import FLOPS_PER_PARAMETER_AND_TOKEN
from engine.analysis.laws.forms.chinchilla import allocation
from engine.analysis.laws.result import LawFit
from engine.errors import InputError
from engine.i18n import tr

TOO_WIDE = 10.0
"""An interval whose ends are further apart than this factor is no advice."""
FAR = 10.0
"""Past this many times the largest that was trained an answer says that it is extrapolated."""
N_DRAWS = 2000
ORDER = ("A", "B", "alpha", "beta", "E")
ORDER_OF_SIZE = ("A", "alpha", "E")
Answer = dict[str, Any]


@dataclass(frozen=True)
class Surface:
    """A law to ask: ``point`` (5,) and ``draws`` (B, 5) of A, B, alpha, beta, E; without B and beta, (3,) and (B, 3).

    ``largest`` is the largest that was trained: parameters, and tokens where the law has them.
    """

    point: Floats
    draws: Floats
    level: float
    largest: tuple[float, ...]

    @property
    def has_tokens(self) -> bool:
        """Whether this is L(N, D), or L(N) alone."""
        return len(self.point) == len(ORDER)

    def loss(self, n_params: Floats | float, tokens: Floats | float | None = None) -> tuple[float, Floats]:
        """The loss at a point, and (B,) what its resamples say."""
        both = np.vstack([self.point, self.draws])
        n, d = np.asarray(n_params, dtype=np.float64), np.asarray(tokens if tokens is not None else 1.0)
        with np.errstate(all="ignore"):
            if self.has_tokens:
                a_scale, b_scale, alpha, beta, floor = both.T
                found = floor + a_scale * n**-alpha + b_scale * np.asarray(d, dtype=np.float64) ** -beta
            else:
                a_scale, alpha, floor = both.T
                found = floor + a_scale * n**-alpha
        return float(found[0]), found[1:]


def surface_of_fit(fit: LawFit, largest: tuple[float, ...]) -> Surface:
    """The law of a fit of L(N, D) or L(N)."""
    order = ORDER if "beta" in fit.names else ORDER_OF_SIZE
    at = [fit.names.index(name) for name in order]
    return Surface(fit.values[at], fit.draws_of_values[:, at], fit.level, largest)


def surface_of_document(document: Mapping[str, Any]) -> Surface:
    """The law of a document that ``fit --json`` printed; its resamples are drawn anew from the covariance it gives.

    Scales and the floor are drawn on their logarithm, since they are positive. Raises ``InputError`` for other forms.
    """
    params = document.get("params")
    if not isinstance(params, Mapping) or not {"A", "alpha", "E"} <= params.keys():
        raise InputError(
            tr("this document holds no law of parameters, or of parameters and tokens."),
            tr("Make one with fit FILE.csv --form chinchilla --json."),
        )
    order = ORDER if "beta" in params else ORDER_OF_SIZE
    point = as_floats([params[name] for name in order])
    covariance = document.get("covariance", {})
    names = covariance.get("names", [])
    if not set(order) <= set(names) or (point <= 0).any():
        raise InputError(tr("this document gives no covariance of its law."), tr("Fit it again with this program."))
    at = [names.index(name) for name in order]
    matrix = as_floats(covariance["matrix"])[np.ix_(at, at)]
    # d ln x = dx / x: one far resample of a scale must not make its logarithm's spread.
    logs = np.array([name in ("A", "B", "E") for name in order])
    scale = np.where(logs, 1 / point, 1.0)
    mean = np.where(logs, np.log(point), point)
    drawn = np.random.default_rng(0).multivariate_normal(
        mean, matrix * np.outer(scale, scale), N_DRAWS, check_valid="ignore", method="eigh"
    )
    ranges = document.get("ranges", {})
    first = ranges.get("n_params", document.get("range", [1.0, math.inf]))[1]
    largest = (float(first), float(ranges["tokens"][1])) if "tokens" in ranges else (float(first),)
    return Surface(point, np.where(logs, np.exp(drawn), drawn), float(document.get("level", 0.9)), largest)


def for_compute(surface: Surface, compute: float) -> Answer:
    """The best N and D for ``compute`` FLOPs by C = 6 N D, and the loss there."""
    asked = {"question": "budget", "compute_flops": compute}
    if not surface.has_tokens:
        return _refused(asked, {}, tr("This law knows nothing of tokens: it cannot split a budget."))
    with np.errstate(all="ignore"):
        _, _, best = allocation(surface.point[None], [compute])
        _, _, drawn = allocation(surface.draws, [compute])
    n, n_drawn = float(best[0, 0]), drawn[:, 0]
    d, d_drawn = compute / (6 * n), compute / (6 * n_drawn)
    loss, _ = surface.loss(n, d)
    with np.errstate(all="ignore"):
        losses = surface.draws[:, 4] + surface.draws[:, 0] * n_drawn ** -surface.draws[:, 2]
        losses = losses + surface.draws[:, 1] * d_drawn ** -surface.draws[:, 3]
    value = {"n_params": n, "tokens": d, "tokens_per_param": d / n, "loss": loss}
    spread = {
        "n_params": _interval(n_drawn, surface.level),
        "tokens": _interval(d_drawn, surface.level),
        "tokens_per_param": _interval(d_drawn / n_drawn, surface.level),
        "loss": _interval(losses, surface.level),
    }
    words = tr(
        "With {compute:.3g} FLOPs: {n:.3g} parameters on {d:.3g} tokens, for a loss of {loss:.3f}.",
        compute=compute,
        n=n,
        d=d,
        loss=loss,
    )
    return _answer(surface, asked, value, spread, words, key="n_params")


def for_loss(surface: Surface, loss: float, tokens: float | None = None) -> Answer:
    """How large a model must be for ``loss``: on ``tokens``, or with the cheapest amount of data for it."""
    asked: dict[str, Any] = {"question": "loss", "loss": loss} | ({"tokens": tokens} if tokens else {})
    both = np.vstack([surface.point, surface.draws])
    with np.errstate(all="ignore"):
        if not surface.has_tokens:
            a_scale, alpha, floor = both.T
            n = _power(a_scale, loss - floor, alpha)
            d = None
        elif tokens is not None:
            a_scale, b_scale, alpha, beta, floor = both.T
            n = _power(a_scale, loss - floor - b_scale * tokens**-beta, alpha)
            d = np.full_like(n, tokens)
        else:
            a_scale, b_scale, alpha, beta, floor = both.T
            # At the optimum alpha A N^-alpha = beta B D^-beta, so L - E = A N^-alpha (1 + alpha / beta).
            n = _power(a_scale * (1 + alpha / beta), loss - floor, alpha)
            d = (beta * b_scale / (alpha * a_scale)) ** (1 / beta) * n ** (alpha / beta)
    value: dict[str, float] = {"n_params": float(n[0])}
    spread = {"n_params": _interval(n[1:], surface.level)}
    if d is not None:
        compute = FLOPS_PER_PARAMETER_AND_TOKEN * n * d
        value |= {"tokens": float(d[0]), "compute_flops": float(compute[0])}
        spread |= {"tokens": _interval(d[1:], surface.level), "compute_flops": _interval(compute[1:], surface.level)}
    if not math.isfinite(value["n_params"]):
        return _refused(
            asked, spread, tr("No size reaches a loss of {loss:g}: the law's floor lies above it.", loss=loss)
        )
    words = tr("A loss of {loss:g} takes {n:.3g} parameters.", loss=loss, n=value["n_params"])
    return _answer(surface, asked, value, spread, words, key="n_params")


def double_data(surface: Surface, n_params: float, tokens: float) -> Answer:
    """What twice the tokens would buy a model of ``n_params``: the fall of its loss."""
    asked = {"question": "double-data", "n_params": n_params, "tokens": tokens}
    if not surface.has_tokens:
        return _refused(asked, {}, tr("This law knows nothing of tokens: it cannot say what more would buy."))
    now, now_drawn = surface.loss(n_params, tokens)
    then, then_drawn = surface.loss(n_params, 2 * tokens)
    value = {"loss": now, "loss_doubled": then, "gain": now - then}
    spread = {
        "loss": _interval(now_drawn, surface.level),
        "loss_doubled": _interval(then_drawn, surface.level),
        "gain": _interval(now_drawn - then_drawn, surface.level),
    }
    words = tr(
        "Twice the data would lower the loss of {n:.3g} parameters from {now:.3f} to {then:.3f}.",
        n=n_params,
        now=now,
        then=then,
    )
    return _answer(surface, asked, value, spread, words, key="gain", tokens=2 * tokens)


def for_score(surface: Surface, trend: Trend, name: str, score: float, tokens: float | None = None) -> Answer:
    """How large a model must be for a score of a capability: the loss that has it, and the size for that loss."""
    asked: dict[str, Any] = {"question": "score", "score_of": name, "score": score}
    loss, losses = trend.loss_for(score)
    n_draws = min(len(losses), len(surface.draws))
    both = np.vstack([surface.point, surface.draws[:n_draws]])
    wanted = np.append(loss, losses[:n_draws])
    with np.errstate(all="ignore"):
        if surface.has_tokens:
            a_scale, b_scale, alpha, beta, floor = both.T
            on = tokens or surface.largest[1]
            asked["tokens"] = on
            n = _power(a_scale, wanted - floor - b_scale * on**-beta, alpha)
        else:
            a_scale, alpha, floor = both.T
            n = _power(a_scale, wanted - floor, alpha)
    spread = {"n_params": _interval(n[1:], surface.level)}
    size = float(n[0])
    if not math.isfinite(size):
        return _refused(
            asked,
            spread,
            tr("No size reaches {name} of {score:g}: the law's floor lies above it.", name=name, score=score),
        )
    words = tr("{name} of {score:g} takes {n:.3g} parameters.", name=name, score=score, n=size)
    return _answer(surface, asked, {"n_params": size, "loss": loss}, spread, words)


def _power(scale: Floats, above: Floats, exponent: Floats) -> Floats:
    """(scale / above)^(1 / exponent); infinite where nothing is left above the floor or the law does not fall."""
    usable = (above > 0) & (exponent > 0)
    found: Floats = np.where(
        usable, (scale / np.where(usable, above, 1.0)) ** (1 / np.where(usable, exponent, 1)), np.inf
    )
    return found


def _interval(drawn: Floats, level: float) -> list[float | None]:
    """The interval; None for an end that has no bound. What is not a number counts as unbounded above."""
    ordered = np.where(np.isnan(drawn), np.inf, drawn)
    low, high = (float(np.quantile(ordered, q, method="nearest")) for q in ((1 - level) / 2, (1 + level) / 2))
    if np.isfinite(ordered).all():
        low, high = (float(end) for end in percentile_interval(ordered, level))
    return [low if math.isfinite(low) else None, high if math.isfinite(high) else None]


def _answer(
    surface: Surface,
    asked: Answer,
    value: dict[str, float],
    spread: dict[str, list[float | None]],
    words: str,
    key: str = "n_params",
    tokens: float | None = None,
) -> Answer:
    """The answer with its interval in words, or the refusal where ``key`` is not pinned down."""
    low, high = spread[key]
    percent = f"{100 * surface.level:g}"
    if not _pinned(low, high) or not math.isfinite(value[key]):
        return _refused(
            asked,
            spread,
            tr(
                "These runs do not identify it: {key} may lie from {low} to {high} ({percent}%).",
                key=key,
                low=_shown(low),
                high=_shown(high),
                percent=percent,
            ),
        )
    words += " " + tr(
        "{percent}% interval of {key}: {low} to {high}.", percent=percent, key=key, low=_shown(low), high=_shown(high)
    )
    words += _extrapolated(surface, value.get("n_params", asked.get("n_params")), tokens or value.get("tokens"))
    return asked | {"answer": value, "interval": spread, "level": surface.level, "refused": False, "words": words}


def _pinned(low: float | None, high: float | None) -> bool:
    return low is not None and high is not None and low > 0 and high <= TOO_WIDE * low


def _extrapolated(surface: Surface, n_params: float | None, tokens: float | None) -> str:
    reach = [n_params / surface.largest[0]] if n_params else []
    if tokens and len(surface.largest) > 1:
        reach.append(tokens / surface.largest[1])
    if not reach or max(reach) <= FAR:
        return ""
    return " " + tr(
        "That is {factor:.0f} times what was trained: the interval does not cover a law that bends in between.",
        factor=max(reach),
    )


def _refused(asked: Answer, spread: dict[str, list[float | None]], words: str) -> Answer:
    return asked | {"answer": None, "interval": spread, "refused": True, "words": words}


def _shown(value: float | None) -> str:
    return tr("anything") if value is None else f"{value:.3g}"
