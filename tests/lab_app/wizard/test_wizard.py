"""The six steps of a new study: nothing is lost, what is wrong is said, and what is shown is what will run."""

import copy
import json
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtWidgets import QFileDialog

from engine.errors import ResourceError
from engine.expand import expand
from engine.sources import sources
from engine.study import StudySpec, builtin_studies, load_study, parse_study, study_id, to_toml_table
from lab_app.pages.train import TrainPage
from lab_app.wizard.ladder import even_sizes, parse_sizes
from lab_app.wizard.question import slug
from tests.lab_app.desk import Desk
from tests.lab_app.fakes import a_plan, small_study

BUILT_IN = [path.stem for path in builtin_studies()]
QUESTION, LADDER, DATA, TRAINING, ESTIMATE, REVIEW = range(6)


@pytest.fixture
def page(desk: Desk) -> TrainPage:
    return desk.train


def plain(table: dict[str, Any]) -> dict[str, Any]:
    """The table with lists for tuples and every option spelled out."""
    found: dict[str, Any] = json.loads(json.dumps(table))
    return found


def through_every_step(page: TrainPage) -> None:
    for number in range(len(page.steps)):
        page.list.setCurrentRow(number)


def test_no_built_in_study_loses_anything(desk: Desk) -> None:
    page = desk.train
    for name in BUILT_IN:
        study = load_study(name)
        page.edit(study)
        through_every_step(page)
        desk.settle()
        assert page.study() == study, name
        assert study_id(page.study()) == study_id(study)
        assert plain(page.table) == plain(to_toml_table(study) | {"question": study.question})
        assert not page.problem.isVisible() and page.start.isEnabled()


def test_fields_that_no_step_shows_are_kept(page: TrainPage) -> None:
    study = small_study(
        ladder={"sizes": [2000, 5000], "seeds": [7, 9], "vary": {"training.learning_rate": [0.01, 0.02]}},
        training={"steps": 10, "beta2": 0.99, "eval_tokens": 4096, "learning_rate": 0.0123456789},
        capabilities=[{"name": "word-completion", "options": {"items": 40}}],
        headline={"capability": "word-completion", "metric": "exact_match"},
        execution={"threads": 1},
        zh_CN={"title": "小研究"},
        profiles={"gpu": {"training": {"steps": 20}}},
    )
    page.edit(study)
    through_every_step(page)
    assert page.study() == study


def test_a_language_switch_in_the_midst_loses_nothing(desk: Desk) -> None:
    page = desk.train
    study = load_study("quickstart")
    page.edit(study)
    page.steps[TRAINING].amount.setText("1.5M")
    desk.window.use_language("zh_CN")
    assert page.study().training.tokens == 1_500_000
    desk.window.use_language("en")
    page.steps[TRAINING].amount.setText("1,800,000")
    assert page.study() == study


def test_another_title_drops_the_translation_of_the_old_one(page: TrainPage) -> None:
    page.edit(load_study("quickstart"))
    question = page.steps[QUESTION]
    question.study_title.setText("What about mine?")
    question.study_title.textEdited.emit("What about mine?")
    assert question.name.text() == "what-about-mine"
    assert page.study().zh_CN == {} and page.study().title == "What about mine?"


def test_the_steps_edit_their_parts(page: TrainPage) -> None:
    page.edit(load_study("quickstart"))
    ladder, data, training = page.steps[LADDER], page.steps[DATA], page.steps[TRAINING]
    ladder.sizes.setText("2k, 5000，1e4; 20_000")
    ladder.seeds.setValue(3)
    training.mode.setCurrentIndex(training.mode.findData("steps"))
    training.amount.setText("2k")
    training.boxes["word-completion"].setChecked(False)
    data.source.setCurrentIndex(data.source.findData("text-folder"))
    next(f for f in data.form.fields if f.name in ("folder", "path")).write("/some/where")
    study = page.study()
    assert study.ladder.sizes == (2000, 5000, 10_000, 20_000) and study.ladder.seeds == (0, 1, 2)
    assert (study.training.steps, study.training.tokens) == (2000, None)
    assert [use.name for use in study.capabilities] == ["language-modelling", "in-context-gain"]
    assert study.data["source"] == "text-folder" and "/some/where" in study.data.values()


@pytest.mark.parametrize(
    ("edit", "field"),
    [
        (lambda page: page.steps[LADDER].sizes.setText("2k, many"), "ladder.sizes[1]"),
        (lambda page: page.steps[LADDER].sizes.setText("-5"), "ladder.sizes[0]"),
        (lambda page: page.steps[LADDER].sizes.setText(""), "ladder.sizes"),
        (lambda page: page.steps[QUESTION].name.setText("No Such Name!"), "name"),
        (lambda page: page.steps[TRAINING].amount.setText("a lot"), "training.tokens"),
        (lambda page: page.steps[TRAINING].amount.setText("-3"), "training.tokens"),
        (lambda page: page.steps[TRAINING].form.fields[3].write(-1.0), "training.learning_rate"),
    ],
)
def test_a_wrong_value_names_its_field_and_stops_start(page: TrainPage, edit: Any, field: str) -> None:
    page.edit(load_study("quickstart"))
    assert page.start.isEnabled()
    edit(page)
    if field == "name":
        page.steps[QUESTION].name.textEdited.emit("")
    assert page.problem.isVisible()
    assert page.problem.text().startswith(f"{field}: ")
    assert not page.start.isEnabled()
    page.edit(load_study("quickstart"))
    assert not page.problem.isVisible() and page.start.isEnabled()


