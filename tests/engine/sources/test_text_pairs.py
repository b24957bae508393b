"""Source ``text-pairs``: what is read and refused, in which words, and splits that share no text."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.errors import InputError
from engine.sources import sources
from engine.sources._pairs import UNKNOWN, PairItems
from engine.sources._table_pairs import split_groups

SOURCE = sources["text-pairs"]
PAIRS = [(f"number {n}", f"数{n * 7 % 1000}") for n in range(200)]


def prepare(path: Path, cache: Path, **fields: Any) -> PairItems:
    spec = SOURCE.Spec(path=str(path), **({"source_length": 24, "target_length": 24} | fields))
    data = SOURCE.prepare(spec, cache, lambda step, fraction: None)
    assert isinstance(data, PairItems)
    return data


def pairs(data: PairItems, *splits: Any) -> list[tuple[str, str]]:
    return [pair for split in splits or ("train", "validation") for pair in data.texts(data.all_items(split))]


def table(path: Path, rows: list[tuple[str, str]], header: str = "source\ttarget") -> Path:
    lines = ([header] if header else []) + ["\t".join(row) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_every_kind_of_table_gives_the_same_pairs(tmp_path: Path) -> None:
    csv = tmp_path / "a.csv"
    csv.write_text("id,source,target\n" + "".join(f'1,"{a}","{b}"\n' for a, b in PAIRS), encoding="utf-8")
    jsonl = tmp_path / "a.jsonl"
    jsonl.write_text("".join(json.dumps({"target": b, "source": a}) + "\n" for a, b in PAIRS), encoding="utf-8")
    parquet = tmp_path / "a.parquet"
    pq.write_table(pa.table({"source": [a for a, _ in PAIRS], "target": [b for _, b in PAIRS]}), parquet)
    tsv = table(tmp_path / "a.tsv", PAIRS)
    found = [prepare(path, tmp_path / "cache") for path in (csv, jsonl, parquet, tsv)]
    assert all(sorted(pairs(data)) == sorted(PAIRS) for data in found)
    assert len({data.fingerprint for data in found}) == 1
    assert 5 <= found[0].n_items("validation") <= 40


def test_columns_by_number_without_a_header(tmp_path: Path) -> None:
    path = table(tmp_path / "a.tsv", [(b, a) for a, b in PAIRS], header="")
    data = prepare(path, tmp_path, header=False, source_column="2", target_column="1")
    assert sorted(pairs(data)) == sorted(PAIRS)
    with_names = table(tmp_path / "b.tsv", PAIRS, header="english\tchinese")
    assert sorted(pairs(prepare(with_names, tmp_path, source_column="1", target_column="chinese"))) == sorted(PAIRS)


def test_other_encodings_are_read_and_counted(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("source,target\n" + "".join(f"{a},{b}\n" for a, b in PAIRS), encoding="gb18030")
    data = prepare(tmp_path / "a.csv", tmp_path / "cache", encoding="gb18030")
    assert sorted(pairs(data)) == sorted(PAIRS) and data.report.encodings == (("gb18030", 1),)
    with pytest.raises(InputError, match=r"a\.csv, row 2: is not UTF-8 text .*gb18030"):
        prepare(tmp_path / "a.csv", tmp_path / "cache")


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("one", "has 1 fields where the header has 2"),
        ("one\ttwo\tthree", "has 3 fields where the header has 2"),
        ("one\t ", "field 'target' is empty"),
    ],
)
def test_a_broken_row_is_named_or_skipped_and_counted(tmp_path: Path, row: str, why: str) -> None:
    path = table(tmp_path / "a.tsv", PAIRS)
    lines = path.read_text(encoding="utf-8").split("\n")
    lines.insert(4, row)
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        prepare(path, tmp_path / "cache")
    assert caught.value.message == f"a.tsv, row 5: {why}." and "data.skip_bad" in caught.value.remedy
    data = prepare(path, tmp_path / "cache", skip_bad=True)
    assert sorted(pairs(data)) == sorted(PAIRS)
    assert data.report.n_skipped == 1 and data.report.skipped == (("a.tsv, row 5", why),)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"source_column": "english"}, r"a\.tsv: has no column 'english' \(there are: source, target\)"),
        ({"target_column": "3"}, r"a\.tsv: has no column '3'"),
        ({"header": False}, r"a\.tsv: has no column 'source' \(its 2 columns have numbers, not names\)"),
    ],
)
def test_a_column_that_is_not_there_is_named(tmp_path: Path, fields: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        prepare(table(tmp_path / "a.tsv", PAIRS), tmp_path / "cache", **fields)


def test_what_cannot_be_used_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data\.path"):
        prepare(tmp_path / "missing.tsv", tmp_path / "cache")
    with pytest.raises(InputError, match="no pairs"):
        prepare(table(tmp_path / "none.tsv", []), tmp_path / "cache")
    with pytest.raises(InputError, match="cannot be split"):
        prepare(table(tmp_path / "one.tsv", [("a", "b")] * 9), tmp_path / "cache")
    assert not any(path.name.endswith(".partial") for path in (tmp_path / "cache").iterdir())


def test_copies_go_and_texts_in_common_stay_on_one_side(tmp_path: Path) -> None:
    """Sources that differ by case or a full stop, and different sources of one target."""
    rows = [(f"Hello {n}.", f"你好{n}") for n in range(150)]
    rows += [(f"HELLO {n}", f"您好{n}") for n in range(150)] + [(f"hi there {n}", f"您好{n}！") for n in range(150)]
    data = prepare(table(tmp_path / "a.tsv", rows + rows[:30]), tmp_path / "cache", validation_fraction=0.3)
    assert data.report.exact_duplicates == 30 and data.report.near_duplicates == 450 and data.report.leaked == 0
    sides = {
        split: {"".join(filter(str.isdigit, a)) for a, _ in pairs(data, split)} for split in ("train", "validation")
    }
    assert not sides["train"] & sides["validation"] and len(sides["train"] | sides["validation"]) == 150
    assert 20 <= len(sides["validation"]) <= 75 and data.n_items("validation") == 3 * len(sides["validation"])


def test_one_group_of_everything_is_never_held_out() -> None:
    held_out, alike = split_groups(np.arange(100, dtype=np.uint64), np.zeros(100, np.uint64), 0.5)
    assert not held_out.any() and alike == 100


def test_rare_characters_are_unknown_and_said_to_be(tmp_path: Path) -> None:
    rows = [(f"aaa {n}", f"b{chr(0x4E00 + n)}") for n in range(300)]
    data = prepare(table(tmp_path / "a.tsv", rows), tmp_path / "cache", vocab_size=14)
    assert SOURCE.shape(SOURCE.Spec(vocab_size=14)).vocab_size == 18
    items = data.all_items("validation")
    assert items.max() < 18 and (items == UNKNOWN).any()
    assert any("unknown" in note for note in data.report.notes)
    assert pairs(data, "validation")[0][1].endswith("\ufffd")
    as_bytes = prepare(tmp_path / "a.tsv", tmp_path / "cache", tokens="bytes")
    assert sorted(pairs(as_bytes)) == sorted(rows) and SOURCE.shape(SOURCE.Spec(tokens="bytes")).vocab_size == 260


def test_pairs_that_are_too_long_are_named(tmp_path: Path) -> None:
    data = prepare(table(tmp_path / "a.tsv", [*PAIRS, ("x" * 24, "y")]), tmp_path / "cache")
    assert data.report.n_skipped == 1 and data.report.skipped[0][0] == "a.tsv, row 202"


def test_a_second_call_opens_what_the_first_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = table(tmp_path / "a.tsv", PAIRS)
    made = prepare(path, tmp_path / "cache")
    monkeypatch.setattr("engine.sources._table_pairs.make", lambda *_: pytest.fail("made twice"))
    opened = prepare(path, tmp_path / "cache")
    assert opened.fingerprint == made.fingerprint and opened.report == made.report
    assert (opened.train_batch(2, 8, 24, 0)["inputs"] == made.train_batch(2, 8, 24, 0)["inputs"]).all()
    dynamic = prepare(path, tmp_path / "cache", padding="dynamic")
    assert dynamic.train_batch(2, 8, 24, 0)["inputs"].shape[1] < 24


def test_previews_name_file_and_row(tmp_path: Path) -> None:
    path = table(tmp_path / "a.tsv", PAIRS)
    found = SOURCE.preview(SOURCE.Spec(path=str(path)), 2)
    assert found[1] == {"origin": "a.tsv, row 3", "text": PAIRS[1][0], "target": PAIRS[1][1]}


def test_a_folder_of_tables_is_one_source(tmp_path: Path) -> None:
    folder = tmp_path / "tables"
    (folder / "more").mkdir(parents=True)
    table(folder / "a.tsv", PAIRS[:100])
    table(folder / "more" / "b.tsv", PAIRS[100:])
    (folder / "notes.txt").write_text("not a table", encoding="utf-8")
    assert sorted(pairs(prepare(folder, tmp_path / "cache"))) == sorted(PAIRS)
