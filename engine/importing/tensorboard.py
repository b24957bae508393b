"""TensorBoard event files as runs: their scalars by step, and what their hparams say of the model.

Each folder with event files in it is a run, or each file where files are given. Only scalars are read; graphs,
images and texts are passed over.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from engine.errors import InputError
from engine.i18n import tr
from engine.importing.curves import TRAINING, VALIDATION, add_curves, canonical
from engine.importing.found import (
    MAX_POINTS,
    FoundRun,
    Header,
    parse_size,
    seed_in_name,
    size_in_name,
)
from engine.study import Scalar

MAX_FILES = 2_000
MAX_TAGS = 1_000
HPARAMS = "_hparams_/session_start_info"
"""The tag under which a session tells its hyperparameters."""
_N_PARAMS = (
    "n_params",
    "num_params",
    "n_parameters",
    "num_parameters",
    "total_params",
    "params",
    "parameters",
    "model_size",
)
_NON_EMBEDDING = ("n_params_non_embedding", "non_embedding_params", "num_non_embedding_params")
_OF_TIME = re.compile(r"\d{9,}(\.\d+)?")  # the folder that SummaryWriter.add_hparams makes


@dataclass(slots=True)
class _Events:
    """What the event files of one run hold: tag -> (steps, values), and hparams by name."""

    scalars: dict[str, tuple[list[int], list[float]]] = field(default_factory=dict)
    hparams: dict[str, Scalar] = field(default_factory=dict)
    n_points: int = 0

    def add(self, tag: str, step: int, value: float) -> None:
        if tag not in self.scalars and len(self.scalars) >= MAX_TAGS:
            raise InputError(tr("a run has more than {n:,} tags, too many to show.", n=MAX_TAGS))
        steps, values = self.scalars.setdefault(tag, ([], []))
        steps.append(step)
        values.append(value)
        self.n_points += 1


def is_event_file(path: Path) -> bool:
    """Whether a file is one by its name or by its first record."""
    if "tfevents" in path.name:
        return True
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError:
        return False
    return b"brain.Event:" in head


def event_files(folder: Path) -> list[Path]:
    """The event files below a folder, by path; links to other folders are not followed."""
    found: list[Path] = []
    for path in folder.rglob("*tfevents*"):
        if path.is_file():
            found.append(path)
        if len(found) > MAX_FILES:
            raise InputError(tr("{path} holds more than {n:,} event files.", path=str(folder), n=MAX_FILES))
    return sorted(found)


def read_tensorboard(
    files: Sequence[tuple[Path, Path | None]], names: Mapping[str, str]
) -> tuple[list[FoundRun], tuple[Header, ...], list[str]]:
    """Runs, the tags with what they were read as, and what is to be said.

    ``files`` are event files, each with the folder it was found under. ``names`` maps ``loss``, ``tokens``, or
    ``capability/metric``, to a tag.

    Raises:
        InputError: a file is damaged, a tag of ``names`` is in none, or there are no scalars.
    """
    events: dict[str, _Events] = {}
    for path, folder in files:
        name, prefix = _run_of(path, folder, files)
        of = events.setdefault(name, _Events())
        for tag, step, value in _load(path, of.hparams):
            of.add(prefix + tag, step, value)
            if sum(one.n_points for one in events.values()) > MAX_POINTS:
                raise InputError(
                    tr("there are more than {n:,} points, too many to import.", n=MAX_POINTS),
                    tr("Import fewer runs at a time."),
                )
    tags = sorted({tag for of in events.values() for tag in of.scalars})
    for tag in names.values():
        if tag not in tags:
            raise InputError(
                tr("there is no tag {tag!r} (there are: {known}).", tag=tag, known=", ".join(tags[:20]) or "-")
            )
    read_as = {tag: name for name, tag in names.items()}
    runs = [run for name, of in events.items() if (run := _run(name, of, read_as)) is not None]
    if not runs:
        raise InputError(tr("there are no scalars in {path}.", path=files[0][0].name))
    headers = tuple(Header(tag, read_as.get(tag, canonical(tag)), _examples(events, tag)) for tag in tags)
    warnings = []
    if not any(run.loss for run in runs):
        warnings.append(
            tr("No tag is a validation loss, so no law is fitted; --columns loss=TAG says which one to take.")
        )
    return runs, headers, warnings


def _examples(events: Mapping[str, _Events], tag: str) -> tuple[str, ...]:
    values = next(of.scalars[tag][1] for of in events.values() if tag in of.scalars)
    return tuple(f"{value:.4g}" for value in (values[0], values[len(values) // 2], values[-1]))


def _run_of(path: Path, folder: Path | None, files: Sequence[tuple[Path, Path | None]]) -> tuple[str, str]:
    """The name of the run that a file belongs to, and what its tags begin with: ``train/`` and ``val/`` are parts."""
    if folder is None:
        alone = sum(other.parent == path.parent for other, _ in files) == 1
        return (path.resolve().parent.name if alone else path.name), ""
    parts = list(path.parent.relative_to(folder).parts)
    if parts and _OF_TIME.fullmatch(parts[-1]):
        parts.pop()
    prefix = ""
    if parts and parts[-1].lower() in VALIDATION | TRAINING:
        prefix = "train/" if parts.pop().lower() in TRAINING else "val/"
    return "/".join(parts) or folder.resolve().name, prefix


def _load(path: Path, hparams: dict[str, Scalar]) -> Iterator[tuple[str, int, float]]:
    """(tag, step, value) of every scalar of a file; hparams are put into the mapping."""
    from google.protobuf.message import DecodeError
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

    n_events = 0
    try:
        for event in LegacyEventFileLoader(str(path)).Load():
            n_events += 1
            for value in event.summary.value:
                if value.tag == HPARAMS:
                    _read_hparams(value.metadata.plugin_data.content, hparams)
                    continue
                number = _scalar(value)
                if number is not None:
                    yield value.tag, int(event.step), number
    except (DecodeError, UnicodeDecodeError):
        raise InputError(tr("{path} is damaged: an event in it cannot be read.", path=path.name)) from None
    except OSError as error:
        raise InputError(
            tr("{path} cannot be read: {why}.", path=str(path), why=error.strerror or str(error))
        ) from None
    if not n_events:
        raise InputError(tr("{path} is not an event file of TensorBoard.", path=path.name))


def _scalar(value: Any) -> float | None:
    """A summary's number: the old field, or a tensor of one float. Larger tensors are never unfolded."""
    kind = value.WhichOneof("value")
    if kind == "simple_value":
        return float(value.simple_value)
    if kind != "tensor" or any(dim.size != 1 for dim in value.tensor.tensor_shape.dim):
        return None
    tensor = value.tensor
    for numbers in (tensor.float_val, tensor.double_val):
        if len(numbers) == 1:
            return float(numbers[0])
    dtypes = {1: np.float32, 2: np.float64}  # DT_FLOAT and DT_DOUBLE of tensorflow's types.proto
    dtype = dtypes.get(tensor.dtype)
    if dtype is None or len(tensor.tensor_content) != np.dtype(dtype).itemsize:
        return None
    return float(np.frombuffer(tensor.tensor_content, dtype)[0])


