"""From the store to figures: each builder reads what is stored and says where it comes from.

``build(reader, "loss-vs-params", study_id, convention="all")`` is the way in; ``FIGURES`` lists the names.
"""

import contextlib
import inspect
from collections.abc import Callable, Mapping

from engine.errors import InputError
from engine.figures.comparison import comparison
from engine.figures.compression import compression
from engine.figures.curves import loss_curves
from engine.figures.distillation import distillation
from engine.figures.emergence import emergence
from engine.figures.forecasts import calibration
from engine.figures.ladder import capability_vs_params, loss_vs_params, residuals
from engine.figures.laws import best_setting, isoflop, loss_surface, optimum_vs_compute
from engine.figures.learning import learning_curves
from engine.figures.model import Figure
from engine.figures.predictions import confusion_matrix, reliability
from engine.i18n import mark, tr
from engine.store import Reader

Builder = Callable[..., Figure]

FIGURES: Mapping[str, Builder] = {
    "loss-vs-params": loss_vs_params,
    "capability-vs-params": capability_vs_params,
    "loss-curves": loss_curves,
    "residuals": residuals,
    "loss-surface": loss_surface,
    "isoflop": isoflop,
    "optimum-vs-compute": optimum_vs_compute,
    "best-setting": best_setting,
    "calibration": calibration,
    "emergence": emergence,
    "comparison": comparison,
    "compression": compression,
    "distillation": distillation,
    "confusion-matrix": confusion_matrix,
    "reliability": reliability,
    "learning-curves": learning_curves,
}

TITLES: Mapping[str, str] = {
    "loss-vs-params": mark("Loss against parameters"),
    "capability-vs-params": mark("Capability against parameters"),
    "loss-curves": mark("Loss while training"),
    "residuals": mark("What the law leaves over"),
    "loss-surface": mark("Loss against parameters and tokens"),
    "isoflop": mark("IsoFLOP curves"),
    "optimum-vs-compute": mark("Best size for a budget, three estimators"),
    "best-setting": mark("Best setting by size"),
    "calibration": mark("Calibration of the forecasts"),
    "emergence": mark("Emergence of an ability"),
    "comparison": mark("Studies side by side"),
    "compression": mark("Ability against cost"),
    "distillation": mark("Distilled and alone"),
    "confusion-matrix": mark("Confusion matrix"),
    "reliability": mark("Confidence against accuracy"),
    "learning-curves": mark("Learning curves of a run"),
}
"""What each is called where one chooses among them."""
OF_SOME_STUDIES = (
    "loss-surface",
    "isoflop",
    "optimum-vs-compute",
    "best-setting",
    "calibration",
    "compression",
    "distillation",
)
"""Figures that only studies of the right kind have."""


def available(reader: Reader, study_id: str) -> list[str]:
    """Those of ``OF_SOME_STUDIES`` that this study has."""
    found = []
    for name in OF_SOME_STUDIES:
        with contextlib.suppress(InputError):
            build(reader, name, study_id)
            found.append(name)
    return found


def options_of(name: str) -> dict[str, object]:
    """Options that a figure takes, with their defaults."""
    parameters = list(inspect.signature(_builder(name)).parameters.values())[2:]
    return {p.name: p.default for p in parameters}


def build(reader: Reader, name: str, study_id: str, **options: object) -> Figure:
    """The named figure of a study.

    Raises:
        InputError: there is no such figure, study or option, or nothing to show yet.
    """
    builder = _builder(name)
    known = options_of(name)
    for option in options:
        if option not in known:
            raise InputError(
                tr(
                    "{figure} has no option {name!r} (there are: {known}).",
                    figure=name,
                    name=option,
                    known=", ".join(known),
                )
            )
    return builder(reader, study_id, **options)


def _builder(name: str) -> Builder:
    try:
        return FIGURES[name]
    except KeyError:
        raise InputError(
            tr("there is no figure {name!r} (there are: {known}).", name=name, known=", ".join(FIGURES))
        ) from None
