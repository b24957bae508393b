"""What the lab knows, in one SQLite file: one writer thread, read-only readers."""

from engine.store.reader import Reader
from engine.store.rows import (
    VALIDATION_LOSSES,
    ArtifactRow,
    EvaluationRow,
    EventRow,
    RunRow,
    SampleRow,
    StudyRow,
)
from engine.store.store import Store
from engine.store.writer import Writer

__all__ = [
    "VALIDATION_LOSSES",
    "ArtifactRow",
    "EvaluationRow",
    "EventRow",
    "Reader",
    "RunRow",
    "SampleRow",
    "Store",
    "StudyRow",
    "Writer",
]
