"""What is kept: finished runs, a law, every figure, and nothing twice or by half."""

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from engine import cli
from engine.errors import InputError
from engine.expand import expand
from engine.figures.builders import build
from engine.importing import keep, read, storing
from engine.importing.found import Found
from engine.lab import Lab
from engine.store import Store, mutations
from engine.study import StudySpec, study_id
from engine.tables import rows, write_table
from tests.engine.importing.samples import SIZES, new_layout, write_events, write_json, write_wide


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "home") as opened:
        yield opened


@pytest.fixture
def wide(tmp_path: Path) -> Found:
    return read([write_wide(tmp_path / "Pythia results.csv")], {"hellaswag/acc": "hellaswag"})


def counts(store: Store) -> list[int]:
    with sqlite3.connect(store.path) as connection:
        tables = ("study", "run", "metric", "metric_key", "evaluation", "law", "event")
        found = [connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables]
    connection.close()
    return found


def test_runs_are_finished_and_a_law_is_fitted(store: Store, wide: Found) -> None:
    kept = keep(store, wide)
    assert kept.added and kept.study_id.startswith("pythia-results-")
    reader = store.reader()
    runs = reader.runs(kept.study_id)
    assert [run.n_params for run in runs] == list(SIZES)
    assert {(run.state, run.kind, run.family) for run in runs} == {("finished", "import", "imported")}
    assert all(run.facts["imported"] is True for run in runs)
    assert kept.law is not None
    assert kept.law["params"]["alpha"] == pytest.approx(0.25, rel=0.01)
    assert kept.law["params"]["E"] == pytest.approx(1.6, rel=0.01)
    assert not any("learning rate" in str(warning) for warning in kept.law["warnings"])


def test_where_it_came_from_is_kept(store: Store, wide: Found) -> None:
    spec = store.reader().study_spec(keep(store, wide, title="Theirs").study_id)
    assert spec.kind == "import" and spec.title == "Theirs"
    assert spec.imported == storing.as_study(wide)[0].imported
    assert [file.name for file in wide.files] == ["Pythia results.csv"]


def test_every_figure_and_table_shows_it(store: Store, wide: Found, tmp_path: Path) -> None:
    identity = keep(store, wide).study_id
    reader = store.reader()
    for name in ("loss-vs-params", "residuals"):
        assert build(reader, name, identity).provenance["imported_from"][0]["name"] == "Pythia results.csv"
    figure = build(reader, "capability-vs-params", identity, capability="hellaswag", metric="acc")
    assert figure.series[-1].y.tolist() == pytest.approx([0.25 + 0.1 * i for i in range(6)])
    write_table(reader, identity, tmp_path / "out.csv", "csv")
    again = read([tmp_path / "out.csv"])
    assert [run.loss for run in again.runs] == pytest.approx([run.loss for run in wide.runs])
    assert ("hellaswag", "acc") in again.measured
    assert len(rows(reader, identity)) == 12


def test_curves_are_drawn_over_steps_where_tokens_are_not_told(store: Store, tmp_path: Path) -> None:
    for size in ("1M", "2M"):
        write_events(tmp_path / "tb" / f"m-{size}", {"train/loss": [(step, 4 - step / 100) for step in range(1, 101)]})
    identity = keep(store, read([tmp_path / "tb"])).study_id
    figure = build(store.reader(), "loss-curves", identity)
    assert len(figure.series) == 2
    assert figure.x.label == "Optimizer steps" and figure.series[0].x[-1] == 100


def test_the_same_import_adds_nothing_and_leaves_the_trash(store: Store, wide: Found) -> None:
    first = keep(store, wide)
    before = counts(store)
    store.writer.call(lambda conn: mutations.trash(conn, first.study_id)).result()
    again = keep(store, wide, name="other-name")
    assert (again.study_id, again.added) == (first.study_id, False)
    assert again.law == first.law
    assert counts(store) == before
    assert [row.id for row in store.reader().studies()] == [first.study_id]


def test_read_another_way_it_is_another_study(store: Store, wide: Found, tmp_path: Path) -> None:
    other = read([tmp_path / "Pythia results.csv"], {"arc/acc": "hellaswag"})
    assert keep(store, wide).study_id != keep(store, other).study_id


