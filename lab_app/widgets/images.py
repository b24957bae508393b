"""Small images in a grid, each with a line of words below it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QIcon, QImage, QPixmap
from PySide6.QtWidgets import QListView, QListWidget, QListWidgetItem

TILE = 88


@dataclass(frozen=True, slots=True)
class Picture:
    """An image, and what is said of it below it, over it and to those who do not see it."""

    image: QImage
    words: str
    tip: str = ""
    spoken: str = ""


class ImageGrid(QListWidget):
    """As many in a row as there is room for."""

    def __init__(self) -> None:
        super().__init__()
        self.setViewMode(QListView.ViewMode.IconMode)
        self.setResizeMode(QListView.ResizeMode.Adjust)
        self.setMovement(QListView.Movement.Static)
        self.setIconSize(QSize(TILE, TILE))
        self.setUniformItemSizes(True)
        self.setWordWrap(True)

    def show_pictures(self, pictures: Iterable[Picture], *, wide: bool = False) -> None:
        """Show these instead; ``wide`` leaves room for words of several lines."""
        self.clear()
        self.setGridSize(QSize(TILE + (92 if wide else 24), TILE + (62 if wide else 34)))
        for picture in pictures:
            item = QListWidgetItem(QIcon(tile(picture.image)), picture.words)
            item.setToolTip(picture.tip or picture.words)
            item.setData(Qt.ItemDataRole.AccessibleTextRole, picture.spoken or picture.words)
            item.setTextAlignment(Qt.AlignmentFlag.AlignHCenter | Qt.AlignmentFlag.AlignTop)
            self.addItem(item)


def image_of(pixels: Any) -> QImage:
    """Pixels uint8 (height, width, 3) as an image of its own."""
    pixels = np.ascontiguousarray(pixels)
    height, width, _ = pixels.shape
    return QImage(pixels.data, width, height, 3 * width, QImage.Format.Format_RGB888).copy()


def tile(image: QImage) -> QPixmap:
    """In a square: few pixels enlarged in whole steps, many made fewer."""
    longest = max(1, image.width(), image.height())
    small = longest <= TILE
    side = TILE // longest * longest if small else TILE
    how = Qt.TransformationMode.FastTransformation if small else Qt.TransformationMode.SmoothTransformation
    return QPixmap.fromImage(image.scaled(side, side, Qt.AspectRatioMode.KeepAspectRatio, how))
