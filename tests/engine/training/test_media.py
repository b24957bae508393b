"""Files of what a model made: they open elsewhere with what was put in."""

import wave
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.errors import ResourceError
from engine.families.base import Made
from engine.training.media import write_made


def test_an_image_is_a_png_with_its_pixels(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    path = write_made(Made("image", "seven", pixels), tmp_path / "samples", "00000010-0")
    assert path.name == "00000010-0.png"
    with Image.open(path) as image:
        assert (np.asarray(image) == pixels).all()
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_wave_is_a_wav_with_its_rate_and_does_not_wrap_around(tmp_path: Path) -> None:
    sound = np.array([0.0, 0.5, -1.0, 1.0, 1.5], np.float32)
    path = write_made(Made("audio", "", sound, 8_000), tmp_path, "x")
    with wave.open(str(path)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (8_000, 1, 2)
        read = np.frombuffer(file.readframes(5), "<i2") / 32_767
    np.testing.assert_allclose(read, sound.clip(-1, 1), atol=1e-4)


def test_a_file_in_the_way_of_the_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "samples").write_text("")
    with pytest.raises(ResourceError):
        write_made(Made("image", values=np.zeros((2, 2, 3), np.uint8)), tmp_path / "samples", "x")
