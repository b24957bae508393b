"""Tagged sentences: every format gives equal rows, tags stand at first tokens, bad rows are named, nothing crosses."""

import csv
import json
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.errors import InputError
from engine.sources import sources
from engine.sources._tagged_rows import as_list, read_rows, tag_counts, tags_of
from tests.engine.small_bases import bert_folder, sentences, tagged

SOURCE = sources["tagged-table"]
ROWS = sentences(120)
NAMES = ["O", "B-fruit", "I-fruit", "B-river", "I-river", "B-tool", "I-tool"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bert_folder(tmp_path_factory.mktemp("base"))


def spec(path: Path | str, **over: Any) -> Any:
    return SOURCE.Spec(path=str(path), **over)


def prepared(path: Path | str, base: Path, cache: Path, **over: Any) -> Any:
    return SOURCE.prepare(spec(path, tokenizer=str(base), **over), cache, lambda step, fraction: None)


def as_csv(file: Path) -> Path:
    file = file.with_suffix(".csv")
    with file.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([("words", "tags"), *((" ".join(w), " ".join(t)) for w, t in ROWS)])
    return file


def as_lists_in_csv(file: Path) -> Path:
    """As pandas writes a column of lists, and JSON."""
    file = file.with_suffix(".csv")
    with file.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([("words", "tags"), *((str(w), json.dumps(t)) for w, t in ROWS)])
    return file


def as_jsonl(file: Path) -> Path:
    return tagged(file.with_suffix(".jsonl"))


def as_parquet(file: Path) -> Path:
    file = file.with_suffix(".parquet")
    words, tags = zip(*ROWS, strict=True)
    pq.write_table(pa.table({"words": words, "tags": tags}), file)
    return file


def as_dataset(folder: Path) -> Path:
    """Numbers with names, as the datasets library keeps CoNLL-2003."""
    folder.mkdir()
    columns = pa.table({"words": [w for w, _ in ROWS], "tags": [[NAMES.index(tag) for tag in t] for _, t in ROWS]})
    file = folder / "data-00000-of-00001.arrow"
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_stream(sink, columns.schema) as writer:
        writer.write_table(columns)
    feature = {"feature": {"names": NAMES, "_type": "ClassLabel"}, "_type": "List"}
    (folder / "dataset_info.json").write_text(json.dumps({"features": {"tags": feature}}))
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": file.name}]}))
    return folder


def as_conll(file: Path) -> Path:
    """Four columns, of which the first and the last are read, with a document mark."""
    file = file.with_suffix(".conll")
    lines = ["-DOCSTART- -X- O O", ""]
    for words, tags in ROWS:
        lines += [*(f"{word} NN I-NP {tag}" for word, tag in zip(words, tags, strict=True)), ""]
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


def as_conllu(file: Path) -> Path:
    file = file.with_suffix(".conllu")
    lines: list[str] = []
    for number, (words, tags) in enumerate(ROWS):
        lines += [f"# sent_id = {number}", "1-2\tboth\t_\t_\t_"]
        lines += [f"{i}\t{word}\t_\t{tag}\t_" for i, (word, tag) in enumerate(zip(words, tags, strict=True), 1)]
        lines.append("")
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


@pytest.mark.parametrize("write", [as_csv, as_lists_in_csv, as_jsonl, as_parquet, as_dataset, as_conll, as_conllu])
def test_every_format_gives_the_same_rows_and_split(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    found = read_rows(spec(write(tmp_path / "given")))
    assert [(list(row.texts), tags_of(row)) for row in found.rows] == ROWS
    assert found.names == ("O", "B-fruit", "B-river", "B-tool", "I-fruit", "I-river", "I-tool")
    assert found.parts.tolist() == read_rows(spec(as_jsonl(tmp_path / "reference"))).parts.tolist()
    shape = SOURCE.shape(spec(write(tmp_path / "again")))
    assert (shape.modality, shape.n_classes, shape.n_train_items) == ("tagged", 7, int((found.parts == 0).sum()))
    assert shape.class_counts == tag_counts(found, 0)


def test_tags_stand_at_the_first_token_of_each_word(base: Path, tmp_path: Path) -> None:
    given = [(["the", "apple-saw", "nile"], ["O", "B-x", "I-x"]), (["\u200b", "plum", "pear"], ["O", "O", "B-x"])]
    data = prepared(tagged(tmp_path / "t.jsonl", given * 1 + ROWS), base, tmp_path / "cache")
    batch = data.collate(np.asarray([0, 1]))
    names = [[data.class_names[i] if i >= 0 else "" for i in row] for row in batch["targets"]]
    assert data.decode(batch["inputs"][0]).split() == ["[CLS]", "the", "apple", "[UNK]", "saw", "nile", "[SEP]"]
    assert names[0] == ["", "O", "B-x", "", "", "I-x", ""]
    assert names[1] == ["", "O", "B-x", "", "", "", ""]  # a word of nothing that a tokenizer reads has no place
    assert "1 words have no token of the base" in " ".join(data.report.notes)
    assert [len(words) for _, words in data.words()] == [(row >= 0).sum() for row in by_row(data)]


def by_row(data: Any) -> list[Any]:
    return [data.collate(np.asarray([row]))["targets"][0] for row in data.rows("test")]


def test_long_sentences_are_cut_and_counted(base: Path, tmp_path: Path) -> None:
    data = prepared(tagged(tmp_path / "t.jsonl"), base, tmp_path / "cache", max_length=8)
    longer = sum(len(words) > 6 for words, _ in ROWS)
    assert 0 < longer < len(ROWS)
    assert f"{longer} of 120 texts are cut to 8 tokens" in " ".join(data.report.notes)
    assert (data.lengths(np.arange(120)) <= 8).all()


def test_a_group_and_copies_stay_on_one_side(tmp_path: Path) -> None:
    rows = [{"words": w, "tags": t, "doc": i // 4} for i, (w, t) in enumerate(ROWS)]
    file = tmp_path / "t.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in (*rows, *rows[:5])), encoding="utf-8")
    table = read_rows(spec(file, group="doc"))
    assert (len(table.rows), table.copies, table.leaked) == (120, 5, 0)
    parts_of = {doc: {int(table.parts[i]) for i in range(doc * 4, doc * 4 + 4)} for doc in range(30)}
    assert all(len(parts) == 1 for parts in parts_of.values())
    assert set(table.parts.tolist()) == {0, 1, 2}


def test_files_of_conll_are_named_by_their_part(tmp_path: Path) -> None:
    lines = [[*(f"{w}\t{t}" for w, t in zip(*row, strict=True)), ""] for row in ROWS]
    for name, some in (("en.train", lines[:80]), ("en.dev", lines[80:100]), ("en.test", lines[100:])):
        (tmp_path / f"{name}.conll").write_text("\n".join(chain.from_iterable(some)), encoding="utf-8")
    table = read_rows(spec(tmp_path))
    assert np.bincount(table.parts).tolist() == [80, 20, 20]


def test_code_of_this_machine_is_tagged_by_role(base: Path, tmp_path: Path) -> None:
    data = prepared("", base, tmp_path, rows=120)
    assert "B-CALL" in data.class_names
    assert data.report.n_documents == 120
    row = next(row for row in read_rows(spec("", rows=120)).rows if "B-FUNCTION" in tags_of(row))
    assert row.texts[tags_of(row).index("B-FUNCTION") - 1] == "def"
    assert {"text", "target", "n_tokens", "padding"} == set(data.seen(2)[0])


BAD = [
    ({"words": ["a", "b"], "tags": ["O"]}, r"t\.jsonl, row 2: has 2 words \(column 'words'\) and 1 tags"),
    ({"words": ["a", "b"], "tags": ["O", None]}, r"row 2: word 2 \('b'\) has no tag"),
    ({"words": ["a", ""], "tags": ["O", "O"]}, "row 2: word 2 is empty"),
    ({"words": ["a", 5], "tags": ["O", "O"]}, "row 2: field 'words' is not text"),
    ({"words": [], "tags": []}, "row 2: field 'words' is empty"),
    ({"words": 7, "tags": ["O"]}, "row 2: field 'words' is no list"),
    ({"words": ["a"]}, "row 2: has no field 'tags'"),
]


@pytest.mark.parametrize(("row", "why"), BAD)
def test_bad_rows_are_named_or_left_out(tmp_path: Path, row: dict[str, Any], why: str) -> None:
    file = tmp_path / "t.jsonl"
    good = [json.dumps({"words": w, "tags": t}) for w, t in ROWS]
    file.write_text("\n".join([good[0], json.dumps(row), *good[1:]]), encoding="utf-8")
    with pytest.raises(InputError, match=why):
        read_rows(spec(file))
    table = read_rows(spec(file, skip_bad=True))
    assert (len(table.rows), table.skipped.n) == (120, 1)


@pytest.mark.parametrize(("line", "why"), [("alone", "has a word and no tag"), ("a\t", "has a word and no tag")])
def test_a_bad_line_of_conll_is_named_and_loses_its_sentence(tmp_path: Path, line: str, why: str) -> None:
    file = as_conll(tmp_path / "t")
    file.write_text(f"good O\n{line}\n\n{file.read_text()}", encoding="utf-8")
    with pytest.raises(InputError, match=rf"t\.conll, line 2: {why}"):
        read_rows(spec(file))
    assert len(read_rows(spec(file, skip_bad=True)).rows) == 120


def test_one_tag_only_and_files_of_other_kinds_are_refused(tmp_path: Path) -> None:
    only = tagged(tmp_path / "t.jsonl", [(words, ["O"] * len(words)) for words, _ in ROWS])
    with pytest.raises(InputError, match=r"data\.tags: every word has the one tag 'O'"):
        read_rows(spec(only))
    with pytest.raises(InputError, match=r"has no column 'ner' \(there are: words, tags\)"):
        read_rows(spec(as_csv(tmp_path / "u"), tags="ner"))
    with pytest.raises(InputError, match=r"is none of .*\.conll"):
        read_rows(spec(Path(__file__)))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a b", ["a", "b"]), ('["a", "b c"]', ["a", "b c"]), ("['a', 'b']", ["a", "b"]), ("[1, 2]", [1, 2]),
        ("[ see above ]", ["[", "see", "above", "]"]), ("['a' 'b']", None), ("['a', __import__('os')]", None),
    ],
)  # fmt: skip
def test_lists_are_read_as_json_or_python_writes_them(text: str, found: list[Any] | None) -> None:
    told: list[str] = []
    assert as_list(text, "here", "words", lambda where, why: told.append(why)) == found
    assert bool(told) is (found is None)


def test_columns_are_guessed(tmp_path: Path) -> None:
    file = tmp_path / "t.jsonl"
    file.write_text(json.dumps({"id": 1, "tokens": ["a"], "ner_tags": ["O"]}) + "\n", encoding="utf-8")
    found = SOURCE.columns(spec(file))
    assert SOURCE.guess(found) == {"words": "tokens", "tags": "ner_tags", "group": "", "split": ""}
    assert SOURCE.columns(spec(as_conll(tmp_path / "c"))).names == ("words", "tags")