def test_a_model_or_source_that_does_not_exist_is_refused_before_start(desk: Desk) -> None:
    """What only expanding finds out: the field of the family's own Spec."""
    page = desk.train
    page.edit(load_study("quickstart"))
    page.steps[LADDER].sizes.setText("2000, 2001")
    page._edited()
    desk.settle()
    desk.until(lambda: "gives the same model" in page.steps[LADDER].said.text())
    started: list[StudySpec] = []
    page.start_wanted.connect(started.append)
    page.start.click()
    desk.settle()
    assert desk.program.catalog.studies == []


def test_the_ladder_preview_is_what_will_run(desk: Desk) -> None:
    page = desk.train
    study = load_study("quickstart")
    page.edit(study)
    page.list.setCurrentRow(LADDER)
    ladder = page.steps[LADDER]
    ladder.sizes.setText("3k, 30k, 300k")
    desk.until(lambda: ladder.preview.rowCount() == 3)
    desk.settle()
    runs = expand(page.study())
    assert [row.n_params for row in ladder.preview.rows] == [run.n_params for run in runs[::2]]
    assert ladder.preview.index(0, 0).data() == "3,000"
    assert ladder.said.text() == "6 runs; each size is trained with 2 seeds."
    ladder.low.setText("1k")
    ladder.high.setText("1M")
    ladder.count.setValue(4)
    ladder.make.click()
    desk.until(lambda: ladder.preview.rowCount() == 4)
    assert page.study().ladder.sizes == (1000, 10_000, 100_000, 1_000_000)
    ladder.low.setText("x")
    ladder.make.click()
    assert "whole numbers" in ladder.said.text()


@pytest.mark.parametrize("source", list(sources))
def test_every_source_has_its_form(page: TrainPage, source: str) -> None:
    data = page.steps[DATA]
    data.source.setCurrentIndex(data.source.findData(source))
    assert {f.name for f in data.form.fields} == set(sources[source].Spec.__struct_fields__)
    table: dict[str, Any] = {}
    data.store(table)
    assert table["data"]["source"] == source


