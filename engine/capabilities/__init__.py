"""Measured abilities, one per file."""

from engine.capabilities.base import Capability
from engine.i18n import mark
from engine.registry import Registry

capabilities: Registry[Capability] = Registry(mark("capability"), "engine.capabilities", Capability)
