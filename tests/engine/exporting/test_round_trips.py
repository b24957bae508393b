"""What goes out as TensorBoard events, CSV or Parquet comes back through our own importer with the same numbers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine import cli
from engine.errors import InputError
from engine.exporting.tensorboard import export_tensorboard
from engine.importing import keep, read
from engine.lab import Lab
from engine.store import Reader
from engine.tables import write_table
from tests.engine import fakes


@pytest.fixture
def home(tmp_path: Path) -> Any:
    """A home with a study of eight finished runs that needed no torch."""
    with Lab.open(tmp_path / "home", jobs=1, run_one=fakes.run_one) as lab:
        assert lab.runner.wait(lab.runner.submit(fakes.tiny_study()), timeout=60)
        yield lab


def numbers(reader: Reader, study: str) -> dict[tuple[Any, ...], float]:
    """Every final number by size, seed and name."""
    rows = reader.evaluations(study, final_only=True)
    return {(r.n_params_non_embedding, r.seed, r.capability, r.metric): r.value for r in rows}


def back(lab: Lab, *paths: Path) -> str:
    return keep(lab.store, read(paths), fit=False).study_id


def curves(reader: Reader, study: str, key: str) -> dict[tuple[int, int], Any]:
    runs = reader.runs(study)
    return {(run.n_params_non_embedding, run.seed): reader.curve_full(run.id, key) for run in runs}


def same_curves(reader: Reader, one: str, other: str, key: str) -> None:
    wanted, got = curves(reader, one, key), curves(reader, other, key)
    assert wanted.keys() == got.keys()
    for run, (steps, values) in wanted.items():
        np.testing.assert_array_equal(got[run][0], steps)
        np.testing.assert_allclose(got[run][1], values, rtol=1e-6)


def test_tensorboard_events_come_back(home: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reader = home.reader()
    (study,) = [row.id for row in reader.studies()]
    home.store.writer.flush()
    assert cli.main(["export", "tensorboard", study, "--home", str(home.home), "--out", str(tmp_path / "tb")]) == 0
    assert len(list((tmp_path / "tb").iterdir())) == 8
    again = back(home, tmp_path / "tb")
    wanted, got = numbers(reader, study), numbers(reader, again)
    assert {key: pytest.approx(value, rel=1e-6) for key, value in wanted.items()} == got  # events are float32
    same_curves(reader, study, again, "train/loss")
    assert [run.tokens_seen for run in reader.runs(again)] == [run.tokens_seen for run in reader.runs(study)]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_results_come_back(kind: str, home: Lab, tmp_path: Path) -> None:
    reader = home.reader()
    (study,) = [row.id for row in reader.studies()]
    write_table(reader, study, tmp_path / f"results.{kind}", kind)
    again = back(home, tmp_path / f"results.{kind}")
    assert numbers(reader, again) == numbers(reader, study)
    stderr = {row.stderr for row in reader.evaluations(again, final_only=True) if row.metric == "loss"}
    assert stderr == {0.01}


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_curves_come_back(kind: str, home: Lab, tmp_path: Path) -> None:
    reader = home.reader()
    (study,) = [row.id for row in reader.studies()]
    from engine.events import MetricBlock

    for run in reader.runs(study):
        steps = np.array([10, 20])
        home.store.writer.emit(MetricBlock(run.id, "val/loss", steps, np.array([2.0, 1.5 + run.seed])))
    home.store.writer.flush()
    out = tmp_path / f"curves.{kind}"
    arguments = ["export", kind, study, "--of", "curves", "--home", str(home.home), "--out", str(out)]
    assert cli.main(arguments) == 0
    again = back(home, out)
    for key in ("train/loss", "val/loss"):
        same_curves(reader, study, again, key)


def test_a_table_of_runs_tells_recipe_and_facts(home: Lab, tmp_path: Path) -> None:
    import pyarrow.parquet

    reader = home.reader()
    (study,) = [row.id for row in reader.studies()]
    write_table(reader, study, tmp_path / "runs.parquet", "parquet", "runs")
    table = pyarrow.parquet.read_table(tmp_path / "runs.parquet").to_pylist()
    assert [row["run_id"] for row in table] == [run.id for run in reader.runs(study)]
    assert {row["training.n_steps"] for row in table} == {20}


def test_what_cannot_be_exported_is_said(home: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reader = home.reader()
    (study,) = [row.id for row in reader.studies()]
    arguments = ["export", "csv", study, "--of", "nothing", "--home", str(home.home), "--out", str(tmp_path / "x.csv")]
    assert cli.main(arguments) == 2
    assert "results, curves, runs" in capsys.readouterr().err
    (tmp_path / "taken").write_text("a file")
    arguments = ["export", "tensorboard", study, "--home", str(home.home), "--out", str(tmp_path / "taken")]
    assert cli.main(arguments) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    with pytest.raises(InputError):
        export_tensorboard(reader, "no-such-study", tmp_path / "tb")
