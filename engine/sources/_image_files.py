"""The user's images: found with their classes, each read as pixels of one size; what tells if two look alike."""

import hashlib
import os
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.errors import InputError
from engine.i18n import tr
from engine.sources import _lookalike, _readers
from engine.sources._readers import OnBad

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg"),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
}
ENDINGS = tuple(ending for endings in FORMATS.values() for ending in endings)
SPLIT_NAMES = {"train", "training", "test", "testing", "val", "valid", "validation", "dev"}
"""Subfolders so named hold splits that someone made, not classes."""

Fit = Literal["crop", "pad", "stretch"]


class Shaping(Protocol):
    """What every image is made into."""

    @property
    def size(self) -> int:
        """Pixels per side."""
        ...

    @property
    def n_channels(self) -> Literal[1, 3]: ...

    @property
    def fit(self) -> Fit:
        """How it becomes square."""
        ...


@dataclass(slots=True)
class Listing:
    """Files with their classes. ``files`` are (name, place in ``classes``), names relative to ``root``, by name."""

    root: Path
    classes: tuple[str, ...]
    files: list[tuple[str, int]] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    """Files beside the images that are none, such as notes; they are left alone."""


@dataclass(frozen=True, slots=True)
class Read:
    """One image. ``pixels`` uint8 (size, size, channels)."""

    pixels: NDArray[np.uint8]
    digest: bytes
    """SHA-256 of the file."""
    format: str
    look: _lookalike.Look
    side: int
    """Its shorter side in pixels, before it was made to fit."""


def is_image(name: str) -> bool:
    """Whether a file's name says that it is an image of a kind that is read."""
    return name.lower().endswith(ENDINGS) and not name.startswith(".")


def find(given: str, columns: tuple[str, str], on_bad: OnBad) -> Listing:
    """The images of a folder with a subfolder per class, or of a table of (file, label) beside them.

    Raises ``InputError`` where there are no images, no classes, or one class only.
    """
    if not given:
        raise InputError(tr("data.path: choose a folder of images."))
    root = Path(given).expanduser()
    if root.is_file() and root.suffix.lower() in _readers.TABLES:
        listing = _of_table(root, columns, on_bad)
    elif not root.is_dir():
        raise InputError(tr("data.path: there is no folder {path}.", path=given))
    else:
        table = _table_of(root)
        listing = _of_folders(root, on_bad) if table is None else _of_table(table, columns, on_bad)
    listing.files.sort()
    if len(listing.classes) < 2:
        name = next(iter(listing.classes), "")
        raise InputError(
            tr("data.path: {path} has one class only ({name}); two are needed to tell apart.", path=given, name=name),
            tr("Put the images of each class into a folder of its own."),
        )
    return listing


def class_folders(root: Path) -> list[str]:
    """Names of the subfolders, without hidden ones, by name. Raises ``InputError`` where they are splits."""
    names = sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith("."))
    if names and {name.lower() for name in names} <= SPLIT_NAMES:
        raise InputError(
            tr("data.path: the folders {names} of {path} are splits, not classes.", names=", ".join(names), path=root),
            tr("Choose one of them, such as {path}: what is held out is chosen here.", path=root / names[0]),
        )
    return names


def class_counts(given: str, columns: tuple[str, str]) -> dict[str, int]:
    """The classes of ``find`` with their files, without looking at any image and without minding what is bad."""
    root = Path(given).expanduser()
    entries = os.scandir(root) if given and root.is_dir() else ()
    deciding = [e for e in entries if e.is_dir() or e.name.endswith(tuple(_readers.TABLES))]
    changed = tuple(sorted((entry.name, entry.stat().st_mtime_ns) for entry in deciding))
    own = root.stat().st_mtime_ns if given and root.exists() else 0
    return dict(_class_counts(given, columns, (("", own), *changed)))


@lru_cache(maxsize=16)
def _class_counts(
    given: str, columns: tuple[str, str], changed: tuple[tuple[str, int], ...]
) -> tuple[tuple[str, int], ...]:
    found = find(given, columns, lambda _where, _why: None)
    counts = Counter(place for _, place in found.files)
    return tuple((name, counts[place]) for place, name in enumerate(found.classes))


def _holds_images(folder: Path) -> bool:
    return any(is_image(Path(name).name) for name in _walk(folder.parent, folder.name))


def _table_of(root: Path) -> Path | None:
    """The table of a folder in which no folders are classes; None where they are.

    Raises ``InputError`` where it is neither.
    """
    if sum(_holds_images(root / name) for name in class_folders(root)) > 1:
        return None
    tables = sorted(path for path in root.iterdir() if path.suffix.lower() in _readers.TABLES)
    if len(tables) == 1:
        return tables[0]
    if any(is_image(path.name) for path in root.iterdir()):
        raise InputError(
            tr("data.path: the images of {path} lie in no class folders, and there is no table of them.", path=root),
            tr("Put each class into a folder of its own, or add one table with a file and a label in each row."),
        )
    return None


