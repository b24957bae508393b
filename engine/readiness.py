"""What can be known to be wrong before anything is queued: a device that is not there, data that cannot be read."""

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from engine.errors import StudyError
from engine.expand import expand
from engine.i18n import tr
from engine.machine import Machine
from engine.sources import sources
from engine.study import ExecutionSpec, RunSpec, StudySpec, convert, spec_hash, study_id

if TYPE_CHECKING:
    from engine.sources.base import OnProgress
    from engine.store import Reader


def check_ready(study: StudySpec, reader: "Reader", cache: Path, on_progress: "OnProgress") -> None:
    """Prepare the data of every run that is not finished yet and read a batch of it, so that the runs find it ready.

    Raises:
        InputError: the study or its data cannot be used; the sentence names the field or the file.
        ResourceError: the disk is full or read-only.
    """
    left = _unfinished(study, reader)
    if not left:
        return
    check_device(study.execution, Machine.measure())
    if study.kind == "simulate":
        return  # its data are drawn
    seen: set[bytes] = set()
    for run in left:
        asked = msgspec.json.encode([run.source, run.data, run.training.context, run.training.batch_size])
        if asked in seen:
            continue
        seen.add(asked)
        source = sources[run.source]
        prepared = source.prepare(convert(run.data, source.Spec, "data"), cache, on_progress)
        prepared.train_batch(0, run.training.batch_size, run.training.context, run.seed)
        next(iter(prepared.validation_batches(1, run.training.context, run.training.context)), None)


def check_device(execution: ExecutionSpec, machine: Machine) -> None:
    """Raise ``StudyError`` for a device that this machine has not, without loading torch."""
    kind, _, number = execution.device.partition(":")
    if kind not in {"auto", "cpu", "cuda"} or (number and not number.isdecimal()):
        raise StudyError(
            tr("execution.device: {name!r} is no device.", name=execution.device), tr("Set it to auto, cpu or cuda.")
        )
    if kind == "cuda" and int(number or 0) >= len(machine.gpus):
        raise StudyError(
            tr("execution.device: this machine has no {name}.", name=execution.device), tr("Set it to auto or cpu.")
        )


def _unfinished(study: StudySpec, reader: "Reader") -> list[RunSpec]:
    finished = {row.spec_hash for row in reader.runs(study_id(study)) if row.state == "finished"}
    return [run for run in expand(study) if spec_hash(run) not in finished]
