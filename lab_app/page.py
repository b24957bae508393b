"""What every page is: a widget with a name, an icon and a moment when it comes into view."""

from typing import ClassVar

from PySide6.QtWidgets import QWidget

from lab_app.context import Context
from lab_app.models.catalog import Catalog


class Page(QWidget):
    """Base of the pages. Pages never know each other: what one wants of another it says with a signal."""

    name: ClassVar[str]
    title: ClassVar[str]
    """A literal passed through ``mark``."""
    icon: ClassVar[str]

    def __init__(self, context: Context, catalog: Catalog) -> None:
        super().__init__()
        self.context = context
        self.catalog = catalog
        self.setProperty("page", True)

    def entered(self) -> None:
        """The page comes into view."""

    def left(self) -> None:
        """The page goes out of view."""

    def closing(self) -> None:
        """The window closes: end what this page has under way."""
