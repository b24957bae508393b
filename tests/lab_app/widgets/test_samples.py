"""Samples of every kind of data, each shown as what it is; counts as bars."""

import numpy as np
import pytest
from PySide6.QtCore import QObject, Signal
from PySide6.QtWidgets import QToolButton
from pytestqt.qtbot import QtBot

from lab_app.theme import mono_font
from lab_app.widgets.bars import Bars
from lab_app.widgets.images import TILE
from lab_app.widgets.media import Wave
from lab_app.widgets.samples import Samples

WORDS = {"play": "Play", "stop": "Stop", "no_player": "No player", "missing": "Gone:", "image": "Image"}


class Silent(QObject):
    changed = Signal()
    playing = None
    available = True

    def play(self, path: object) -> None:
        self.playing = path

    def stop(self) -> None:
        self.playing = None


@pytest.fixture
def samples(qtbot: QtBot) -> Samples:
    made = Samples(mono_font(), Silent(), lambda: WORDS)
    made.resize(500, 400)
    qtbot.addWidget(made)
    return made


def test_documents_are_text(samples: Samples) -> None:
    samples.show_samples([{"origin": "a.txt", "text": "one\ntwo"}, {"origin": "b.txt", "text": "three"}])
    assert samples.currentWidget() is samples.text
    assert samples.text.toPlainText() == "── a.txt\none\ntwo\n\n── b.txt\nthree"


def test_short_texts_and_pairs_are_columns(samples: Samples) -> None:
    samples.show_samples([{"origin": "train", "text": "1+1=2"}, {"origin": "ood", "text": "9+9=18"}])
    assert samples.currentWidget() is samples.table
    assert [samples.rows.index(i, 0).data() for i in range(2)] == ["training", "out of distribution"]
    long = "a sentence that goes on " * 20
    samples.show_samples([{"origin": "t.tsv, row 1", "text": long, "target": "kurz"}])
    assert [samples.rows.headerData(i, samples.table.horizontalHeader().orientation()) for i in range(3)] == [
        *("Origin", "Text", "Target"),
    ]
    assert samples.rows.index(0, 2).data() == "kurz"


def test_images_are_a_grid_of_whole_pixels(samples: Samples) -> None:
    pixels = np.zeros((8, 6, 3), np.uint8)
    pixels[0, 0] = (255, 0, 0)
    samples.show_samples([{"origin": "cat/1.png", "label": "cat", "image": pixels}])
    assert samples.currentWidget() is samples.grid and samples.grid.count() == 1
    item = samples.grid.item(0)
    assert item.text() == "cat" and "cat/1.png" in item.toolTip()
    shown = item.icon().pixmap(TILE, TILE).toImage()
    assert (shown.width(), shown.height()) == (66, 88)
    assert shown.pixelColor(5, 5).name() == "#ff0000" and shown.pixelColor(12, 5).name() == "#000000"


def test_sounds_are_waves_that_play(samples: Samples) -> None:
    wave = np.sin(np.arange(800) / 5).astype(np.float32)
    samples.show_samples([{"origin": "a.wav", "sound": wave, "rate": 8000, "text": "a vowel"}] * 2)
    assert samples.currentWidget() is samples.waves
    found = samples.waves.findChildren(Wave)
    assert len(found) == 2 and found[0].item.seconds == pytest.approx(0.1)
    assert found[0].item.envelope.max() == pytest.approx(1, abs=0.05)
    found[0].findChildren(QToolButton)[0].click()
    assert samples._player.playing == found[0].item.path
    samples.show_samples([])
    assert samples.currentWidget() is samples.text and samples.text.toPlainText() == ""


def test_bars_are_as_long_as_their_counts(qtbot: QtBot) -> None:
    bars = Bars()
    qtbot.addWidget(bars)
    bars.show_counts([("many", 100), ("few", 25), ("none", 0)])
    bars.resize(400, bars.height())
    assert bars.accessibleDescription() == "many: 100, few: 25, none: 0"
    image, color = bars.grab().toImage(), bars.palette().highlight().color()
    lengths = [sum(image.pixelColor(x, 20 * row + 10) == color for x in range(400)) for row in range(3)]
    assert lengths[0] > 200 and lengths[2] == 0
    assert lengths[1] == pytest.approx(lengths[0] / 4, abs=4)
