"""The user's own images: what is read, what is refused and in which words, and what prepared images promise."""

import io
import random
import shutil
import struct
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from engine.errors import InputError
from engine.sources import _image_files, _lookalike, _prepared_images, sources
from engine.sources._images import ImageData
from engine.sources._prepared_images import PreparedImages

SOURCE = sources["image-folder"]
PER_CLASS = 12


def drawn(seed: int, side: int = 24) -> Image.Image:
    """A picture of soft random blobs: unlike those of all other seeds, like itself at any size."""
    cells = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    return Image.fromarray(cells).resize((side, side), Image.Resampling.BICUBIC)


def prepare(path: Path, cache: Path, **fields: Any) -> PreparedImages:
    spec = SOURCE.Spec(path=str(path), **({"size": 8} | fields))
    prepared = SOURCE.prepare(spec, cache, lambda name, fraction: None)
    assert isinstance(prepared, PreparedImages) and isinstance(prepared, ImageData)
    return prepared


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "pictures"
    for place, name in enumerate(("cat", "dog", "owl")):
        (root / name).mkdir(parents=True)
        for number in range(PER_CLASS):
            drawn(100 * place + number).save(root / name / f"{number:02}.png")
    return root


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def rows(prepared: PreparedImages) -> list[bytes]:
    splits = [prepared.images(prepared.all_items(split)) for split in ("train", "validation")]
    return [row.tobytes() for part in splits for row in part]


def test_every_image_lands_once_on_one_side(folder: Path, cache: Path) -> None:
    prepared = prepare(folder, cache, validation_fraction=0.25)
    report = prepared.report
    assert prepared.class_names == ("cat", "dog", "owl")
    assert (report.n_documents, report.n_train, report.n_validation, report.leaked) == (36, 27, 9, 0)
    assert len(set(rows(prepared))) == 36
    assert report.label_counts == (("cat", 12), ("dog", 12), ("owl", 12))
    assert report.encodings == (("PNG", 36),)
    held = prepared.held_out("validation", 100)
    assert np.bincount(held["targets"]).tolist() == [3, 3, 3]
    assert held["inputs"].shape == (9, 3, 8, 8) and held["inputs"].dtype == np.float32
    assert held["inputs"].min() >= -1 and held["inputs"].max() <= 1
    assert SOURCE.shape(SOURCE.Spec(path=str(folder), size=8)).sample_shape == (3, 8, 8)
    assert SOURCE.shape(SOURCE.Spec(path=str(folder), size=8)).n_classes == 3


def test_images_are_what_they_were_and_keep_their_class(folder: Path, cache: Path) -> None:
    prepared = prepare(folder, cache, size=24)
    places = prepared.all_items("train")
    wanted = {drawn(100 * place + n).tobytes(): place for place in range(3) for n in range(PER_CLASS)}
    for image, target in zip(prepared.images(places), places[:, 1], strict=True):
        pixels = np.rint((np.moveaxis(image, 0, 2) + 1) * 127.5).astype(np.uint8)
        assert wanted[pixels.tobytes()] == target


def test_an_epoch_passes_over_every_image_once_whatever_the_step(folder: Path, cache: Path) -> None:
    prepared = prepare(folder, cache, validation_fraction=0.25)
    batches = [prepared.train_batch(step, 9, 1, seed=5) for step in range(6)]
    epoch = [row.tobytes() for batch in batches[:3] for row in batch["inputs"]]
    assert len(set(epoch)) == 27
    again = prepare(folder, cache, validation_fraction=0.25)
    assert np.array_equal(again.train_batch(4, 9, 1, seed=5)["inputs"], batches[4]["inputs"])
    assert not np.array_equal(again.train_batch(4, 9, 1, seed=6)["inputs"], batches[4]["inputs"])
    assert prepared.epochs(6, 9, 1) == 2


