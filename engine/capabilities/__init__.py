"""Measured abilities, one per file."""

from engine.capabilities.base import Capability
from engine.i18n import mark
from engine.registry import Registry

capabilities: Registry[Capability] = Registry(mark("capability"), "engine.capabilities", Capability)


def higher_is_better(capability: str, metric: str) -> bool:
    """Which way is up; what is not known falls, as losses do."""
    known = capabilities[capability].metrics if capability in capabilities else ()
    return any(found.higher_is_better for found in known if found.name == metric)
