"""What a step of the wizard is, and the draft they all work on."""

from collections.abc import Mapping
from typing import Any, ClassVar

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QWidget

from engine.study import StudySpec, parse_study
from lab_app.context import Context

Table = dict[str, Any]
"""A study as it stands in TOML."""

BLANK: Mapping[str, Any] = {
    "name": "my-study",
    "title": "My study",
    "model": {"family": "gpt"},
    "data": {"source": "python-text"},
    "ladder": {"sizes": [2_000, 8_000, 32_000], "seeds": [0, 1]},
    "training": {"tokens": 1_000_000},
    "capabilities": [{"name": "language-modelling"}],
}


class Step(QWidget):
    """One step. ``load`` shows a table, ``store`` writes what was edited back into it."""

    title: ClassVar[str]
    icon: ClassVar[str]
    changed = Signal()

    def __init__(self, context: Context) -> None:
        super().__init__()
        self.context = context

    def load(self, table: Table) -> None:
        """Show the table; emits nothing."""

    def store(self, table: Table) -> None:
        """Write this step's part into the table."""

    def entered(self, table: Table) -> None:
        """The step comes into view."""


def study_of(table: Table) -> StudySpec:
    """The study of a table; raises ``StudyError`` naming the field."""
    return parse_study(table)
