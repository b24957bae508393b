"""Which form the data prefer: by the error on sizes that were held out, and by AICc.

AICc is taken under Laplace noise of ln L, which is what a Huber loss of so small a delta assumes:
AIC = 2 n ln(2 e mean|r|) + 2 k, with k counting the scale of the noise, plus 2 k (k + 1) / (n - k - 1).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from engine.analysis.arrays import Floats
from engine.analysis.laws.base import FitOptions, Points, forms
from engine.analysis.laws.parametric import ParametricForm
from engine.errors import InputError
from engine.i18n import tr


def comparable() -> tuple[str, ...]:
    """Forms of the loss itself, which can be compared on the same points."""
    return tuple(name for name in forms if isinstance(forms[name], ParametricForm))


def compare_forms(points: Points, names: Sequence[str] | None = None, n_last: int = 3) -> list[dict[str, Any]]:
    """Fit every form that the points allow and rank them, the best first.

    Each row has ``form``, ``n_params_of_form``, ``objective``, ``aicc`` with ``delta_aicc`` to the lowest, and
    ``heldout_rms``: the root mean square of ln(observed) - ln(predicted) over the ``n_last`` largest sizes, each
    predicted from the smaller ones (None where too little is left). Ranked by held-out error, then by AICc. Forms of
    different variables hold out different runs, so their held-out errors answer different questions; ``heldout_of``
    says which. Forms that the points do not allow have ``why``, and come last.
    """
    rows, refused = [], []
    for name in names or comparable():
        form = forms[name]
        assert isinstance(form, ParametricForm), f"{name} cannot be compared"
        try:
            rows.append(_row(form, form.prepare(points), n_last))
        except InputError as error:
            refused.append({"form": name, "why": error.message})
        except KeyError as missing:
            refused.append({"form": name, "why": tr("There is no column {name!r}.", name=missing.args[0])})
    scored = [row["aicc"] for row in rows if row["aicc"] is not None]
    for row in rows:
        row["delta_aicc"] = row["aicc"] - min(scored) if row["aicc"] is not None else None
    unknown = float("inf")
    rows.sort(
        key=lambda row: (
            unknown if row["heldout_rms"] is None else row["heldout_rms"],
            unknown if row["aicc"] is None else row["aicc"],
        )
    )
    return rows + refused


def _row(form: ParametricForm, points: Points, n_last: int) -> dict[str, Any]:
    fit = form.solved(points, FitOptions(n_bootstrap=2, resample="pairs"))
    errors = form.errors_ahead(points, n_last)
    return {
        "form": form.name,
        "n_params_of_form": len(form.names),
        "n_points": len(points),
        "objective": fit.objective,
        "aicc": aicc(fit.residuals, len(form.names)),
        "heldout_rms": float(np.sqrt(np.mean(errors**2))) if len(errors) else None,
        "heldout_of": form.variables[0],
        "params": fit.params,
    }


def aicc(residuals: Floats, n_parameters: int) -> float | None:
    """AICc of (n,) residuals of ln L under Laplace noise; None with too few points for its correction."""
    n, k = len(residuals), n_parameters + 1
    if n - k - 1 < 1:
        return None
    scale = max(float(np.abs(residuals).mean()), 1e-15)
    return 2 * n * float(np.log(2 * np.e * scale)) + 2 * k + 2 * k * (k + 1) / (n - k - 1)
