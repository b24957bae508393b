"""A study leaves one home and lives in another as it did: results, curves, laws, forecasts, weights."""

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
import zipfile
from collections import namedtuple
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine import cli
from engine.bundling import restoring
from engine.bundling.opening import open_bundle
from engine.bundling.restoring import restore
from engine.bundling.writing import export_bundle
from engine.errors import InputError, ResourceError
from engine.exporting import export_hf
from engine.forecasting import forecast_documents, lock
from engine.lab import Lab
from engine.results import study_document
from engine.store import Store, mutations
from tests.engine import fakes
from tests.engine.exporting.homes import finished

FORECAST = {"training": {"steps": 20}, "forecast": {"hold": 1}}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, Path]:
    """A home with a study of fake runs, a law, a scored and an open forecast; the study's id; its bundle."""
    folder = tmp_path_factory.mktemp("bundle")
    with Lab.open(folder / "home", jobs=1, run_one=fakes.run_one) as lab:
        study = lab.runner.submit(fakes.tiny_study(**FORECAST))
        assert lab.runner.wait(study, timeout=60)
        lock(lab.store, study, [60_000])
        lab.store.writer.call(lambda conn: mutations.notes(conn, study, "seen twice")).result()
        lab.store.writer.call(lambda conn: mutations.tags(conn, study, ["paper"])).result()
        lab.store.writer.flush()
        export_bundle(lab.reader(), lab.home, study, folder / "b.zip")
    return folder / "home", study, folder / "b.zip"


def told(home: Path, study: str) -> dict[str, Any]:
    """All that the verbs print of a study, without the numbers of runs and forecasts, which are the home's own."""
    with Store.open(home, read_only=True) as store:
        document = study_document(store.reader(), study)
        row = store.reader().study(study)
        document |= {"notes": row.notes, "tags": row.tags, "created": row.created}
        curves = {
            (run.spec_hash, key): store.reader().curve_full(run.id, key)
            for run in store.reader().runs(study)
            for key in store.reader().metric_keys(run.id)
        }
        log = [[event.text for event in store.reader().log(run.id)] for run in store.reader().runs(study)]
    for run in document["runs"]:
        del run["run_id"]
    for forecast in document["forecasts"]:
        del forecast["forecast_id"]
    return document | {"curves": {k: [a.tolist() for a in v] for k, v in curves.items()}, "log": log}


def everything(home: Path) -> dict[str, bytes]:
    """Every file of a home by name, the database as its rows."""
    found = {p.relative_to(home).as_posix(): p.read_bytes() for p in home.rglob("*") if p.is_file()}
    for name in [name for name in found if name.startswith("lab.")]:
        del found[name]
    if (home / "lab.db").exists():
        connection = sqlite3.connect(home / "lab.db")
        found["rows"] = "\n".join(connection.iterdump()).encode()
        connection.close()
    return found


def test_a_study_is_restored_with_all_it_had(made: tuple[Path, str, Path], tmp_path: Path) -> None:
    home, study, file = made
    with Lab.open(tmp_path / "other", jobs=1, run_one=fakes.run_one) as lab:
        lab.runner.wait(lab.runner.submit(fakes.tiny_study(name="before")), timeout=60)  # other numbers for the runs
        assert restore(lab.store, open_bundle(file)).added
        assert all(document["intact"] for document in forecast_documents(lab.reader(), study))
    wanted, got = told(home, study), told(tmp_path / "other", study)
    assert got == wanted
    assert len(got["forecasts"]) == 2 and got["law"] is not None
    connection = sqlite3.connect(tmp_path / "other" / "lab.db")
    with pytest.raises(sqlite3.IntegrityError, match="locked"):
        connection.execute("UPDATE forecast SET document_json = '{}'")
    connection.close()


