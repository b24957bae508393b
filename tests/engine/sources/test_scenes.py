"""Source ``scenes``: what is drawn is what the caption says, splits share no scene, unseen combinations stay unseen."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.sources import _scenes as drawing
from engine.sources import sources
from engine.sources._captions import END, PAD, Captioned, Classified
from engine.sources.scenes import N_OBJECTS, ScenePairs

SCENES = sources["scenes"]
COLOURS, SHAPES = list(drawing.COLOURS), list(drawing.SHAPES)


def prepared(**spec: Any) -> ScenePairs:
    data = SCENES.prepare(SCENES.Spec(**spec), Path(), lambda step, fraction: None)
    assert isinstance(data, ScenePairs) and isinstance(data, Captioned) and isinstance(data, Classified)
    return data


@pytest.fixture(scope="module")
def data() -> ScenePairs:
    return prepared()


def objects_of(items: np.ndarray) -> np.ndarray:
    return items[:, 1 : 1 + 4 * N_OBJECTS].reshape(len(items), N_OBJECTS, 4)


def one(shape: str, colour: str, *, size: int = 1, cell: int = 0, n: int = 1) -> np.ndarray:
    """The same single object ``n`` times, (n, 3, 4)."""
    objects = np.full((n, N_OBJECTS, 4), [0, 0, 0, -1])
    objects[:, 0] = [SHAPES.index(shape), COLOURS.index(colour), size, cell]
    return objects


def say(objects: np.ndarray, wording: list[int], background: int = 0) -> str:
    caption = drawing.describe(
        np.full(len(objects), background), objects, np.tile(np.array(wording), (len(objects), 1))
    )
    return drawing.spell(caption[0])


def test_a_batch_is_a_pure_function_of_seed_and_step(data: ScenePairs) -> None:
    batch, again = data.train_batch(5, 32, 1, 3), prepared().train_batch(5, 32, 1, 3)
    assert batch["images"].dtype == np.float32 and batch["images"].shape == (32, 3, 32, 32)
    assert batch["captions"].dtype == np.int64 and batch["captions"].shape == (32, drawing.CAPTION_LENGTH)
    for name in batch:
        assert (batch[name] == again[name]).all()
        assert (batch[name] != data.train_batch(6, 32, 1, 3)[name]).any()
        assert (batch[name] != data.train_batch(5, 32, 1, 4)[name]).any()


def test_its_shape_is_known_in_advance(data: ScenePairs) -> None:
    shape = SCENES.shape(SCENES.Spec())
    batch = data.train_batch(0, 500, 1, 0)
    assert shape.sample_shape == batch["images"].shape[1:]
    assert shape.caption_length == batch["captions"].shape[1]
    assert shape.vocab_size == len(drawing.WORDS) > batch["captions"].max()
    assert shape.fixed_context == 1


def test_splits_share_no_scene_and_unseen_combinations_are_never_trained_on(data: ScenePairs) -> None:
    train = np.concatenate([data.draw("train", np.random.default_rng(s), 2_000) for s in range(10)])
    parts = {"train": train, "validation": data.items("validation", 3_000), "ood": data.items("ood", 3_000)}
    keys = {name: set(data.key(items).tolist()) for name, items in parts.items()}
    assert all(len(found) > 1_000 for found in keys.values())
    assert not keys["train"] & keys["validation"] and not keys["train"] & keys["ood"]
    assert not keys["validation"] & keys["ood"]
    for name, items in parts.items():
        objects = objects_of(items)
        unseen = data.is_unseen[objects[..., 0] * 8 + objects[..., 1]] & (objects[..., 3] >= 0)
        assert unseen.any(axis=1).all() if name == "ood" else not unseen.any()
    table = data.is_unseen.reshape(8, 8)
    assert (table.sum(axis=0) == 2).all() and (table.sum(axis=1) == 2).all()


def test_a_scene_is_the_same_whatever_the_order_and_the_wording(data: ScenePairs) -> None:
    items = data.items("validation", 50)
    turned = items.copy()
    objects_of(turned)[:] = objects_of(items)[:, ::-1]
    turned[:, 13:] = 0
    assert (data.key(items) == data.key(turned)).all()
    moved = items.copy()
    objects_of(moved)[:, 0, 3] = (objects_of(items)[:, 0, 3] + 1) % 4
    assert (data.key(items) != data.key(moved)).any()


def test_captions_say_what_is_there() -> None:
    assert say(one("circle", "red"), [0, 0, -1, 0]) == "a red circle"
    assert say(one("ring", "orange", size=0, cell=3), [1, 1, 0, 1], 2) == (
        "there is a small orange ring at bottom right on white"
    )
    assert say(one("bar", "orange"), [2, 0, -1, 0]) == "we see an orange bar"
    two = one("circle", "red", cell=0)
    two[:, 1] = [SHAPES.index("square"), COLOURS.index("blue"), 0, 3]
    across, down = (drawing.link_of(two, np.array([axis])) for axis in (0, 1))
    assert say(two, [0, 0, int(across[0]), 0]) == "a red circle left of a blue square"
    assert say(two, [0, 1, int(down[0]), 0]) == "a large red circle above a small blue square"
    assert say(two, [0, 0, drawing.JOINED, 0]) == "a red circle and a blue square"
    two[:, 2] = [SHAPES.index("frame"), COLOURS.index("pink"), 1, 1]
    three = say(two, [1, 1, 0, 1], 1)
    assert three == "there is a red circle, a blue square and a pink frame on grey"
    longest = drawing.describe(np.array([1]), two, np.array([[1, 1, 0, 1]]))[0]
    assert longest[-1] == END


def test_relations_hold_in_the_picture(data: ScenePairs) -> None:
    items = data.items("validation", 2_000)
    objects = objects_of(items)
    seen = set()
    for words, (first, second) in zip(data.batch(items, 1)["captions"], objects[:, :2, 3], strict=True):
        said = data.decode(words)
        holds = {
            "left of": first % 2 < second % 2,
            "right of": first % 2 > second % 2,
            "above": first // 2 < second // 2,
            "below": first // 2 > second // 2,
        }
        for relation, true in holds.items():
            if relation in said:
                seen.add(relation)
                assert true
    assert len(seen) == 4


def test_captions_end_once_and_are_padded_after(data: ScenePairs) -> None:
    captions = data.batch(data.items("train", 3_000), 1)["captions"]
    assert ((captions == END).sum(axis=1) == 1).all()
    after = np.cumsum(captions == END, axis=1) - (captions == END)
    assert ((captions == PAD) == (after > 0)).all()


def test_pictures_show_the_colour_in_its_cell() -> None:
    objects = one("square", "green", cell=2)
    image = drawing.draw(np.array([0]), objects, np.ones((1, 3, 2), int), np.ones((1, 3), np.float32), np.array([0]))[0]
    assert image.shape == (3, 32, 32)
    colour = (image[:, 21:27, 5:11].mean(axis=(1, 2)) + 1) / 2
    assert colour == pytest.approx(np.array(drawing.COLOURS["green"]), abs=0.03)
    assert image[:, :16].mean() == pytest.approx(-1, abs=0.01) and image[:, :, 16:].mean() == pytest.approx(
        -1, abs=0.01
    )
    ring, circle = (drawing.masks()[SHAPES.index(shape), 1, 1, 1] for shape in ("ring", "circle"))
    assert ring[7:9, 7:9].max() == 0 and circle[7:9, 7:9].min() == 1
    assert circle.sum() == pytest.approx(np.pi * 6**2, rel=0.02)
    shifted = drawing.masks()[0, 1, 2, 0]
    assert np.array_equal(shifted[2:, :-2], drawing.masks()[0, 1, 0, 2][:-2, 2:])


def test_held_out_pairs_fit_no_other(data: ScenePairs) -> None:
    pairs = data.held_out_pairs(300)
    assert len(pairs["images"]) == 300
    names = {*COLOURS, *SHAPES}
    said = [tuple(sorted(tuple(pair) for pair in _named(data.decode(c), names))) for c in pairs["captions"]]
    assert len(set(said)) == 300
    assert (pairs["captions"] == prepared().held_out_pairs(300)["captions"]).all()


def _named(caption: str, names: set[str]) -> list[list[str]]:
    words = [word for word in caption.replace(",", "").split() if word in names]
    return [words[i : i + 2] for i in range(0, len(words), 2)]


@pytest.mark.parametrize("unseen", [True, False])
def test_choices_are_held_out_and_labelled(data: ScenePairs, unseen: bool) -> None:
    choice = data.choices(600, unseen=unseen)
    assert len(choice.images) == len(choice.labels) == 600 and len(choice.prompts) == 64
    assert (data.is_unseen[choice.labels] == unseen).all()
    assert data.decode(choice.prompts[0]) == "a red circle" and data.decode(choice.prompts[9]) == "an orange square"
    # A combination alone in a scene is held out with one chance in ten for each place, size and background.
    assert (16 if unseen else 40) <= len(np.unique(choice.labels)) <= (16 if unseen else 48)


def test_with_nothing_unseen_there_is_nothing_to_choose() -> None:
    data = prepared(unseen=0)
    assert len(data.choices(10, unseen=True).labels) == 0
    assert {example["origin"] for example in data.preview(2)} == {"train", "validation"}


def test_it_says_that_it_is_made_and_can_be_looked_at() -> None:
    assert SCENES.procedural and any("program" in note for note in prepared().report.notes)
    assert prepared(objects=1).fingerprint != prepared().fingerprint
    for example in SCENES.preview(SCENES.Spec(), 2):
        assert example["image"].dtype == np.uint8 and example["image"].shape == (32, 32, 3) and example["text"]
