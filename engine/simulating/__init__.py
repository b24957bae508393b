"""Studies that train nothing: their runs draw ladders from a law that is known, and say what a fit makes of them."""

from engine.simulating.spec import CAPABILITY, KIND, METRICS, LadderTable, LawTable, expand_simulated

__all__ = ["CAPABILITY", "KIND", "METRICS", "LadderTable", "LawTable", "expand_simulated"]
