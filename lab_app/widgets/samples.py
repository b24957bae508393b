"""A few samples of data to look at: text as text, pairs as columns, images as a grid, sounds as waves."""

import wave
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PySide6.QtCore import QTemporaryDir
from PySide6.QtGui import QFont
from PySide6.QtWidgets import QHeaderView, QPlainTextEdit, QStackedWidget, QWidget

from engine.i18n import mark, tr
from lab_app.widgets.basic import clear, column, scrolled
from lab_app.widgets.images import ImageGrid, Picture, image_of
from lab_app.widgets.media import Plays, card, read_item
from lab_app.widgets.table import Column, RowsModel, Table

Sample = Mapping[str, Any]
"""As ``engine.sources.base.Preview``: origin, and text, target, label, image, or sound with its rate."""

SPLITS = {
    "train": mark("training"),
    "validation": mark("held out"),
    "ood": mark("out of distribution"),
    "test": mark("for results alone"),
}
SHORT = 160
"""Letters of a text that still stands in one line of a table."""


class Samples(QStackedWidget):
    """Shows whatever kind of samples it is given. ``words`` gives what ``widgets.media`` says."""

    def __init__(self, font: QFont, player: Plays, words: Callable[[], Mapping[str, str]]) -> None:
        super().__init__()
        self._font, self._player, self._words = font, player, words
        self._samples: Sequence[Sample] = ()
        self._folder = QTemporaryDir()
        self.text = QPlainTextEdit()
        self.text.setReadOnly(True)
        self.text.setTabChangesFocus(True)
        self.text.setFont(font)
        self.grid = ImageGrid()
        self.rows = RowsModel()
        self.table = Table(self.rows)
        self.cards = column(spacing=8)
        inside = QWidget()
        inside.setLayout(column(self.cards, None))
        self.waves = scrolled(inside)
        for page in (self.text, self.grid, self.table, self.waves):
            self.addWidget(page)
        self.speak()

    def show_samples(self, samples: Sequence[Sample]) -> None:
        """Show these instead."""
        self._samples = samples
        keys = {key for sample in samples for key in sample}
        texts = [str(sample.get("text", "")) for sample in samples]
        if "image" in keys:
            self._show_images(samples)
        elif "sound" in keys:
            self._show_sounds(samples)
        elif texts and ("target" in keys or all(len(t) <= SHORT and "\n" not in t.strip() for t in texts)):
            self._show_table(samples, keys)
        else:
            parts = [f"── {_head(sample)}\n{text}".rstrip() for sample, text in zip(samples, texts, strict=True)]
            self.text.setPlainText("\n\n".join(parts))
            self.setCurrentWidget(self.text)

    def speak(self) -> None:
        """Say everything again in the language in use."""
        for page in (self.text, self.grid, self.table):
            page.setAccessibleName(tr("Preview"))
        if self._samples:
            self.show_samples(self._samples)

    def _show_images(self, samples: Sequence[Sample]) -> None:
        captioned = any(sample.get("text") for sample in samples)
        self.grid.show_pictures(map(picture, samples), wide=captioned)
        self.setCurrentWidget(self.grid)

    def _show_sounds(self, samples: Sequence[Sample]) -> None:
        clear(self.cards)
        for number, sample in enumerate(samples):
            path = Path(self._folder.path(), f"{number}.wav")
            _write_wave(path, np.asarray(sample["sound"]), int(sample["rate"]))
            item = read_item("audio", f"{path.name}\n{sample.get('text', '')}", path.parent)
            self.cards.addWidget(card(_head(sample), [item], self._player, self._font, self._words()))
        self.setCurrentWidget(self.waves)

    def _show_table(self, samples: Sequence[Sample], keys: set[str]) -> None:
        columns = [Column(tr("Origin"), _origin, tip=_origin)]
        for key, title in (("text", tr("Text")), ("target", tr("Target")), ("label", tr("Label"))):
            if key in keys:
                shown = lambda sample, key=key: str(sample.get(key, ""))  # noqa: E731
                columns.append(Column(title, shown, tip=shown))
        self.rows.set_columns(columns)
        self.rows.set_rows(samples)
        header = self.table.horizontalHeader()
        for number in range(len(columns)):
            stretch = columns[number].title in (tr("Text"), tr("Target"))
            mode = QHeaderView.ResizeMode.Stretch if stretch else QHeaderView.ResizeMode.Interactive
            header.setSectionResizeMode(number, mode)
        self.table.fit()
        self.setCurrentWidget(self.table)


def _origin(sample: Sample) -> str:
    origin = str(sample.get("origin", ""))
    return tr(SPLITS[origin]) if origin in SPLITS else origin


def _head(sample: Sample) -> str:
    return "  ".join(part for part in (_origin(sample), str(sample.get("label", ""))) if part)


def picture(sample: Sample) -> Picture:
    """A sample that is an image, for a grid."""
    words = str(sample.get("text") or sample.get("label") or _origin(sample))
    return Picture(image_of(sample["image"]), words, _head(sample), f"{words}, {_origin(sample)}".rstrip(", "))


def _write_wave(path: Path, values: Any, rate: int) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((values.clip(-1, 1) * np.iinfo(np.int16).max).astype("<i2").tobytes())
