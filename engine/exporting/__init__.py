"""What a home holds as files that other programs open. Nothing here changes the home."""

from engine.exporting.folder import export_hf

__all__ = ["export_hf"]
