"""Anyone's tables: what is read, under which names, and the one sentence where it cannot be."""

import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from engine.analysis.columns import Column, parse_names, read_columns
from engine.errors import InputError

SIZE = Column("n_params", ("params", "N"))
LOSS = Column("loss", ("val_loss", "L"))
METRIC = Column("metric", (), "text", required=False)
ITEMS = Column("n", required=False)
WANTED = (SIZE, LOSS, METRIC, ITEMS)


def table(folder: Path, text: str | bytes, name: str = "points.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("n_params,loss,metric\n1e3,3.5,em\n2000,3.25,em\n", "a.csv"),
        ("N\tval_loss\tmetric\n1000\t3.5\tem\n2000\t3.25\tem\n", "a.tsv"),
        ("Params;L;metric\r\n1000;3,5;em\r\n2000;3,25;em\r\n", "a.csv"),
        ("# made by hand\n# twice\nn params,loss,metric\n1000,3.5,em\n\n2000,3.25,em", "a.txt"),
        ('"n_params","loss","metric"\n"1000","3.5","em"\n"2000","3.25","em"\n', "a.csv"),
        ('{"N": 1000, "loss": 3.5, "metric": "em"}\n{"N": 2000, "loss": 3.25, "metric": "em"}\n', "a.jsonl"),
        (b"\xef\xbb\xbfN,loss,metric\n1000,3.5,em\n2000,3.25,em\n", "a.csv"),
        ("N,loss,metric\n1000,3.5,em\n2000,3.25,em\n".encode("utf-16"), "a.csv"),
    ],
)
def test_reads_what_people_write(tmp_path: Path, text: str | bytes, name: str) -> None:
    found = read_columns(table(tmp_path, text, name), WANTED)
    assert found["n_params"].tolist() == [1000, 2000] and found["loss"].tolist() == [3.5, 3.25]
    assert found.texts["metric"].tolist() == ["em", "em"] and "n" not in found and found.n_rows == 2


def test_reads_parquet(tmp_path: Path) -> None:
    pa.parquet.write_table(pa.table({"N": [1000, None], "loss": [3.5, 3.25], "x": [1, 2]}), tmp_path / "a.parquet")
    found = read_columns(tmp_path / "a.parquet", WANTED)
    assert found["n_params"][0] == 1000 and np.isnan(found["n_params"][1]) and found.unused == ("x",)


def test_names_given_go_before_aliases_and_case_decides_n_from_N(tmp_path: Path) -> None:
    path = table(tmp_path, "n,N,loss,final\n50,1000,9,3.5\n")
    found = read_columns(path, WANTED, parse_names("loss=final"))
    assert found.headers == {"n_params": "N", "loss": "final", "n": "n"} and found["loss"].tolist() == [3.5]


def test_rows_that_cannot_be_used_are_named_with_the_reason(tmp_path: Path) -> None:
    found = read_columns(table(tmp_path, "N,L\n1,2\n0,2\n3,\n4,-1\n5,inf\n"), WANTED)
    good, excluded = found.usable(positive=("n_params", "loss"))
    assert good.tolist() == [True, False, False, False, False]
    assert [e["row"] for e in excluded] == [2, 3, 4, 5]
    assert ["zero" in excluded[0]["why"], "empty" in excluded[1]["why"], "-1" in excluded[2]["why"]] == [True] * 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("N,L\n1,2\n3,four\n", "Row 2, column 'L': 'four' is not a number"),
        ("N,L\n1.3B,2\n", "Row 1, column 'N': '1.3B'"),
        ("N,accuracy\n1,2\n", r"no column 'loss' \(there are: N, accuracy\).*--columns loss="),
        ("", "is empty"),
        ("\n\n", "is empty"),
        ("N,L\n", "no rows"),
        ("1,2\n3,4\n", "numbers, not the names"),
        ("N,L\n1,2\n3\n", "cells where the header has 2"),
        ("N,N,L\n1,2,3\n", "2 columns named 'N'"),
        (b"PK\x03\x04\0\0\0", "not a text table"),
        (b"PAR1rubbish", "not a Parquet file"),
        (b"N,L,metric\n1,2,\xe9t\xe9\n", "UTF-8"),
        ('{"N": 1, "L": 2}\n{"N": ', "not JSON lines"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(tmp_path: Path, text: str | bytes, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_columns(table(tmp_path, text), WANTED)


def test_missing_file_wrong_names_and_too_many_rows(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_columns(tmp_path / "none.csv", WANTED)
    path = table(tmp_path, "N,L\n1,2\n3,4\n")
    with pytest.raises(InputError, match="not used here"):
        read_columns(path, WANTED, {"tokens": "N"})
    with pytest.raises(InputError, match="no column 'M'"):
        read_columns(path, WANTED, {"n_params": "M"})
    with pytest.raises(InputError, match="more than 1 rows"):
        read_columns(path, WANTED, max_rows=1)
    with pytest.raises(InputError, match="does not understand"):
        parse_names("n_params:N")


def test_the_bad_row_is_found_deep_in_a_long_file(tmp_path: Path) -> None:
    rows = [f"{i + 1},3.5" for i in range(900_000)]
    rows[876_543] = "x,3.5"
    with pytest.raises(InputError, match="Row 876544, column 'N': 'x'"):
        read_columns(table(tmp_path, "N,L\n" + "\n".join(rows)), WANTED)


def test_ten_million_rows_are_quick(tmp_path: Path) -> None:
    n = 10_000_000
    sizes = np.tile(np.arange(1, 1001), n // 1000)
    pa.csv.write_csv(pa.table({"N": sizes, "L": np.full(n, 2)}), tmp_path / "long.csv")
    began = time.perf_counter()
    found = read_columns(tmp_path / "long.csv", (SIZE, LOSS))
    assert found.n_rows == n and found["n_params"].sum() == sizes.sum()
    assert time.perf_counter() - began < 45
    began = time.perf_counter()
    with pytest.raises(InputError, match="more than 100,000 rows"):
        read_columns(tmp_path / "long.csv", (SIZE, LOSS), max_rows=100_000)
    assert time.perf_counter() - began < 15