def _of_folders(root: Path, on_bad: OnBad) -> Listing:
    found: dict[str, list[str]] = {}
    listing = Listing(root, ())
    for folder in class_folders(root):
        for name in _walk(root, folder):
            if is_image(Path(name).name):
                found.setdefault(folder, []).append(name)
            else:
                listing.others.append(name)
        if folder not in found:
            on_bad(folder, tr("is a folder without images"))
    for entry in sorted(os.scandir(root), key=lambda entry: entry.name):
        if entry.is_file() and is_image(entry.name):
            on_bad(entry.name, tr("lies in no class folder"))
    listing.classes = tuple(found)
    listing.files = [(name, place) for place, names in enumerate(found.values()) for name in names]
    if not listing.files:
        raise _no_images(root)
    return listing


def _walk(root: Path, folder: str) -> Iterator[str]:
    for where, subfolders, names in os.walk(root / folder):
        subfolders[:] = sorted(s for s in subfolders if not s.startswith("."))
        for name in sorted(names):
            if not name.startswith("."):
                yield Path(where, name).relative_to(root).as_posix()


def _no_images(root: Path) -> InputError:
    return InputError(
        tr("data.path: the folder {path} holds no images.", path=root),
        tr("Files that are read: {endings}.", endings=", ".join(ENDINGS)),
    )


def _of_table(table: Path, columns: tuple[str, str], on_bad: OnBad) -> Listing:
    labels: dict[str, str] = {}
    for where, (file, label) in _readers.rows(table, table.name, columns, on_bad):
        name = _readers.as_text(file, where, columns[0], on_bad)
        if name is None:
            continue
        said = _readers.as_label(label)
        if not said:
            on_bad(where, tr("has no label"))
        elif not (table.parent / name).is_file():
            on_bad(where, tr("names {file}, which is not there", file=name))
        elif labels.setdefault(name, said) != said:
            on_bad(where, tr("gives {file} a second label", file=name))
    classes = tuple(sorted(set(labels.values()), key=_by_number))
    places = {name: place for place, name in enumerate(classes)}
    return Listing(table.parent, classes, [(name, places[label]) for name, label in labels.items()])


def _by_number(label: str) -> tuple[int, str]:
    return (int(label), label) if label.isdecimal() else (10**18, label)


def read(path: Path, size: int, channels: Literal[1, 3], fit: Fit) -> Read | str:
    """The image, turned as its camera says, on white where it is see-through; or why it cannot be read."""
    from PIL import Image, UnidentifiedImageError

    content = path.read_bytes()
    if not content:
        return tr("is empty")
    try:
        return _decoded(content, size, channels, fit)
    except UnidentifiedImageError:
        return tr("is no image, or damaged at its beginning")
    except Image.DecompressionBombError:
        return tr("has too many pixels")
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, struct.error) as error:
        # What Pillow's decoders raise for damaged files.
        return tr("is damaged ({why})", why=str(error) or type(error).__name__)


def _decoded(content: bytes, size: int, channels: Literal[1, 3], fit: Fit) -> Read:
    import io

    from PIL import Image, ImageOps

    image: Image.Image
    with Image.open(io.BytesIO(content), formats=tuple(FORMATS)) as image:
        format_ = image.format or ""
        side = min(image.size)
        image.draft("RGB", (2 * size, 2 * size))  # a JPEG is read at a fraction of its size where that is enough
        plain = _plain(ImageOps.exif_transpose(image))
    look = _lookalike.look(plain)
    return Read(_fitted(plain, size, channels, fit), hashlib.sha256(content).digest(), format_, look, side)


def _plain(image: "Image") -> "Image":
    """RGB, with what is see-through on white; grey of 16 bits loses the lower eight."""
    from PIL import Image

    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image).clip(0, 65_535) // 256).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise ValueError(tr("its pixels are fractions, whose range is not known"))
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(ground, image)
    return image.convert("RGB")


def _fitted(image: "Image", size: int, channels: Literal[1, 3], fit: Fit) -> NDArray[np.uint8]:
    from PIL import Image, ImageOps

    how = Image.Resampling.LANCZOS
    if fit == "crop":
        image = ImageOps.fit(image, (size, size), how)
    elif fit == "pad":
        image = ImageOps.pad(image, (size, size), how, color="gray")
    else:
        image = image.resize((size, size), how)
    pixels = np.asarray(image if channels == 3 else image.convert("L"), np.uint8)
    return pixels.reshape(size, size, channels)
