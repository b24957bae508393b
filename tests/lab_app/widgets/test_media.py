"""What a model made: read from files that may be gone or lie, drawn, played and stopped."""

import wave
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PySide6.QtCore import QObject, Signal
from PySide6.QtGui import QFont
from PySide6.QtWidgets import QLabel
from pytestqt.qtbot import QtBot

from engine.i18n import set_language
from lab_app.sound import Player
from lab_app.widgets.media import Picture, Wave, card, read_item

WORDS = {"play": "Play", "stop": "Stop", "no_player": "No player", "missing": "Gone:", "image": "Image"}


class Silent(QObject):
    """A player that plays nothing."""

    changed = Signal()
    available = True

    def __init__(self) -> None:
        super().__init__()
        self.playing: Path | None = None

    def play(self, path: Path) -> None:
        self.playing = path
        self.changed.emit()

    def stop(self) -> None:
        self.playing = None
        self.changed.emit()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "run" / "samples").mkdir(parents=True)
    Image.fromarray(np.full((8, 16, 3), 200, np.uint8)).save(tmp_path / "run" / "samples" / "grid.png")
    with wave.open(str(tmp_path / "run" / "samples" / "a.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8_000)
        file.writeframes((np.sin(np.arange(4_000) / 10) * 16_000).astype("<i2").tobytes())
    Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(tmp_path / "secret.png")
    return tmp_path / "run"


def test_text_images_and_waves_are_read(folder: Path) -> None:
    assert read_item("text", "once\nupon", folder).text == "once\nupon"
    image = read_item("image", "samples/grid.png\nthree, three, seven", folder)
    assert (image.kind, image.text) == ("image", "three, three, seven")
    assert image.image is not None and (image.image.width(), image.image.height()) == (16, 8)
    sound = read_item("audio", "samples/a.wav\n/a/", folder)
    assert sound.seconds == 0.5 and sound.envelope.shape == (400, 2)
    assert sound.envelope.max() == pytest.approx(16_000 / 32_768, rel=0.01)


def test_a_caption_is_said_in_the_language_of_whoever_looks(folder: Path) -> None:
    image = read_item("image", "samples/grid.png\nHeld-out images; with patches hidden; filled in.\n3 · 5", folder)
    try:
        set_language("zh_CN")
        first, second = image.caption.split("\n")
        assert not first.isascii() and second == "3 · 5"
    finally:
        set_language("en")
    assert image.caption == image.text


@pytest.mark.parametrize("content", ["samples/none.png", "../secret.png\nlook", "/etc/hostname", "samples/a.wav"])
def test_what_is_gone_is_no_image_or_lies_elsewhere_is_missing(folder: Path, content: str) -> None:
    assert read_item("image", content, folder).kind == "missing"
    if not content.startswith("samples/a"):
        assert read_item("audio", content, folder).kind == "missing"


def test_pixels_are_enlarged_in_whole_steps_and_never_beyond_the_room(qtbot: QtBot, folder: Path) -> None:
    item = read_item("image", "samples/grid.png", folder)
    assert item.image is not None
    picture = Picture(item.image, "grid")
    qtbot.addWidget(picture)
    assert picture.heightForWidth(100) == 6 * 8
    assert picture.heightForWidth(10) == 5


def test_a_wave_plays_and_stops(qtbot: QtBot, folder: Path) -> None:
    player = Silent()
    shown = Wave(read_item("audio", "samples/a.wav", folder), player, ("Play", "Stop", "No player"))
    qtbot.addWidget(shown)
    shown.show()
    assert shown.play.accessibleName() == "Play"
    shown.play.click()
    assert player.playing == folder / "samples" / "a.wav" and shown.play.accessibleName() == "Stop"
    qtbot.waitUntil(lambda: shown.share > 0.1)
    shown.play.click()
    assert player.playing is None and shown.share == 0


def test_a_card_says_when_and_what(qtbot: QtBot, folder: Path) -> None:
    items = [
        read_item(k, c, folder)
        for k, c in (("text", "hello"), ("image", "samples/x.png"), ("audio", "samples/a.wav\n/a/"))
    ]
    made = card("step 10", items, Silent(), QFont(), WORDS)
    qtbot.addWidget(made)
    assert [label.text() for label in made.findChildren(QLabel)][:3] == ["step 10", "hello", "Gone: samples/x.png"]
    assert len(made.findChildren(Wave)) == 1


def test_a_machine_without_a_player_says_so(qtbot: QtBot, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab_app.sound.shutil.which", lambda name: None)
    monkeypatch.setattr("lab_app.sound.sys.platform", "linux")
    player = Player()
    shown = Wave(read_item("audio", "samples/a.wav", folder), player, ("Play", "Stop", "No player"))
    qtbot.addWidget(shown)
    assert not shown.play.isEnabled() and shown.play.toolTip() == "No player"
    player.play(folder / "samples" / "a.wav")
    assert player.playing is None


def test_the_player_ends_with_its_program(qtbot: QtBot, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab_app.sound.find_program", lambda: ("/bin/cat",))
    player = Player()
    with qtbot.waitSignals([player.changed, player.changed]):
        player.play(folder / "samples" / "a.wav")
        assert player.playing is not None
    assert player.playing is None
