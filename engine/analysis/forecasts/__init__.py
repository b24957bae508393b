"""Forecasts of sizes not trained yet: made and sealed before, scored after, and what their record is worth."""

from engine.analysis.forecasts.locked import LEVELS, Observation, Target, intact, make_forecast
from engine.analysis.forecasts.scoring import calibration, score_forecast

__all__ = ["LEVELS", "Observation", "Target", "calibration", "intact", "make_forecast", "score_forecast"]
