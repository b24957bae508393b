"""Where data comes from, one source per file."""

from engine.i18n import mark
from engine.registry import Registry
from engine.sources.base import Source

sources: Registry[Source] = Registry(mark("data source"), "engine.sources", Source)
