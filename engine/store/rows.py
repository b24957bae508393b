"""What the reader hands out: one frozen struct per table, with the columns' names."""

import json
from functools import lru_cache
from typing import Any

import msgspec

from engine.i18n import language
from engine.study import Scalar, StudySpec

VALIDATION_LOSSES = (("language-modelling", "loss"), ("validation", "loss"))
"""Capability and metric under which a run's validation loss is told: by language models, and by all others."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """Base of the rows: frozen, fields named as the columns."""


class StudyRow(Row, frozen=True, kw_only=True):
    """A study as stored. ``trashed`` is when it was put in the trash; ``tags`` come parsed."""

    id: str
    name: str
    title: str
    spec_json: str
    spec_hash: str
    created: float
    notes: str
    tags: tuple[str, ...]
    trashed: float | None

    @property
    def imported(self) -> bool:
        """Whether it holds someone else's results: it is looked at, never run."""
        return _spec(self.spec_json).kind == "import"

    @property
    def shown_title(self) -> str:
        """The title in the language in use; one that a person gave stands as it was given."""
        return _translated(self.title, self.spec_json, language())


@lru_cache(maxsize=512)
def _spec(spec_json: str) -> StudySpec:
    return msgspec.json.decode(spec_json, type=StudySpec)


def _translated(title: str, spec_json: str, words: str) -> str:
    spec = _spec(spec_json)
    return spec.text("title", words) if title == spec.title else title


class RunRow(Row, frozen=True, kw_only=True):
    """A run as stored: what was asked (spec), what it runs on (facts), how far it is and what came out."""

    id: int
    study_id: str
    family: str
    kind: str
    label: str
    seed: int
    size: int
    size_index: int
    variant_json: str
    state: str
    position: int
    spec_json: str
    spec_hash: str
    facts_json: str
    n_params: int
    n_params_non_embedding: int
    tokens_seen: int
    compute_flops: float
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

    @property
    def shape(self) -> dict[str, Scalar]:
        """The shape of the model, as its family resolved it."""
        found: dict[str, Scalar] = json.loads(self.spec_json).get("shape", {})
        return found

    @property
    def facts(self) -> dict[str, Scalar | None]:
        """What was found out when the run started: device, precision, versions, fingerprint of the data."""
        found: dict[str, Scalar | None] = json.loads(self.facts_json)
        return found

    @property
    def variant(self) -> dict[str, Scalar]:
        """The varied fields of this run and their values."""
        found: dict[str, Scalar] = json.loads(self.variant_json)
        return found


class EvaluationRow(Row, frozen=True, kw_only=True):
    """One measured number with the run's size beside it; ``step`` is None for the final model."""

    run_id: int
    capability: str
    metric: str
    step: int | None
    value: float
    stderr: float | None
    n: int | None
    chance: float | None
    seed: int
    size_index: int
    n_params: int
    n_params_non_embedding: int


class LawRow(Row, frozen=True, kw_only=True):
    """A fitted law of a study, one for each form."""

    study_id: str
    form: str
    document_json: str
    created: float


class ForecastRow(Row, frozen=True, kw_only=True):
    """A locked forecast and, once the sizes it spoke of are trained, its score."""

    id: int
    study_id: str
    form: str
    document_json: str
    created: float
    score_json: str | None
    scored: float | None

    @property
    def document(self) -> dict[str, Any]:
        """The forecast as it was locked."""
        found: dict[str, Any] = json.loads(self.document_json)
        return found

    @property
    def score(self) -> dict[str, Any] | None:
        """How it came out; None until it is scored."""
        found: dict[str, Any] | None = None if self.score_json is None else json.loads(self.score_json)
        return found


class EventRow(Row, frozen=True, kw_only=True):
    """A log line, a change of state or a sample, as ``kind`` says."""

    id: int
    run_id: int
    time: float
    kind: str
    level: str
    step: int | None
    text: str


class SampleRow(Row, frozen=True, kw_only=True):
    """Something the model made at a step: text, or a path under the run's folder."""

    run_id: int
    step: int
    kind: str
    content: str
    time: float


class ArtifactRow(Row, frozen=True, kw_only=True):
    """A file of a run; ``path`` is relative to the run's folder."""

    run_id: int
    kind: str
    path: str
    step: int
    n_bytes: int
    sha256: str
    created: float
