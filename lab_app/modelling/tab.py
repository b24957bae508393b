"""What every tab of the Models page is."""

from typing import ClassVar

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QWidget

from engine.study import StudySpec
from lab_app.context import Context
from lab_app.models.catalog import Catalog


class Tab(QWidget):
    """One thing that can be done to a model. Tabs never know each other; what one wants it says with a signal."""

    name: ClassVar[str]
    title: ClassVar[str]
    """A literal passed through ``mark``."""
    start_wanted = Signal(StudySpec)
    """A study to be queued and watched."""
    page_wanted = Signal(str)
    """Go to another page, with the chosen study."""
    compress_wanted = Signal()
    """Make smaller models of the chosen study or run."""
    export_wanted = Signal(str, dict)
    """Export a figure of the chosen study: its name and options."""

    def __init__(self, context: Context, catalog: Catalog) -> None:
        super().__init__()
        self.context, self.catalog = context, catalog

    figure_name = ""
    """The figure in view, as the exporter knows it; empty where there is none."""

    @property
    def options(self) -> dict[str, object]:
        """Its options."""
        return {}

    def entered(self) -> None:
        """The tab comes into view."""

    def closing(self) -> None:
        """The window closes: end what this tab has under way."""
