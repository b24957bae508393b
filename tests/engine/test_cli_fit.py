"""The verb ``fit`` on anyone's tables: the agreed document, and one sentence where it cannot."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest

from engine.cli import main
from tests.engine.analysis.laws.points import TRUTH, cloud, points


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Sixty noisy points of Chinchilla's law with two losses far too high."""
    rng = np.random.default_rng(0)
    n_params, tokens = cloud(rng, 60)
    loss = points(rng.normal(0, 0.005, 60), n_params=n_params, tokens=tokens)["loss"]
    loss[[7, 30]] *= 2
    return write(tmp_path, "n_params,tokens,loss", zip(n_params, tokens, loss, strict=True))


def write(folder: Path, header: str, rows: Any, name: str = "points.csv") -> Path:
    path = folder / name
    lines = [",".join(str(cell) for cell in row) for row in rows]
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


def fitted(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    code = main(["fit", *map(str, arguments), "--json"])
    printed = capsys.readouterr()
    assert code == 0, printed.err
    document: dict[str, Any] = json.loads(printed.out)
    return document


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    code = main(["fit", *map(str, arguments), "--json"])
    printed = capsys.readouterr()
    assert code == 2 and not printed.out and "Traceback" not in printed.err
    assert printed.err.count("\n") == 1
    return printed.err


def test_the_document_of_chinchilla(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = fitted(capsys, table, "--form", "chinchilla", "--exclude-highest", 2, "--bootstrap", 200)
    assert {"form", "params", "stderr", "interval", "n_points", "excluded", "heldout", "warnings", "objective"} <= set(
        document
    )
    assert {"optimum", "covariance", "residuals", "with_excluded"} <= set(document)
    assert document["n_points"] == 58 and {row["row"] for row in document["excluded"]} == {8, 31}
    assert all("highest" in row["why"] for row in document["excluded"])
    for name, value in TRUTH.items():
        assert document["params"][name] == pytest.approx(value, rel=1.0)
        low, high = document["interval"][name]
        assert low < document["params"][name] < high and document["stderr"][name] > 0
    assert document["params"]["alpha"] == pytest.approx(TRUTH["alpha"], abs=0.06)
    held = document["heldout"]
    assert {"n_params", "observed", "predicted", "interval"} <= set(held)
    matrix = np.array(document["covariance"]["matrix"])
    assert np.sqrt(np.diag(matrix))[2] == pytest.approx(document["bootstrap_sd"]["alpha"])
    assert document["with_excluded"]["n_points"] == 60


def test_other_headers_rules_compute_predictions_and_comparison(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(1)
    n_params, tokens = cloud(rng, 40)
    loss = points(rng.normal(0, 0.005, 40), n_params=n_params, tokens=tokens)["loss"]
    path = write(tmp_path, "size_of_it,D,final", zip(n_params, tokens, loss, strict=True))
    document = fitted(
        capsys,
        *(path, "--form", "chinchilla", "--columns", "n_params=size_of_it,loss=final", "--bootstrap", 100),
        *("--exclude", "tokens/n_params<1", "--compute", 1e21, "--predict", "n_params=1e9,tokens=2e10", "--compare"),
    )
    assert {row["row"] for row in document["excluded"]} == set(np.flatnonzero(tokens / n_params < 1) + 1)
    [best] = document["optimum"]["at"]
    assert best["compute_flops"] == 1e21 and best["n_params"] == pytest.approx(2.8e9, rel=0.4)
    [at] = document["predictions"]
    assert at["interval_of_one_run"][0] < at["interval"][0] < at["value"] < at["interval"][1]
    ranked = document["comparison"]
    assert ranked[0]["form"] == "chinchilla" and ranked[0]["delta_aicc"] == 0
    assert {row["form"] for row in ranked if "why" in row} == {"data-constrained"}


def test_tokens_come_from_compute_where_they_are_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    n_params, tokens = cloud(np.random.default_rng(1), 40)
    given = points(n_params=n_params, tokens=tokens)
    rows = zip(n_params, 6 * n_params * tokens, given["loss"], strict=True)
    path = write(tmp_path, "Model Size,Training FLOP,loss", rows)
    document = fitted(capsys, path, "--form", "chinchilla", "--bootstrap", 20)
    assert document["params"] == pytest.approx(TRUTH, rel=1e-4)
    assert any("C / (6 N)" in warning for warning in document["warnings"])


def test_a_table_for_people(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--exclude-highest", "2", "--bootstrap", "50", "--predict", "n_params=1e9,tokens=2e10"]
    assert main(["fit", str(table), "--form", "chinchilla", *options]) == 0
    text = capsys.readouterr().out
    for word in ("alpha", "objective", "Row 8 left out", "tokens", "interval of one run"):
        assert word in text


def test_rows_that_cannot_be_used_are_left_out_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = np.geomspace(1e6, 1e9, 12)
    rows = [*zip(sizes, 1.7 + 400 / sizes**0.34, strict=True), (0, 2.0), (1e9, -1.0), (1e9, "")]
    document = fitted(capsys, write(tmp_path, "N,L", rows), "--form", "power-law-n", "--bootstrap", 50)
    assert [row["row"] for row in document["excluded"]] == [13, 14, 15]
    words = " ".join(row["why"] for row in document["excluded"])
    assert "zero" in words and "negative" in words and "empty" in words
    assert any("3 rows could not be used" in warning for warning in document["warnings"])


def test_three_points_say_how_little_they_know(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, "N,L", [(1e3, 3.0), (1e4, 2.5), (1e5, 2.2)])
    document = fitted(capsys, path, "--form", "power-law-n", "--bootstrap", 500)
    low, high = document["interval"]["E"]
    assert low < 0.2 and high > 2.0 and any("do not identify" in warning for warning in document["warnings"])


@pytest.mark.parametrize(
    ("text", "form", "words"),
    [
        ("n_params,tokens,loss\n1e6,1e9,3\n1e7,abc,2\n", "chinchilla", "Row 2, column 'tokens': 'abc'"),
        ("n_params,tokens,loss\n1e6,1e9,3\n1e7,1e9,2\n1e8,2e9,1.9\n", "chinchilla", "6 different points or more"),
        ("n_params,loss\n1e6,3\n1e6,2.9\n1e6,3.1\n", "power-law-n", "2 different values of n_params"),
        ("n_params,loss\n0,3\n0,2.9\n1e6,3.1\n", "power-law-n", "2 of 3 rows cannot be used; row 1: n_params is zero"),
        ("n_params,loss\n-5,3\n-7,2.9\n", "power-law-n", "negative"),
        ("n_params,loss\n", "power-law-n", "no rows"),
        ("n_params,loss\n1e6,2\n1e7,1\n", "chinchilla", "needs a column of tokens"),
        ("n_params,accuracy\n1e6,2\n", "power-law-n", "no column 'loss'"),
        ("n_params,loss\n1e6,2\n", "chinchila", "Did you mean 'chinchilla'"),
        ("", "power-law-n", "is empty"),
    ],
)
def test_bad_input_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, form: str, words: str
) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text)
    assert words in refused(capsys, path, "--form", form)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--columns", "size=N"), "not used here"),
        (("--columns", "nonsense"), "does not understand"),
        (("--exclude", "loss is high"), "is not understood"),
        (("--exclude", "depth>3"), "was not read"),
        (("--exclude", "loss>0"), "Nothing is left"),
        (("--predict", "n_params=1"), "needs positive n_params, tokens"),
        (("--predict", "n_params"), "does not understand"),
        (("--level", "90"), "between 0 and 1"),
        (("--resample", "jackknife"), "auto, pairs or noise"),
        (("--compute", "-1"), "above zero"),
    ],
)
def test_bad_options_are_one_sentence(
    table: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], words: str
) -> None:
    assert words in refused(capsys, table, "--form", "chinchilla", "--bootstrap", 20, *options)


