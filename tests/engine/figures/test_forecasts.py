"""A locked forecast stays under the points that came, with its day; the calibration shows what was counted."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from engine.errors import InputError
from engine.figures.builders import build
from engine.figures.export import export
from engine.lab import Lab
from engine.store import Reader
from tests.engine.fakes import run_one, tiny_study

Study = tuple[Reader, str]
SIZES = [2000, 5000, 11_000, 24_000, 52_000]


@pytest.fixture(scope="module")
def verified(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Study]:
    home = tmp_path_factory.mktemp("home")
    with Lab.open(home, jobs=2, executor="thread", run_one=run_one) as lab:
        study = lab.runner.submit(tiny_study(ladder={"sizes": SIZES, "seeds": [0, 1]}, forecast={"hold": 2}))
        assert lab.runner.wait(study, timeout=60)
        lab.store.writer.flush()
        yield lab.reader(), study


@pytest.mark.parametrize(("figure", "options"), [("loss-vs-params", {}), ("capability-vs-params", {"metric": "loss"})])
def test_the_forecast_stays_under_what_came(verified: Study, figure: str, options: dict[str, str]) -> None:
    reader, key = verified
    (row,) = reader.forecasts(key)
    shown = build(reader, figure, key, **options)
    locked = next(s for s in shown.series if "locked" in s.name)
    assert row.document["locked"][:10] in locked.name and "90%" in locked.name
    assert shown.series.index(locked) == 0 and locked.hollow
    assert locked.x.tolist() == [t["n_params_non_embedding"] for t in row.document["targets"]]
    assert locked.lo is not None and locked.hi is not None
    assert np.all(locked.lo < locked.y) and np.all(locked.y < locked.hi)
    assert shown.provenance["forecasts"][0]["sha256"] == row.document["sha256"]


def test_under_the_other_count_of_parameters(verified: Study) -> None:
    reader, key = verified
    (row,) = reader.forecasts(key)
    locked = next(s for s in build(reader, "loss-vs-params", key, convention="all").series if "locked" in s.name)
    assert locked.x.tolist() == [t["n_params"] for t in row.document["targets"]]


def test_calibration_counts_what_was_scored(verified: Study, tmp_path: Path) -> None:
    reader, key = verified
    (row,) = reader.forecasts(key)
    assert row.score is not None
    shown = build(reader, "calibration", key, capability="language-modelling", metric="loss")
    observed = shown.series[1]
    at = observed.x.tolist().index(0.9)
    assert observed.y[at] == row.score["loss_inside"] / 2
    assert shown.provenance["calibration"]["n"] == 2
    assert export(shown, tmp_path / "f.svg").stat().st_size > 5000
    with pytest.raises(InputError, match="scopes"):
        build(reader, "calibration", key, scope="world")
    with pytest.raises(InputError, match="no forecast has been scored"):
        build(reader, "calibration", key, capability="nothing")