def test_the_cache_follows_the_files_and_the_fields(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = prepare(folder, cache)
    moved = folder.with_name("moved")
    shutil.copytree(folder, moved)
    assert prepare(moved, folder.with_name("other cache")).fingerprint == first.fingerprint
    assert prepare(folder, cache, size=10).fingerprint != first.fingerprint
    assert prepare(folder, cache, validation_fraction=0.3).fingerprint != first.fingerprint
    (folder / "cat").rename(folder / "tiger")
    assert prepare(folder, cache).fingerprint != first.fingerprint
    monkeypatch.setattr(_prepared_images, "make", lambda *_: pytest.fail("made again"))
    assert prepare(folder, cache, augment="light").report == prepare(folder, cache).report


def test_augmentation_varies_training_only(folder: Path, cache: Path) -> None:
    plain, varied = prepare(folder, cache), prepare(folder, cache, augment="light")
    assert np.array_equal(plain.held_out("validation", 9)["inputs"], varied.held_out("validation", 9)["inputs"])
    one, same = (varied.train_batch(3, 8, 1, 0) for _ in range(2))
    assert np.array_equal(one["inputs"], same["inputs"])
    assert not np.array_equal(one["inputs"], plain.train_batch(3, 8, 1, 0)["inputs"])
    assert np.array_equal(one["targets"], plain.train_batch(3, 8, 1, 0)["targets"])


def test_a_table_of_labels(folder: Path, cache: Path) -> None:
    flat = folder.with_name("flat")
    flat.mkdir()
    lines = ["name,what"]
    for place, name in enumerate(("10", "9")):  # by number, not by letter
        for number in range(4):
            drawn(100 * place + number).save(flat / f"{name}-{number}.png")
            lines.append(f"{name}-{number}.png,{name}")
    (flat / "labels.csv").write_text("\n".join(lines))
    columns = {"file_column": "name", "label_column": "what"}
    prepared = prepare(flat, cache, **columns)
    assert prepared.class_names == ("9", "10")
    assert prepare(flat / "labels.csv", cache, **columns).fingerprint == prepared.fingerprint
    assert SOURCE.shape(SOURCE.Spec(path=str(flat), **columns)).n_classes == 2
    with pytest.raises(InputError, match=r"labels\.csv: has no column 'file' \(there are: name, what\)"):
        prepare(flat, cache)
    (flat / "more.csv").write_text("file,label\n")
    with pytest.raises(InputError, match="lie in no class folders"):
        prepare(flat, cache, **columns)


BAD_ROWS = [
    ("gone.png,cat", r"t\.csv, row 2: names gone\.png, which is not there"),
    ("cat/00.png,", r"t\.csv, row 2: has no label"),
    ("cat/00.png", r"t\.csv, row 2: has 1 fields where the header has 2"),
    ("cat/01.png,dog", r"t\.csv, row 3: gives cat/01\.png a second label"),
]


@pytest.mark.parametrize(("row", "message"), BAD_ROWS)
def test_bad_rows_are_named(folder: Path, cache: Path, row: str, message: str) -> None:
    good = [f"{name}/{number:02}.png,{name}" for name in ("cat", "dog") for number in range(1, 5)]
    (folder / "t.csv").write_text("\n".join(["file,label", row, *good]))
    with pytest.raises(InputError, match=message):
        prepare(folder / "t.csv", cache)
    report = prepare(folder / "t.csv", cache, skip_bad=True).report
    assert report.n_skipped == 1 and report.skipped[0][0].startswith("t.csv, row")


def png(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds nothing."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def whole(kind: str) -> bytes:
    stream = io.BytesIO()
    drawn(900, 64).save(stream, kind)
    return stream.getvalue()


BAD_FILES = [
    ("x.png", b"", "is empty"),
    ("x.png", b"not an image", "is no image, or damaged at its beginning"),
    ("x.jpg", whole("jpeg")[:400], "is damaged"),
    ("x.png", whole("png")[:-60], "is damaged"),
    ("x.gif", b"%PDF-1.4 a document", "is no image"),
    ("x.png", png(60_000, 60_000), "has too many pixels"),
]


@pytest.mark.parametrize(("name", "content", "why"), BAD_FILES)
def test_bad_files_are_named_and_can_be_left_out(
    folder: Path, cache: Path, name: str, content: bytes, why: str
) -> None:
    (folder / "dog" / name).write_bytes(content)
    with pytest.raises(InputError, match=rf"dog/{name}: {why}") as caught:
        prepare(folder, cache)
    assert "skip_bad" in caught.value.remedy
    assert not list(cache.glob("*.partial"))
    report = prepare(folder, cache, skip_bad=True).report
    assert (report.n_skipped, report.skipped[0][0], report.n_documents) == (1, f"dog/{name}", 36)
    assert why.split(",")[0] in report.skipped[0][1]


def test_damage_anywhere_is_an_answer_and_no_crash(tmp_path: Path) -> None:
    generator = random.Random(1)
    for kind in ("png", "jpeg", "gif", "bmp", "tiff", "webp"):
        for _ in range(25):
            content = bytearray(whole(kind))
            for _ in range(8):
                content[generator.randrange(len(content))] = generator.randrange(256)
            (tmp_path / "x").write_bytes(content)
            found = _image_files.read(tmp_path / "x", 8, 3, "crop")
            assert isinstance(found, str) or found.pixels.shape == (8, 8, 3)


def test_folders_that_cannot_be_used(folder: Path, tmp_path: Path, cache: Path) -> None:
    with pytest.raises(InputError, match=r"data\.path: choose a folder of images"):
        SOURCE.prepare(SOURCE.Spec(), cache, lambda name, fraction: None)
    with pytest.raises(InputError, match=r"data\.path: choose a folder of images"):
        SOURCE.shape(SOURCE.Spec())
    with pytest.raises(InputError, match=r"data\.path: there is no folder"):
        prepare(tmp_path / "none", cache)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no images"):
        prepare(tmp_path / "empty", cache)
    shutil.copytree(folder / "cat", tmp_path / "one" / "cat")
    with pytest.raises(InputError, match=r"has one class only \(cat\)"):
        prepare(tmp_path / "one", cache)
    shutil.copytree(folder, tmp_path / "splits" / "train")
    shutil.copytree(folder, tmp_path / "splits" / "Test")
    with pytest.raises(InputError, match=r"the folders Test, train of .* are splits, not classes"):
        prepare(tmp_path / "splits", cache)
    with pytest.raises(InputError, match=r"00\.png: lies in no class folder"):
        shutil.copy(folder / "cat" / "00.png", folder)
        prepare(folder, cache)


def test_a_class_with_too_few_images(folder: Path, cache: Path) -> None:
    (folder / "bat").mkdir()
    with pytest.raises(InputError, match="bat: is a folder without images"):
        prepare(folder, cache)
    drawn(700).save(folder / "bat" / "0.png")
    with pytest.raises(InputError, match="bat: has 1 images that can be used, and a class needs 2"):
        prepare(folder, cache)
    prepared = prepare(folder, cache, skip_bad=True)
    assert prepared.report.skipped[0][0] == "bat"
    assert prepared.class_names[0] == "bat" and SOURCE.shape(SOURCE.Spec(path=str(folder))).n_classes == 4
    assert 0 not in prepared.all_items("train")[:, 1]
    drawn(700).resize((48, 48)).save(folder / "bat" / "1.jpg")
    with pytest.raises(InputError, match="class bat cannot be split: they are near-duplicates"):
        prepare(folder, cache)


def test_duplicates_are_counted_and_never_cross(folder: Path, cache: Path) -> None:
    shutil.copy(folder / "cat" / "00.png", folder / "cat" / "copy.png")
    shutil.copy(folder / "cat" / "01.png", folder / "dog" / "stray.png")
    for name in ("cat", "dog", "owl"):
        for number in range(PER_CLASS):
            original = Image.open(folder / name / f"{number:02}.png")
            original.resize((60, 60)).save(folder / name / f"{number:02}-again.jpg", quality=60)
    (folder / "owl" / "notes.txt").write_text("fine birds")
    report = prepare(folder, cache, validation_fraction=0.25).report
    assert (report.exact_duplicates, report.near_duplicates, report.leaked) == (2, 36, 0)
    assert any("Copies of an image of another class: 1, such as dog/stray.png" in note for note in report.notes)
    assert any("owl/notes.txt" in note for note in report.notes)
    hashes, thumbs, sides = [], [], []
    prepared = prepare(folder, cache, validation_fraction=0.25, size=24)
    for split in ("train", "validation"):
        for row in prepared.images(prepared.all_items(split)):
            look = _lookalike.look(Image.fromarray(np.rint((np.moveaxis(row, 0, 2) + 1) * 127.5).astype(np.uint8)))
            hashes.append(look.hash)
            thumbs.append(np.frombuffer(look.thumb, np.uint8))
            sides.append(split)
    pairs = _lookalike.near_pairs(np.asarray(hashes, np.uint64), np.stack(thumbs))
    assert len(pairs) == 36
    assert all(sides[a] == sides[b] for a, b in pairs)


def test_kinds_of_pixels(tmp_path: Path) -> None:
    def read(image: Image.Image, **how: Any) -> np.ndarray[Any, Any]:
        image.save(tmp_path / "x.png")
        found = _image_files.read(tmp_path / "x.png", 4, how.get("channels", 3), how.get("fit", "crop"))
        assert not isinstance(found, str), found
        return found.pixels

    assert (read(Image.new("RGBA", (9, 9), (255, 0, 0, 0))) == 255).all()  # see-through is white
    assert read(Image.fromarray(np.full((9, 9), 32_896, np.uint16)))[0, 0].tolist() == [128, 128, 128]
    assert read(Image.new("L", (9, 9), 77), channels=1).tolist() == np.full((4, 4, 1), 77).tolist()
    assert read(Image.new("1", (9, 9), 1)).min() == 255
    half = Image.new("RGB", (20, 10), "black")
    half.paste("white", (0, 0, 5, 10))
    assert read(half).max() < 30  # the middle square
    assert read(half, fit="stretch")[0, 0, 0] > 200 and read(half, fit="stretch")[0, -1, 0] < 20
    assert abs(int(read(half, fit="pad")[0, 0, 0]) - 128) < 20


def test_a_photograph_is_turned_as_its_camera_says(tmp_path: Path) -> None:
    image = Image.new("RGB", (32, 16), "black")
    image.paste("white", (0, 0, 16, 16))
    exif = image.getexif()
    exif[0x0112] = 6  # to be turned right by 90 degrees
    image.save(tmp_path / "x.jpg", exif=exif, quality=95)
    found = _image_files.read(tmp_path / "x.jpg", 4, 1, "stretch")
    assert not isinstance(found, str)
    assert found.pixels[0].min() > 200 and found.pixels[-1].max() < 50


@pytest.mark.parametrize("change", [lambda i: i.resize((37, 71)), lambda i: i.point(lambda v: min(255, v + 5))])
def test_a_changed_copy_looks_alike_and_another_image_does_not(change: Any) -> None:
    looks = [_lookalike.look(i) for i in (drawn(1, 60), change(drawn(1, 60)), drawn(2, 60))]
    hashes = np.asarray([look.hash for look in looks], np.uint64)
    thumbs = np.stack([np.frombuffer(look.thumb, np.uint8) for look in looks])
    assert _lookalike.near_pairs(hashes, thumbs).tolist() == [[0, 1]]
    one = np.asarray([True, False, False])
    assert _lookalike.leaked(hashes, thumbs, one, ~one).tolist() == [0]


def test_flat_images_are_told_apart_by_colour() -> None:
    looks = [_lookalike.look(Image.new("RGB", (20, 20), c)) for c in ("red", "blue", "#ff0402", "white")]
    hashes = np.asarray([look.hash for look in looks], np.uint64)
    assert len(set(hashes.tolist())) == 1
    thumbs = np.stack([np.frombuffer(look.thumb, np.uint8) for look in looks])
    assert _lookalike.near_pairs(hashes, thumbs).tolist() == [[0, 2]]


def peak_of_preparing(folder: Path, cache: Path) -> int:
    tracemalloc.start()
    prepare(folder, cache, size=64)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_memory_does_not_grow_with_the_images(tmp_path: Path) -> None:
    """64 x 64 pixels in colour are 12 kB an image; what is kept of each is far less."""
    few, many = (tmp_path / str(n) for n in (160, 640))
    for root in (few, many):
        for number in range(int(root.name)):
            target = root / "ab"[number % 2] / f"{number}.bmp"
            target.parent.mkdir(parents=True, exist_ok=True)
            drawn(number, 6).save(target)
    prepare(few, tmp_path / "warm")  # what is imported once is not counted
    growth = peak_of_preparing(many, tmp_path / "cache") - peak_of_preparing(few, tmp_path / "cache")
    assert 3 * growth < 480 * 64 * 64 * 3


def test_it_can_be_cancelled_and_leaves_nothing_behind(folder: Path, cache: Path) -> None:
    class Cancelled(Exception):
        pass

    def stop(name: str, fraction: float) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        SOURCE.prepare(SOURCE.Spec(path=str(folder)), cache, stop)
    assert [path.suffix for path in cache.iterdir()] in ([], [".lock"])


def test_the_preview_shows_each_class(folder: Path) -> None:
    (folder / "cat" / "00.png").write_bytes(b"broken")
    shown = SOURCE.preview(SOURCE.Spec(path=str(folder), size=16, colors="grey"), 6)
    assert [one["label"] for one in shown] == ["dog", "owl", "cat", "dog", "owl", "cat"]
    assert all(one["image"].shape == (16, 16, 3) and one["image"].dtype == np.uint8 for one in shown)
    assert shown[0]["origin"] == "dog/00.png"
