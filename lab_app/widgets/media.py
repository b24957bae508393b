"""What a model made, each as a widget: text to read, an image to look at, a wave to see and hear."""

import wave
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QRectF, QSize, Qt, QTimer
from PySide6.QtGui import QFont, QImage, QPainter, QPaintEvent, QPixmap
from PySide6.QtWidgets import QFrame, QLabel, QSizePolicy, QToolButton, QWidget

from engine.i18n import tr
from lab_app.widgets.basic import column, frame, row, text_label

WAVE_HEIGHT = 54
FRAME_MS = 40
SHOWN_AT_MOST = 900
"""Pixels of a wide image that are kept for the screen."""


@dataclass(frozen=True, slots=True)
class Item:
    """One thing as it is shown. ``kind`` is text, image, audio, or missing where the file cannot be read."""

    kind: str
    text: str = ""
    path: Path | None = None
    image: QImage | None = None
    envelope: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 2), np.float32))
    """(n, 2) the lowest and highest value of each of n short stretches, in -1..1."""
    seconds: float = 0.0

    @property
    def caption(self) -> str:
        """What is said of an image or a sound, in the language in use: its first line may be of the catalogue."""
        first, *lines = self.text.split("\n")
        return "\n".join((tr(first) if first else "", *lines))


class Plays(Protocol):
    """What plays a file; ``lab_app.sound.Player`` does."""

    changed: Any
    playing: Path | None

    @property
    def available(self) -> bool: ...
    def play(self, path: Path) -> None: ...
    def stop(self) -> None: ...


def read_item(kind: str, content: str, folder: Path) -> Item:
    """A thing from the store: text as it is, else a path under ``folder`` and a caption on the next line.

    Meant for a thread: decodes the file.
    """
    if kind == "text":
        return Item("text", content)
    name, _, caption = content.partition("\n")
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        return Item("missing", name)
    if kind == "image":
        image = QImage(str(path))
        if image.isNull():
            return Item("missing", name)
        return Item("image", caption, path, _fitted(image))
    try:
        with wave.open(str(path)) as file:
            rate, frames = file.getframerate(), file.readframes(file.getnframes())
    except (OSError, EOFError, wave.Error):
        return Item("missing", name)
    values = np.frombuffer(frames, "<i2").astype(np.float32) / 32_768
    return Item("audio", caption, path, None, _envelope(values), len(values) / rate)


def _fitted(image: QImage) -> QImage:
    """Large images smaller, and those of few pixels larger in whole steps, so that each pixel stays a square."""
    width = image.width()
    if width > SHOWN_AT_MOST:
        return image.scaledToWidth(SHOWN_AT_MOST, Qt.TransformationMode.SmoothTransformation)
    return image


def _envelope(values: NDArray[np.float32], n: int = 400) -> NDArray[np.float32]:
    if not len(values):
        return np.zeros((0, 2), np.float32)
    parts = np.array_split(values, min(n, len(values)))
    return np.array([(part.min(), part.max()) for part in parts], np.float32)


