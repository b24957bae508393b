"""What must be said beside a law: too narrow a range, training that bends it, parameters the data do not pin down."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from engine.analysis.arrays import Floats, as_floats
from engine.analysis.laws.base import Points
from engine.analysis.laws.result import Estimate
from engine.i18n import tr

NARROW_RANGE = 30.0
"""A range of sizes under this factor hardly determines an exponent (Porian 2024 and the project's own ladders)."""
FEW_SIZES = 6
SMALL_MODEL = 1e8
"""Below this many parameters embeddings are a large part of them (Porian 2024; Pearce & Song 2024)."""
_NO = frozenset({"0", "0.0", "no", "false", "n", "f"})


def narrow_range(x: Floats, variable: str) -> list[str]:
    """A warning where (n,) ``x`` spans less than ``NARROW_RANGE``."""
    ratio = float(x.max() / x.min())
    if ratio >= NARROW_RANGE:
        return []
    return [
        tr(
            "{column} spans a factor of {ratio:.3g}; under 30 an exponent is hardly determined.",
            column=variable,
            ratio=ratio,
        )
    ]


def few_sizes(x: Floats, n_parameters: int = 3) -> list[str]:
    """A warning where there are hardly more sizes than parameters."""
    sizes = np.unique(x)
    if len(sizes) >= max(FEW_SIZES, n_parameters + 3):
        return []
    if n_parameters == 3:
        return [tr("Only {n} sizes for three parameters; six or more are needed to check the form.", n=len(sizes))]
    return [tr("Only {n} different points for {k} parameters.", n=len(sizes), k=n_parameters)]


def repeats(x: Floats, seeds: Any) -> list[str]:
    """What is known of the scatter between seeds, from (n,) settings and seeds."""
    if len(np.unique(x)) == len(x):
        return [tr("One run per size: the scatter between seeds is not known.")]
    if seeds is not None and len({*zip(x.tolist(), as_floats(seeds).tolist(), strict=True)}) < len(x):
        return [tr("Some runs repeat the size and the seed of another; they add no information.")]
    return []


def training(lr_scaled: bool | None, converged: bool | None) -> list[str]:
    """Warnings for training that bends a law; None where nothing is known."""
    warnings = []
    if lr_scaled is False:
        warnings.append(tr("The learning rate was not scaled with size: one fixed rate bends the law."))
    if converged is False:
        warnings.append(tr("Some runs had not converged or were not decayed: their losses bias the fit upwards."))
    return warnings


def training_of(points: Points) -> list[str]:
    """The same from columns ``lr`` and ``converged``, where the file has them."""
    lr_scaled = converged = None
    if "lr" in points.texts and "n_params" in points and len(np.unique(points["n_params"])) > 1:
        rates = {str(rate).strip() for rate in points.texts["lr"]} - {""}
        lr_scaled = len(rates) > 1 if rates else None
    if "converged" in points.texts:
        converged = not any(str(word).strip().lower() in _NO for word in points.texts["converged"])
    return training(lr_scaled, converged)


def convention(points: Points) -> list[str]:
    """A warning where it is not said whether embeddings are counted and the models are small enough to care."""
    header = points.headers.get("n_params", "")
    if "n_params" not in points or "embed" in header.lower() or points["n_params"].min() >= SMALL_MODEL:
        return []
    if "n_params_non_embedding" in points:
        return []
    return [
        tr(
            "At these sizes it changes the exponent whether {column} counts embeddings; it is used as it is.",
            column=header,
        )
    ]


def identified(fit: Estimate, lowest: float, exponents: Sequence[str] = ("alpha",)) -> list[str]:
    """Words for a law the data do not pin down: a floor or an exponent that could be nearly anything."""
    interval = fit.interval
    if not exponents:
        return []
    if any(fit.params[name] <= 0 or interval[name][0] <= 0 for name in exponents):
        return [tr("The loss does not clearly fall with size; no law can be read from these runs.")]
    e_low, e_high = interval["E"]
    loose = [name for name in exponents if interval[name][1] > 3 * interval[name][0]]
    if not loose and e_high - e_low <= 0.5 * lowest:
        return []
    name = (loose or list(exponents))[0]
    return [
        tr(
            "These runs do not identify the law: the floor E may lie in {e_low:.3g} to {e_high:.3g} "
            "and {name} in {a_low:.3g} to {a_high:.3g}. Read it within the range, not beyond.",
            e_low=e_low,
            e_high=e_high,
            name=name,
            a_low=interval[name][0],
            a_high=interval[name][1],
        )
    ]
