"""Images and waves that a model made, as files that anything opens."""

import wave
from pathlib import Path

import numpy as np

from engine.families.base import Made
from engine.files import replacing, require_space


def write_made(made: Made, folder: Path, stem: str) -> Path:
    """A PNG of pixels or a 16-bit WAV of a wave, ``folder/stem.*``.

    Raises ``ResourceError`` for a full or read-only disk.
    """
    require_space(folder, made.values.nbytes)
    if made.kind == "image":
        from PIL import Image

        path = folder / f"{stem}.png"
        with replacing(path) as temporary:
            Image.fromarray(made.values).save(temporary, format="png")
        return path
    path = folder / f"{stem}.wav"
    with replacing(path) as temporary, wave.open(str(temporary), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(made.rate)
        file.writeframes((made.values.clip(-1, 1) * np.iinfo(np.int16).max).astype("<i2").tobytes())
    return path
