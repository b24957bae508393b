"""The user's own text: what is read, what is refused and in which words, and what prepared data promises."""

import csv
import errno
import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.errors import InputError, ResourceError
from engine.sources import _prepare, _tokenizers, sources
from engine.sources._prepared import PreparedText
from engine.sources._spec import cut

SOURCE = sources["text-folder"]
WORDS = "size loss model data token layer width depth grow small large train learn curve law point error".split()


def prose(seed: int, n: int = 400) -> str:
    generator = random.Random(seed)
    unlike = [f"{w}{generator.randint(0, 99)}" for w in WORDS]
    return " ".join(generator.choice(unlike) for _ in range(n)) + "\n"


def prepare(path: Path, cache: Path, **fields: Any) -> PreparedText:
    prepared = SOURCE.prepare(SOURCE.Spec(path=str(path), **fields), cache, lambda name, fraction: None)
    assert isinstance(prepared, PreparedText)
    return prepared


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    texts = tmp_path / "texts"
    texts.mkdir()
    for number in range(30):
        (texts / f"{number:02}.txt").write_text(prose(number), encoding="utf-8")
    return texts


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def tokens(prepared: PreparedText) -> tuple[bytes, bytes]:
    return prepared.train.tobytes(), prepared.validation.tobytes()


def test_every_byte_lands_once_on_one_side(folder: Path, cache: Path) -> None:
    prepared = prepare(folder, cache, validation_fraction=0.2)
    train, validation = (set(t.strip(b"\0").split(b"\0")) for t in tokens(prepared))
    assert train | validation == {p.read_bytes() for p in folder.iterdir()}
    assert not train & validation
    report = prepared.report
    assert (report.n_documents, report.n_train, report.n_validation) == (30, len(train), len(validation))
    assert report.leaked == 0
    assert prepared.bytes_per_token == 1


