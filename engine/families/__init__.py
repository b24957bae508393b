"""Model families, one per file; each can be built at any size."""

from engine.families.base import Family
from engine.i18n import mark
from engine.registry import Registry

families: Registry[Family] = Registry(mark("model family"), "engine.families", Family)
