"""The laboratory without its window: studies, training, measuring, analysis and storage. Imports no Qt."""

__version__ = "0.1.0"
