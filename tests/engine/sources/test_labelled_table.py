"""Labelled tables: every format gives the same rows, bad ones are named, and nothing crosses the split."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.errors import InputError
from engine.sources import sources
from engine.sources._label_table import PARTS, read_table
from tests.engine.small_bases import bert_folder, rows, table

SOURCE = sources["labelled-table"]


def spec(path: Path, **over: Any) -> Any:
    return SOURCE.Spec(path=str(path), **over)


def prepared(path: Path, base: Path, cache: Path, **over: Any) -> Any:
    return SOURCE.prepare(spec(path, tokenizer=str(base), **over), cache, lambda step, fraction: None)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bert_folder(tmp_path_factory.mktemp("base"))


def as_csv(file: Path) -> Path:
    return table(file.with_suffix(".csv"))


def as_tsv(file: Path) -> Path:
    file = file.with_suffix(".tsv")
    file.write_text("text\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in rows(90)), encoding="utf-8")
    return file


def as_jsonl(file: Path) -> Path:
    file = file.with_suffix(".jsonl")
    file.write_text("".join(json.dumps({"text": t, "label": n}) + "\n" for t, n in rows(90)), encoding="utf-8")
    return file


def as_parquet(file: Path) -> Path:
    file = file.with_suffix(".parquet")
    texts, labels = zip(*rows(90), strict=True)
    pq.write_table(pa.table({"text": texts, "label": labels}), file)
    return file


def saved(folder: Path, given: list[tuple[str, str]], classes: list[str] | None = None) -> Path:
    """As the datasets library writes one split to disk."""
    folder.mkdir(parents=True)
    texts, labels = zip(*given, strict=True)
    values = pa.array([classes.index(label) for label in labels], pa.int64()) if classes else pa.array(labels)
    columns = pa.table({"text": pa.array(texts), "label": values})
    file = folder / "data-00000-of-00001.arrow"
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_stream(sink, columns.schema) as writer:
        writer.write_table(columns)
    feature = {"names": classes, "_type": "ClassLabel"} if classes else {"dtype": "string", "_type": "Value"}
    (folder / "dataset_info.json").write_text(json.dumps({"features": {"label": feature}}))
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": file.name}]}))
    return folder


def as_dataset(file: Path) -> Path:
    return saved(file, rows(90), ["fruit", "tool", "river"])


@pytest.mark.parametrize("write", [as_csv, as_tsv, as_jsonl, as_parquet, as_dataset])
def test_every_format_gives_the_same_rows_and_split(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    found = read_table(spec(write(tmp_path / "given")))
    reference = read_table(spec(as_csv(tmp_path / "reference")))
    assert [(row.texts, row.label) for row in found.rows] == [((text,), label) for text, label in rows(90)]
    assert found.names == ("fruit", "river", "tool")
    assert found.parts.tolist() == reference.parts.tolist()


def test_the_split_is_by_class_and_by_seed_and_nothing_alike_crosses(tmp_path: Path) -> None:
    twins = [(text.replace(" and the ", " AND the  "), label) for text, label in rows(90)[:30]]
    file = table(tmp_path / "twins.csv", [*rows(90), *rows(90)[:5], *twins])
    found = read_table(spec(file))
    assert found.copies == 5 and len(found.rows) == 120
    assert found.near_duplicates >= 30 and found.leaked == 0
    counts = np.asarray([np.bincount(found.labels[found.parts == part], minlength=3) for part in range(3)])
    assert (counts[1] == 4).all() and (counts[2] == 8).all()
    where: dict[str, int] = {}
    for row, part in zip(found.rows, found.parts.tolist(), strict=True):
        assert where.setdefault(row.texts[0].casefold().replace("  ", " "), part) == part
    assert read_table(spec(file, split_seed=1)).parts.tolist() != found.parts.tolist()


def test_a_split_of_the_tables_own_is_kept_and_what_leaks_is_told(tmp_path: Path) -> None:
    file, words = tmp_path / "own.csv", ("train", "dev", "test")
    lines = [f"{text},{label},{words[i // 3 % 3]}" for i, (text, label) in enumerate(rows(90))]
    lines.append(f"{rows(90)[0][0]}!,fruit,test")
    file.write_text("text,label,part\n" + "\n".join(lines) + "\n", encoding="utf-8")
    found = read_table(spec(file, split="part"))
    assert found.parts[:90].tolist() == [i // 3 % 3 for i in range(90)] and found.leaked >= 1
    assert any("resemble a training row" in note for note in found.notes)


def test_splits_of_a_saved_dataset_are_kept(tmp_path: Path) -> None:
    for part, seed in (("train", 0), ("validation", 1), ("test", 2)):
        saved(tmp_path / "set" / part, rows(30, seed), ["fruit", "tool", "river"])
    (tmp_path / "set" / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "validation", "test"]}))
    assert np.bincount(read_table(spec(tmp_path / "set")).parts).tolist() == [30, 30, 30]


@pytest.mark.parametrize(
    ("content", "over", "words"),
    [
        ("text,label\na b c,x\nd e f,\n", {}, r"row 3: has no label"),
        ("text,label\na b c,x\n ,y\n", {}, r"row 3: field 'text' is empty"),
        ("text,label\na b c,x\nd e f,x\n", {}, "every row is of the one class 'x'"),
        ("text,label\na b c,x\n", {"label": "kind"}, r"has no column 'kind' \(there are: text, label\)"),
        ("text,label\na b c\n", {}, r"row 2: has 1 fields"),
        ("text,label,part\na b c,x,never\n", {"split": "part"}, "'never' is no split"),
        ("text,label\n", {}, "no rows that can be used"),
        ("text,label\na b c,x\nd e f,y\n", {}, "no row is left for validation"),
    ],
)
def test_bad_data_are_one_sentence_with_file_and_row(
    tmp_path: Path, content: str, over: dict[str, str], words: str
) -> None:
    file = tmp_path / "bad.csv"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=words) as caught:
        SOURCE.shape(spec(file, **over))
    assert "\n" not in str(caught.value)
    assert sorted(tmp_path.iterdir()) == [file]


def test_bad_rows_can_be_left_out_and_are_listed(tmp_path: Path) -> None:
    file = table(tmp_path / "some.csv", [*rows(90), ("", "fruit"), ("lonely", "")])
    found = read_table(spec(file, skip_bad=True))
    assert len(found.rows) == 90 and found.skipped.n == 2


def test_a_damaged_arrow_file_is_named(tmp_path: Path) -> None:
    file = next(as_dataset(tmp_path / "set").glob("*.arrow"))
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(InputError, match="is not a valid Arrow file"):
        read_table(spec(tmp_path / "set"))


def test_batches_are_padded_to_their_own_longest_text_and_an_epoch_is_every_row_once(
    tmp_path: Path, base: Path
) -> None:
    given = rows(60) + rows(30, seed=1, words=2)
    data = prepared(table(tmp_path / "t.csv", given), base, tmp_path / "cache", max_length=16)
    shape = SOURCE.shape(spec(tmp_path / "t.csv", max_length=16))
    train = data.rows("train")
    assert shape.n_train_items == len(train) and data.epochs(8, 16, 16) == 8 / -(-len(train) // 16)
    seen, widths = [], set()
    for step in range(-(-len(train) // 16)):
        batch = data.train_batch(step, 16, 16, seed=3)
        lengths = batch["mask"].sum(axis=1)
        assert batch["inputs"].shape[1] == lengths.max() <= 16
        assert ((batch["inputs"] == 0) == (batch["mask"] == 0)).all()
        widths.update(lengths.tolist())
        seen += [tuple(tokens[:n]) for tokens, n in zip(batch["inputs"].tolist(), lengths, strict=True)]
    expected = [tuple(data.collate(train[i : i + 1])["inputs"][0].tolist()) for i in range(len(train))]
    assert sorted(seen) == sorted(expected) and len(widths) > 1
    again = data.train_batch(0, 16, 16, seed=3)
    assert (again["inputs"] == data.train_batch(0, 16, 16, seed=3)["inputs"]).all()


def test_what_the_model_sees_can_be_read(tmp_path: Path, base: Path) -> None:
    data = prepared(table(tmp_path / "t.csv"), base, tmp_path / "cache")
    first = data.seen(2)[0]
    assert first["text"].startswith("[CLS] ") and first["text"].endswith(" [SEP]")
    assert first["label"] in data.class_names and first["n_tokens"] == len(first["text"].split())
    assert SOURCE.preview(spec(tmp_path / "t.csv"), 1)[0]["label"] == "fruit"


def test_pairs_of_texts_have_types(tmp_path: Path, base: Path) -> None:
    file = tmp_path / "pairs.csv"
    lines = [f"{text},{text.split()[0]},{label}" for text, label in rows(90)]
    file.write_text("text,second,label\n" + "\n".join(lines) + "\n", encoding="utf-8")
    batch = prepared(file, base, tmp_path / "cache", text_pair="second").train_batch(0, 8, 64, 0)
    assert batch["types"].max() == 1 and (batch["types"] <= batch["mask"]).all()


def test_the_test_texts_are_those_of_the_test_rows_and_the_cache_is_found_again(tmp_path: Path, base: Path) -> None:
    file = table(tmp_path / "t.csv")
    data, found = prepared(file, base, tmp_path / "cache"), read_table(spec(file))
    held_out = [row.texts for row, part in zip(found.rows, found.parts, strict=True) if PARTS[part] == "test"]
    assert [texts for _, texts in data.texts("test")] == held_out and len(held_out) == len(data.rows("test"))
    again = prepared(file, base, tmp_path / "cache")
    assert again.fingerprint == data.fingerprint and again.folder == data.folder
    assert prepared(file, base, tmp_path / "cache", max_length=8).fingerprint != data.fingerprint


def test_numbers_are_classes_in_their_own_order(tmp_path: Path) -> None:
    given = [(text, str(i % 12)) for i, (text, _) in enumerate(rows(240))]
    assert SOURCE.shape(spec(table(tmp_path / "n.csv", given))).class_names == tuple(map(str, range(12)))


def test_documentation_strings_hide_their_package_and_are_as_many_as_promised() -> None:
    given = SOURCE.Spec(rows=160)
    found, shape = read_table(given), SOURCE.shape(given)
    assert found.names == shape.class_names and len(found.rows) == 160 and found.leaked == 0
    assert np.bincount(found.labels[found.parts == 0]).tolist() == list(shape.class_counts)
    assert not [row for row in found.rows if row.label == "scipy" and "scipy" in row.texts[0].lower().split()]
