"""The user's images with captions: what is read, what is refused and in which words, what prepared pairs promise."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from engine.errors import InputError
from engine.sources import sources
from engine.sources._caption_tokens import SPECIAL, CaptionTokens, commonest
from engine.sources._captioned_images import CaptionedImages
from engine.sources._captions import END, PAD, Captioned, Classified
from engine.sources.base import TokenisedText

SOURCE = sources["image-captions"]
N = 24
COLOURS = ("red", "green", "blue", "grey")


def drawn(seed: int, side: int = 24) -> Image.Image:
    """A picture of soft random blobs: unlike those of all other seeds, like itself at any size."""
    cells = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    return Image.fromarray(cells).resize((side, side), Image.Resampling.BICUBIC)


def caption(number: int) -> str:
    return f"A {COLOURS[number % 4]} thing, number {number}"


def write(root: Path, rows: list[tuple[str, str]], name: str = "captions.csv") -> Path:
    """The table in the format that its name says."""
    path = root / name
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps({"image": a, "caption": b}) + "\n" for a, b in rows), "utf-8")
    elif path.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table({"image": [a for a, _ in rows], "caption": [b for _, b in rows]}), path)
    else:
        tab = path.suffix == ".tsv"
        cells = [f"{a}\t{b}" if tab else f'{a},"{b}"' for a, b in [("image", "caption"), *rows]]
        path.write_text("\n".join(cells) + "\n", "utf-8")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "pictures"
    (root / "in").mkdir(parents=True)
    for number in range(N):
        drawn(number).save(root / "in" / f"{number:02}.png")
    return root


def all_rows() -> list[tuple[str, str]]:
    return [(f"in/{number:02}.png", caption(number)) for number in range(N)]


def prepare(path: Path, cache: Path, **fields: Any) -> CaptionedImages:
    spec = SOURCE.Spec(path=str(path), **({"size": 8, "caption_length": 10, "validation_fraction": 0.25} | fields))
    prepared = SOURCE.prepare(spec, cache, lambda name, fraction: None)
    assert isinstance(prepared, CaptionedImages)
    return prepared


@pytest.mark.parametrize("name", ["captions.csv", "captions.tsv", "captions.jsonl", "captions.parquet"])
def test_every_pair_lands_once_on_one_side_with_its_own_image(folder: Path, tmp_path: Path, name: str) -> None:
    prepared = prepare(write(folder, all_rows(), name), tmp_path / "cache", size=24)
    report = prepared.report
    assert (report.n_documents, report.n_train, report.n_validation, report.leaked) == (N, 18, 6, 0)
    wanted = {drawn(number).tobytes(): caption(number).lower().replace(",", " ,") for number in range(N)}
    held_out = 0
    for split in ("train", "validation"):
        batch = prepared.batch(prepared.all_items(split), 1)
        for image, tokens in zip(batch["images"], batch["captions"], strict=True):
            pixels = np.rint((np.moveaxis(image, 0, 2) + 1) * 127.5).astype(np.uint8)
            said = wanted.pop(pixels.tobytes())
            known = "<unk>" not in prepared.decode(tokens)
            assert said == prepared.decode(tokens) if known else split == "validation"
            held_out += not known  # the number of a held-out image stands in no caption of training
    assert not wanted and held_out == 6


def test_batches_have_the_promised_shape_and_are_pure(folder: Path, tmp_path: Path) -> None:
    table = write(folder, all_rows())
    prepared = prepare(table, tmp_path / "cache")
    assert isinstance(prepared, Captioned) and isinstance(prepared, TokenisedText)
    assert not isinstance(prepared, Classified)
    shape = SOURCE.shape(SOURCE.Spec(path="nowhere", size=8, caption_length=10))
    batches = [prepared.train_batch(step, 6, 1, seed=5) for step in range(3)]
    assert batches[0]["images"].shape == (6, *shape.sample_shape) and batches[0]["images"].dtype == np.float32
    assert batches[0]["captions"].shape == (6, shape.caption_length) and batches[0]["captions"].dtype == np.int64
    assert shape.vocab_size > max(int(batch["captions"].max()) for batch in batches)
    assert len({row.tobytes() for batch in batches for row in batch["images"]}) == 18
    again = prepare(folder, tmp_path / "cache")  # the folder holds one table
    assert again.fingerprint == prepared.fingerprint
    assert np.array_equal(again.train_batch(1, 6, 1, seed=5)["captions"], batches[1]["captions"])
    (tmp_path / "moved").mkdir()
    moved = folder.rename(tmp_path / "moved" / "elsewhere")
    assert prepare(moved, tmp_path / "other").fingerprint == prepared.fingerprint
    assert prepare(moved, tmp_path / "other", tokens="characters").fingerprint != prepared.fingerprint


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ('in/77.png,"a thing"', "captions.csv, row 4: names in/77.png, which is not there"),
        ("in/02.png,", "captions.csv, row 4: field 'caption' is empty"),
        ('in/02.png,"a thing",3', "captions.csv, row 4: has 3 fields where the header has 2"),
        ('broken.png,"a thing"', "captions.csv, row 4, image broken.png: is no image"),
        ('cut.png,"a thing"', "captions.csv, row 4, image cut.png: is damaged"),
        (f'{"x" * 300}.png,"a thing"', "captions.csv, row 4: names x"),
    ],
)
def test_a_bad_row_or_image_is_one_sentence_or_left_out(folder: Path, tmp_path: Path, row: str, said: str) -> None:
    (folder / "broken.png").write_bytes(b"no image at all")
    (folder / "cut.png").write_bytes((folder / "in" / "00.png").read_bytes()[:-80])
    table = write(folder, all_rows())
    lines = table.read_text("utf-8").split("\n")
    table.write_text("\n".join([*lines[:3], row, *lines[3:]]), "utf-8")
    with pytest.raises(InputError) as error:
        prepare(table, tmp_path / "cache")
    assert said in str(error.value) and "\n" not in str(error.value)
    report = prepare(table, tmp_path / "cache", skip_bad=True).report
    assert report.n_skipped == 1 and report.n_documents == N
    assert ": ".join(report.skipped[0]).startswith(said)


def test_every_caption_of_a_bad_image_is_counted(folder: Path, tmp_path: Path) -> None:
    (folder / "broken.png").write_bytes(b"no image at all")
    table = write(folder, [("broken.png", "a"), *all_rows(), ("broken.png", "b")])
    report = prepare(table, tmp_path / "cache", skip_bad=True).report
    assert report.n_skipped == 2 and report.n_documents == N
    assert [where for where, _ in report.skipped] == ["captions.csv, row 2, image broken.png", "captions.csv, row 27"]


def test_copies_are_counted_and_what_looks_alike_stays_together(folder: Path, tmp_path: Path) -> None:
    same = (folder / "in" / "03.png").read_bytes()
    rows = all_rows()
    (folder / "copy.png").write_bytes(same)
    rows += [("copy.png", caption(3)), ("copy.png", "another view"), rows[5]]
    for number in range(N):  # every image once more, larger
        drawn(number, 48).save(folder / "in" / f"{number:02}.jpg", quality=90)
        rows.append((f"in/{number:02}.jpg", f"again {number}"))
    prepared = prepare(write(folder, rows), tmp_path / "cache")
    report = prepared.report
    assert report.exact_duplicates == 2 and report.near_duplicates == N and report.leaked == 0
    assert any("copy.png" in note for note in report.notes)
    sides: dict[int, set[str]] = {n: set() for n in range(N)}
    looks = {drawn(n).resize((8, 8), Image.Resampling.LANCZOS).tobytes(): n for n in range(N)}
    for split in ("train", "validation"):
        images = prepared.batch(prepared.all_items(split), 1)["images"]
        pixels = np.rint((np.moveaxis(images, 1, 3) + 1) * 127.5)
        for one in pixels:
            gaps = {n: np.abs(np.frombuffer(look, np.uint8).reshape(8, 8, 3) - one).mean() for look, n in looks.items()}
            sides[min(gaps, key=lambda n: gaps[n])].add(split)
    assert all(len(side) == 1 for side in sides.values())


def test_pairs_to_find_fit_no_other(folder: Path, tmp_path: Path) -> None:
    rows = [(name, f"a {COLOURS[n % 4]} thing") for n, (name, _) in enumerate(all_rows())]
    rows += [(name, f"view {n} of it") for n, (name, _) in enumerate(rows)]
    prepared = prepare(write(folder, rows), tmp_path / "cache", validation_fraction=0.5)
    pairs = prepared.held_out_pairs(100)
    assert len({row.tobytes() for row in pairs["captions"]}) == len(pairs["captions"])
    assert len({row.tobytes() for row in pairs["images"]}) == len(pairs["images"]) > 2
    assert any("also said of a training image" in note for note in prepared.report.notes)


def test_long_captions_are_cut_and_rare_words_unknown(folder: Path, tmp_path: Path) -> None:
    rows = [(name, "the same long words again and again " * 3 + str(n)) for n, (name, _) in enumerate(all_rows())]
    prepared = prepare(write(folder, rows), tmp_path / "cache", vocab_size=4)
    captions = prepared.batch(prepared.all_items("train"), 1)["captions"]
    assert (captions[:, -1] == END).all() and captions.max() == len(SPECIAL) + 3
    notes = " ".join(prepared.report.notes)
    assert f"were cut: {N}" in notes and "keeps 4" in notes


@pytest.mark.parametrize("given", ["", "nowhere", "."])
def test_without_a_table_it_says_so(given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"data\.path"):
        SOURCE.prepare(SOURCE.Spec(path=given), tmp_path / "cache", lambda name, fraction: None)


def test_columns_are_named_and_numbered(folder: Path, tmp_path: Path) -> None:
    table = folder / "captions.csv"
    table.write_text("\n".join(f"{text.replace(',', '')},{name}" for name, text in all_rows()), "utf-8")
    numbered = prepare(table, tmp_path / "cache", header=False, image_column="2", caption_column="1")
    assert numbered.report.n_documents == N
    with pytest.raises(InputError, match="no column 'image'"):
        prepare(table, tmp_path / "cache")


def test_preview_shows_pairs_with_their_rows_and_passes_over_what_is_bad(folder: Path) -> None:
    table = write(folder, [("gone.png", "nothing"), *all_rows()])
    shown = SOURCE.preview(SOURCE.Spec(path=str(table), size=8), 3)
    assert [one["text"] for one in shown] == [caption(n) for n in range(3)]
    assert shown[0]["origin"] == "captions.csv, row 3" and shown[0]["image"].shape == (8, 8, 3)


def test_words_and_characters() -> None:
    words, n = commonest(["A cat, a dog!", "a CAT"], "words", 3)
    assert (words, n) == (["!", "a", "cat"], 5)
    tokens = CaptionTokens((*SPECIAL, "a", "cat"), "words", 5)
    ids, cut = tokens.encode(["a Cat", "a cat a bird a", ""])
    assert ids.tolist() == [[3, 4, END, PAD, PAD], [3, 4, 3, 2, END], [END, PAD, PAD, PAD, PAD]] and cut == 1
    assert [tokens.decode(row) for row in ids] == ["a cat", "a cat a <unk>", ""]
    letters, _ = commonest(["红色 的圆"], "characters", 9)
    assert sorted(letters) == sorted("红色 的圆")
    chinese = CaptionTokens((*SPECIAL, *letters), "characters", 8)
    ids, _ = chinese.encode(["红色的圆", "红色\n 的"])
    assert [chinese.decode(row) for row in ids] == ["红色的圆", "红色 的"]


@pytest.mark.parametrize("name", ["scenes", "image-captions"])
def test_transformers_reads_captions_as_training_does(folder: Path, tmp_path: Path, name: str) -> None:
    from transformers import AutoTokenizer

    if name == "scenes":
        source = sources["scenes"]
        data = source.prepare(source.Spec(), tmp_path, lambda name, fraction: None)
    else:
        data = prepare(write(folder, all_rows()), tmp_path / "cache")
    assert isinstance(data, Captioned) and isinstance(data, TokenisedText)
    (tmp_path / "tokenizer").mkdir()
    for file, text in data.tokenizer_files().items():
        (tmp_path / "tokenizer" / file).write_text(text, "utf-8")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "tokenizer")
    captions = data.train_batch(0, 16, 1, 0)["captions"]
    said = [data.decode(row) for row in captions]
    theirs = tokenizer(said, padding="max_length", truncation=True, return_tensors="np")["input_ids"]
    assert (theirs == captions).all()
