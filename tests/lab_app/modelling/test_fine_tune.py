"""Fine-tuning through the window with the real engine: base, table, columns, training, results, saving; bad input."""

import json
import os
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from engine.figures.builders import build
from engine.figures.export import export
from lab_app.modelling.draft import BASE, DATA, RECIPE
from lab_app.modelling.fine_tune import FineTuneTab
from lab_app.modelling.results import CONFUSION, ResultsTab
from lab_app.modelling.steps import DONE, WRONG
from tests.lab_app.desk import Desk
from tests.lab_app.modelling.acts import FILLERS, WORDS, drop, field, said


def rows(n: int = 160) -> list[tuple[str, str]]:
    draw = random.Random(3)
    found = []
    for number in range(n):
        label = ("fruit", "tool")[number % 2]
        words = [*draw.choices(FILLERS, k=7), *draw.choices(WORDS[label], k=3)]
        draw.shuffle(words)
        found.append((" ".join(words), label))
    return found


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "things.csv"
    path.write_text("number,what it says,kind\n" + "".join(f"{i},{t},{k}\n" for i, (t, k) in enumerate(rows())))
    return path


def ready(desk: Desk, tab: FineTuneTab, base: Path, table: Path) -> None:
    drop(tab, base)
    desk.until(lambda: tab.base.ready)
    drop(tab, table)
    desk.until(lambda: tab.checked is not None or tab.data.problem)


def test_from_a_folder_and_a_table_to_a_matrix_and_a_saved_model(
    desk: Desk, tab: FineTuneTab, base: Path, table: Path, tmp_path: Path
) -> None:
    assert not tab.start.isEnabled()
    ready(desk, tab, base, table)
    assert tab.data.problem == ""
    assert tab.data.values() == {
        "source": "labelled-table",
        "path": str(table),
        "text": "what it says",
        "label": "kind",
    }
    assert [b.state for b in tab.steps.buttons] == [DONE, DONE, DONE]
    assert "bert" in [card.architecture for card in tab.base.cards]
    assert "[CLS]" in tab.data.batch.texts.toPlainText()
    assert dict(tab.checked.report.label_counts) == {"fruit": 80, "tool": 80}
    tab.go(RECIPE)
    rates = [field(tab, "learning_rate").read()]
    tab.recipe.presets[""].click()
    rates.append(field(tab, "learning_rate").read())
    assert rates == [2e-5, 1e-4]
    field(tab, "epochs").write(8.0)
    field(tab, "learning_rate").write(0.02)
    field(tab, "batch_size").write(16)
    tab.recipe.seeds.setValue(2)
    tab.recipe.compare["frozen"].setChecked(False)
    desk.until(lambda: tab.checked is not None)
    assert len(tab.checked.runs) == 4
    desk.until(lambda: "It fits" in tab.recipe.verdict.text())
    tab.start.click()
    desk.until(lambda: desk.context.selection.study)
    study = desk.context.selection.study
    assert desk.window.page_name == "monitor"
    assert desk.lab.runner.wait(study, timeout=60)
    desk.lab.store.writer.flush()
    desk.context.bridge.drain()
    desk.program.catalog.load_now()
    desk.settle()
    assert desk.states() == {"finished"}

    results: ResultsTab = desk.page("models").show_tab("results")
    desk.until(lambda: results.of_run.predictions is not None)
    counts = results.confusion.matrix.counts
    assert counts.sum() == len(results.of_run.predictions.labels)
    assert np.trace(counts) / counts.sum() > 0.9
    assert {line.method for line in results.lines} == {"full", "scratch"}
    assert "What pretraining gave" in " ".join(said(results))
    assert results.learning.figure is not None and results.reliability.figure is not None
    results.tabs.setCurrentIndex(CONFUSION)
    assert results.figure_name == "confusion-matrix"
    figure = build(desk.context.reader(), results.figure_name, study, **results.options)
    for suffix in ("svg", "pdf", "png", "csv"):
        assert export(figure, tmp_path / f"m.{suffix}").stat().st_size > 100
    assert (tmp_path / "m.csv").read_text().splitlines()[-4].startswith("fruit,fruit,")

    results.save_into(tmp_path / "saved")
    desk.until(lambda: "Saved in" in results.note.words.text())
    saved = next((tmp_path / "saved").iterdir())
    from transformers import pipeline

    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    answer = pipeline("text-classification", model=str(saved), device="cpu")("the old saw and a drill")
    assert answer[0]["label"] == "tool"
    for page in ("scale", "emergence", "samples", "data", "train", "home", "monitor"):
        desk.page(page)
        desk.settle()


