"""Names that several figures share."""

from collections.abc import Sequence

import numpy as np

from engine.capabilities import capabilities, metric_of
from engine.errors import InputError
from engine.families import families
from engine.i18n import tr
from engine.simulating import spec as simulated
from engine.store import VALIDATION_LOSSES, RunRow

CONVENTIONS = ("non-embedding", "all")


def convention_words(convention: str) -> str:
    """What an axis or a legend says of the count of parameters it uses."""
    if convention not in CONVENTIONS:
        raise InputError(
            tr("unknown convention {name!r} (there are: {known}).", name=convention, known=", ".join(CONVENTIONS))
        )
    return tr("Parameters (all)") if convention == "all" else tr("Parameters (without embeddings)")


def size_of(run: RunRow, convention: str) -> int:
    """The run's count of parameters under a convention."""
    return run.n_params if convention == "all" else run.n_params_non_embedding


def loss_words(runs: Sequence[RunRow], split: str = "val") -> str:
    """The label of an axis that shows the loss of these runs, with its unit where their family is known.

    ``split`` is val, train, or empty where both are shown.
    """
    loss = {"val": tr("Validation loss"), "train": tr("Training loss"), "": tr("Loss")}[split]
    unit = loss_unit(runs)
    return tr("{loss} ({unit})", loss=loss, unit=unit) if unit else loss


def loss_unit(runs: Sequence[RunRow]) -> str:
    """What the losses of these runs are measured in; empty where it is not known, or not one unit."""
    shapes = {(run.family, run.size): run for run in runs if run.family in families}
    units = {families[run.family].loss_unit(run.shape) for run in shapes.values()}
    return tr(units.pop()) if len(units) == 1 else ""


def counts_samples(runs: Sequence[RunRow]) -> bool:
    """Whether ``tokens_seen`` of these runs counts samples: an image, a wave's value or a vector each, not tokens."""
    of_text = {"tokens", "pairs", "labelled", "instructions", "tagged", "questions"}
    found = {bool(families[run.family].reads(run.shape) & of_text) for run in runs if run.family in families}
    return found == {False}


def metric_words(capability: str, metric: str, runs: Sequence[RunRow] = ()) -> str:
    """The label of an axis that shows a metric of a capability, measured on these runs."""
    if capability == "language-modelling":
        if metric == "loss":
            return loss_words(runs)
        if metric == "bits_per_byte":
            return tr("Validation bits per byte")
    return metric_title(capability, metric)


def metric_title(capability: str, metric: str) -> str:
    """Capability and metric by their titles; names as they are where the program no longer knows them."""
    if (capability, metric) in VALIDATION_LOSSES:
        return tr("Validation loss")
    if capability == simulated.CAPABILITY:
        return metric_name(capability, metric)
    title = tr(capabilities[capability].title) if capability in capabilities else capability
    return tr("{capability}: {metric}", capability=title, metric=metric_name(capability, metric))


def metric_name(capability: str, metric: str) -> str:
    """The metric's own title."""
    if capability == simulated.CAPABILITY and metric in simulated.METRICS:
        return tr(simulated.METRICS[metric])
    found = metric_of(capability, metric)
    return metric if found is None else found.words()


def standard_error(values: list[float]) -> float | None:
    """Of the mean over seeds; None for one value."""
    return float(np.std(values, ddof=1) / len(values) ** 0.5) if len(values) > 1 else None
