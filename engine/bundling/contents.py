"""What a bundle is made of: its manifest, its documents and the columns of its tables."""

from typing import Any

import msgspec
import pyarrow as pa

from engine.study import Scalar

FORMAT = "emergence-lab-bundle"
VERSION = 1
"""Raised whenever an older program could no longer read what a newer one writes."""
MANIFEST = "manifest.json"
STUDY, RUNS, LAWS, FORECASTS, ARTIFACTS = "study.json", "runs.json", "laws.json", "forecasts.json", "artifacts.json"
EVALUATIONS, CURVES, EVENTS = "evaluations.parquet", "curves.parquet", "events.parquet"
FILES = "files"
"""Folder of what runs keep on the disk, each in a folder of its run's number in the bundle."""


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the documents: named fields only, unknown fields are errors."""


class FileEntry(_Part, frozen=True, kw_only=True):
    """What a file of the bundle must be."""

    sha256: str
    n_bytes: int


class Manifest(_Part, frozen=True, kw_only=True):
    """The first thing that is read."""

    format: str
    version: int
    program: str
    study: str
    created: str
    weights: str
    files: dict[str, FileEntry]


class StudyPart(_Part, frozen=True, kw_only=True):
    """The row of the study."""

    title: str
    spec_json: str
    created: float
    notes: str
    tags: tuple[str, ...]


class RunPart(_Part, frozen=True, kw_only=True):
    """The row of a run; what its spec tells is not said twice."""

    number: int
    spec_json: str
    state: str
    facts: dict[str, Scalar | None]
    tokens_seen: int
    val_loss: float | None
    val_bits_per_byte: float | None
    seconds: float
    tokens_per_second: float
    step: int
    n_steps: int
    created: float
    started: float | None
    finished: float | None
    error: str
    remedy: str
    traceback: str


class LawPart(_Part, frozen=True, kw_only=True):
    """A fitted law."""

    form: str
    document: dict[str, Any]
    created: float


class ForecastPart(_Part, frozen=True, kw_only=True):
    """A locked forecast, word for word, with its score where it has one."""

    form: str
    document_json: str
    created: float
    score_json: str | None
    scored: float | None


class ArtifactPart(_Part, frozen=True, kw_only=True):
    """A file of a run that is in the bundle."""

    number: int
    kind: str
    path: str
    step: int
    n_bytes: int
    sha256: str
    created: float


_NUMBER = ("number", pa.int64())
SCHEMAS: dict[str, pa.Schema] = {
    EVALUATIONS: pa.schema(
        [
            _NUMBER,
            ("capability", pa.string()),
            ("metric", pa.string()),
            ("step", pa.int64()),
            ("value", pa.float64()),
            ("stderr", pa.float64()),
            ("n", pa.int64()),
            ("chance", pa.float64()),
        ]
    ),
    CURVES: pa.schema([_NUMBER, ("key", pa.string()), ("step", pa.int64()), ("value", pa.float64())]),
    EVENTS: pa.schema(
        [
            _NUMBER,
            ("time", pa.float64()),
            ("kind", pa.string()),
            ("level", pa.string()),
            ("step", pa.int64()),
            ("text", pa.string()),
        ]
    ),
}
"""Table -> its columns; a missing number is null."""
