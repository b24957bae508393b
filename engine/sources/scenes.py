"""Small pictures of coloured shapes with captions in English, some combinations of which are never shown."""

from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.families.base import DataShape
from engine.i18n import mark, tr
from engine.sources import _scenes as drawing
from engine.sources import sources
from engine.sources._caption_tokens import CaptionTokens
from engine.sources._captions import PAD, Choice
from engine.sources._images import to_pixels
from engine.sources._procedural import HELD_OUT_SALT, SPLITS, Items, ProceduralSpec, Split, Stream, hash_rows
from engine.sources.base import Batch, OnProgress, Preview, QualityReport, Source

N_OBJECTS = 3
SHARES = (0.4, 0.4, 0.2)
"""How often a scene has one, two and three objects."""
BRIGHTNESS_STEPS, DARKEST = 16, 0.7
_OBJECTS = slice(1, 1 + 4 * N_OBJECTS)
_SHIFTS = slice(_OBJECTS.stop, _OBJECTS.stop + 2 * N_OBJECTS)
_BRIGHTNESS = slice(_SHIFTS.stop, _SHIFTS.stop + N_OBJECTS)
_GRAIN = _BRIGHTNESS.stop
_WORDING = slice(_GRAIN + 1, _GRAIN + 5)
_N_COLOURS, _N_SHAPES = len(drawing.COLOURS), len(drawing.SHAPES)


class ScenesSpec(ProceduralSpec, frozen=True, kw_only=True):
    """How many objects a scene may have and what is never shown in training."""

    objects: Annotated[
        int,
        msgspec.Meta(title=mark("Objects"), description=mark("Most objects in one scene."), ge=1, le=N_OBJECTS),
    ] = N_OBJECTS
    unseen: Annotated[
        int,
        msgspec.Meta(
            title=mark("Unseen shapes per colour"),
            description=mark("Of the 8 shapes, how many are never shown in a given colour; other ones in each colour."),
            ge=0,
            le=6,
        ),
    ] = 2
    validation_fraction: Annotated[
        float,
        msgspec.Meta(
            title=mark("Validation share"),
            description=mark("Share of all scenes that are never trained on, chosen by a hash of the scene"),
            gt=0,
            le=0.5,
        ),
    ] = 0.1


