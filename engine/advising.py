"""Advice from a stored study or a fitted law: the law to ask, and what this machine does in a second and a joule."""

import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import InputError
from engine.events import RunState
from engine.forecasting import observations
from engine.i18n import tr

if TYPE_CHECKING:
    from engine.analysis.forecasts import Observation
    from engine.analysis.forecasts.planner import Answer, Surface
    from engine.store import Reader

FLOPS_PER_PARAMETER_AND_TOKEN = 6.0
"""The law's own currency, C = 6 N D with N without embeddings, in which this machine's rate is counted too."""
JOULES_PER_KWH = 3.6e6


@dataclass(frozen=True, slots=True)
class Ask:
    """What is asked; None where it is not. ``scores`` are (capability, metric, value)."""

    compute: float | None = None
    seconds: float | None = None
    kwh: float | None = None
    flops_per_second: float | None = None
    watts: float | None = None
    loss: float | None = None
    tokens: float | None = None
    n_params: float | None = None
    double_data: bool = False
    scores: Sequence[tuple[str, str, float]] = field(default_factory=tuple)


def advise_study(reader: "Reader", study_id: str, ask: Ask) -> dict[str, Any]:
    """Answers from the law of a study's finished runs. Raises ``InputError`` where there are too few to fit."""
    from engine.analysis.forecasts.locked import FEWEST_SIZES, fit_law
    from engine.analysis.forecasts.planner import surface_of_fit

    runs = observations(reader, study_id)
    if len({run.n_params for run in runs}) < FEWEST_SIZES:
        raise InputError(tr("{study} has too few finished sizes for a law.", study=study_id), tr("Run it first."))
    training = reader.study_spec(study_id).training
    fit = fit_law(runs, 0.9, lr_scaled=training.lr_rule != "fixed", converged=training.schedule != "constant")
    largest = (max(run.n_params for run in runs), max(run.tokens for run in runs))
    surface = surface_of_fit(fit, largest if len(fit.variables) > 1 else largest[:1])
    rate = ask.flops_per_second or _measured_rate(reader, study_id)
    return {
        "source": study_id,
        "law": {key: fit.to_document()[key] for key in ("form", "params", "interval", "level", "warnings")},
        "flops_per_second": rate,
        "answers": [*_answers(surface, ask, rate, largest), *_scores(surface, runs, ask)],
    }


def advise_document(path: Path, ask: Ask) -> dict[str, Any]:
    """Answers from a document that ``fit --json`` printed. Raises ``InputError`` where it is not one."""
    from engine.analysis.forecasts.planner import surface_of_document

    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(tr("{path} cannot be read: {why}.", path=str(path), why=error.strerror or "")) from None
    except ValueError:
        raise InputError(tr("{path} is not JSON.", path=str(path))) from None
    surface = surface_of_document(document if isinstance(document, dict) else {})
    if ask.scores:
        raise InputError(tr("a law of the loss knows no scores."), tr("Ask a study."))
    return {
        "source": str(path),
        "law": {key: document.get(key) for key in ("form", "params", "interval", "level", "warnings")},
        "flops_per_second": ask.flops_per_second,
        "answers": _answers(surface, ask, ask.flops_per_second, surface.largest),
    }


def _answers(surface: "Surface", ask: Ask, rate: float | None, largest: Sequence[float]) -> "list[Answer]":
    from engine.analysis.forecasts.planner import double_data, for_compute, for_loss

    answers = [for_compute(surface, compute) | extra for compute, extra in _budgets(ask, rate)]
    if ask.loss is not None:
        answers.append(for_loss(surface, ask.loss, ask.tokens))
    if ask.double_data:
        n_params = ask.n_params or largest[0]
        tokens = ask.tokens or (largest[1] if len(largest) > 1 else 0.0)
        answers.append(double_data(surface, n_params, tokens))
    return answers


def _budgets(ask: Ask, rate: float | None) -> list[tuple[float, dict[str, float]]]:
    """Each budget in FLOPs, and what it was asked in."""
    found: list[tuple[float, dict[str, float]]] = []
    if ask.compute is not None:
        found.append((ask.compute, {}))
    if (ask.seconds is not None or ask.kwh is not None) and rate is None:
        raise InputError(
            tr("a budget of time or energy needs the speed of this machine."), tr("Give it with --flops-per-second.")
        )
    if ask.seconds is not None and rate is not None:
        found.append((ask.seconds * rate, {"seconds": ask.seconds, "flops_per_second": rate}))
    if ask.kwh is not None and rate is not None:
        watts = ask.watts or measured_watts()
        if watts is None:
            raise InputError(tr("a budget of energy needs the power of this machine."), tr("Give it with --watts."))
        seconds = ask.kwh * JOULES_PER_KWH / watts
        found.append((seconds * rate, {"kwh": ask.kwh, "watts": watts, "flops_per_second": rate}))
    return found


def _scores(surface: "Surface", runs: "Sequence[Observation]", ask: Ask) -> "list[Answer]":
    from engine.analysis.arrays import as_floats
    from engine.analysis.forecasts.planner import for_score
    from engine.analysis.forecasts.trend import fit_trend, scale_of

    answers = []
    for capability, metric, wanted in ask.scores:
        known = [run for run in runs if (capability, metric) in run.scores]
        if not known:
            there = sorted({f"{c}:{m}" for run in runs for c, m in run.scores})
            raise InputError(
                tr("no run has {name} (there are: {known}).", name=f"{capability}:{metric}", known=", ".join(there))
            )
        values = as_floats([run.scores[capability, metric][0] for run in known])
        scale = scale_of(capability, metric, values)
        items = [run.scores[capability, metric][1] for run in known]
        losses = [run.loss for run in known]
        trend = fit_trend([run.n_params for run in known], losses, values.tolist(), scale, items)
        answers.append(for_score(surface, trend, f"{capability}:{metric}", wanted, ask.tokens))
    return answers


def _measured_rate(reader: "Reader", study_id: str) -> float | None:
    """FLOPs by 6 N D in a second of training, of the largest size that finished: what this machine really did."""
    done = [r for r in reader.ladder(study_id) if r.state == RunState.FINISHED and r.seconds > 0 and r.tokens_seen > 0]
    if not done:
        return None
    largest = max(run.n_params_non_embedding for run in done)
    rates = [
        FLOPS_PER_PARAMETER_AND_TOKEN * run.n_params_non_embedding * run.tokens_seen / run.seconds
        for run in done
        if run.n_params_non_embedding == largest
    ]
    return sorted(rates)[len(rates) // 2]


def measured_watts() -> float | None:
    """The power limit of the first NVIDIA card, which training comes close to; None where there is no such card."""
    import pynvml

    with contextlib.suppress(pynvml.NVMLError):
        pynvml.nvmlInit()
        try:
            return float(pynvml.nvmlDeviceGetEnforcedPowerLimit(pynvml.nvmlDeviceGetHandleByIndex(0))) / 1000
        finally:
            pynvml.nvmlShutdown()
    return None
