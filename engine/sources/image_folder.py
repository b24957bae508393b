"""The user's own images: a folder with a subfolder per class, or images and a table of file and label."""

from itertools import islice
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from engine.families.base import DataShape
from engine.i18n import mark
from engine.sources import _image_files, _prepared_images, sources
from engine.sources._cache import cached, entry_key
from engine.sources._images import TestShare, check_shares, image_shape
from engine.sources._prepared_images import PIPELINE_VERSION, PreparedImages
from engine.sources._readers import stop_or_skip
from engine.sources._spec import Skipped
from engine.sources.base import OnProgress, Preview, Source
from engine.study import TableSpec


class ImageFolderSpec(TableSpec, frozen=True, kw_only=True):
    """Where the images are, and what they are made into."""

    path: Annotated[
        str,
        msgspec.Meta(
            title=mark("Folder"),
            description=mark("A folder with one subfolder of images per class, or a table of files and their labels"),
        ),
    ] = ""
    size: Annotated[
        int,
        msgspec.Meta(title=mark("Size"), description=mark("Pixels per side that every image gets"), ge=4, le=512),
    ] = 32
    colors: Annotated[
        Literal["color", "grey"],
        msgspec.Meta(title=mark("Colours"), description=mark("Three channels, or one")),
    ] = "color"
    fit: Annotated[
        _image_files.Fit,
        msgspec.Meta(
            title=mark("Fit"),
            description=mark("How an image becomes square: cut off what is beyond, fill up with grey, or squeeze it"),
        ),
    ] = "crop"
    augment: Annotated[
        Literal["none", "light"],
        msgspec.Meta(
            title=mark("Augmentation"),
            description=mark("Light: training images are shifted by up to a sixteenth and turned by up to 10 degrees."),
        ),
    ] = "none"
    validation_fraction: Annotated[
        float,
        msgspec.Meta(
            title=mark("Validation share"),
            description=mark("Share of every class held out; images that look alike always fall on the same side"),
            gt=0,
            le=0.5,
        ),
    ] = 0.1
    file_column: Annotated[
        str,
        msgspec.Meta(
            title=mark("File column"), description=mark("Column of the table that names the image"), min_length=1
        ),
    ] = "file"
    label_column: Annotated[
        str,
        msgspec.Meta(
            title=mark("Label column"), description=mark("Column of the table that holds the class"), min_length=1
        ),
    ] = "label"
    skip_bad: Annotated[
        bool,
        msgspec.Meta(
            title=mark("Skip bad data"),
            description=mark("Leave out files and rows that cannot be read and list them, instead of stopping"),
        ),
    ] = False

    test_fraction: TestShare = None

    @property
    def n_channels(self) -> Literal[1, 3]:
        """Channels of every image."""
        return 3 if self.colors == "color" else 1

    @property
    def columns(self) -> tuple[str, str]:
        """Names of the columns of a table."""
        return self.file_column, self.label_column


@sources.register("image-folder")
class ImageFolder(Source):
    """Your own labelled images, made the same size, without copies, the ones that look alike on one side."""

    name = "image-folder"
    version = 1
    title = mark("Image folder")
    Spec = ImageFolderSpec
    reads = _image_files.ENDINGS

    def shape(self, spec: ImageFolderSpec) -> DataShape:
        """Images (channels, size, size) in as many classes as there are folders or labels; counts are of files."""
        counts = _image_files.class_counts(spec.path, spec.columns)
        trained = 1 - spec.validation_fraction - (spec.test_fraction or 0.0)
        about = tuple(max(1, round(trained * n)) for n in counts.values())
        return image_shape(
            spec.n_channels,
            spec.size,
            spec.size,
            tuple(counts),
            class_counts=about,
            about_train_items=sum(about),
        )

    def prepare(self, spec: ImageFolderSpec, cache: Path, on_progress: OnProgress) -> PreparedImages:
        """Read, make the same size, find duplicates and split; see ``Source.prepare``."""
        check_shares(spec.validation_fraction, spec.test_fraction)
        skipped = Skipped()
        on_bad = stop_or_skip(spec.skip_bad, skipped)
        listing = _image_files.find(spec.path, spec.columns, on_bad)
        stats = ((name, place, (listing.root / name).stat()) for name, place in listing.files)
        files = ((f"{listing.classes[place]}/{name}", s.st_size, s.st_mtime_ns) for name, place, s in stats)
        shaping = {k: v for k, v in msgspec.structs.asdict(spec).items() if k != "augment" and v is not None}
        key = f"images-{entry_key([self.name, self.version, PIPELINE_VERSION, shaping], files)}"
        needed = len(listing.files) * spec.size**2 * spec.n_channels

        def make(folder: Path) -> None:
            _prepared_images.make(spec, listing, skipped, on_bad, folder, on_progress)

        meta = cached(cache, key, _prepared_images.opened, make, needed)
        return PreparedImages(cache / key, meta, spec, self.version)

    def preview(self, spec: ImageFolderSpec, n: int = 5) -> list[Preview]:
        """Images of every class in turn, as a model sees them; what is bad is passed over."""
        listing = _image_files.find(spec.path, spec.columns, lambda _where, _why: None)
        by_class: list[list[tuple[str, int]]] = [[] for _ in listing.classes]
        for name, place in listing.files:
            by_class[place].append((name, place))
        turns = (files[turn] for turn in range(n) for files in by_class if turn < len(files))
        shown: list[Preview] = []
        for name, place, found in _prepared_images.read_all(spec, listing.root, islice(turns, 2 * n)):
            if len(shown) < n and not isinstance(found, str):
                pixels = found.pixels.repeat(3 // spec.n_channels, axis=2)
                shown.append({"origin": name, "label": listing.classes[place], "image": pixels})
        return shown
