"""Scaling laws: forms, fits, intervals, and what they say about sizes not trained."""

from engine.analysis.laws.base import FitOptions, Form, Points, points_of
from engine.analysis.laws.compare import compare_forms
from engine.analysis.laws.ladder import fit_ladder
from engine.analysis.laws.result import Estimate, LawFit

__all__ = ["Estimate", "FitOptions", "Form", "LawFit", "Points", "compare_forms", "fit_ladder", "points_of"]
