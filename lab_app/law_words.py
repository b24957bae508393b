"""A fitted law in sentences: what it says, how sure it is, and what speaks against it."""

from collections.abc import Mapping
from typing import Any

from engine.figures.ticks import format_count
from engine.i18n import tr
from lab_app import words


def equation(law: Mapping[str, Any]) -> str:
    """The law with its numbers, as one line."""
    p = law["params"]
    return f"L(N) = {p['E']:.3g} + {p['A']:.3g} / N^{p['alpha']:.3g}"


def sentences(law: Mapping[str, Any]) -> list[str]:
    """What the law says, most important first."""
    said = [_exponent(law), _halving(law), _floor(law), _heldout(law), _range(law)]
    return [sentence for sentence in said if sentence]


def warnings(law: Mapping[str, Any]) -> list[str]:
    """What speaks against trusting it."""
    return [str(warning) for warning in law.get("warnings") or ()]


def _between(law: Mapping[str, Any], name: str) -> str:
    interval = (law.get("interval") or {}).get(name)
    if not interval:
        return ""
    percent = f"{100 * law.get('level', 0.9):g}"
    return tr(
        " ({percent}% interval {low} to {high})",
        percent=percent,
        low=words.value(interval[0], 3),
        high=words.value(interval[1], 3),
    )


def _exponent(law: Mapping[str, Any]) -> str:
    alpha = law["params"]["alpha"]
    return tr("The exponent is {alpha}{between}.", alpha=words.value(alpha, 3), between=_between(law, "alpha"))


def _halving(law: Mapping[str, Any]) -> str:
    alpha = law["params"]["alpha"]
    if alpha <= 0:
        return ""
    return tr(
        "Ten times the parameters leave {percent}% of the loss that can be got rid of; halving it takes {times} times "
        "as many.",
        percent=f"{100 * 10**-alpha:.0f}",
        times=format_count(2 ** (1 / alpha)),
    )


def _floor(law: Mapping[str, Any]) -> str:
    floor = law["params"]["E"]
    return tr(
        "However large the model, a loss of {floor} remains{between}, with this data and budget.",
        floor=words.value(floor, 3),
        between=_between(law, "E"),
    )


def _heldout(law: Mapping[str, Any]) -> str:
    held = law.get("heldout")
    if not held or held.get("interval") is None:
        return ""
    low, high = held["interval"]
    facts = {
        "n": format_count(float(held.get(law.get("variable", "n_params"), held.get("n_params", 0)))),
        "predicted": words.value(held["predicted"]),
        "low": words.value(low),
        "high": words.value(high),
        "observed": words.value(held["observed"]),
    }
    if low <= held["observed"] <= high:
        return tr(
            "The largest size ({n}) was held out: predicted {predicted} ({low} to {high}), "
            "observed {observed}. It holds.",
            **facts,
        )
    return tr(
        "The largest size ({n}) was held out: predicted {predicted} ({low} to {high}), observed {observed}. "
        "It does not hold.",
        **facts,
    )


def _range(law: Mapping[str, Any]) -> str:
    ends = law.get("range")
    if not ends:
        return ""
    return tr(
        "Fitted to {n} points from {low} to {high} parameters.",
        n=law.get("n_points", "?"),
        low=format_count(float(ends[0])),
        high=format_count(float(ends[1])),
    )