def test_ten_million_rows_are_refused_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    n = 10_000_000
    pa.csv.write_csv(pa.table({"N": np.resize(np.arange(1, 1001), n), "L": np.full(n, 2)}), tmp_path / "log.csv")
    began = time.perf_counter()
    assert "more than 100,000 rows" in refused(capsys, tmp_path / "log.csv", "--form", "power-law-n")
    assert time.perf_counter() - began < 30


def test_many_points_get_fewer_resamples_and_say_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.analysis.laws.fitting.MOST_WORK", 2e5)
    rng = np.random.default_rng(0)
    n_params = np.exp(rng.uniform(np.log(1e6), np.log(1e9), 2000))
    loss = (1.7 + 400 / n_params**0.34) * np.exp(rng.normal(0, 0.01, 2000))
    path = write(tmp_path, "N,L", zip(n_params, loss, strict=True))
    document = fitted(capsys, path, "--form", "power-law-n", "--bootstrap", 250)
    assert document["n_bootstrap"] == 100 and any("only 100 resamples" in w for w in document["warnings"])
    assert document["params"]["alpha"] == pytest.approx(0.34, abs=0.02)


def test_warnings_of_training_and_convention(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = np.geomspace(1e4, 1e6, 8)
    rows = [
        (total, inner, 1.7 + 400 / inner**0.34, 3e-3, converged)
        for total, inner, converged in zip(sizes + 3e4, sizes, [*["yes"] * 7, "no"], strict=True)
    ]
    path = write(tmp_path, "n_params,n_params_non_embedding,loss,lr,converged", rows)
    document = fitted(capsys, path, "--form", "power-law-n", "--bootstrap", 50)
    text = " ".join(document["warnings"])
    assert "learning rate was not scaled" in text and "had not converged" in text
    assert "The convention changes the exponent" in text and "0.34 over n_params_non_embedding" in text
