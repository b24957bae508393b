"""WAV files as levels: opened without being read, resampled and made mono block by block."""

import math
import os
import struct
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import InputError
from engine.i18n import tr
from engine.sources._audio import Levels, to_levels

ENDINGS = (".wav", ".wave")
BLOCK = 2**18
"""Frames that are in memory at once."""
MARGIN = 2**12
"""Frames on either side of a block that its resampling looks at; scipy's filter is shorter for any usual rates."""
QUIETEST = 1e-3
"""A file whose largest value is below this, -60 dB, holds no sound."""

_DAMAGED = (ValueError, TypeError, ArithmeticError, LookupError, EOFError, UnboundLocalError, struct.error)
"""What damaged bytes lead scipy's reader to."""


class BadWav(Exception):
    """Why a file cannot be used, as the end of a sentence that begins with its name."""


def find(given: str) -> tuple[Path, list[str]]:
    """The folder and the WAV files in it and its subfolders, relative to it and by name; a file is its own folder's.

    Raises ``InputError`` where there is none.
    """
    if not given:
        raise InputError(tr("data.path: choose a folder of WAV files."))
    root = Path(given).expanduser()
    if root.is_file() and root.suffix.lower() in ENDINGS:
        return root.parent, [root.name]
    if not root.is_dir():
        raise InputError(tr("data.path: there is no folder {path}.", path=given))
    found = []
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = sorted(s for s in subfolders if not s.startswith("."))
        wanted = (n for n in names if n.lower().endswith(ENDINGS) and not n.startswith("."))
        found += [Path(folder, name).relative_to(root).as_posix() for name in wanted]
    if not found:
        raise InputError(
            tr("data.path: the folder {path} holds no WAV files.", path=given),
            tr("Files that are read: {endings}.", endings=", ".join(ENDINGS)),
        )
    return root, sorted(found)


def classes_of(names: list[str]) -> tuple[str, ...]:
    """The subfolders that files lie in, by name. Raises ``InputError`` where one lies in none."""
    for name in names:
        if "/" not in name:
            raise InputError(
                tr("{file}: lies in no class folder.", file=name),
                tr("Put the files of each class into a folder of its own, or set data.classes to none."),
            )
    return tuple(sorted({name.partition("/")[0] for name in names}))


def read_levels(path: Path, rate: int, *, resample: bool) -> Iterator[Levels]:
    """The levels of a file at ``rate``, its channels averaged, in blocks.

    Raises ``BadWav`` where it is damaged, holds no sound, or is of another rate and ``resample`` is not set; that it
    holds none is known only at its end.
    """
    own_rate, frames = _open(path)
    if own_rate != rate and not resample:
        why = tr("has {own:,} samples per second and not {rate:,}; data.resample converts it", own=own_rate, rate=rate)
        raise BadWav(why)
    loudest = 0.0
    for block in _resampled(frames, own_rate, rate):
        if not np.isfinite(block).all():
            raise BadWav(tr("holds values that are no numbers"))
        loudest = max(loudest, float(np.abs(block).max(initial=0.0)))
        yield to_levels(block)
    if loudest < QUIETEST:
        raise BadWav(tr("holds no sound"))


def _open(path: Path) -> tuple[int, NDArray[Any]]:
    """Samples per second, and frames (n,) or (n, channels) that stay on the disk where their format allows it."""
    from scipy.io import wavfile

    if not path.stat().st_size:
        raise BadWav(tr("is empty"))
    with warnings.catch_warnings():
        warnings.simplefilter("error", wavfile.WavFileWarning)
        warnings.filterwarnings("ignore", "Chunk", wavfile.WavFileWarning)  # notes beside the sound
        try:
            try:
                rate, frames = wavfile.read(path, mmap=True)
            except ValueError as error:
                if "24-bit" not in str(error) and "mmap" not in str(error):
                    raise
                rate, frames = wavfile.read(path)
        except OSError as error:
            raise BadWav(tr("cannot be read ({why})", why=error.strerror or str(error))) from None
        except (*_DAMAGED, wavfile.WavFileWarning) as error:
            first = str(error).partition("\n")[0].rstrip(".")
            raise BadWav(tr("is no WAV file or is damaged ({why})", why=first or type(error).__name__)) from None
    if rate < 1:
        raise BadWav(tr("is no WAV file or is damaged ({why})", why=tr("{rate} samples per second", rate=rate)))
    return int(rate), frames


def _resampled(frames: NDArray[Any], own_rate: int, rate: int) -> Iterator[NDArray[np.float32]]:
    """Mono waves that, one after another, are the file at ``rate``; each is filtered with what lies beside it."""
    from scipy.signal import resample_poly

    common = math.gcd(own_rate, rate)
    up, down = rate // common, own_rate // common
    step = max(1, BLOCK // down) * down
    margin = -(-max(MARGIN, 32 * max(up, down) // up) // down) * down
    for first in range(0, len(frames), step):
        before = min(first, margin)
        wave = _mono(frames[first - before : first + step + margin])
        if up == down:
            yield wave[before : before + step]
            continue
        made = np.asarray(resample_poly(wave, up, down), np.float32)
        end = before + min(step, len(frames) - first)
        yield made[before * up // down : -(-end * up // down)]


def _mono(frames: NDArray[Any]) -> NDArray[np.float32]:
    """float32 (n,) in -1..1 of frames of any number format."""
    wave: NDArray[np.float32] = np.asarray(frames, np.float32)
    if frames.dtype == np.uint8:
        wave = (wave - np.float32(128)) / np.float32(128)
    elif np.issubdtype(frames.dtype, np.integer):
        wave = wave / np.float32(-float(np.iinfo(frames.dtype).min))
    return np.asarray(wave.mean(axis=1), np.float32) if wave.ndim > 1 else wave
