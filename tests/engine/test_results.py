"""The document of ``run`` and ``results``, tables and TOML."""

import csv
import json
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet
import pytest

from engine.errors import InputError
from engine.lab import Lab
from engine.results import known_study, study_document, study_state
from engine.study import builtin_studies, load_study, parse_study, to_toml_table
from engine.tables import to_toml, write_table
from tests.engine.fakes import run_one, tiny_study


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Lab, str]]:
    with Lab.open(tmp_path_factory.mktemp("home"), jobs=2, executor="thread", run_one=run_one) as lab:
        study = lab.runner.submit(tiny_study())
        assert lab.runner.wait(study, timeout=60)
        yield lab, study


def test_the_document_has_what_the_verbs_promise(finished: tuple[Lab, str]) -> None:
    lab, study = finished
    document = study_document(lab.reader(), study)
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert (document["study_id"], document["state"], len(document["runs"])) == (study, "finished", 8)
    run = document["runs"][0]
    for field in ("n_params", "n_params_non_embedding", "tokens_seen", "val_loss", "val_bits_per_byte"):
        assert run[field] > 0
    assert {e["metric"] for e in run["evaluations"]} == {"loss", "bits_per_byte"}
    sizes, means, sds = zip(*document["headline"]["by_size"], strict=True)
    assert list(sizes) == sorted(sizes)
    assert list(means) == sorted(means, reverse=True)
    assert sds == pytest.approx([0.01 / 2**0.5] * 4)
    assert document["law"]["n_points"] == 8


def test_tables_hold_one_row_per_run_and_metric(finished: tuple[Lab, str], tmp_path: Path) -> None:
    lab, study = finished
    write_table(lab.reader(), study, tmp_path / "a.csv", "csv")
    write_table(lab.reader(), study, tmp_path / "a.parquet", "parquet")
    rows = list(csv.DictReader((tmp_path / "a.csv").read_text().splitlines()))
    assert len(rows) == 16
    assert pyarrow.parquet.read_table(tmp_path / "a.parquet").num_rows == 16


def test_a_study_is_found_by_its_beginning(finished: tuple[Lab, str]) -> None:
    lab, study = finished
    assert known_study(lab.reader(), "tiny") == study
    with pytest.raises(InputError, match="there is no study 'nothing'"):
        known_study(lab.reader(), "nothing")


@pytest.mark.parametrize("path", builtin_studies(), ids=lambda p: p.stem)
def test_studies_survive_being_written_as_toml(path: Path) -> None:
    study = load_study(str(path))
    assert parse_study(tomllib.loads(to_toml(to_toml_table(study)))) == study
    assert study.text("title", "zh_CN") != study.title


def test_a_ladder_is_finished_only_where_every_run_is() -> None:
    assert study_state(["finished", "finished"]) == "finished"
    assert study_state(["finished", "queued", "failed"]) == "failed"
    assert study_state(["finished", "interrupted"]) == "interrupted"
