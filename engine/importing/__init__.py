"""Someone else's results: read from files, shown as what they would become, and kept as a study of finished runs.

``read`` turns files into ``Found`` and touches nothing; ``keep`` puts it into a store in one transaction. Nothing in a
file is executed or unpickled, and how much is read is bounded.
"""

from engine.importing.found import Found, FoundRun, parse_size
from engine.importing.reading import Look, look, read
from engine.importing.storing import Kept, fit_law, keep

__all__ = ["Found", "FoundRun", "Kept", "Look", "fit_law", "keep", "look", "parse_size", "read"]
