"""Scaling laws: forms, fits, intervals, and what they say about sizes not trained."""

from engine.analysis.laws.ladder import fit_ladder
from engine.analysis.laws.result import LawFit

__all__ = ["LawFit", "fit_ladder"]
