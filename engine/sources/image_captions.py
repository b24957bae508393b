"""The user's own images with captions: a table that names in each row an image and what is said of it."""

from itertools import islice
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from engine.families.base import DataShape
from engine.i18n import mark
from engine.sources import _captioned_images, _image_files, _readers, sources
from engine.sources._caption_tokens import SPECIAL, Kind
from engine.sources._prepared_images import read_all
from engine.sources._spec import Skipped
from engine.sources.base import OnProgress, Preview, Source
from engine.study import TableSpec


class ImageCaptionsSpec(TableSpec, frozen=True, kw_only=True):
    """Where the pairs are, and what images and captions are made into."""

    path: Annotated[
        str,
        msgspec.Meta(
            title=mark("Table"),
            description=mark("A table of images and captions, or a folder that holds one; images are named from there"),
        ),
    ] = ""
    image_column: Annotated[
        str,
        msgspec.Meta(
            title=mark("Image column"),
            description=mark("Name of the column that names the image, or its number from 1 on"),
            min_length=1,
        ),
    ] = "image"
    caption_column: Annotated[
        str,
        msgspec.Meta(
            title=mark("Caption column"),
            description=mark("Name of the column that holds the caption, or its number from 1 on"),
            min_length=1,
        ),
    ] = "caption"
    header: Annotated[
        bool,
        msgspec.Meta(
            title=mark("Header"), description=mark("Whether the first row of .csv and .tsv holds names, not a pair")
        ),
    ] = True
    encoding: Annotated[
        Literal["utf-8", "gb18030", "big5", "shift_jis", "cp1252"],
        msgspec.Meta(
            title=mark("Encoding"),
            description=mark("Of files that are not UTF-8 and have no byte order mark; UTF-8 stops at them"),
        ),
    ] = "utf-8"
    size: Annotated[
        int,
        msgspec.Meta(title=mark("Size"), description=mark("Pixels per side that every image gets"), ge=4, le=512),
    ] = 32
    fit: Annotated[
        _image_files.Fit,
        msgspec.Meta(
            title=mark("Fit"),
            description=mark("How an image becomes square: cut off what is beyond, fill up with grey, or squeeze it"),
        ),
    ] = "crop"
    tokens: Annotated[
        Kind,
        msgspec.Meta(
            title=mark("Tokens"),
            description=mark("One token per word, or per character, as for languages that put no spaces between words"),
        ),
    ] = "words"
    vocab_size: Annotated[
        int,
        msgspec.Meta(
            title=mark("Vocabulary"),
            description=mark("How many of the commonest words of the training split have a token of their own"),
            ge=2,
            le=65_536,
        ),
    ] = 2_048
    caption_length: Annotated[
        int,
        msgspec.Meta(
            title=mark("Longest caption"),
            description=mark("Tokens of a caption, its end included; longer ones are cut and counted"),
            ge=4,
            le=512,
        ),
    ] = 32
    validation_fraction: Annotated[
        float,
        msgspec.Meta(
            title=mark("Validation share"),
            description=mark("Share of the images held out; images that look alike always fall on the same side"),
            gt=0,
            le=0.5,
        ),
    ] = 0.1
    skip_bad: Annotated[
        bool,
        msgspec.Meta(
            title=mark("Skip bad data"),
            description=mark("Leave out files and rows that cannot be read and list them, instead of stopping"),
        ),
    ] = False

    @property
    def n_channels(self) -> Literal[1, 3]:
        """Every image is in colour."""
        return 3


@sources.register("image-captions")
class ImageCaptions(Source):
    """Your own images with captions, made the same size, without copies, images that look alike on one side."""

    name = "image-captions"
    version = 1
    title = mark("Images with captions")
    Spec = ImageCaptionsSpec
    reads = tuple(_readers.TABLES)

    def shape(self, spec: ImageCaptionsSpec) -> DataShape:
        """Known from the spec: images (3, size, size), and as many words as may have a token."""
        return DataShape(
            "captions",
            vocab_size=len(SPECIAL) + spec.vocab_size,
            sample_shape=(3, spec.size, spec.size),
            fixed_context=1,
            caption_length=spec.caption_length,
        )

    def prepare(
        self, spec: ImageCaptionsSpec, cache: Path, on_progress: OnProgress
    ) -> _captioned_images.CaptionedImages:
        """Read, make the same size, find copies, split and tokenise; see ``Source.prepare``."""
        return _captioned_images.prepared(spec, self.name, self.version, cache, on_progress)

    def preview(self, spec: ImageCaptionsSpec, n: int = 5) -> list[Preview]:
        """The first ``n`` pairs with their rows; what is bad is passed over."""
        table = _captioned_images.find_table(spec.path)
        listed = _captioned_images.read_table(spec, table, Skipped(), lambda _where, _why: None)
        pairs = list(islice(listed, 2 * n))
        files = iter([(pair.file, number) for number, pair in enumerate(pairs)])
        shown: list[Preview] = []
        for _, number, found in read_all(spec, table.parent, files):
            if len(shown) < n and not isinstance(found, str):
                shown.append({"origin": pairs[number].where, "image": found.pixels, "text": pairs[number].caption})
        return shown