def test_what_is_no_model_is_said_at_the_first_step(desk: Desk, tab: FineTuneTab, base: Path, tmp_path: Path) -> None:
    empty = tmp_path / "holiday"
    empty.mkdir()
    drop(tab, empty)
    desk.until(lambda: tab.base.problem)
    assert "is no model folder" in tab.base.verdict.text() and tab.step == BASE
    assert tab.steps.buttons[BASE].state == WRONG
    assert not tab.start.isEnabled()
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in base.iterdir():
        content = file.read_bytes()
        (broken / file.name).write_bytes(content[: len(content) // 2] if file.suffix == ".safetensors" else content)
    drop(tab, broken)
    desk.until(lambda: "cut short" in tab.base.problem)
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    (pickled / "config.json").write_text((base / "config.json").read_text())
    (pickled / "pytorch_model.bin").write_bytes(b"\x80\x04")
    drop(tab, pickled)
    desk.until(lambda: "a pickle" in tab.base.problem)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("text,label\n" + "".join(f"{t},same\n" for t, _ in rows(40)), "every row is of the one class"),
        (
            "text,label\n" + "".join(f"{t},{k if i else ''}\n" for i, (t, k) in enumerate(rows(40))),
            "row 2: has no label",
        ),
        ("text,label\n" + "".join(f"{t}\n" for t, _ in rows(40)), "has 1 fields where the header has 2"),
        ("", "is empty"),
    ],
)
def test_a_table_that_cannot_be_used_is_said_at_the_second_step(
    desk: Desk, tab: FineTuneTab, base: Path, tmp_path: Path, text: str, words: str
) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text)
    ready(desk, tab, base, path)
    desk.until(lambda: tab.data.problem)
    assert words in tab.data.said.text() and tab.step == DATA
    assert tab.data.said.isVisible() and not tab.start.isEnabled()
    assert tab.steps.buttons[DATA].state == WRONG


def test_another_column_is_another_check(desk: Desk, tab: FineTuneTab, base: Path, table: Path) -> None:
    ready(desk, tab, base, table)
    box = tab.data.mapping.boxes["label"]
    box.setCurrentIndex(box.findData("number"))
    assert tab.checked is None and not tab.start.isEnabled()
    desk.until(lambda: tab.data.problem)
    box.setCurrentIndex(box.findData("kind"))
    desk.until(lambda: tab.checked is not None)
    assert not tab.data.said.isVisible()


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_other_tables_bring_their_columns(desk: Desk, tab: FineTuneTab, tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"t.{kind}"
    found = [{"review": text, "stars": label} for text, label in rows(12)]
    if kind == "jsonl":
        path.write_text("".join(json.dumps(one) + "\n" for one in found))
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(found), path)
    drop(tab, path)
    desk.until(lambda: tab.data.columns is not None)
    assert tab.data.values() == {"source": "labelled-table", "path": str(path), "text": "review", "label": "stars"}
    assert tab.data.model.rowCount() == 12


def test_everything_is_said_in_chinese(open_desk: Callable[..., Desk]) -> None:
    desk = open_desk()
    tab: FineTuneTab = desk.page("models").show_tab("fine-tune")
    desk.window.use_language("zh_CN")
    desk.settle()
    assert tab.start.text() and tab.steps.buttons[BASE].accessibleName()
