"""The import dialog: what is recognised, said by hand, refused and kept, and how an imported study is shown."""

from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import QMimeData, QPoint, Qt, QUrl
from PySide6.QtGui import QDropEvent
from PySide6.QtWidgets import QFileDialog

from engine.errors import InputError
from lab_app.dialogs.import_results import ImportDialog
from tests.engine.importing.samples import SIZES, new_layout, write_events, write_json, write_wide
from tests.lab_app.desk import Desk
from tests.lab_app.fakes import small_study


@pytest.fixture
def wide(tmp_path: Path) -> Path:
    return write_wide(tmp_path / "theirs.csv")


def opened(desk: Desk, *paths: Path) -> Any:
    desk.window.import_files(list(paths))
    desk.settle()
    return desk.dialog(ImportDialog)


def choose(dialog: Any, header: str, meaning: str) -> None:
    """Say in a box what a column is, as a person does."""
    box = dialog.meanings[header]
    box.setCurrentIndex(box.findData(meaning))
    box.activated.emit(box.currentIndex())


def take(desk: Desk, dialog: Any) -> str:
    """Import, and wait until the window shows it; returns the study's id."""
    assert dialog.act.isEnabled(), dialog.said.text()
    dialog.act.click()
    desk.until(lambda: desk.context.selection.study)
    desk.settle()
    return desk.context.selection.study


