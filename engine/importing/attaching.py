"""Results of lm-evaluation-harness on a model that this home has exported: they are kept with the run it came from.

A folder is known by its card: the hashes in it must be those of a run here, and of the weights that lie in the folder.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import InputError
from engine.events import Evaluation
from engine.exporting.card import WEIGHTS, read_identity
from engine.files import sha256
from engine.i18n import tr
from engine.importing.lm_eval import model_folder, read_lm_eval
from engine.importing.reading import lm_eval_documents

if TYPE_CHECKING:
    from engine.importing.found import Measured
    from engine.store import Reader, Store


@dataclass(frozen=True, slots=True)
class Attached:
    """What a results file says of a run of this home."""

    run_id: int
    study_id: str
    scores: "tuple[Measured, ...]"


def find(reader: "Reader", paths: Sequence[Path], run_id: int | None = None) -> list[Attached]:
    """The runs that results files are of; none where one of the files is of a model that is not from here.

    ``run_id`` says it where the folder is gone.

    Raises:
        InputError: there is no such run, or files that were said to be of it are no results of the harness.
    """
    documents = lm_eval_documents(paths)
    if run_id is not None and not documents:
        raise InputError(tr("--run is for results of lm-evaluation-harness."))
    found: dict[int, list[tuple[Path, dict[str, Any]]]] = {}
    for path, document in documents:
        owner = run_id if run_id is not None else _owner(reader, path, model_folder(document))
        if owner is None:
            return []
        found.setdefault(owner, []).append((path, document))
    return [
        Attached(owner, reader.run(owner).study_id, tuple(s for run in read_lm_eval(files)[0] for s in run.scores))
        for owner, files in found.items()
    ]


def attach(store: "Store", found: Sequence[Attached]) -> None:
    """Keep the scores as evaluations of their runs; those of the same task and metric are replaced."""
    for one in found:
        for score in one.scores:
            store.writer.emit(
                Evaluation(one.run_id, score.capability, score.metric, score.value, score.stderr, score.n, score.chance)
            )
    store.writer.flush()


def _owner(reader: "Reader", results: Path, given: str) -> int | None:
    """The run that the folder ``given`` was exported from, and still holds; relative ones are looked for here too."""
    if not given:
        return None
    for folder in (Path(given), results.parent / given):
        identity = read_identity(folder) if (folder / WEIGHTS).is_file() else None
        if identity is None:
            continue
        row = reader.run_of_hash(str(identity.get("run_hash")), str(identity.get("study")))
        if row is None or sha256(folder / WEIGHTS) != identity.get("file_sha256"):
            continue
        kept = {a.sha256 for a in reader.artifacts(row.id) if a.kind in ("weights", "compressed")}
        if identity.get("weights_sha256") in kept:
            return row.id
    return None
