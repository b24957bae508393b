"""The verb ``emergence``: one document, words for people, one sentence for bad input."""

import json
from pathlib import Path

import numpy as np
import pytest

from engine import cli, cli_emergence
from engine.i18n import set_language

EXACT = [0.0, 0.001, 0.089, 0.549, 0.920, 0.981]
TOKENS = [0.29, 0.46, 0.72, 0.94, 0.99, 0.998]
SIZES = [2000, 4100, 7000, 10700, 15100, 20300]


def table(path: Path, header: str, rows: list[tuple[object, ...]]) -> str:
    path.write_text(header + "\n" + "\n".join(",".join(str(v) for v in row) for row in rows) + "\n")
    return str(path)


@pytest.fixture
def strings(tmp_path: Path) -> str:
    rows = [(s, y, 0, 1000, "exact_match") for s, y in zip(SIZES, EXACT, strict=True)]
    rows += [(s, y, 0, 1000, "token_accuracy") for s, y in zip(SIZES, TOKENS, strict=True)]
    return table(tmp_path / "strings.csv", "size,score,seed,n,metric", rows)


def document(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, object]:
    assert cli.main(["emergence", *arguments, "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return json.loads(captured.out)


def test_the_document_has_the_agreed_keys(strings: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys, strings, "--length", "8")
    assert found["verdict"] == "metric"
    assert {"verdict", "critical_size", "interval", "evidence", "words", "seeds", "metrics", "missing"} <= found.keys()


def test_people_read_the_verdict_and_the_seeds(strings: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["emergence", strings]) == 0
    out = capsys.readouterr().out
    assert "MADE BY THE METRIC" in out and "token_accuracy" in out and "20,300" in out.replace("2.03e+04", "20,300")


def test_columns_and_metrics_can_be_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [(s, y, "whole") for s, y in zip(SIZES, EXACT, strict=True)]
    rows += [(s, y, "parts") for s, y in zip(SIZES, TOKENS, strict=True)]
    file = table(tmp_path / "t.csv", "N,acc,metric", rows)
    found = document(capsys, file, "--columns", "size=N,score=acc", "--continuous", "parts", "--chance", "0")
    assert found["variable"] == "N"
    assert found["evidence"]["continuous_metric"] == "parts" and found["evidence"]["threshold_metric"] == "whole"


def test_what_export_csv_wrote_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    header = "run_id,seed,n_params,n_params_non_embedding,capability,metric,value,n"
    rows = [
        (i, 0, s, s - 99, "copying", "exact_match", y, 500) for i, (s, y) in enumerate(zip(SIZES, EXACT, strict=True))
    ]
    rows += [(i, 0, s, s - 99, "sorting", "exact_match", 0.5, 500) for i, s in enumerate(SIZES)]
    rows += [(9, 0, 90000, 80000, "copying", "exact_match", "", "")]
    file = table(tmp_path / "t.csv", header, rows)
    assert cli.main(["emergence", file]) == 2
    assert "--capability" in capsys.readouterr().err
    found = document(capsys, file, "--capability", "copying")
    assert found["verdict"] == "smooth" and found["variable"] == "n_params"
    assert [row["row"] for row in found["excluded"]] == [13]


@pytest.mark.parametrize(
    ("header", "rows", "sentence"),
    [
        ("size,score", [(1000, 0.1), (2000, "high")], "'high' is not a number"),
        ("size,score", [(1000, 0.1), (0, 0.2)], "Row 2, column size"),
        ("size,score", [(1000, 0.1), ("", 0.2), (-4, 0.2)], "Row 3, column size"),
        ("size,score", [], "no rows"),
        ("size,score", [("", 0.1), ("", 0.2)], "no row with a size and a score"),
        ("size,points", [(1000, 0.1)], "no column 'score'"),
        ("size,score,metric", [(1000, 55, "exact_match")], "between 0 and 1"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], header: str, rows: list[tuple[object, ...]], sentence: str
) -> None:
    assert cli.main(["emergence", table(tmp_path / "t.csv", header, rows)]) == 2
    captured = capsys.readouterr()
    assert sentence in captured.err and len(captured.err.strip().splitlines()) == 1
    assert captured.out == "" and "Traceback" not in captured.err


@pytest.mark.parametrize("rows", [[(1000, 0.1), (1000, 0.5)], [(1000, 0.1), (2000, 0.3), (3000, 0.9)]])
def test_one_size_and_three_points_are_not_enough(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], rows: list[tuple[object, ...]]
) -> None:
    found = document(capsys, table(tmp_path / "t.csv", "size,score", rows))
    assert found["verdict"] == "insufficient" and found["missing"][0]["what"] == "few-sizes"
    assert cli.main(["emergence", str(tmp_path / "t.csv")]) == 0
    assert "NOT ENOUGH EVIDENCE" in capsys.readouterr().out


def test_many_rows_of_single_items(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    size = np.repeat(np.geomspace(1e3, 1e6, 8).round(), 30_000)
    right = rng.random(len(size)) < 1 / (1 + np.exp(-2 * (np.log10(size) - 4.5)))
    text = "size,score\n" + "\n".join(f"{s:.0f},{int(y)}" for s, y in zip(size, right, strict=True))
    (tmp_path / "many.csv").write_text(text)
    found = document(capsys, str(tmp_path / "many.csv"))
    assert found["verdict"] == "smooth" and found["metrics"][0]["noise"] == "binomial"


def test_too_many_rows_are_refused(
    strings: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli_emergence, "MOST_ROWS", 5)
    assert cli.main(["emergence", strings]) == 2
    assert "more than 5 rows" in capsys.readouterr().err


def test_words_follow_the_language(
    strings: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    english = document(capsys, strings)["words"]
    monkeypatch.setenv("EMERGENCE_LAB_LANGUAGE", "zh_CN")
    chinese = document(capsys, strings)["words"]
    set_language("en")
    assert "exact_match" in chinese and "exact_match" in english