def test_the_verbs_and_a_second_time(
    made: tuple[Path, str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home, study, _ = made
    out, other = tmp_path / "b.zip", tmp_path / "other"
    assert cli.main(["export", "bundle", study, "--home", str(home), "--out", str(out)]) == 0
    assert cli.main(["import", str(out), "--home", str(other)]) == 0
    before = everything(other)
    assert cli.main(["import", str(out), "--home", str(other)]) == 0
    assert "nothing was added" in capsys.readouterr().out
    assert everything(other) == before
    figure = ["export", "figure", study, "--figure", "loss-vs-params", "--out", str(tmp_path / "f.svg")]
    assert cli.main([*figure, "--home", str(other)]) == 0


def test_a_bundle_holds_what_people_read(made: tuple[Path, str, Path]) -> None:
    with zipfile.ZipFile(made[2]) as archive:
        names = set(archive.namelist())
        toml = archive.read("study.toml").decode()
    assert {"manifest.json", "study.toml", "results.csv", "figures/loss-vs-params.svg"} <= names
    assert "figures/loss-vs-params.csv" in names and 'name = "tiny"' in toml


def test_weights_go_along_and_the_model_is_the_same(tmp_path: Path) -> None:
    home = finished("gpt", "cnn")
    with Store.open(home, read_only=True) as store:
        reader = store.reader()
        study = reader.run(1).study_id
        export_bundle(reader, home, study, tmp_path / "none.zip")
        export_bundle(reader, home, study, tmp_path / "all.zip", "all")
        export_bundle(reader, home, study, tmp_path / "best.zip", "best")
        export_hf(reader, home, 1, tmp_path / "here")
        with pytest.raises(InputError, match="none, best, all"):
            export_bundle(reader, home, study, tmp_path / "some.zip", "some")
    assert open_bundle(tmp_path / "best.zip").artifacts == open_bundle(tmp_path / "all.zip").artifacts != ()
    with Lab.open(tmp_path / "other") as lab:
        restore(lab.store, open_bundle(tmp_path / "none.zip"))
        with pytest.raises(InputError, match="no finished model"):
            export_hf(lab.reader(), lab.home, 1, tmp_path / "there")
        assert not restore(lab.store, open_bundle(tmp_path / "all.zip")).added  # only the weights were missing
        export_hf(lab.reader(), lab.home, 1, tmp_path / "there")
        one = next(row for row in lab.reader().artifacts(1) if row.kind == "weights")
    assert one.n_bytes == (tmp_path / "other" / "artifacts" / "1" / one.path).stat().st_size
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "there" / name).read_bytes()


def test_results_of_its_own_are_not_overwritten(made: tuple[Path, str, Path], tmp_path: Path) -> None:
    _, study, file = made
    with Lab.open(tmp_path / "other", jobs=1, run_one=fakes.run_one) as lab:
        assert lab.runner.wait(lab.runner.submit(fakes.tiny_study(**FORECAST)), timeout=60)
        lab.store.writer.call(lambda conn: conn.execute("UPDATE evaluation SET value = value + 1")).result()
        before = everything(lab.home)
        with pytest.raises(InputError, match="results of its own"):
            restore(lab.store, open_bundle(file))
        assert everything(lab.home) == before
        assert lab.reader().study(study).trashed is None


def test_a_full_disk_leaves_nothing(
    made: tuple[Path, str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    with Lab.open(tmp_path / "other") as lab:
        before = everything(lab.home)
        with monkeypatch.context() as patch:
            patch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, 1000))
            with pytest.raises(ResourceError, match="disk is full"):
                restore(lab.store, open_bundle(made[2]))
        assert everything(lab.home) == before


@pytest.mark.parametrize("where", ["_stage", "_rows", "_move"])
def test_a_failure_half_way_leaves_nothing(where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = finished("gpt", "cnn")
    with Store.open(home, read_only=True) as store:
        export_bundle(store.reader(), home, store.reader().run(1).study_id, tmp_path / "b.zip", "all")
    real = getattr(restoring, where)

    def fail(*arguments: Any) -> None:
        real(*arguments)
        raise OSError(28, "No space left on device")

    with Lab.open(tmp_path / "other") as lab:
        before = everything(lab.home)
        monkeypatch.setattr(restoring, where, fail)
        with pytest.raises(ResourceError):
            restore(lab.store, open_bundle(tmp_path / "b.zip"))
        assert everything(lab.home) == before
        monkeypatch.undo()
        assert restore(lab.store, open_bundle(tmp_path / "b.zip")).added


def test_a_kill_half_way_leaves_nothing_once_the_home_is_opened(tmp_path: Path) -> None:
    home, other = finished("gpt", "cnn"), tmp_path / "other"
    with Store.open(home, read_only=True) as store:
        export_bundle(store.reader(), home, store.reader().run(1).study_id, tmp_path / "b.zip", "all")
    with Lab.open(other) as lab:
        before = everything(lab.home)
    code = f"""
import os
from pathlib import Path
from engine.bundling import restoring
from engine.bundling.opening import open_bundle
from engine.lab import Lab
real = restoring._move
def kill(*arguments):
    real(*arguments)
    os._exit(9)
restoring._move = kill
lab = Lab.open(Path({str(other)!r}))
restoring.restore(lab.store, open_bundle(Path({str(tmp_path / "b.zip")!r})))
"""
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, env=os.environ | {"PYTHONPATH": str(root)})
    assert done.returncode == 9
    assert (other / "artifacts" / "1" / "weights.safetensors").exists()
    with Lab.open(other) as lab:
        assert everything(lab.home) == before
        assert restore(lab.store, open_bundle(tmp_path / "b.zip")).added
        steps, _ = lab.reader().curve_full(1, "train/loss")
        np.testing.assert_array_equal(steps, np.arange(1, 7))


class Stops:
    """Ends what it is told of at the n-th sign of life."""

    def __init__(self, n: int) -> None:
        self._left = n

    def __call__(self, step: str, fraction: float) -> None:
        self._left -= 1
        if not self._left:
            raise ZeroDivisionError


def test_progress_goes_by_bytes_and_rows_and_may_stop_it_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.bundling import opening

    monkeypatch.setattr(opening, "_BLOCK", 4_096)
    home = finished("gpt", "cnn")
    with Store.open(home, read_only=True) as store:
        export_bundle(store.reader(), home, store.reader().run(1).study_id, tmp_path / "b.zip", "all")
    told: list[tuple[str, float]] = []

    def tell(step: str, fraction: float) -> None:
        told.append((step, fraction))

    bundle = open_bundle(tmp_path / "b.zip", tell)
    with Lab.open(tmp_path / "whole") as lab:
        restore(lab.store, bundle, tell)
        wanted = len(lab.reader().runs())
    assert list(dict.fromkeys(step for step, _ in told)) == ["checking", "files", "storing"]
    for part in ("checking", "files", "storing"):
        fractions = [fraction for step, fraction in told if step == part]
        assert fractions == sorted(fractions) and (fractions[0], fractions[-1]) == (0.0, 1.0)
    assert len([step for step, _ in told if step == "files"]) > 5, "weights are more than one block"
    n_calls = len([step for step, _ in told if step != "checking"])
    with Lab.open(tmp_path / "stopped") as lab:
        before = everything(lab.home)
        for last in (1, 4, n_calls - 1, n_calls):
            with pytest.raises(ZeroDivisionError):
                restore(lab.store, bundle, Stops(last))
            assert everything(lab.home) == before
        assert restore(lab.store, bundle).added and len(lab.reader().runs()) == wanted


def test_who_is_interrupted_while_it_is_stored_waits_for_the_writer(
    tmp_path: Path, made: tuple[Path, str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, real = threading.Event(), Future.result

    def interrupted(self: Any, timeout: float | None = None) -> Any:
        if begun.wait(0.0):
            return real(self, timeout)
        assert begun.wait(20)
        raise KeyboardInterrupt

    def slow(step: str, fraction: float) -> None:
        if step == "storing":
            begun.set()
            time.sleep(0.1)

    bundle = open_bundle(made[2])
    with Lab.open(tmp_path / "other") as lab:
        before = everything(lab.home)
        with monkeypatch.context() as patch:
            patch.setattr(Future, "result", interrupted)
            with pytest.raises(KeyboardInterrupt):
                restore(lab.store, bundle, slow)
        assert everything(lab.home) == before
        assert restore(lab.store, bundle).added


def test_what_was_cancelled_leaves_nothing(made: tuple[Path, str, Path], tmp_path: Path) -> None:
    class Cancelled(Exception):
        pass

    def cancel(step: str, fraction: float) -> None:
        raise Cancelled

    home, study, file = made
    with Store.open(home, read_only=True) as store, pytest.raises(Cancelled):
        export_bundle(store.reader(), home, study, tmp_path / "b.zip", on_progress=cancel)
    assert list(tmp_path.iterdir()) == []
    with Lab.open(tmp_path / "other") as lab:
        before = everything(lab.home)
        with pytest.raises(Cancelled):
            restore(lab.store, open_bundle(file), cancel)
        assert everything(lab.home) == before
