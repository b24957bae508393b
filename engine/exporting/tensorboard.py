"""A study as TensorBoard event files: a folder for each run, with its curves, its final scores and its hyperparameters.

Final scores are tags under ``eval/`` at the last step. Written with TensorBoard's own record format, no TensorFlow.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.errors import InputError
from engine.files import replacing, require_space
from engine.i18n import tr
from engine.importing.tensorboard import HPARAMS

if TYPE_CHECKING:
    from engine.store import Reader, RunRow

_BYTES_PER_POINT = 64
"""Of an event with one scalar, rounded up; only for the check of free disk."""


def export_tensorboard(reader: "Reader", study_id: str, folder: Path) -> list[Path]:
    """Write the runs of a study that have results below ``folder``; returns the files.

    Raises:
        InputError: nothing has been measured yet.
        ResourceError: the disk is full or the folder cannot be written.
    """
    written = []
    final: dict[int, list[Any]] = {}
    for row in reader.evaluations(study_id, final_only=True):
        final.setdefault(row.run_id, []).append(row)
    for run in reader.runs(study_id):
        points = list(_points(reader, run, final.get(run.id, [])))
        if not points:
            continue
        target = folder / folder_name(run)
        require_space(target, _BYTES_PER_POINT * sum(len(steps) for _, steps, _ in points))
        path = target / f"events.out.tfevents.{run.id:06d}"
        with replacing(path) as temporary:
            _write(temporary, run, points)
        written.append(path)
    if not written:
        raise InputError(tr("nothing of {study} has been measured yet.", study=study_id))
    return written


def folder_name(run: "RunRow") -> str:
    """A run's name as that of a folder, with its number so that no two are the same."""
    plain = re.sub(r"[^A-Za-z0-9._=-]+", "-", run.label).strip("-.")
    return f"{run.id:04d}-{plain}"[:120]


Points = tuple[str, Any, Any]


def _points(reader: "Reader", run: "RunRow", final: list[Any]) -> Iterator[Points]:
    """(tag, steps, values); final scores first: they are over more items than the last point of a curve."""
    for row in final:
        yield f"eval/{row.capability}/{row.metric}", np.array([run.step]), np.array([row.value])
    for key in reader.metric_keys(run.id):
        yield (key, *reader.curve_full(run.id, key))


def _write(path: Path, run: "RunRow", points: list[Points]) -> None:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.record_writer import RecordWriter

    begun = run.started or run.created
    per_step = ((run.finished or begun) - begun) / max(1, run.step)
    with path.open("wb") as file:
        writer = RecordWriter(file)
        writer.write(Event(wall_time=begun, file_version="brain.Event:2").SerializeToString())
        writer.write(Event(wall_time=begun, summary=_session(run, begun)).SerializeToString())
        for tag, steps, values in points:
            for step, value in zip(steps.tolist(), values.tolist(), strict=True):
                summary = Summary(value=[Summary.Value(tag=tag, simple_value=value)])
                event = Event(wall_time=begun + step * per_step, step=step, summary=summary)
                writer.write(event.SerializeToString())
        writer.flush()


def _session(run: "RunRow", begun: float) -> Any:
    """The record that TensorBoard's table of hyperparameters is made from; its own helpers ask for TensorFlow."""
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    data = HParamsPluginData(version=0)
    info = data.session_start_info
    info.group_name, info.start_time_secs = str(run.id), begun
    for name, value in _hparams(run).items():
        if isinstance(value, bool):
            info.hparams[name].bool_value = value
        elif isinstance(value, int | float):
            info.hparams[name].number_value = value
        else:
            info.hparams[name].string_value = str(value)
    plugin = SummaryMetadata.PluginData(plugin_name="hparams", content=data.SerializeToString())
    return Summary(value=[Summary.Value(tag=HPARAMS, metadata=SummaryMetadata(plugin_data=plugin))])


def _hparams(run: "RunRow") -> dict[str, Any]:
    """What TensorBoard's table of runs shows, and what the size of an imported run is read from."""
    training = json.loads(run.spec_json).get("training", {})
    told = {
        "family": run.family,
        "n_params": run.n_params,
        "n_params_non_embedding": run.n_params_non_embedding,
        "seed": run.seed,
        "tokens": run.tokens_seen,
        "compute_flops": run.compute_flops,
        **run.variant,
    }
    kept = ("learning_rate", "batch_size", "context", "optimizer", "schedule", "weight_decay")
    return told | {name: training[name] for name in kept if name in training}
