"""Bundles, model folders, ONNX, adapters and evaluations from the window, on a home with real finished runs."""

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from msgspec.structs import replace

from engine.bundling.opening import Bundle, open_bundle
from engine.bundling.writing import export_bundle
from engine.events import RunState
from engine.exporting import export_hf
from engine.store import Store
from lab_app.dialogs.evaluate import EvaluateDialog
from lab_app.dialogs.export_study import KINDS, ExportStudyDialog
from lab_app.dialogs.import_results import ImportDialog
from tests.engine.exporting.homes import finished
from tests.engine.importing.samples import new_layout, write_json
from tests.lab_app.desk import Desk

NAMES = ("gpt", "bert")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished(*NAMES), tmp_path / "home"))


def choose(desk: Desk, family: str) -> str:
    desk.program.catalog.load_now()
    study = next(s for s in desk.program.catalog.studies if s.name == f"small-{family}")
    desk.context.selection.choose_study(study.id)
    desk.settle()
    return study.id


def export_dialog(desk: Desk, kind: str, path: Path) -> Any:
    desk.do("export_study")
    dialog = desk.dialog(ExportStudyDialog)
    dialog.kind.setCurrentIndex(dialog.kind.findData(kind))
    dialog.path.setText(str(path))
    return dialog


def press(desk: Desk, dialog: Any) -> str:
    """Press the primary button and wait until the work is over; returns what was said."""
    assert dialog.act.isEnabled(), dialog.said.text()
    dialog.act.click()
    desk.until(lambda: dialog.under_way is None)
    return str(dialog.said.text())


def test_everything_leaves_from_one_dialog(desk: Desk, tmp_path: Path) -> None:
    choose(desk, "bert")
    endings = {kind.name: kind.ending for kind in KINDS}
    for name in ("bundle", "hf", "onnx", "tensorboard", "csv", "parquet"):
        path = tmp_path / "out" / f"{name}{endings[name]}"
        dialog = export_dialog(desk, name, path)
        if name == "bundle":
            dialog.choice.setCurrentIndex(dialog.choice.findData("all"))
        assert dialog.run.isHidden() == (name not in ("hf", "onnx"))
        assert press(desk, dialog).startswith("Written: ")
        assert path.exists()
        dialog.reject()
    assert open_bundle(tmp_path / "out" / "bundle.zip").artifacts
    assert (tmp_path / "out" / "hf" / "README.md").is_file()


