"""Results files of lm-evaluation-harness, old layout (``"acc"``) and new (``"acc,none"``), as runs.

Files of one model are one run; files of several models are a ladder. The size is the one in the file
(``config.model_num_parameters``), else the one in the model's name.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import InputError
from engine.i18n import tr
from engine.importing.found import FoundRun, Measured, seed_in_name, size_in_name, unreadable

if TYPE_CHECKING:
    from engine.study import Scalar

MAX_BYTES = 64 << 20
"""A results file is some hundred kilobytes; what is larger is a file of samples."""
_MAX_TASKS = 5_000


@dataclass(frozen=True, slots=True)
class _Task:
    name: str
    shots: int | None
    scores: tuple[Measured, ...]


@dataclass(slots=True)
class _Model:
    """All that the files say of one model."""

    run: FoundRun
    revision: str
    tasks: list[_Task] = field(default_factory=list)


def parse_results(path: Path) -> dict[str, Any] | None:
    """The file as JSON where it is a results file, None where it is something else."""
    try:
        if path.stat().st_size > MAX_BYTES:
            return None
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise unreadable(path, error) from None
    except (ValueError, RecursionError):
        return None
    results = document.get("results") if isinstance(document, dict) else None
    if not isinstance(results, dict) or not all(isinstance(task, dict) for task in results.values()):
        return None
    return document if results else None


def read_lm_eval(documents: Sequence[tuple[Path, dict[str, Any]]]) -> tuple[list[FoundRun], list[str]]:
    """Runs, and what is to be said of them.

    Raises:
        InputError: there is no number in a file.
    """
    models: dict[tuple[str, str, int | None], _Model] = {}
    for path, document in sorted(documents, key=lambda pair: _date(pair[1])):
        found = _model(path, document)
        model = models.setdefault((found.run.name, found.revision, found.run.n_params), found)
        model.tasks += _tasks(path, document)
    shots: dict[str, set[int | None]] = {}
    for model in models.values():
        for task in model.tasks:
            shots.setdefault(task.name, set()).add(task.shots)
    revisions = {model.revision for model in models.values()}
    warnings: list[str] = []
    runs = [_run(model, shots, len(revisions) > 1, warnings) for model in models.values()]
    return runs, warnings


def _run(model: _Model, shots: Mapping[str, set[int | None]], apart: bool, warnings: list[str]) -> FoundRun:
    scores: dict[tuple[str, str], Measured] = {}
    for task in model.tasks:
        # With 0 and 5 examples it is not the same ability.
        several = len(shots[task.name]) > 1 and task.shots is not None
        name = f"{task.name} ({task.shots}-shot)" if several else task.name
        for score in task.scores:
            if (name, score.metric) in scores:
                warnings.append(
                    tr("{name}: {task} is there twice; the later one is taken.", name=model.run.name, task=name)
                )
            scores[name, score.metric] = replace(score, capability=name)
    variant: dict[str, Scalar] = {"revision": model.revision or "main"} if apart else {}
    return replace(model.run, scores=tuple(scores.values()), variant=variant)


def _model(path: Path, document: dict[str, Any]) -> _Model:
    config = document.get("config")
    config = config if isinstance(config, dict) else {}
    arguments = _arguments(config.get("model_args"))
    name = str(document.get("model_name") or arguments.get("pretrained") or arguments.get("model") or "")
    name = name or (path.parent.name if path.name.startswith("results") else path.stem)
    facts: dict[str, Scalar | None] = {"imported": True, "file": path.name}
    for key in ("model", "model_dtype", "model_sha", "limit", "git_hash", "transformers_version", "lm_eval_version"):
        value = config.get(key, document.get(key))
        if isinstance(value, str | int | float | bool):
            facts[key] = value
    n_params = _count(config.get("model_num_parameters"))
    if n_params is None:
        n_params = size_in_name(name)
        if n_params is not None:
            facts["size_from"] = "name"
    shown = name.rstrip("/").rsplit("/", 1)[-1] or name
    revision = str(config.get("model_revision") or arguments.get("revision") or "main")
    return _Model(FoundRun(shown, n_params=n_params, seed=seed_in_name(shown), facts=facts), revision)


def _arguments(told: object) -> dict[str, str]:
    """``pretrained=EleutherAI/pythia-160m,dtype=float16``, or the mapping that newer versions write."""
    if isinstance(told, dict):
        return {str(k): str(v) for k, v in told.items() if isinstance(v, str | int | float)}
    if not isinstance(told, str):
        return {}
    return {k.strip(): v.strip() for k, equals, v in (part.partition("=") for part in told.split(",")) if equals}


def model_folder(document: Mapping[str, Any]) -> str:
    """The folder or name that the harness was given as the model; empty where the file does not say."""
    config = document.get("config")
    arguments = _arguments(config.get("model_args") if isinstance(config, dict) else None)
    return arguments.get("pretrained", "")


def _count(value: object) -> int | None:
    good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return round(float(value)) if good and 1 <= float(value) <= 1e18 else None  # type: ignore[arg-type]


def _date(document: Mapping[str, Any]) -> float:
    date = document.get("date")
    return float(date) if isinstance(date, int | float) else 0.0


def _tasks(path: Path, document: dict[str, Any]) -> Iterable[_Task]:
    results = document["results"]
    if len(results) > _MAX_TASKS:
        raise InputError(tr("{path} holds {n:,} tasks, more than can be shown.", path=path.name, n=len(results)))
    tasks = []
    for name, table in results.items():
        scores = _scores(str(name), table, _items(document, name, table))
        if scores:
            tasks.append(_Task(str(name), _shots(document, name), tuple(scores)))
    if not tasks:
        raise InputError(tr("{path} holds no score of any task.", path=path.name))
    return tasks


def _scores(task: str, table: Mapping[str, Any], n: int | None) -> list[Measured]:
    """``acc,none`` with ``acc_stderr,none``, or ``acc`` with ``acc_stderr``."""
    scores = []
    for key, value in table.items():
        metric, _, kept = str(key).partition(",")
        if metric.endswith("_stderr") or metric in ("alias", "samples", "sample_len", "name", "sample_count"):
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            continue
        stderr = table.get(f"{metric}_stderr,{kept}" if kept else f"{metric}_stderr")
        known = isinstance(stderr, int | float) and math.isfinite(stderr) and stderr >= 0
        name = metric if kept in ("", "none") else f"{metric} ({kept})"
        scores.append(Measured(task, name, float(value), float(stderr) if known else None, n))  # type: ignore[arg-type]
    return scores


def _items(document: Mapping[str, Any], task: str, table: Mapping[str, Any]) -> int | None:
    counts = document.get("n-samples")
    counted = counts.get(task) if isinstance(counts, dict) else None
    value = counted.get("effective") if isinstance(counted, dict) else counted
    return _count(value if value is not None else table.get("sample_len"))


def _shots(document: Mapping[str, Any], task: str) -> int | None:
    shots = document.get("n-shot")
    value = shots.get(task) if isinstance(shots, dict) else None
    if value is None:
        config = document.get("config")
        value = config.get("num_fewshot") if isinstance(config, dict) else None
    if isinstance(value, str) and re.fullmatch(r"\d+", value):
        value = int(value)
    return value if isinstance(value, int) else None
