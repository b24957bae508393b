"""The Data page: sources and their fields, the preview, preparing with its report, and the way into a study."""

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PySide6.QtCore import QMimeData, QPoint, Qt, QUrl
from PySide6.QtGui import QDropEvent
from PySide6.QtWidgets import QFileDialog

from engine.errors import InputError
from engine.expand import expand
from engine.families import families
from engine.sources import sources
from engine.sources.base import QualityReport
from engine.sources.text_folder import TextFolder
from engine.study import convert
from lab_app.guide import about_source
from lab_app.pages.data import DataPage, kind_of, path_field
from lab_app.quality import sentences
from lab_app.wizard.base import study_of
from lab_app.wizard.beginning import table_for
from tests.lab_app.desk import Desk


@pytest.fixture
def page(desk: Desk) -> DataPage:
    page: DataPage = desk.page("data")
    desk.settle()
    return page


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    folder = tmp_path / "texts"
    folder.mkdir()
    for number in range(24):
        generator = np.random.default_rng(number)
        words = " ".join(f"w{n}" for n in generator.integers(0, 10**6, 60))
        (folder / f"{number:02}.txt").write_text(f"Document number {number}.\n{words}\n")
    return folder


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for place, name in enumerate(("cat", "dog")):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(4 + 12 * place):
            cells = np.random.default_rng(100 * place + number).integers(0, 256, (6, 6, 3), np.uint8)
            Image.fromarray(cells).resize((24, 24)).save(tmp_path / "pictures" / name / f"{number}.png")
    return tmp_path / "pictures"


def entered(page: DataPage) -> dict[str, Any]:
    return page.table()


def test_every_source_is_there_with_what_it_is_in_words(desk: Desk, page: DataPage) -> None:
    said = set()
    for name in sources:
        page.choose(name)
        desk.settle()
        assert page.form is not None
        assert page.source.currentData() == name
        assert {f.name for f in page.form.fields} == set(sources[name].Spec.__struct_fields__)
        assert page.about.text() == about_source(name) != ""
        assert ("made by a program" in page.kind.text()) is sources[name].procedural
        said.add(page.kind.text())
        path = path_field(sources[name])
        assert not path or page.form.fields[0].name == path
    assert len(said) == 3
    assert desk.settings.text("data/source") == name


def test_headings_of_the_list_cannot_be_chosen(desk: Desk, page: DataPage) -> None:
    heads = [i for i in range(page.source.count()) if page.source.itemData(i) is None]
    assert [page.source.itemText(i) for i in heads] == ["Your own files", "Real data", "Made by a program"]
    page.source.setCurrentIndex(heads[1])
    assert page.source.currentData() is not None
    desk.settle()


def test_the_preview_follows_what_is_entered(desk: Desk, page: DataPage, texts: Path) -> None:
    page.choose("text-folder")
    assert "Choose a folder" in page.looked.text() and not page.samples.isVisible()
    page.form.fields[0].write(str(texts))
    desk.until(lambda: "Document number 3" in page.samples.text.toPlainText())
    assert page.samples.isVisible()
    page.form.fields[0].write(str(texts / "nothing"))
    assert not page.samples.isVisible()
    desk.until(lambda: "there is no folder" in page.looked.text())
    page.choose("digits")
    desk.until(lambda: page.samples.currentWidget() is page.samples.grid and page.samples.grid.count() == 24)
    page.choose("text-folder")
    assert entered(page)["path"].endswith("nothing")  # what was entered is kept
    desk.settle()


def test_data_is_prepared_where_a_study_finds_it_and_judged(desk: Desk, page: DataPage, pictures: Path) -> None:
    (pictures / "cat" / "broken.png").write_bytes(b"no image")
    page.choose("image-folder", path=str(pictures), size=16)
    page.prepare_button.click()
    assert page.working.isVisible() and not page.prepare_button.isEnabled()
    desk.until(lambda: page.preparing is None)
    assert "cat/broken.png: is no image" in page.said.text() and page.said.isVisible()
    page.choose("image-folder", skip_bad=True)
    page.prepare_button.click()
    desk.until(lambda: page.preparing is None)
    assert page.report.isVisible() and not page.working.isVisible() and not page.said.isVisible()
    assert [page.report.skipped.index(0, n).data() for n in range(2)] == [
        *("cat/broken.png", "is no image, or damaged at its beginning"),
    ]
    assert page.report.bars.accessibleDescription() == "cat: 4, dog: 16"
    shown = " ".join(page.report.sentences.itemAt(i).itemAt(1).widget().text() for i in range(5))
    assert "1 files or rows, listed below" in shown and "4.0 times" in shown and "80%" in shown
    made = list((desk.lab.store.cache).glob("images-*/meta.json"))
    assert len(made) == 1
    page.form.fields[1].write(8)
    assert not page.report.isVisible()  # it was of other data
    desk.settle()


