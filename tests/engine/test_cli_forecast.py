"""The verbs forecast and advise, as a person calls them."""

import json
from pathlib import Path
from typing import Any

import pytest

from engine.cli import main
from engine.lab import Lab
from tests.engine.fakes import run_one, tiny_study


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a plain study and one in two acts."""
    home = tmp_path_factory.mktemp("home")
    two = {"sizes": [2000, 5000, 11_000, 24_000, 52_000], "seeds": [0, 1]}
    with Lab.open(home, jobs=2, executor="thread", run_one=run_one) as lab:
        for study in (tiny_study(), tiny_study(name="acts", ladder=two, forecast={"hold": 2})):
            assert lab.runner.wait(lab.runner.submit(study), timeout=60)
    return home


def call(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> Any:
    capsys.readouterr()
    assert main(list(words)) == code
    out, err = capsys.readouterr()
    if code:
        assert len(err.strip().splitlines()) == 1 and not out
        return err
    return json.loads(out) if "--json" in words else out


def test_lock_list_score_and_calibration(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    at = ("--home", str(home), "--json")
    locked = call(capsys, "forecast", "lock", "tiny", "--sizes", "110_000,230_000", "--level", "0.8", *at)
    assert locked["intact"] and locked["level"] == 0.8 and locked["score"] is None
    assert [t["size"] for t in locked["targets"]] == [110_000, 230_000]
    forecasts = call(capsys, "forecast", "list", *at)
    assert len(forecasts) == 2 and forecasts[0]["score"]["loss_n"] == 2
    assert call(capsys, "forecast", "score", *at) == []
    assert "not all sizes" in call(capsys, "forecast", "score", str(locked["forecast_id"]), "--home", str(home), code=2)
    assert "has been scored" in call(capsys, "forecast", "score", "1", "--home", str(home), code=2)
    assert "no forecast 99" in call(capsys, "forecast", "score", "99", "--home", str(home), code=2)
    record = call(capsys, "forecast", "calibration", "--metric", "loss", *at)
    assert record["n"] == 2 and record["n_forecasts"] == 1
    assert [row["level"] for row in record["levels"]] == [0.5, 0.6, 0.7, 0.8, 0.9, 0.95]
    shown = call(capsys, "forecast", "list", "--study", "acts", "--home", str(home))
    assert "seal intact" in shown


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("forecast", "lock", "tiny", "--sizes", "many"), "whole numbers"),
        (("forecast", "lock", "tiny", "--sizes", "24000"), "trained already"),
        (("forecast", "lock", "tiny", "--sizes", "110000", "--level", "2"), "between 0 and 1"),
        (("advise", "tiny"), "nothing is asked"),
        (("advise", "tiny", "--loss", "-1"), "above zero"),
        (("advise", "tiny", "--kwh", "1"), "--watts"),
        (("advise", "tiny", "--score", "nonsense"), "capability:metric=value"),
        (("advise", "tiny", "--score", "x:y=0.5"), "no run has"),
        (("advise", "nowhere.json", "--loss", "2"), "cannot be read"),
    ],
)
def test_bad_input_is_one_sentence(
    home: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], sentence: str
) -> None:
    assert sentence in call(capsys, *words, "--home", str(home), code=2)


def test_advice_from_a_study(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--loss", "1.4", "--seconds", "100", "--score", "language-modelling:bits_per_byte=2.0", "--double-data")
    document = call(capsys, "advise", "tiny", *words, "--home", str(home), "--json")
    by_question = {answer["question"]: answer for answer in document["answers"]}
    assert by_question["budget"]["refused"] and "nothing of tokens" in by_question["budget"]["words"]
    assert by_question["budget"]["compute_flops"] == pytest.approx(100 * document["flops_per_second"])
    assert by_question["double-data"]["refused"]
    loss = by_question["loss"]
    p = document["law"]["params"]
    if not loss["refused"]:
        assert p["E"] + p["A"] / loss["answer"]["n_params"] ** p["alpha"] == pytest.approx(1.4)
    assert by_question["score"]["refused"] or by_question["score"]["answer"]["n_params"] > 0


def test_advice_from_a_law(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["A", "B", "alpha", "beta", "E"]
    values = [482.0, 2085.0, 0.348, 0.366, 1.817]
    law = {
        "form": "chinchilla",
        "params": dict(zip(names, values, strict=True)),
        "covariance": {"names": names, "matrix": [[1e-6 * (i == j) for j in range(5)] for i in range(5)]},
        "ranges": {"n_params": [1e8, 1e10], "tokens": [1e9, 2e11]},
        "level": 0.9,
    }
    path = tmp_path / "law.json"
    path.write_text(json.dumps(law))
    words = ("--kwh", "10", "--watts", "700", "--flops-per-second", "4e14", "--double-data", "--loss", "2.3")
    document = call(capsys, "advise", str(path), *words, "--json")
    budget, loss, double = document["answers"]
    assert budget["compute_flops"] == pytest.approx(10 * 3.6e6 / 700 * 4e14)
    assert not budget["refused"] and not loss["refused"] and not double["refused"]
    assert double["answer"]["gain"] > 0
    assert "Twice the data" in call(capsys, "advise", str(path), "--double-data")


def test_the_run_document_carries_forecasts_laws_and_sweeps(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = call(capsys, "results", "acts", "--home", str(home), "--json")
    assert document["forecasts"][0]["score"]["loss_n"] == 2
    assert [law["form"] for law in document["laws"]] == ["power-law-n"]
    assert document["sweeps"] == []
