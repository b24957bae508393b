"""Taggers and span finders through the window with the real engine: columns, first batch, training, what is shown."""

from pathlib import Path
from typing import Any

import pytest

from lab_app.modelling.fine_tune import FineTuneTab
from lab_app.modelling.results import ANSWERS, CONFUSION, EXAMPLES
from lab_app.modelling.verdicts import columns_of
from tests.engine.small_bases import bert_folder, questions, tagged
from tests.lab_app.desk import Desk
from tests.lab_app.modelling.acts import choose_task, drop, said, train


def set_up(desk: Desk, tab: FineTuneTab, task: str, base: Path, data: Path) -> None:
    choose_task(desk, tab, task)
    drop(tab, base)
    desk.until(lambda: tab.base.ready or tab.base.problem)
    drop(tab, data)
    desk.until(lambda: tab.checked is not None or tab.data.problem)
    assert (tab.base.problem, tab.data.problem) == ("", "")


def test_a_tagger(desk: Desk, tab: FineTuneTab, tmp_path: Path) -> None:
    set_up(desk, tab, "token-classification", bert_folder(tmp_path / "base"), tagged(tmp_path / "t.jsonl"))
    chosen = tab.data.mapping.values()
    assert {"words", "tags"} <= chosen.keys() and {"group", "split"} <= tab.data.mapping.fields.keys()
    assert tab.checked is not None and tab.checked.seen[0]["target"] in tab.data.batch.texts.toPlainText()
    assert not tab.recipe.balanced.isHidden() and not tab.recipe.longest.isHidden()
    results = train(desk, tab, 8.0, 0.02)
    assert results.lines[0].headline == ("tagging", "macro_f1") and results.lines[0].main is not None
    assert "F1, mean over tags" in " ".join(said(results))
    assert columns_of(results.lines)[0] == "macro_f1"
    assert all(name in results.lines[0].scores for name in columns_of(results.lines))
    assert results.tabs.isTabVisible(CONFUSION) and not results.tabs.isTabVisible(ANSWERS)
    assert results.confusion.matrix.counts.sum() == len(results.of_run.predictions.labels)
    results.tabs.setCurrentIndex(EXAMPLES)
    assert "«" in results.examples.text.toPlainText()


def test_a_span_finder(desk: Desk, tab: FineTuneTab, tmp_path: Path) -> None:
    set_up(desk, tab, "span-questions", bert_folder(tmp_path / "base"), questions(tmp_path / "q.jsonl"))
    assert {"context", "question"} <= tab.data.mapping.values().keys()
    assert tab.checked is not None and tab.checked.seen
    assert tab.recipe.balanced.isHidden()
    results = train(desk, tab, 4.0, 0.01)
    assert results.lines[0].headline == ("question-answering", "f1")
    assert results.tabs.isTabVisible(ANSWERS) and not results.tabs.isTabVisible(CONFUSION)
    found: Any = results.answers.found
    assert found.worst and all(one.prompt for one in (*found.best, *found.worst))


@pytest.mark.parametrize("task", ["token-classification", "span-questions"])
def test_columns_that_are_not_there_are_asked_for(
    desk: Desk,
    tab: FineTuneTab,
    tmp_path: Path,
    task: str,
) -> None:
    choose_task(desk, tab, task)
    path = tmp_path / "t.csv"
    path.write_text("one,two\n" + "a,b\n" * 9)
    drop(tab, path)
    desk.until(lambda: tab.data.problem)
    assert "No column looks right" in tab.data.problem and not tab.start.isEnabled()