def test_the_action_opens_an_empty_dialog_and_files_are_chosen_in_it(
    desk: Desk, wide: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.do("import_results")
    dialog = desk.dialog(ImportDialog)
    assert not dialog.act.isEnabled() and "drop them here" in dialog.summary.text()
    monkeypatch.setattr(QFileDialog, "getOpenFileNames", lambda *_a, **_k: ([str(wide)], ""))
    dialog.choose.click()
    desk.settle()
    assert "6 runs of 6 sizes" in dialog.summary.text()
    assert {name: box.currentData() for name, box in dialog.meanings.items()} == {
        "params": "n_params",
        "val_loss": "loss",
        "hellaswag": "",
        "d_model": "",
    }
    dialog.close()


def test_a_table_is_imported_with_a_column_said_by_hand(desk: Desk, wide: Path) -> None:
    dialog = opened(desk, wide)
    choose(dialog, "hellaswag", "score")
    desk.until(lambda: "hellaswag/score" in dialog.summary.text())
    dialog.title.setText("Their ladder")
    identity = take(desk, dialog)
    assert identity.startswith("theirs-")
    assert desk.window.page_name == "scale"
    assert desk.scale.heading.text() == "Their ladder (imported)"
    assert [run.n_params for run in desk.runs()] == list(SIZES)
    desk.until(lambda: desk.scale.shown.law is not None)  # the fit goes on after the dialog is closed
    assert desk.scale.shown.law["params"]["alpha"] == pytest.approx(0.25, rel=0.02)
    desk.do("show_capability")
    desk.settle()
    assert desk.scale.metric == ("hellaswag", "score")
    assert desk.scale.shown.figure is not None


def test_it_is_shown_as_imported_and_cannot_be_run(desk: Desk, wide: Path) -> None:
    identity = take(desk, opened(desk, wide))
    assert desk.window.inspector.state.text() == "imported, 6 runs"
    tree = desk.window.studies.model
    assert tree.index(0, 0).data().startswith("theirs (imported)")
    assert [desk.enabled(a) for a in ("duplicate_study", "save_study", "copy_command", "start")] == [False] * 4
    assert desk.enabled("export_results") and desk.enabled("rename_study")
    for deed in (desk.window.deeds.duplicate_study, desk.window.deeds.save_study, desk.window.deeds.copy_command):
        desk.window.note.hide()
        deed()
        assert "was imported" in desk.window.note.words.text()
    assert desk.window.page_name == "scale"
    desk.page("home")
    assert desk.monitor.heading.text() == "theirs (imported)"
    assert "without curves" in desk.monitor.empty.text()
    desk.context.selection.choose_run(identity, desk.runs()[0].id)
    assert desk.window.inspector.state.text().startswith("imported")


def test_importing_again_says_that_it_is_there(desk: Desk, wide: Path) -> None:
    first = take(desk, opened(desk, wide))
    desk.context.selection.choose_study("")
    assert take(desk, opened(desk, wide)) == first
    assert "already" in desk.window.status.currentMessage()
    assert len(desk.program.catalog.studies) == 1


def test_a_missing_column_is_mended_in_place(desk: Desk, tmp_path: Path) -> None:
    file = tmp_path / "odd.csv"
    file.write_text("width,err\n" + "".join(f"{n},{3 - i / 10}\n" for i, n in enumerate(SIZES)))
    dialog = opened(desk, file)
    assert "n_params" in dialog.said.text() and not dialog.act.isEnabled()
    choose(dialog, "width", "n_params")
    choose(dialog, "err", "loss")
    desk.until(lambda: dialog.act.isEnabled())
    assert not dialog.said.isVisible()
    take(desk, dialog)
    assert len(desk.runs()) == 6


def test_a_recognised_column_can_be_left_out(desk: Desk, tmp_path: Path) -> None:
    file = tmp_path / "seeds.csv"
    file.write_text("n_params,loss,seed\n1M,3,7\n2M,2.5,7\n")
    dialog = opened(desk, file)
    choose(dialog, "seed", "")
    desk.until(lambda: dialog.found is not None and dialog.found.runs[0].seed == 0)
    dialog.close()


def test_sizes_are_asked_for(desk: Desk, tmp_path: Path) -> None:
    for name in ("gpt2", "gpt2-xl"):
        write_json(tmp_path / "lm" / f"{name}.json", new_layout(name, {"piqa": 0.6}, None))
    dialog = opened(desk, tmp_path / "lm")
    assert list(dialog.sizes) == ["gpt2", "gpt2-xl"]
    dialog.sizes["gpt2"].setText("124M")
    dialog.act.click()
    assert "gpt2-xl" in dialog.said.text()
    dialog.sizes["gpt2-xl"].setText("1.5B")
    take(desk, dialog)
    assert [run.n_params for run in desk.runs()] == [124_000_000, 1_500_000_000]
    assert desk.scale.metric == ("piqa", "acc")


def test_curves_of_tensorboard_are_in_the_monitor(desk: Desk, tmp_path: Path) -> None:
    for size in ("1M", "2M"):
        write_events(tmp_path / "tb" / f"m-{size}", {"loss": [(step, 4 - step / 100) for step in range(1, 101)]})
    dialog = opened(desk, tmp_path / "tb")
    take(desk, dialog)
    assert desk.window.page_name == "monitor"
    assert desk.monitor.options == {"x": "step"}
    assert all(of.buffers["train/loss"].n == 100 for of in desk.monitor.curves.values())
    assert desk.monitor.empty.isHidden()


def test_a_bad_file_and_a_bad_name_are_said_in_place(desk: Desk, tmp_path: Path, wide: Path) -> None:
    (tmp_path / "x.zip").write_bytes(b"PK\x03\x04" + bytes(40))
    dialog = opened(desk, tmp_path / "x.zip")
    assert "damaged zip" in dialog.said.text() and not dialog.act.isEnabled()
    dialog.open_paths([wide])
    desk.settle()
    dialog.name.setText("Not A Name")
    dialog.act.click()
    desk.settle()
    assert "no name for a study" in dialog.said.text()
    assert dialog.act.isEnabled()
    assert desk.program.catalog.studies == []
    dialog.close()


def drop(desk: Desk, *paths: Path) -> None:
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
    copy, left, none = Qt.DropAction.CopyAction, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    desk.window.dropEvent(QDropEvent(QPoint(10, 10), copy, data, left, none))
    desk.settle()


def test_files_dropped_on_the_window(desk: Desk, wide: Path, tmp_path: Path) -> None:
    from engine.study import to_toml_table
    from engine.tables import to_toml

    drop(desk, wide)
    assert "6 runs" in desk.dialog(ImportDialog).summary.text()
    desk.dialog(ImportDialog).close()
    study = tmp_path / "small.toml"
    study.write_text(to_toml(to_toml_table(small_study())))
    drop(desk, study)
    assert desk.window.page_name == "train" and desk.train.study() == small_study()


def test_it_cannot_be_resumed_by_the_runner(desk: Desk, wide: Path) -> None:
    take(desk, opened(desk, wide))
    with pytest.raises(InputError):
        desk.lab.runner.resume(desk.runs()[0].id)