def test_a_failure_half_way_leaves_nothing(store: Store, wide: Found, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(run_id: int, run: object) -> list[object]:
        if run_id > 3:
            raise RuntimeError("half way")
        return []

    before = counts(store)
    monkeypatch.setattr(storing, "_events", fail)
    with pytest.raises(RuntimeError, match="half way"):
        keep(store, wide)
    assert counts(store) == before


def test_without_a_size_nothing_is_kept(store: Store, tmp_path: Path) -> None:
    found = read([write_json(tmp_path / "r.json", new_layout("gpt2", {"piqa": 0.6}, None))])
    with pytest.raises(InputError, match="the size of gpt2"):
        keep(store, found)
    with pytest.raises(InputError, match="no name for a study"):
        keep(store, read([tmp_path / "r.json"], sizes={"": 124}), name="Not A Name")
    assert counts(store)[0] == 0


def test_scores_without_a_loss_have_a_headline(store: Store, tmp_path: Path) -> None:
    for size in (70, 160, 410, 1000, 1400):
        document = new_layout(f"p-{size}m", {"piqa": 0.5 + size / 1e4}, size * 10**6)
        write_json(tmp_path / "lm" / f"{size}.json", document)
    kept = keep(store, read([tmp_path / "lm"]))
    assert kept.law is None
    assert store.reader().study_spec(kept.study_id).headline.capability == "piqa"
    assert build(store.reader(), "capability-vs-params", kept.study_id).series


def test_it_cannot_be_run_resumed_or_copied(store: Store, wide: Found, tmp_path: Path) -> None:
    identity = keep(store, wide).study_id
    spec = store.reader().study_spec(identity)
    store.close()
    with pytest.raises(InputError, match="was imported"):
        expand(spec)
    with Lab.open(tmp_path / "home") as lab:
        with pytest.raises(InputError, match="was imported"):
            lab.runner.submit(spec)
        for act in (lab.runner.resume, lab.runner.pause, lab.runner.cancel):
            with pytest.raises(InputError):
                act(lab.reader().runs(identity)[0].id)
        assert {run.state for run in lab.reader().runs(identity)} == {"finished"}


def test_ids_of_other_studies_stay_as_they_are() -> None:
    from engine.study import load_study

    spec = load_study("quickstart")
    assert "imported" not in json.loads(msgspec.json.encode(spec))
    assert isinstance(spec, StudySpec) and study_id(spec).startswith("quickstart-")


# -- the verb -------------------------------------------------------------------------------------------------------


def test_the_verb_imports_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_wide(tmp_path / "wide.csv")
    arguments = ["import", str(file), "--home", str(tmp_path / "h"), "--columns", "hellaswag/acc=hellaswag", "--json"]
    assert cli.main(arguments) == 0
    first = json.loads(capsys.readouterr().out)
    assert first["imported"]["added"] and first["state"] == "finished" and first["law"]["form"] == "power-law-n"
    assert len(first["headline"]["by_size"]) == 6
    assert cli.main(arguments) == 0
    again = json.loads(capsys.readouterr().out)
    assert not again["imported"]["added"] and again["study_id"] == first["study_id"]
    assert cli.main([*arguments[:-1]]) == 0
    assert "nothing was added" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (["--size", "big"], "--size does not understand"),
        (["--columns", "loss"], "--columns does not understand"),
        (["--columns", "loss=nowhere"], "no column 'nowhere'"),
        (["--name", "A B"], "no name for a study"),
        (["missing.csv"], "no such file"),
    ],
)
def test_bad_input_is_one_sentence_and_makes_no_home(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], extra: list[str], words: str
) -> None:
    file = write_wide(tmp_path / "wide.csv")
    assert cli.main(["import", str(file), "--home", str(tmp_path / "h"), *extra]) == 2
    said = capsys.readouterr()
    assert words in said.err and said.err.count("\n") == 1 and said.out == ""
    assert not (tmp_path / "h").exists()


def test_sizes_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("gpt2", "gpt2-xl"):
        write_json(tmp_path / "lm" / f"{name}.json", new_layout(name, {"piqa": 0.6}, None))
    arguments = ["import", str(tmp_path / "lm"), "--home", str(tmp_path / "h"), "--json"]
    assert cli.main([*arguments, "--size", "gpt2=124M", "--size", "gpt2-xl=1.5B"]) == 0
    assert [run["n_params"] for run in json.loads(capsys.readouterr().out)["runs"]] == [124_000_000, 1_500_000_000]
