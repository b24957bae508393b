"""Measured abilities, one per file."""

from engine.capabilities.base import Capability, Metric
from engine.i18n import mark
from engine.registry import Registry

capabilities: Registry[Capability] = Registry(mark("capability"), "engine.capabilities", Capability)


def higher_is_better(capability: str, metric: str) -> bool:
    """Which way is up; what is not known falls, as losses do."""
    found = metric_of(capability, metric)
    return found is not None and found.higher_is_better


def metric_of(capability: str, metric: str) -> Metric | None:
    """The metric of that name; None where the program does not know it, or the capability."""
    return capabilities[capability].metric(metric) if capability in capabilities else None
