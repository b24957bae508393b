"""Emergence: is an ability's appearance with size smooth, a break, or made by the metric?"""

from engine.analysis.emergence.data import Observations, observations
from engine.analysis.emergence.metric_effect import expected_exact_match
from engine.analysis.emergence.seeds import wilson
from engine.analysis.emergence.verdict import judge, judge_table

__all__ = ["Observations", "expected_exact_match", "judge", "judge_table", "observations", "wilson"]
