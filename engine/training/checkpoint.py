"""Checkpoints that a kill at any instant leaves whole: safetensors, written beside and renamed over the last."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from engine.errors import TrainingError
from engine.files import replacing as replacing
from engine.files import require_space as require_space
from engine.files import sha256 as sha256
from engine.files import write_bytes as write_bytes
from engine.files import write_text as write_text
from engine.i18n import tr

FORMAT = "emergence-lab-checkpoint-1"
LAST = "last.safetensors"
BEST = "best.safetensors"
WEIGHTS = "weights.safetensors"
MODEL = "model.json"


class TrainState(msgspec.Struct, kw_only=True):
    """Where training stands, beside the tensors. ``best_step`` 0 means that nothing was evaluated yet.

    JSON has neither inf nor nan: None stands for both.
    """

    step: int = 0
    seconds: float = 0.0
    best_loss: float | None = None
    best_step: int = 0
    evaluations_without_gain: int = 0
    stopped_early: bool = False
    overfitting_from: int = 0
    interval_loss: float = 0.0
    interval_steps: int = 0
    """Sum of the training loss since the last evaluation, and over how many steps."""
    validation: list[tuple[int, float, float | None]] = []
    """(step, loss in nats per token, bits per byte or None) of every evaluation."""
    tracked: list[tuple[str, int, float]] = []
    """(metric, step, value) of the capabilities measured during training."""


class Header(msgspec.Struct, kw_only=True, frozen=True):
    """What must agree before a checkpoint is used, and what a resumed run takes from it rather than decide again."""

    format: str
    spec_hash: str
    fingerprint: str
    n_bytes: int = 0
    placement: dict[str, str | int | bool]
    state: TrainState


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint in memory, with tensors by part: model, optimizer, rng, curve."""

    header: Header
    tensors: Mapping[str, Mapping[str, Tensor]]


def save_checkpoint(path: Path, header: Header, parts: Mapping[str, Mapping[str, Tensor]]) -> int:
    """Write a checkpoint atomically; returns its bytes. Raises ``ResourceError`` and keeps the old one if it cannot."""
    flat = {f"{part}/{name}": t for part, tensors in parts.items() for name, t in tensors.items()}
    return write_tensors(path, flat, {"emergence-lab": msgspec.json.encode(header).decode()})


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint onto the CPU. Raises ``TrainingError`` where the file is none."""
    try:
        with safe_open(path, framework="pt") as file:
            header = msgspec.json.decode((file.metadata() or {})["emergence-lab"], type=Header)
            parts: dict[str, dict[str, Tensor]] = {}
            for key in file.keys():
                part, _, name = key.partition("/")
                parts.setdefault(part, {})[name] = file.get_tensor(key)
    except (OSError, SafetensorError, KeyError, msgspec.MsgspecError) as error:
        raise TrainingError(
            tr("The checkpoint {path} cannot be read: {error}.", path=str(path), error=str(error)),
            tr("Move the file away to train the run from the start."),
        ) from error
    return Checkpoint(header, parts)


def load_weights(model: nn.Module, path: Path) -> None:
    """Fill a model from a file of weights. Raises ``TrainingError`` where it cannot be read or is of another model."""
    try:
        model.load_state_dict(load_file(path))
    except (OSError, RuntimeError, SafetensorError) as error:
        raise TrainingError(
            tr("The weights {path} cannot be read: {error}.", path=str(path), error=str(error)),
            tr("Restore them from a copy, or train the run again."),
        ) from None


def rng_tensors(device: torch.device) -> dict[str, Tensor]:
    """States of torch's generators, uint8 (n,)."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def restore_rng(states: Mapping[str, Tensor], device: torch.device) -> None:
    """Put torch's generators back to where they were."""
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)


def curve_tensor(table: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]") -> Tensor:
    """A float64 table as a tensor that a checkpoint can hold."""
    return torch.from_numpy(np.ascontiguousarray(table))


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> int:
    """Write safetensors atomically; returns the bytes. Raises ``ResourceError`` for a full or read-only disk."""
    need = sum(t.numel() * t.element_size() for t in tensors.values())
    require_space(path.parent, need)
    # Tied or sliced tensors would be refused: each is written whole, on its own.
    whole = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    with replacing(path) as temporary:
        save_file(whole, temporary, metadata=dict(metadata))
    return path.stat().st_size