def test_of_a_compressed_run_it_is_asked_in_what_form(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    choose(desk, "bert")
    (whole,) = desk.runs()
    asked: list[tuple[int, bool]] = []

    def write(reader: Any, home: Any, run: int, path: Path, *, dense: bool = False) -> None:
        asked.append((run, dense))

    monkeypatch.setattr("engine.exporting.export_hf", write)
    smaller = replace(whole, id=99, kind="compress")
    dialog = ExportStudyDialog(desk.context, [whole, smaller], 99, desk.window)
    dialog.open()
    dialog.kind.setCurrentIndex(dialog.kind.findData("hf"))
    dialog.path.setText(str(tmp_path / "hf"))
    for form in ("small", "dense"):
        assert not dialog.choice.isHidden()
        dialog.choice.setCurrentIndex(dialog.choice.findData(form))
        press(desk, dialog)
    dialog.run.setCurrentIndex(dialog.run.findData(whole.id))
    assert dialog.choice.isHidden()
    press(desk, dialog)
    assert asked == [(99, False), (99, True), (whole.id, False)]
    dialog.reject()


def test_what_cannot_be_exported_is_a_sentence(desk: Desk, tmp_path: Path) -> None:
    choose(desk, "bert")
    dialog = export_dialog(desk, "lm-eval-task", tmp_path / "task")
    assert "no model of what comes next" in press(desk, dialog)
    (tmp_path / "file").write_text("")
    dialog.path.setText(str(tmp_path / "file" / "below"))
    assert press(desk, dialog) and dialog.said.property("role") == "bad"
    dialog.path.setText("")
    dialog.act.click()
    assert "where" in dialog.said.text()
    dialog.reject()
    choose(desk, "gpt")
    dialog = export_dialog(desk, "lm-eval-task", tmp_path / "task")
    assert "README.md" in press(desk, dialog)
    dialog.reject()


def test_an_export_is_stopped(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    choose(desk, "gpt")
    begun, go = threading.Event(), threading.Event()

    def slow(
        reader: Any, home: Any, study: Any, path: Path, choice: str, progress: Callable[[str, float], None]
    ) -> None:
        begun.set()
        assert go.wait(20)
        progress("files", 0.5)
        path.write_text("whole")

    monkeypatch.setattr("engine.bundling.writing.export_bundle", slow)
    dialog = export_dialog(desk, "bundle", tmp_path / "b.zip")
    dialog.act.click()
    assert begun.wait(20) and dialog.leave.text() == "Stop"
    dialog.reject()
    assert dialog.isVisible() and "Stopping" in dialog.said.text()
    go.set()
    desk.until(lambda: dialog.under_way is None)
    assert dialog.said.text() == "Stopped." and not (tmp_path / "b.zip").exists()
    dialog.reject()
    assert not dialog.isVisible()


def test_finished_runs_are_evaluated_and_drawn(desk: Desk) -> None:
    study = choose(desk, "gpt")
    desk.do("evaluate")
    dialog = desk.dialog(EvaluateDialog)
    assert dialog.chosen() == ["language-modelling"]
    for row in range(dialog.abilities.count()):
        item = dialog.abilities.item(row)
        item.setCheckState(item.checkState().__class__(2 if "documents" in item.text() else 0))
    assert dialog.chosen() == ["document-perplexity"]
    assert "4 scores; 0 of 1 were known" in press(desk, dialog)
    assert dialog.scores.rowCount() == 4
    assert "1 of 1 were known" in press(desk, dialog)
    rows = desk.context.reader().evaluations(study, final_only=True)
    assert {row.capability for row in rows} >= {"document-perplexity"}
    for row in range(dialog.abilities.count()):
        dialog.abilities.item(row).setCheckState(dialog.abilities.item(row).checkState().__class__(0))
    dialog.act.click()
    assert "at least one" in dialog.said.text()
    dialog.reject()


def test_a_bundle_is_imported(desk: Desk, tmp_path: Path) -> None:
    other = finished("gpt", "cnn")
    with Store.open(other, read_only=True) as store:
        study = store.reader().run(2).study_id
        export_bundle(store.reader(), other, study, tmp_path / "b.zip", "all")
    for again in (False, True):
        desk.context.selection.choose_study("")
        desk.window.import_files([tmp_path / "b.zip"])
        desk.settle()
        dialog = desk.dialog(ImportDialog)
        assert "Study bundle" in dialog.summary.text() and "1 with weights" in dialog.summary.text()
        assert dialog.tabs.isHidden() and dialog.merging.isHidden() and dialog.act.isEnabled()
        dialog.act.click()
        desk.until(lambda: desk.context.selection.study == study)
        desk.settle()
        assert ("already" in desk.window.status.currentMessage()) == again
    assert [run.state for run in desk.runs()] == [RunState.FINISHED]


def test_importing_a_bundle_tells_how_far_it_is_and_is_stopped_without_a_trace(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = finished("gpt", "cnn")
    with Store.open(other, read_only=True) as store:
        study = store.reader().run(2).study_id
        export_bundle(store.reader(), other, study, tmp_path / "b.zip", "all")
    begun, go, real = threading.Event(), threading.Event(), Bundle.extract

    def slow(self: Bundle, name: str, target: Path, told: Callable[[int], None]) -> None:
        told(1)
        begun.set()
        assert go.wait(20)
        real(self, name, target, told)

    monkeypatch.setattr(Bundle, "extract", slow)
    desk.window.import_files([tmp_path / "b.zip"])
    desk.settle()
    dialog = desk.dialog(ImportDialog)
    before = sorted(path.name for path in desk.home.rglob("*") if "lab.db" not in path.name)
    dialog.act.click()
    assert begun.wait(20) and dialog.leave.text() == "Stop" and not dialog.act.isEnabled()
    desk.until(lambda: dialog.progress.isVisible() and "files" in dialog.said.text())
    dialog.reject()
    assert dialog.isVisible() and "Stopping" in dialog.said.text()
    go.set()
    desk.until(lambda: dialog.under_way is None)
    assert dialog.said.text() == "Stopped." and dialog.act.isEnabled() and dialog.progress.isHidden()
    assert sorted(path.name for path in desk.home.rglob("*") if "lab.db" not in path.name) == before
    assert study not in {row.id for row in desk.context.reader().studies()}
    dialog.act.click()
    desk.until(lambda: desk.context.selection.study == study)


def test_a_bundle_that_is_being_checked_is_let_go(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go, seen = threading.Event(), threading.Event(), list[str]()

    def slow(path: Path, told: Callable[[str, float], None]) -> None:
        told("checking", 0.25)
        begun.set()
        assert go.wait(20)
        try:
            told("checking", 0.5)
        except Exception as error:
            seen.append(type(error).__name__)
            raise

    monkeypatch.setattr("engine.bundling.opening.open_bundle", slow)
    (tmp_path / "b.zip").write_bytes(b"PK\x03\x04")
    desk.window.import_files([tmp_path / "b.zip"])
    dialog = desk.dialog(ImportDialog)
    assert begun.wait(20)
    desk.until(lambda: dialog.progress.isVisible() and dialog.progress.value() == 25)
    dialog.reject()
    assert not dialog.isVisible()
    go.set()
    desk.until(lambda: seen == ["Cancelled"])


def test_a_bad_bundle_is_a_sentence(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "b.zip").write_bytes(b"PK\x03\x04" + b"\0" * 40)
    desk.window.import_files([tmp_path / "b.zip"])
    desk.settle()
    dialog = desk.dialog(ImportDialog)
    assert "damaged zip" in dialog.said.text() and not dialog.act.isEnabled()
    dialog.reject()


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing")
def test_an_adapter_is_merged(desk: Desk, tmp_path: Path) -> None:
    import peft
    from transformers import AutoModelForCausalLM

    export_hf(desk.context.reader(), desk.home, 1, tmp_path / "base")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "base", dtype=torch.float32)
    config = peft.LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM", init_lora_weights=False)
    peft.get_peft_model(model, config).save_pretrained(tmp_path / "lora")
    desk.window.import_files([tmp_path / "lora"])
    desk.settle()
    dialog = desk.dialog(ImportDialog)
    assert "PEFT adapter" in dialog.summary.text() and dialog.base.text() == str(tmp_path / "base")
    dialog.act.click()
    assert "where" in dialog.said.text()
    dialog.out.setText(str(tmp_path / "merged"))
    dialog.act.click()
    desk.until(lambda: "merged" in dialog.said.text())
    assert (tmp_path / "merged" / "model.safetensors").is_file()
    dialog.reject()


def test_results_of_the_harness_go_to_their_run(desk: Desk, tmp_path: Path) -> None:
    study = choose(desk, "gpt")
    run = desk.runs()[0].id
    export_hf(desk.context.reader(), desk.home, run, tmp_path / "model")
    document = new_layout("model", {"piqa": 0.6}, None)
    document["config"]["model_args"] = f"pretrained={tmp_path / 'model'}"
    write_json(tmp_path / "results.json", document)
    desk.window.import_files([tmp_path / "results.json"])
    desk.settle()
    dialog = desk.dialog(ImportDialog)
    assert "are kept with it" in dialog.summary.text()
    dialog.act.click()
    desk.settle()
    rows = desk.context.reader().evaluations(study, final_only=True)
    assert {(row.capability, row.metric): row.value for row in rows}["piqa", "acc"] == 0.6
