"""Checkpoints that a kill at any instant leaves whole: safetensors, written beside and renamed over the last."""

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from engine.errors import ResourceError, TrainingError
from engine.i18n import tr

FORMAT = "emergence-lab-checkpoint-1"
LAST = "last.safetensors"
BEST = "best.safetensors"
WEIGHTS = "weights.safetensors"
MODEL = "model.json"
SPARE_BYTES = 32 << 20
"""Left free on the disk beyond the file itself: the store next to it must still be able to write."""


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


def write_text(path: Path, text: str) -> None:
    """Write a small text file atomically."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a small file atomically."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def require_space(folder: Path, n_bytes: int) -> None:
    """Raise ``ResourceError`` unless that many bytes and some to spare are free where the folder is."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise _cannot_write(folder, error) from error
    if free < n_bytes + SPARE_BYTES:
        raise ResourceError(
            tr(
                "The disk is full: {need:.1f} MB are needed for a checkpoint and {free:.1f} MB are free.",
                need=(n_bytes + SPARE_BYTES) / 1e6,
                free=free / 1e6,
            ),
            tr("Free some space, then resume the run; the checkpoint before is intact."),
        )


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that replaces it, once on the disk, when the block ends well."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except (OSError, SafetensorError) as error:
        raise _cannot_write(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut; Windows has no such call and does it by itself."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _cannot_write(path: Path, error: Exception) -> ResourceError:
    why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return ResourceError(
        tr("{path} cannot be written: {why}.", path=str(path), why=why),
        tr("Free some space or make the folder writable, then resume the run; nothing that was saved is lost."),
    )