def test_the_data_are_looked_at(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    for number in range(3):
        (tmp_path / "texts" / f"{number}.txt").write_text(f"Document number {number} says something. " * 20)
    page = desk.train
    data = page.steps[DATA]
    page.list.setCurrentRow(DATA)
    data.source.setCurrentIndex(data.source.findData("text-folder"))
    folder = next(f for f in data.form.fields if f.name in ("folder", "path"))
    folder.write(str(tmp_path / "texts"))
    data.look.click()
    assert data.said.text() == "Reading…" and not data.look.isEnabled()
    desk.until(lambda: data.look.isEnabled())
    assert "Document number" in data.preview.text.toPlainText()
    assert data.said.text() == "3 documents"
    folder.write(str(tmp_path / "nothing"))
    data.look.click()
    desk.until(lambda: data.look.isEnabled())
    assert str(tmp_path / "nothing") in data.said.text()


def test_the_estimate_waits_for_the_engine_and_shows_its_plan(desk: Desk) -> None:
    page = desk.train
    study = load_study("quickstart")
    page.edit(study)
    estimate = page.steps[ESTIMATE]
    page.list.setCurrentRow(ESTIMATE)
    assert estimate.verdict.text() == "Measuring this machine…"
    assert estimate.model.rowCount() == 0
    desk.context.warmth.mark_warm()
    desk.until(lambda: estimate.model.rowCount() == 12)
    assert estimate.verdict.text() == "It fits, and takes about 2 min."
    assert "Checkpoints and results take 5.0 MiB." in estimate.reason.text()
    assert estimate.model.index(0, 4).data() == "10 s"


def test_an_estimate_of_what_does_not_fit_says_why(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_large(study: StudySpec, home: Path) -> dict[str, Any]:
        document = a_plan(study, home)
        for run in document["runs"]:
            run["seconds"] = None
        return document | {"fits": False, "seconds": None, "reasons": ["It needs 900 GB. Sizes up to 5 fit."]}

    monkeypatch.setattr("engine.planning.plan", too_large)
    desk.context.warmth.mark_warm()
    page = desk.train
    page.list.setCurrentRow(ESTIMATE)
    estimate = page.steps[ESTIMATE]
    desk.until(lambda: "900 GB" in estimate.reason.text())
    assert estimate.verdict.text() == "It does not fit on this machine."
    assert estimate.model.index(0, 4).data() == "–"


def test_an_estimate_that_fails_says_so_and_can_be_tried_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(study: StudySpec, home: Path) -> dict[str, Any]:
        raise ResourceError("the disk is full.", "Free some space.")

    desk.settle()
    monkeypatch.setattr("engine.planning.plan", fails)
    page = desk.train
    page.list.setCurrentRow(ESTIMATE)
    estimate = page.steps[ESTIMATE]
    desk.context.warmth.warm = True
    estimate.again.setEnabled(True)
    estimate.again.click()
    desk.until(lambda: "the disk is full" in estimate.reason.text())
    monkeypatch.setattr("engine.planning.plan", a_plan)
    estimate.again.click()
    desk.until(lambda: estimate.verdict.text().startswith("It fits"))


def test_an_old_estimate_does_not_overwrite_a_new_one(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(study: StudySpec, home: Path) -> dict[str, Any]:
        time.sleep(0.4 if len(study.ladder.sizes) == 6 else 0.0)
        return a_plan(study, home)

    monkeypatch.setattr("engine.planning.plan", slow)
    page = desk.train
    desk.context.warmth.warm = True
    page.edit(load_study("quickstart"))
    estimate = page.steps[ESTIMATE]
    page.list.setCurrentRow(ESTIMATE)
    page.list.setCurrentRow(LADDER)
    page.steps[LADDER].sizes.setText("2k, 20k")
    page.list.setCurrentRow(ESTIMATE)
    desk.until(lambda: estimate.model.rowCount() == 4)
    desk.settle()
    assert estimate.model.rowCount() == 4


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_review_is_the_file(page: TrainPage, name: str) -> None:
    page.edit(load_study(name))
    page.list.setCurrentRow(REVIEW)
    assert parse_study(tomllib.loads(page.steps[REVIEW].text.toPlainText())) == load_study(name)


def test_the_review_of_a_wrong_draft_says_what_is_wrong(page: TrainPage) -> None:
    page.steps[LADDER].sizes.setText("few")
    page.list.setCurrentRow(REVIEW)
    assert "ladder.sizes[0]" in page.steps[REVIEW].text.toPlainText()


def test_back_and_next_walk_through_all_steps(page: TrainPage) -> None:
    seen = [page.stack.currentIndex()]
    assert not page.back.isEnabled()
    while page.next.isEnabled():
        page.next.click()
        seen.append(page.stack.currentIndex())
    assert seen == list(range(6))
    page.back.click()
    assert page.list.currentRow() == 4


def test_one_begins_from_a_built_in_or_a_blank_study(page: TrainPage) -> None:
    start = page.steps[QUESTION].start
    for name in [*BUILT_IN, ""]:
        start.setCurrentIndex(start.findData(name))
        start.activated.emit(start.currentIndex())
        assert page.study().name == (name or "my-study")
        assert page.start.isEnabled()
    before = copy.deepcopy(page.table)
    start.setCurrentIndex(0)
    start.activated.emit(0)
    assert page.table == before


def test_a_blank_study_can_be_begun_twice(page: TrainPage) -> None:
    """What is edited in a draft must not be written into the template."""
    start = page.steps[QUESTION].start
    for _ in range(2):
        start.setCurrentIndex(start.findData(""))
        start.activated.emit(start.currentIndex())
        assert page.study().ladder.sizes == (2000, 8000, 32_000)
        page.steps[LADDER].sizes.setText("5k, 9k")
        through_every_step(page)


def test_start_queues_the_draft_and_shows_it(desk: Desk) -> None:
    page = desk.train
    page.edit(small_study())
    page.start.click()
    desk.until(lambda: desk.window.page_name == "monitor")
    assert desk.context.selection.study == study_id(small_study())
    desk.until(lambda: desk.states() == {"finished"})


def test_save_as_writes_the_draft(page: TrainPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page.edit(small_study())
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_a, **_k: (str(tmp_path / "x.toml"), ""))
    page.save.click()
    assert load_study(str(tmp_path / "x.toml")) == small_study()
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_a, **_k: (str(tmp_path / "no" / "x.toml"), ""))
    page.save.click()
    assert "cannot be written" in page.problem.text() and page.problem.isVisible()


def test_even_sizes_are_even_on_a_log_axis() -> None:
    assert even_sizes(1000, 1_000_000, 4) == [1000, 10_000, 100_000, 1_000_000]
    assert even_sizes(2000, 100_000, 1) == [2000]
    assert even_sizes(5000, 5000, 3) == [5000]
    assert even_sizes(1000, 1100, 40) == sorted(set(even_sizes(1000, 1100, 40)))


def test_sizes_are_parsed_as_people_write_them() -> None:
    assert parse_sizes("2k, 5000， 1.5M; 7e3,") == [2000, 5000, 1_500_000, 7000]
    assert parse_sizes("2k, many, 1e400") == [2000, "many", "1e400"]


@pytest.mark.parametrize(
    ("title", "name"),
    [("What about mine?", "what-about-mine"), ("  --  ", "study"), ("我的研究", "study"), ("x" * 90, "x" * 64)],
)
def test_a_title_gives_a_valid_name(title: str, name: str) -> None:
    assert slug(title) == name
