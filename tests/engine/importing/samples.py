"""Small files of every format, made by hand or by the format's own writer, with numbers that are known."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SIZES = (1_000_000, 3_000_000, 10_000_000, 30_000_000, 100_000_000, 300_000_000)
E, A, ALPHA = 1.6, 25.0, 0.25


def law_loss(size: float) -> float:
    """The law that the made-up ladders lie on."""
    return float(E + A / size**ALPHA)


def write_wide(path: Path, sizes: Sequence[int] = SIZES) -> Path:
    """A row per model: size, loss, a score and a column that nobody asked for."""
    rows = [f"{n},{law_loss(n):.6f},{0.25 + 0.1 * i:.3f},{64 * (i + 1)}" for i, n in enumerate(sizes)]
    path.write_text("\n".join(["params,val_loss,hellaswag,d_model", *rows]) + "\n", encoding="utf-8")
    return path


def new_layout(name: str, scores: Mapping[str, float], n_params: int | None, **over: Any) -> dict[str, Any]:
    """What lm-evaluation-harness 0.4 writes, less what nobody reads."""
    config: dict[str, Any] = {"model": "hf", "model_args": f"pretrained={name},dtype=float32", "batch_size": "8"}
    if n_params is not None:
        config["model_num_parameters"] = n_params
    document: dict[str, Any] = {
        "results": {
            task: {
                "alias": f" - {task}",
                "acc,none": value,
                "acc_stderr,none": 0.01,
                "acc_norm,none": value + 0.02,
                "acc_norm_stderr,none": "N/A",
            }
            for task, value in scores.items()
        },
        "group_subtasks": {task: [] for task in scores},
        "configs": {task: {"task": task, "num_fewshot": 0} for task in scores},
        "versions": dict.fromkeys(scores, 1.0),
        "n-shot": dict.fromkeys(scores, 0),
        "n-samples": {task: {"original": 2376, "effective": 500} for task in scores},
        "config": config,
        "git_hash": "abc1234",
        "date": 1_716_000_000.5,
        "model_name": name,
    }
    return document | over


def old_layout(name: str, scores: Mapping[str, float]) -> dict[str, Any]:
    """What lm-evaluation-harness 0.2 and 0.3 wrote."""
    return {
        "results": {task: {"acc": value, "acc_stderr": 0.012} for task, value in scores.items()},
        "versions": dict.fromkeys(scores, 0),
        "config": {
            "model": "hf-causal",
            "model_args": f"pretrained={name}",
            "num_fewshot": 0,
            "batch_size": 8,
            "limit": None,
            "bootstrap_iters": 100_000,
        },
    }


def write_json(path: Path, document: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def write_events(
    folder: Path,
    scalars: Mapping[str, Sequence[tuple[int, float]]],
    hparams: Mapping[str, float | str] | None = None,
    *,
    tensors: bool = False,
) -> Path:
    """An event file by tensorboard's own writer, with scalars as the old field or as tensors."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    writer = EventFileWriter(str(folder))
    if hparams is not None:
        data = HParamsPluginData()
        for name, told in hparams.items():
            kind = "string_value" if isinstance(told, str) else "number_value"
            setattr(data.session_start_info.hparams[name], kind, told)
        value = Summary.Value(tag="_hparams_/session_start_info")
        value.metadata.plugin_data.plugin_name = "hparams"
        value.metadata.plugin_data.content = data.SerializeToString()
        writer.add_event(Event(wall_time=1.0, summary=Summary(value=[value])))
    for tag, points in scalars.items():
        for step, number in points:
            value = Summary.Value(tag=tag, simple_value=number)
            if tensors:
                value = Summary.Value(tag=tag, tensor=TensorProto(dtype=1, float_val=[number]))
            writer.add_event(Event(wall_time=1.0, step=step, summary=Summary(value=[value])))
    writer.close()
    return next(path for path in folder.iterdir() if "tfevents" in path.name)
