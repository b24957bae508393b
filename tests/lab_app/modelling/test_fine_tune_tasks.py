"""Other tasks through the window with the real engine: prompts from a saved dataset, bases that do not serve."""

import json
from pathlib import Path
from typing import Any

from lab_app.modelling.draft import BASE, tasks
from lab_app.modelling.fine_tune import FineTuneTab
from lab_app.modelling.results import ANSWERS, CONFUSION
from tests.engine.small_bases import causal_folder, prompts
from tests.lab_app.desk import Desk
from tests.lab_app.modelling.acts import choose_task, drop, said, train


def test_every_task_that_there_is_can_be_chosen(desk: Desk, tab: FineTuneTab) -> None:
    assert {"text-classification", "causal", "image-classification"} <= {task.name for task in tasks()}
    for task in tasks():
        choose_task(desk, tab, task.name)
        assert tab.task.currentText() and tab.draft.task == task.name and tab.step == BASE
        assert tab.data.mapping.fields or not task.reads_text
        assert not tab.start.isEnabled()


def test_prompts_of_a_saved_dataset_are_answered_and_shown(desk: Desk, tab: FineTuneTab, tmp_path: Path) -> None:
    import pyarrow as pa

    rows = [json.loads(line) for line in prompts(tmp_path / "p.jsonl").read_text().splitlines()]
    folder = tmp_path / "saved"
    folder.mkdir()
    table = pa.Table.from_pylist(rows)
    with pa.OSFile(str(folder / "data-00000.arrow"), "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
        stream.write_table(table)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data-00000.arrow"}]}))
    (folder / "dataset_info.json").write_text("{}")
    choose_task(desk, tab, "causal")
    drop(tab, causal_folder(tmp_path / "base"))
    desk.until(lambda: tab.base.ready or tab.base.problem)
    drop(tab, folder)
    desk.until(lambda: tab.checked is not None or tab.data.problem)
    assert tab.data.problem == ""
    assert tab.data.mapping.values() == {"prompt": "prompt", "response": "response"}
    assert tab.checked is not None and tab.checked.seen[0]["target"]
    assert tab.recipe.balanced.isHidden()
    results = train(desk, tab, 12.0, 0.02)
    assert not results.tabs.isTabVisible(CONFUSION) and results.tabs.isTabVisible(ANSWERS)
    assert "Loss on responses" in " ".join(said(results))
    results.tabs.setCurrentIndex(ANSWERS)
    view = results.answers
    found: Any = view.found
    assert found.n == 18 and len(found.best) + len(found.worst) == 18
    assert found.best[0].score >= found.worst[0].score
    assert found.best[0].wanted in ("fruit", "tool", "river") and found.best[0].given
    assert found.best[0].wanted in view.whole.toPlainText() or found.worst[0].wanted in view.whole.toPlainText()


def test_a_base_that_does_not_serve_the_task_is_said(desk: Desk, tab: FineTuneTab, base: Path) -> None:
    drop(tab, base)
    desk.until(lambda: tab.base.ready)
    choose_task(desk, tab, "image-classification")
    desk.until(lambda: tab.base.problem)
    assert "bert reads no images" in tab.base.problem and not tab.base.ready
    choose_task(desk, tab, "causal")
    desk.until(lambda: "causal language model" in tab.base.problem)
    choose_task(desk, tab, "text-classification")
    desk.until(lambda: tab.base.ready)
