"""What a figure says of itself, so that whoever finds it years later can tell what it shows and make it again."""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import UNSET

from engine import __version__
from engine.store import Reader, RunRow


def provenance(
    reader: Reader,
    study_id: str,
    runs: Sequence[RunRow],
    equation: str = "",
    extra: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Study and hash, runs, equation, fingerprint of the data, program; plain JSON values."""
    study = reader.study(study_id)
    prints = {str(v) for run in runs for k, v in run.facts.items() if v and "fingerprint" in k}
    found: dict[str, Any] = {
        "program": f"Emergence Lab {__version__}",
        "study_id": study_id,
        "study": study.name,
        "study_hash": study.spec_hash,
        "run_ids": [run.id for run in runs],
        "data_fingerprint": sorted(prints),
    }
    origin = reader.study_spec(study_id).imported
    if origin is not UNSET:
        found["imported_from"] = [{"name": file.name, "sha256": file.sha256} for file in origin.files]
    if equation:
        found["equation"] = equation
    return found | dict(extra or {})
