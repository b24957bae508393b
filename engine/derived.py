"""Studies made of what is finished: one that compresses the runs of another."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from engine.compressing import KIND, parent_study
from engine.errors import InputError
from engine.events import RunState
from engine.expand import expand
from engine.i18n import tr
from engine.results import known_study
from engine.study import CompressionMethod, CompressionSpec, StudySpec

if TYPE_CHECKING:
    from engine.store import Reader

LONGEST_NAME = 50
"""Letters of a study's name that the name of what is made of it keeps."""


def study_of(reader: "Reader", what: str, methods: Sequence[CompressionMethod]) -> StudySpec:
    """A study that compresses a finished run, by its number, or all finished sizes of a study, by its id.

    Raises:
        InputError: there is nothing of the kind that is finished, or it cannot be compressed.
    """
    run = reader.run(int(what)) if what.isdecimal() else None
    study = reader.study_spec(run.study_id if run else known_study(reader, what))
    if study.kind in ("import", "simulate") or (run and run.kind == KIND):
        raise InputError(
            tr("{what} holds no models that can be compressed.", what=what), tr("Name a study that was trained here.")
        )
    if study.compression is not msgspec.UNSET:
        study = parent_study(study)
    made = _compressed(study, methods)
    finished = {row.spec_hash for row in reader.runs() if row.state == RunState.FINISHED}
    if run:
        made = _only(made, sizes=(run.size,), seeds=(run.seed,), variant=run.variant)
    children = expand(made)
    missing = {child.size for child in children if child.parent not in finished}
    left = {child.size for child in children} - missing
    if not left:
        raise InputError(
            tr("{what} is not finished, or was made by another version or installation of the program.", what=what),
            tr("Run it again, then compress it."),
        )
    return _only(made, sizes=tuple(sorted(left))) if missing else made


def _compressed(study: StudySpec, methods: Sequence[CompressionMethod]) -> StudySpec:
    """A study of its own that compresses the runs of ``study``."""
    return msgspec.structs.replace(
        study,
        name=f"{study.name[:LONGEST_NAME]}-compressed",
        title=tr("{title}, compressed", title=study.title),
        zh_CN={},
        question="",
        forecast=msgspec.UNSET,
        compression=CompressionSpec(methods=tuple(methods), of=study.name),
        profiles={},
    )


def _only(study: StudySpec, **which: object) -> StudySpec:
    assert study.compression is not msgspec.UNSET
    return msgspec.structs.replace(study, compression=msgspec.structs.replace(study.compression, **which))