class Picture(QWidget):
    """An image as wide as there is room, up to its own size in whole steps."""

    def __init__(self, image: QImage, name: str) -> None:
        super().__init__()
        self._pixmap = QPixmap.fromImage(image)
        policy = QSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Minimum)
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)
        self.setAccessibleName(name)

    def _width(self, room: int) -> int:
        own = max(1, self._pixmap.width())
        return min(room, own * max(1, min(room, 320) // own))

    def sizeHint(self) -> QSize:
        width = self._width(320)
        return QSize(width, self.heightForWidth(width))

    def minimumSizeHint(self) -> QSize:
        return QSize(60, 40)

    def hasHeightForWidth(self) -> bool:
        return True

    def heightForWidth(self, width: int) -> int:
        return round(self._width(width) * self._pixmap.height() / max(1, self._pixmap.width()))

    def paintEvent(self, event: QPaintEvent) -> None:
        width = self._width(self.width())
        painter = QPainter(self)
        smaller = width < self._pixmap.width()
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, smaller)
        painter.drawPixmap(QRectF(0, 0, width, self.heightForWidth(width)), self._pixmap, QRectF(self._pixmap.rect()))


class Wave(QWidget):
    """A wave with a button that plays it and a line that shows where it is."""

    def __init__(self, item: Item, player: Plays, words: tuple[str, str, str]) -> None:
        super().__init__()
        self._item, self._player, self._words = item, player, words
        self._at = 0.0
        self.play = QToolButton()
        self.play.setEnabled(player.available)
        self.play.clicked.connect(self._toggle)
        self._drawn = _Drawn(self)
        seconds = text_label("caption")
        seconds.setText(f"{item.seconds:.2f} s")
        self.setLayout(row(self.play, self._drawn, seconds, spacing=6))
        self._timer = QTimer(self, interval=FRAME_MS)
        self._timer.timeout.connect(self._moved)
        player.changed.connect(self._changed)
        self._changed()

    @property
    def item(self) -> Item:
        """What it shows."""
        return self._item

    @property
    def share(self) -> float:
        """How far it has played, in 0..1."""
        return min(1.0, self._at / max(self._item.seconds, 1e-9))

    def _toggle(self) -> None:
        if self._item.path is None:
            return
        if self._player.playing == self._item.path:
            self._player.stop()
        else:
            self._player.play(self._item.path)

    def _changed(self) -> None:
        plays = self._item.path is not None and self._player.playing == self._item.path
        play, stop, no_player = self._words
        self.play.setText("■" if plays else "▶")
        self.play.setAccessibleName(stop if plays else play)
        self.play.setToolTip((stop if plays else play) if self._player.available else no_player)
        self._at = 0.0
        if plays:
            self._timer.start()
        else:
            self._timer.stop()
        self._drawn.update()

    def _moved(self) -> None:
        self._at += FRAME_MS / 1000
        self._drawn.update()


class _Drawn(QWidget):
    """The wave itself."""

    def __init__(self, wave: Wave) -> None:
        super().__init__()
        self._wave = wave
        self.setMinimumSize(80, WAVE_HEIGHT)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        envelope, middle = self._wave.item.envelope, self.height() / 2
        painter.setPen(self.palette().mid().color())
        painter.drawLine(0, round(middle), self.width(), round(middle))
        painter.setPen(self.palette().link().color())
        for x in range(self.width() if len(envelope) else 0):
            low, high = envelope[x * len(envelope) // self.width()]
            painter.drawLine(x, round(middle * (1 - float(high))), x, round(middle * (1 - float(low))))
        if 0 < self._wave.share < 1:
            painter.setPen(self.palette().text().color())
            x = round(self._wave.share * self.width())
            painter.drawLine(x, 0, x, self.height())


def card(when: str, items: Sequence[Item], player: Plays, font: QFont, words: Mapping[str, str]) -> QFrame:
    """What was made at one time, under the words that say when.

    ``words`` are in the language in use: play, stop, no_player, missing, image; ``font`` is that of texts.
    """
    title = text_label("caption")
    title.setText(when)
    widgets = [_widget(item, player, font, words) for item in items]
    return frame("card", column(title, *widgets, None, spacing=6, margins=(10, 8, 10, 10)))


def _widget(item: Item, player: Plays, font: QFont, words: Mapping[str, str]) -> QWidget:
    if item.kind in ("text", "missing"):
        label = text_label("muted" if item.kind == "missing" else "", wrap=True, selectable=True)
        label.setText(item.text if item.kind == "text" else f"{words['missing']} {item.text}")
        label.setFont(font)
        label.setAlignment(Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft)
        return label
    inside: QWidget
    if item.kind == "image" and item.image is not None:
        inside = Picture(item.image, item.caption or words["image"])
    else:
        inside = Wave(item, player, (words["play"], words["stop"], words["no_player"]))
    made = QWidget()
    caption: QLabel = text_label("caption", wrap=True, selectable=True)
    caption.setText(item.caption)
    caption.setVisible(bool(item.text))
    made.setLayout(column(inside, caption, spacing=3))
    return made