def test_same_data_same_tokens_wherever_it_lies(folder: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(folder, moved)
    os.utime(moved / "00.txt", (1, 1))
    one, other = prepare(folder, tmp_path / "a"), prepare(moved, tmp_path / "b")
    assert one.fingerprint == other.fingerprint
    assert tokens(one) == tokens(other)


def test_the_cache_is_opened_not_made_again(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = prepare(folder, cache)
    monkeypatch.setattr(_prepare, "_make", lambda *_: pytest.fail("made again"))
    assert prepare(folder, cache).fingerprint == first.fingerprint


def test_the_fingerprint_follows_the_data_and_the_fields(folder: Path, cache: Path) -> None:
    before = prepare(folder, cache).fingerprint
    assert prepare(folder, cache, validation_fraction=0.2).fingerprint != before
    text = (folder / "03.txt").read_text()
    (folder / "03.txt").write_text("X" + text[1:])
    assert prepare(folder, cache).fingerprint != before


def test_a_broken_or_unfinished_entry_is_made_again(folder: Path, cache: Path) -> None:
    first = prepare(folder, cache)
    kept, before = first.folder, tokens(first)
    del first
    partial = kept.with_name(f"{kept.name}.partial")
    partial.mkdir()
    (partial / "staged.bin").write_bytes(b"left by a killed process")
    (kept / "train.bin").write_bytes(b"short")
    assert tokens(prepare(folder, cache)) == before
    assert not partial.exists()


def test_batches_cover_an_epoch_without_replacement(folder: Path, cache: Path) -> None:
    prepared = prepare(folder, cache)
    context, batch = 32, 7
    n_windows = (len(prepared.train) - 1) // context - 1
    train = prepared.train.tobytes()
    found = []
    for step in range(-(-n_windows // batch)):
        made = prepared.train_batch(step, batch, context, seed=3)
        assert made["inputs"].dtype == made["targets"].dtype == np.int64
        assert made["inputs"].shape == made["targets"].shape == (batch, context)
        assert np.array_equal(made["inputs"][:, 1:], made["targets"][:, :-1])
        found += [bytes(row.astype(np.uint8)) for row in made["inputs"]]
    epoch = found[:n_windows]
    assert len(set(epoch)) == n_windows
    assert all(window in train for window in epoch[:20])
    assert prepared.epochs(n_windows, 1, context) == 1


def test_a_batch_depends_on_step_and_seed_alone(folder: Path, cache: Path) -> None:
    prepared = prepare(folder, cache)
    straight = [prepared.train_batch(step, 5, 64, seed=1)["inputs"] for step in range(200)]
    again = PreparedText.open(prepared.folder)
    assert again is not None
    for step in (199, 0, 57, 120):  # resuming needs the step only, in any order, over epochs
        assert np.array_equal(again.train_batch(step, 5, 64, seed=1)["inputs"], straight[step])
    assert not np.array_equal(prepared.train_batch(0, 5, 64, seed=2)["inputs"], straight[0])
    halves = [prepared.train_batch(step, 1, 64, seed=1)["inputs"] for step in range(5)]
    assert np.array_equal(np.concatenate(halves), straight[0])


def test_validation_is_fixed_and_spread(folder: Path, cache: Path) -> None:
    prepared = prepare(folder, cache, validation_fraction=0.3)
    one, two = (list(prepared.validation_batches(4, 32, 32 * 10)) for _ in range(2))
    assert [len(b["inputs"]) for b in one] == [4, 4, 2]
    for a, b in zip(one, two, strict=True):
        assert np.array_equal(a["targets"], b["targets"])
    last = bytes(one[-1]["inputs"][-1].astype(np.uint8))
    assert prepared.validation.tobytes().index(last) > 0.8 * len(prepared.validation)
    everything = sum(len(b["inputs"]) for b in prepared.validation_batches(4, 32, 10**9))
    assert everything == (len(prepared.validation) - 1) // 32


def test_a_context_longer_than_the_data_is_refused(folder: Path, cache: Path) -> None:
    prepared = prepare(folder, cache)
    with pytest.raises(InputError, match=r"training\.context: the training split has"):
        prepared.train_batch(0, 1, 10**6, 0)
    with pytest.raises(InputError, match=r"training\.context: the validation split has"):
        next(prepared.validation_batches(1, 10**6, 1))


def test_bpe_learns_from_the_training_split_only(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bytes] = []
    real = _tokenizers.train_bpe

    def spy(texts: Any, vocab_size: int, file: Path) -> None:
        seen.extend(texts)
        real(seen, vocab_size, file)

    monkeypatch.setattr(_tokenizers, "train_bpe", spy)
    prepared = prepare(folder, cache, tokenizer="bpe", vocab_size=300, validation_fraction=0.2)
    plain = prepare(folder, cache, validation_fraction=0.2)
    assert b"\0".join(seen) + b"\0" == plain.train.tobytes()
    assert prepared.decode(prepared.validation) == plain.decode(plain.validation)
    assert prepared.train.max() < 300 == prepared.vocab_size
    assert prepared.bytes_per_token == pytest.approx(len(plain.validation) / len(prepared.validation))
    assert prepared.bytes_per_token > 1


def test_bpe_is_deterministic(folder: Path, tmp_path: Path) -> None:
    one, other = (prepare(folder, tmp_path / n, tokenizer="bpe", vocab_size=400) for n in "ab")
    assert one.fingerprint == other.fingerprint
    assert one.tokenizer_path.read_bytes() == other.tokenizer_path.read_bytes()


@pytest.mark.parametrize("kind", ["bytes", "bpe"])
def test_text_survives_and_plain_transformers_agrees(folder: Path, cache: Path, tmp_path: Path, kind: str) -> None:
    from transformers import AutoTokenizer, LlamaConfig

    prepared = prepare(folder, cache, tokenizer=kind, vocab_size=300)
    LlamaConfig(vocab_size=300, hidden_size=8, num_hidden_layers=1, num_attention_heads=1).save_pretrained(
        tmp_path / "hf"
    )
    for name, content in prepared.tokenizer_files().items():
        (tmp_path / "hf" / name).write_text(content, encoding="utf-8")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "hf")
    for text in ("def f(x):\n\treturn  x\n", " size 12 ", "héllo 大模型 🙂\r\n", "<0x41> <s> </s> <unk>", ""):
        ids = prepared.encode(text)
        assert ids.dtype == np.int64
        assert tokenizer.encode(text) == ids.tolist()
        assert prepared.decode(ids) == text
        assert tokenizer.decode(ids.tolist()) == text
    if kind == "bytes":
        assert prepared.encode("é<0x00>").tolist() == list("é<0x00>".encode())


def test_text_that_spells_the_separator_is_text(folder: Path, cache: Path) -> None:
    prepared = prepare(folder, cache, tokenizer="bpe", vocab_size=300)
    ids = prepared.encode(_tokenizers.END_OF_TEXT)
    assert _tokenizers.SEPARATOR not in ids
    assert prepared.decode(ids) == _tokenizers.END_OF_TEXT


def rows(n: int = 12) -> list[str]:
    return [prose(seed, 60) for seed in range(n)]


def write_jsonl(path: Path, texts: list[Any], column: str = "text") -> None:
    path.write_text("".join(json.dumps({column: t}) + "\n" for t in texts), encoding="utf-8")


def write_csv(path: Path, texts: list[str], column: str = "text") -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([["id", column], *([n, t] for n, t in enumerate(texts))])


def write_tsv(path: Path, texts: list[str], column: str = "text") -> None:
    lines = "".join(f"{n}\t{text.rstrip()} \n" for n, text in enumerate(texts))
    path.write_text(f"id\t{column}\n{lines}", encoding="utf-8")


def write_parquet(path: Path, texts: list[Any], column: str = "text") -> None:
    pq.write_table(pa.table({column: texts, "id": list(range(len(texts)))}), path)


@pytest.mark.parametrize("ending", ["jsonl", "csv", "tsv", "parquet", "txt", "md", "py"])
@pytest.mark.parametrize("column", ["text", "body"])
def test_every_kind_of_file(tmp_path: Path, cache: Path, ending: str, column: str) -> None:
    folder = tmp_path / "data" / "deeper"
    folder.mkdir(parents=True)
    if ending in {"txt", "md", "py"}:
        for number, text in enumerate(rows()):
            (folder / f"{number}.{ending}").write_text("\ufeff" + text, encoding="utf-8")
    else:
        writer = {"jsonl": write_jsonl, "csv": write_csv, "tsv": write_tsv, "parquet": write_parquet}[ending]
        writer(folder / f"rows.{ending}", [*rows(), rows()[0], " "], column)
    prepared = prepare(tmp_path / "data", cache, text_column=column, validation_fraction=0.2)
    made = b"".join(tokens(prepared)).strip(b"\0").split(b"\0")
    assert sorted(t.strip() for t in made) == sorted(t.strip().encode() for t in rows())
    assert prepared.report.exact_duplicates == (0 if ending in {"txt", "md", "py"} else 1)


def test_one_long_file_is_cut_and_split(tmp_path: Path, cache: Path) -> None:
    book = tmp_path / "book.txt"
    book.write_text("".join(prose(seed, 300) for seed in range(1400)), encoding="utf-8")  # three blocks
    prepared = prepare(book, cache)
    assert prepared.report.bytes_train + prepared.report.bytes_validation == book.stat().st_size
    assert prepared.report.leaked == 0
    assert any("cut" in note for note in prepared.report.notes)


def test_cut_keeps_lines_and_characters() -> None:
    text = ("line one\n" * 40 + "大模型" * 100).encode()
    pieces = list(cut(text, 64))
    assert b"".join(pieces) == text
    assert max(map(len, pieces)) <= 64
    for piece in pieces:
        piece.decode("utf-8")
    assert pieces[0].endswith(b"\n")


def test_near_duplicates_stay_on_one_side(folder: Path, cache: Path) -> None:
    for number in range(30):
        words = (folder / f"{number:02}.txt").read_text().split()
        (folder / f"{number:02}-copy.txt").write_text(" ".join([*words[:-5], "something", "else"]))
    prepared = prepare(folder, cache, validation_fraction=0.2)
    assert prepared.report.near_duplicates == 30
    assert prepared.report.leaked == 0
    train, validation = ({d[:200] for d in t.split(b"\0") if d} for t in tokens(prepared))
    assert not train & validation


def bad(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)


GOOD_ROW = b'{"text": "a good row"}\n'
BAD_FILES = [
    ("a.txt", b"text\0with a zero", r"a\.txt: is a binary file"),
    ("a.png.txt", b"\x89PNG\r\n\xff\xfe", r"a\.png\.txt: is not UTF-8 text"),
    ("a.txt", b"fine until the end \xe4\xb8", r"a\.txt: is not UTF-8 text"),
    ("a.jsonl", GOOD_ROW + b"{nope\n", r"a\.jsonl, row 2: is not valid JSON"),
    ("a.jsonl", GOOD_ROW + b'{"text": "\xff"}\n', r"a\.jsonl, row 2: is not valid JSON"),
    ("a.jsonl", GOOD_ROW + b"[1]\n", r"a\.jsonl, row 2: is not a JSON object"),
    ("a.jsonl", GOOD_ROW + b'\n{"other": "x"}\n', r"a\.jsonl, row 3: has no field 'text'"),
    ("a.jsonl", b'{"text": 3}\n', r"a\.jsonl, row 1: field 'text' is not text"),
    ("a.csv", b"", r"a\.csv: is empty"),
    ("a.csv", b"id,body\n1,x\n", r"a\.csv: has no column 'text' \(there are: id, body\)"),
    ("a.csv", b"id,text\n1,x\n2\n", r"a\.csv, row 3: has 1 fields where the header has 2"),
    ("a.csv", b'id,text\n1,"x" y\n', r"a\.csv, row 2: is not valid CSV"),
    ("a.csv", b"id,text\n1,fine\n2,\xff\xfe\n3,fine\n", r"a\.csv, row 3: is not UTF-8 text \(byte 17"),
    ("a.csv", b'id,text\n1,x\n2,"never closed\n3,x\n', r"a\.csv, row 3: is not valid CSV"),
    ("a.tsv", b"id\ttext\n1\tx\ty\n", r"a\.tsv, row 2: has 3 fields where the header has 2"),
    ("a.parquet", b"not parquet at all", r"a\.parquet: is not a valid Parquet file"),
]


@pytest.mark.parametrize(("name", "content", "message"), BAD_FILES)
def test_bad_data_is_named(folder: Path, cache: Path, name: str, content: bytes, message: str) -> None:
    bad(folder, name, content)
    with pytest.raises(InputError, match=message) as caught:
        prepare(folder, cache)
    assert "skip_bad" in caught.value.remedy
    assert not list(cache.glob("*.partial"))
    skipping = prepare(folder, cache, skip_bad=True)
    assert skipping.report.n_skipped == 1
    assert skipping.report.skipped[0][0].startswith(name)


def test_the_rows_after_a_broken_one_are_read(folder: Path, cache: Path) -> None:
    good = [prose(seed, 60).strip() for seed in (201, 202, 203)]
    broken = (
        b"id,text\n1," + good[0].encode() + b'\n2,"x" y\n3,' + good[1].encode() + b"\n4,\xff\n5\n6," + good[2].encode()
    )
    bad(folder, "a.csv", broken)
    prepared = prepare(folder, cache, skip_bad=True)
    assert [where for where, _ in prepared.report.skipped] == ["a.csv, row 3", "a.csv, row 5", "a.csv, row 6"]
    made = b"".join(tokens(prepared))
    assert all(text.encode() in made for text in good)


def test_a_byte_order_mark_and_a_named_encoding_are_read(folder: Path, cache: Path) -> None:
    chinese = "大模型的能力随规模增长。" * 30
    (folder / "marked.txt").write_text(chinese + "一", encoding="utf-16")
    (folder / "national.txt").write_text(chinese[::-1] + "二", encoding="gb18030")
    (folder / "table.csv").write_text("text,id\n" + chinese[3:] + "三,1\n", encoding="gb18030")
    with pytest.raises(InputError, match=r"national\.txt: is not UTF-8 text \(byte 0; it may be gb18030"):
        prepare(folder, cache)
    prepared = prepare(folder, cache, encoding="gb18030")
    made = b"".join(tokens(prepared)).decode()
    assert all(text in made for text in (chinese + "一", chinese[::-1] + "二", chinese[3:] + "三"))
    assert prepared.report.encodings == (("gb18030", 2), ("utf-16", 1), ("utf-8", 30))
    with pytest.raises(InputError, match=r"national\.txt: is neither UTF-8 nor shift_jis"):
        prepare(folder, cache, encoding="shift_jis")


def test_labels_of_a_column_and_of_folders(tmp_path: Path, cache: Path) -> None:
    table = tmp_path / "t.jsonl"
    lines = [{"text": prose(n, 60), "kind": ("good", 7)[n % 2]} for n in range(60)]
    table.write_text("".join(json.dumps(line) + "\n" for line in lines))
    prepared = prepare(table, cache, label_column="kind", validation_fraction=0.3)
    assert prepared.report.label_counts == (("7", 30), ("good", 30))
    found = prepared.labelled(20, 2, 1000, 1000)
    assert found is not None and set(found.classes) == {"7", "good"}
    for label in (0, 1):
        snippet = prepared.decode(found.train.tokens[found.train.labels == label][0]).strip("\n")
        assert any(snippet in line["text"] for line in lines if str(line["kind"]) == found.classes[label])
    assert prepare(table, cache).report.label_counts == ()
    table.write_text(table.read_text() + json.dumps({"text": "x", "kind": None}) + "\n")
    with pytest.raises(InputError, match=r"t\.jsonl, row 61: has no label"):
        prepare(table, cache, label_column="kind")
    with pytest.raises(InputError, match=r"row 1: has no field 'class'"):
        prepare(table, cache, label_column="class")
    for number in range(12):
        target = tmp_path / "tree" / ("old", "new")[number % 2] / "deep" / f"{number}.txt"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(prose(300 + number))
    (tmp_path / "tree" / "loose.txt").write_text(prose(400))
    report = prepare(tmp_path / "tree", cache, classes="folders").report
    assert report.label_counts == (("new", 6), ("old", 6), ("–", 1))
    shown = SOURCE.preview(SOURCE.Spec(path=str(tmp_path / "tree"), classes="folders"), 3)
    assert [one.get("label") for one in shown] == [None, "new", "new"]


def test_bad_parquet_rows_are_named(folder: Path, cache: Path) -> None:
    write_parquet(folder / "a.parquet", [prose(77), None])
    with pytest.raises(InputError, match=r"a\.parquet, row 2: field 'text' is not text"):
        prepare(folder, cache)
    write_parquet(folder / "a.parquet", [prose(77)], column="other")
    with pytest.raises(InputError, match=r"a\.parquet: has no column 'text'"):
        prepare(folder, cache)


def test_only_the_first_hundred_skipped_are_listed(folder: Path, cache: Path) -> None:
    write_jsonl(folder / "a.jsonl", [5] * 150)
    report = prepare(folder, cache, skip_bad=True).report
    assert (report.n_skipped, len(report.skipped)) == (150, 100)


def test_folders_that_cannot_be_used(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(InputError, match=r"data\.path: choose a folder"):
        SOURCE.prepare(SOURCE.Spec(), cache, lambda name, fraction: None)
    with pytest.raises(InputError, match=r"data\.path: there is no folder"):
        prepare(tmp_path / "none", cache)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match="holds no text files"):
        prepare(empty, cache)
    (empty / "picture.png").write_bytes(b"\x89PNG")
    with pytest.raises(InputError, match="holds no text files"):
        prepare(empty, cache)
    with pytest.raises(InputError, match="is none of"):
        prepare(empty / "picture.png", cache)
    (empty / "blank.txt").write_text(" \n")
    with pytest.raises(InputError, match="there is no text in the data"):
        prepare(empty, cache)
    (empty / "blank.txt").write_text("one short text")
    with pytest.raises(InputError, match="cannot be split"):
        prepare(empty, cache)
    assert not list(cache.glob("text-*[0-9a-f]"))


def test_a_full_disk_is_told_before_anything_is_written(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: shutil._ntuple_diskusage(10**9, 10**9 - 1000, 1000))
    with pytest.raises(ResourceError, match="preparing the data needs"):
        prepare(folder, cache)
    assert not list(cache.glob("*.partial"))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_disk_that_refuses_is_a_known_error(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_args: object, **_kwargs: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(_prepare, "_write", refuse)
    with pytest.raises(ResourceError, match="cannot be written"):
        prepare(folder, cache)
    assert [p.suffix for p in cache.iterdir()] in ([], [".lock"])


def test_preview_shows_documents(folder: Path) -> None:
    shown = SOURCE.preview(SOURCE.Spec(path=str(folder)), 3)
    assert [s["origin"] for s in shown] == ["00.txt", "01.txt", "02.txt"]
    assert shown[0]["text"] == prose(0)


def test_the_shape_is_known_without_loading() -> None:
    assert SOURCE.shape(SOURCE.Spec(path="/none")).vocab_size == 256
    assert SOURCE.shape(SOURCE.Spec(path="/none", tokenizer="bpe", vocab_size=512)).vocab_size == 512
