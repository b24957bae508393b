"""Capabilities measured on models that are finished: any run of the home, or a folder of plain transformers."""