class ScenePairs(Stream):
    """Implements ``Prepared``, ``Captioned``, ``Classified`` and ``TokenisedText``. An item is a row of attributes.

    Scenes are told apart by what is in them (background, and shape, colour, size and cell of every object), whatever
    the order, wording, shift, brightness and grain. Out of distribution are scenes with an object of an unseen
    combination of shape and colour: none was trained on.
    """

    def __init__(self, spec: ScenesSpec) -> None:
        self.most = spec.objects
        combination = np.arange(_N_SHAPES * _N_COLOURS)
        self.is_unseen: NDArray[np.bool_] = (combination // _N_COLOURS + 3 * combination % _N_COLOURS) % 8 < spec.unseen
        """(shapes * colours,) whether a combination, shape * colours + colour, is never shown in training."""
        super().__init__(
            "scenes",
            Scenes.version,
            spec,
            drawing.WORDS,
            item_length=_WORDING.stop,
            answer_length=1,
            validation_fraction=spec.validation_fraction,
        )

    def sample(self, rng: np.random.Generator, n: int, *, ood: bool) -> Items:
        """See ``Stream``; out of distribution the first object is of an unseen combination, others are of any."""
        shares = np.asarray(SHARES[: self.most])
        return self._scenes(rng, rng.choice(self.most, n, p=shares / shares.sum()) + 1, ood=ood)

    def is_ood(self, items: Items) -> NDArray[np.bool_]:
        """Whether any object is of an unseen combination."""
        combination, there = _combinations(items)
        return np.asarray((self.is_unseen[combination] & there).any(axis=1), np.bool_)

    def key(self, items: Items) -> NDArray[np.uint64]:
        """Of the background and the objects in a fixed order."""
        objects = _objects(items)
        code = (((objects[..., 0] * _N_COLOURS) + objects[..., 1]) * 2 + objects[..., 2]) * 4 + objects[..., 3]
        code = np.sort(np.where(objects[..., 3] >= 0, code, -1), axis=1)
        return hash_rows(np.concatenate([items[:, :1], code + 1], axis=1))

    def n_items(self, split: Split) -> int:
        return 0

    def batch(self, items: Items, context: int) -> Batch:
        """``images`` float32 (n, 3, 32, 32) and ``captions`` int64 (n, t)."""
        brightness = DARKEST + (1 - DARKEST) / (BRIGHTNESS_STEPS - 1) * items[:, _BRIGHTNESS]
        objects = _objects(items)
        images = drawing.draw(
            items[:, 0],
            objects,
            items[:, _SHIFTS].reshape(len(items), N_OBJECTS, 2),
            brightness.astype(np.float32),
            items[:, _GRAIN],
        )
        return {"images": images, "captions": drawing.describe(items[:, 0], objects, items[:, _WORDING])}

    def held_out_pairs(self, n: int) -> Batch:
        """See ``Captioned``: no two pairs have the same objects, colour by shape."""
        items = self.items("validation", 4 * n + 100)
        combination, there = _combinations(items)
        objects = np.sort(np.where(there, combination, -1), axis=1)
        first = np.sort(np.unique(objects, axis=0, return_index=True)[1])
        return self.batch(items[first[:n]], 1)

    def choices(self, n: int, *, unseen: bool) -> Choice:
        """See ``Classified``: one object, and a prompt for every combination of shape and colour, met or not."""
        if unseen and not self.is_unseen.any():
            return Choice(np.zeros((0, 3, drawing.SIDE, drawing.SIDE), np.float32), drawing.prompts(), np.zeros(0, int))
        rng = np.random.default_rng((HELD_OUT_SALT, n, unseen))
        found = np.zeros((0, self.item_length), np.int64)
        while len(found) < n:
            items = self._scenes(rng, np.ones(n, np.int64), ood=unseen)
            found = np.concatenate([found, items[self.split_of(items) == (2 if unseen else 1)]])
        combination, _ = _combinations(found[:n])
        return Choice(self.batch(found[:n], 1)["images"], drawing.prompts(), combination[:, 0])

    def decode(self, tokens: NDArray[np.integer[Any]]) -> str:
        """See ``Captioned``."""
        return drawing.spell(tokens)

    def tokenizer_files(self) -> dict[str, str]:
        """See ``TokenisedText``."""
        return CaptionTokens(drawing.WORDS, "words", drawing.CAPTION_LENGTH, unknown=PAD).files()

    def preview(self, n: int) -> list[Preview]:
        """The first ``n`` images of every split with their captions."""
        found: list[Preview] = []
        for split in SPLITS if self.is_unseen.any() else SPLITS[:2]:
            batch = self.batch(self.items(split, n), 1)
            for image, caption in zip(to_pixels(batch["images"]), batch["captions"], strict=True):
                found.append({"origin": split, "image": image, "text": self.decode(caption)})
        return found

    def _scenes(self, rng: np.random.Generator, count: NDArray[np.int64], *, ood: bool) -> Items:
        n = len(count)
        items = np.empty((n, self.item_length), np.int64)
        items[:, 0] = rng.integers(0, len(drawing.BACKGROUNDS), n)
        objects = _objects(items)
        any_of, met = np.arange(len(self.is_unseen)), np.flatnonzero(~self.is_unseen)
        combination = rng.choice(any_of if ood else met, (n, N_OBJECTS))
        if ood and self.is_unseen.any():
            combination[:, 0] = rng.choice(np.flatnonzero(self.is_unseen), n)
        objects[..., 0], objects[..., 1] = combination // _N_COLOURS, combination % _N_COLOURS
        objects[..., 2] = rng.integers(0, len(drawing.SIZES), (n, N_OBJECTS))
        objects[..., 3] = rng.random((n, len(drawing.CELLS))).argsort(axis=1)[:, :N_OBJECTS]
        objects[np.arange(N_OBJECTS) >= count[:, None]] = [0, 0, 0, -1]
        items[:, _SHIFTS] = rng.integers(0, drawing.SHIFTS, (n, 2 * N_OBJECTS))
        items[:, _BRIGHTNESS] = rng.integers(0, BRIGHTNESS_STEPS, (n, N_OBJECTS))
        items[:, _GRAIN] = rng.integers(0, drawing.N_NOISE, n)
        items[:, _WORDING] = _wording(rng, objects)
        return items

    def _report(self) -> QualityReport:
        notes = (
            tr("Made by a program; splits share no scene, though short captions say the same of several."),
            tr(
                "{unseen} of {all} combinations of colour and shape are never shown in training.",
                unseen=int(self.is_unseen.sum()),
                all=len(self.is_unseen),
            ),
        )
        return QualityReport(0, 0, 0, 0, 0, 0, 0, 0, notes=notes)


def _objects(items: Items) -> NDArray[np.int64]:
    """(n, objects, 4) shape, colour, size and cell; a view."""
    return items[:, _OBJECTS].reshape(len(items), N_OBJECTS, 4)


def _combinations(items: Items) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """(n, objects) each: shape * colours + colour, and whether there is such an object."""
    objects = _objects(items)
    return objects[..., 0] * _N_COLOURS + objects[..., 1], objects[..., 3] >= 0


def _wording(rng: np.random.Generator, objects: NDArray[np.int64]) -> NDArray[np.int64]:
    """(n, 4) what ``describe`` reads: everything that may be said is said in half of the captions."""
    n = len(objects)
    opening = rng.integers(0, len(drawing.OPENINGS), n)
    said, axis, sized, on = rng.integers(0, 2, (4, n))
    one = objects[:, 1, 3] < 0
    relation = np.where(said, drawing.link_of(objects, axis), drawing.JOINED)
    return np.stack([opening, sized, np.where(one, said - 1, relation), on], axis=1)


@sources.register("scenes")
class Scenes(Source):
    """One to three coloured shapes, 32 x 32 pixels, and what a caption says: ``a red ring left of a blue bar``."""

    name = "scenes"
    version = 1
    title = mark("Scenes with captions")
    Spec = ScenesSpec
    procedural = True

    def shape(self, spec: ScenesSpec) -> DataShape:
        """Images of three colours and captions of at most ``caption_length`` words."""
        return DataShape(
            "captions",
            vocab_size=len(drawing.WORDS),
            n_classes=_N_SHAPES * _N_COLOURS,
            sample_shape=(3, drawing.SIDE, drawing.SIDE),
            fixed_context=1,
            caption_length=drawing.CAPTION_LENGTH,
        )

    def prepare(self, spec: ScenesSpec, cache: Path, on_progress: OnProgress) -> ScenePairs:
        """Nothing to load; see ``Source.prepare``."""
        return ScenePairs(spec)

    def preview(self, spec: ScenesSpec, n: int = 5) -> list[Preview]:
        """The first ``n`` scenes of each split."""
        return ScenePairs(spec).preview(n)