def _read_hparams(content: bytes, hparams: dict[str, Scalar]) -> None:
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    for name, value in HParamsPluginData.FromString(content).session_start_info.hparams.items():
        kind = value.WhichOneof("kind")
        if kind in ("number_value", "string_value", "bool_value"):
            hparams[name] = getattr(value, kind)


def _run(name: str, events: _Events, read_as: Mapping[str, str]) -> FoundRun | None:
    facts: dict[str, Scalar | None] = {f"hparams.{k}": v for k, v in list(events.hparams.items())[:100]}
    facts |= {"imported": True, "file": name}
    n_params, non_embedding = _hparam(events, _N_PARAMS), _hparam(events, _NON_EMBEDDING)
    if n_params is None and non_embedding is None:
        n_params = size_in_name(name)
        if n_params is not None:
            facts["size_from"] = "name"
    seed = _hparam(events, ("seed", "random_seed"), least=0)
    run = FoundRun(
        name,
        n_params=n_params,
        n_params_non_embedding=non_embedding,
        seed=seed_in_name(name) if seed is None else seed,
        tokens=_tokens(events, read_as),
        facts=facts,
    )
    series: list[tuple[str, Any, Any]] = []
    ordered = sorted(events.scalars.items(), key=lambda item: item[0] not in read_as)
    for tag, (steps, values) in ordered:
        key = {"loss": "val/loss", "train_loss": "train/loss"}.get(
            read_as.get(tag, ""), read_as.get(tag) or canonical(tag)
        )
        if key in {known for known, _, _ in series}:
            key = tag  # two tags mean the same: the second keeps its own name
        series.append((key, np.array(steps, dtype=np.float64), np.array(values, dtype=np.float64)))
    scored = frozenset(name for name in read_as.values() if name not in ("loss", "train_loss", "tokens"))
    return add_curves(run, series, scored)


def _hparam(events: _Events, names: Sequence[str], least: int = 1) -> int | None:
    plain = {re.split(r"[/.]", name)[-1].lower(): value for name, value in events.hparams.items()}
    for name in names:
        value = plain.get(name)
        number = parse_size(value) if isinstance(value, str) else value
        if isinstance(number, int | float) and not isinstance(number, bool) and least <= number <= 1e18:
            return round(number)
    return None


def _tokens(events: _Events, read_as: Mapping[str, str]) -> int | None:
    """Tokens seen at the end, where a tag counts them."""
    for tag, (_, values) in events.scalars.items():
        words = set(re.split(r"[^a-z0-9]+", tag.lower())) - TRAINING - {"", "num", "input", "total"}
        if read_as.get(tag) == "tokens" or words in ({"tokens"}, {"tokens", "seen"}, {"tokens", "consumed"}):
            finite = [value for value in values if np.isfinite(value) and value >= 1]
            return round(max(finite)) if finite else None
    return _hparam(events, ("tokens", "n_tokens", "train_tokens", "max_tokens"))