def test_a_preparation_is_cancelled_and_leaves_nothing(
    desk: Desk, page: DataPage, texts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go = threading.Event(), threading.Event()
    ended: list[str] = []

    def prepare(self: object, spec: object, cache: Path, on_progress: Any) -> None:
        on_progress("reading", 0.25)
        begun.set()
        go.wait(20)
        try:
            on_progress("reading", 0.5)
        finally:
            ended.append("ended")

    monkeypatch.setattr(TextFolder, "prepare", prepare)
    page.choose("text-folder", path=str(texts))
    desk.settle()
    page.prepare_button.click()
    assert begun.wait(20)
    desk.until(lambda: page.progress.value() == 25)
    assert page.said.text() == "Reading: 25%"
    page.cancel.click()
    assert page.preparing is None and page.prepare_button.isEnabled() and page.said.text() == ""
    go.set()
    desk.settle()
    assert ended == ["ended"] and not page.report.isVisible()


def test_closing_the_window_ends_a_preparation(
    desk: Desk, page: DataPage, texts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def prepare(self: object, spec: object, cache: Path, on_progress: Any) -> None:
        while True:
            on_progress("reading", 0.1)
            threading.Event().wait(0.01)

    monkeypatch.setattr(TextFolder, "prepare", prepare)
    page.choose("text-folder", path=str(texts))
    page.prepare_button.click()
    assert desk.close() == 0


def test_it_is_used_in_a_new_study(desk: Desk, page: DataPage, texts: Path) -> None:
    page.choose("text-folder", path=str(texts), tokenizer="bpe")
    page.use.click()
    assert desk.window.page_name == "train"
    study = desk.train.study()
    assert study.data == {"source": "text-folder", "path": str(texts), "tokenizer": "bpe"}
    assert len(expand(study)) >= 3
    desk.page("data")
    page.choose("image-folder", path=str(texts / "nothing"))
    page.use.click()
    assert desk.window.page_name == "data"
    assert "there is no folder" in desk.window.note.words.text()


@pytest.mark.parametrize("name", [name for name in sources if not path_field(sources[name])])
def test_every_source_begins_a_study_that_can_run(name: str) -> None:
    table = table_for({"source": name})
    study = study_of(table)
    assert study.data == {"source": name} and study.title == "My study"
    shape = sources[name].shape(convert({}, sources[name].Spec))
    if not any(shape.modality in families[family].modalities for family in families):
        pytest.skip("no family learns from it yet")
    runs = expand(study)
    assert len({run.n_params for run in runs}) > 2
    assert not shape.min_context or runs[0].training.context == shape.min_context
    assert all(use.name == name or use.name not in sources for use in study.capabilities)


def test_sizes_that_cannot_be_met_give_way(pictures: Path) -> None:
    study = study_of(table_for({"source": "image-folder", "path": str(pictures), "size": 32}))
    assert study.model["family"] == "cnn"
    assert len({run.n_params for run in expand(study)}) >= 3


def test_the_headline_is_one_that_the_data_can_be_measured_by() -> None:
    """Captions of one's own name no classes, so that naming in words cannot be what the study is about."""
    own = table_for({"source": "image-captions", "path": "/nowhere"})
    assert own["model"]["family"] == "clip" and own["headline"] == {"capability": "image-text", "metric": "text_r1"}
    assert table_for({"source": "scenes"})["headline"]["metric"] == "unseen_accuracy"
    assert table_for({"source": "digits"})["headline"]["metric"] == "nll"


def drop(desk: Desk, page: DataPage, path: Path) -> None:
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(path))])
    copy, left, none = Qt.DropAction.CopyAction, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    page.dropEvent(QDropEvent(QPoint(10, 10), copy, data, left, none))
    desk.settle()


def test_a_dropped_folder_finds_its_source(
    desk: Desk, page: DataPage, pictures: Path, texts: Path, tmp_path: Path
) -> None:
    drop(desk, page, pictures)
    assert entered(page) == {"source": "image-folder", "path": str(pictures)}
    drop(desk, page, texts)
    assert entered(page) == {"source": "text-folder", "path": str(texts)}
    table = tmp_path / "letters.csv"
    table.write_text("text\nhello\n", encoding="utf-8")
    page.choose("image-folder")  # what reads no table gives way to what reads most, not to a table of something
    drop(desk, page, table)
    assert entered(page) == {"source": "text-folder", "path": str(table)}
    page.choose("image-captions")
    drop(desk, page, table)
    assert entered(page) == {"source": "image-captions", "path": str(table)}
    page.choose("image-folder")
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "x.zip").write_bytes(b"PK")
    drop(desk, page, tmp_path / "none")
    assert "No source reads what is in none" in page.said.text()


def test_the_action_asks_for_a_folder(desk: Desk, texts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(texts))
    desk.do("own_data")
    desk.settle()
    assert desk.window.page_name == "data"
    assert entered(desk.page("data")) == {"source": "text-folder", "path": str(texts)}


def report(**over: Any) -> QualityReport:
    return replace(QualityReport(100, 90, 10, 900, 100, 0, 0, 0), **over)


def test_the_report_in_words() -> None:
    assert {role for role, _ in sentences(report())} == {"good"}
    told = dict(reversed(pair) for pair in sentences(report(leaked=2, exact_duplicates=3, near_duplicates=4)))
    assert told["2 held-out items have a near-duplicate in training: scores will flatter."] == "warn"
    assert told["Exact copies that were left out: 3."] == told["Near-duplicates, which stay together on one side: 4."]
    even = sentences(report(label_counts=(("a", 50), ("b", 50))))
    assert ("good", "The 2 classes are even: from 50 to 50 each.") in even
    none = sentences(report(label_counts=(("a", 50), ("b", 0))))
    assert none[0] == ("warn", "1 of 2 classes have nothing that can be used.")


def test_kinds_of_sources() -> None:
    assert kind_of(sources["python-text"]) == "real"
    assert kind_of(sources["text-folder"]) == kind_of(sources["image-folder"]) == "own"
    assert kind_of(sources["addition"]) == "made"


def test_a_wrong_field_is_refused_where_it_is(desk: Desk, page: DataPage) -> None:
    page.choose("image-folder")
    with pytest.raises(InputError):
        table_for(page.table())
    page.form.fields[[f.name for f in page.form.fields].index("validation_fraction")].write("much")
    page.prepare_button.click()
    assert "validation_fraction" in page.said.text()
    desk.settle()
