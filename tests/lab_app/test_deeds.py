"""What each command does, with a study chosen and without one."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtGui import QDesktopServices, QGuiApplication
from PySide6.QtWidgets import QFileDialog, QInputDialog, QMessageBox

from engine.i18n import LANGUAGES
from engine.study import load_study, study_id
from lab_app.commands import ACTIONS
from lab_app.dialogs.export import ExportDialog
from lab_app.dialogs.help import HelpDialog
from lab_app.dialogs.import_results import ImportDialog
from lab_app.dialogs.settings import SettingsDialog
from lab_app.widgets.palette import Palette
from tests.lab_app.desk import Desk, in_modal, press
from tests.lab_app.fakes import Trainer, small_study

NEED_A_STUDY = {
    *("duplicate_study", "save_study", "rename_study", "edit_notes", "trash_study", "copy_command"),
    *(
        "export_figure",
        "export_results",
        "export_study",
        "evaluate",
        "compress",
        "show_loss",
        "show_capability",
        "show_emergence",
        "switch_convention",
        "export_curves",
    ),
}
NEED_RUNS = {"start", "pause", "cancel", "pause_all", "resume_all", "undo", "redo", "open_trash"}


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Addresses given to the desktop instead of being opened."""
    found: list[str] = []
    monkeypatch.setattr(QDesktopServices, "openUrl", lambda url: found.append(url.toLocalFile()))
    return found


def choose_file(monkeypatch: pytest.MonkeyPatch, kind: str, path: Path | str) -> None:
    """The next file dialogs answer with this path; empty is Cancel."""
    monkeypatch.setattr(QFileDialog, f"get{kind}FileName", lambda *_a, **_k: (str(path), ""))


def test_on_an_empty_home_only_what_makes_sense_is_enabled(desk: Desk) -> None:
    disabled = {action.id for action in ACTIONS if not desk.enabled(action.id)}
    assert disabled == NEED_A_STUDY | NEED_RUNS


def test_no_deed_fails_without_a_study(desk: Desk, monkeypatch: pytest.MonkeyPatch, opened: list[str]) -> None:
    """A shortcut may come between a change and the menu's knowing of it, so disabled ones are called as well."""
    choose_file(monkeypatch, "Open", "")
    choose_file(monkeypatch, "Save", "")
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_a, **_k: "")
    monkeypatch.setattr(QInputDialog, "getText", lambda *_a, **_k: ("", False))
    monkeypatch.setattr(QInputDialog, "getItem", lambda *_a, **_k: ("", False))
    monkeypatch.setattr(QMessageBox, "exec", lambda _: 0)
    monkeypatch.setattr(SettingsDialog, "exec", lambda _: 0)
    for action in [a.id for a in ACTIONS if a.id != "quit"]:
        getattr(desk.window.deeds, action)()
        desk.settle()
        for dialog in [
            d for kind in (ExportDialog, HelpDialog, ImportDialog, Palette) for d in desk.window.findChildren(kind)
        ]:
            dialog.close()
    assert desk.runs() == []
    assert desk.context.operations.undo_stack.count() == 0


def test_with_a_finished_study_its_deeds_are_enabled(desk: Desk) -> None:
    desk.finish()
    assert {action for action in NEED_A_STUDY if not desk.enabled(action)} == set()
    assert [a for a in ("start", "pause", "cancel", "pause_all", "resume_all") if desk.enabled(a)] == []


def test_new_and_duplicate_open_the_wizard(desk: Desk) -> None:
    desk.do("new_study")
    assert desk.window.page_name == "train"
    desk.finish()
    desk.page("home")
    desk.do("duplicate_study")
    assert desk.window.page_name == "train"
    assert desk.train.study() == small_study()


def test_open_edits_a_file_and_says_what_is_wrong_with_another(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    choose_file(monkeypatch, "Open", Path("resources/studies/scaling-text.toml").absolute())
    desk.do("open_study")
    assert desk.train.study() == load_study("scaling-text")
    bad = tmp_path / "bad.toml"
    bad.write_text('name = "x"\nlader = 3\n')
    choose_file(monkeypatch, "Open", bad)
    desk.do("open_study")
    assert desk.window.note.isVisible()
    assert "lader" in desk.window.note.words.text()


def test_save_writes_the_very_study(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    identity = desk.finish()
    file = tmp_path / "new folder" / "mine.toml"
    choose_file(monkeypatch, "Save", file)
    desk.do("save_study")
    assert study_id(load_study(str(file))) == identity


def test_a_file_that_cannot_be_written_is_a_sentence(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.finish()
    (tmp_path / "file").write_text("")
    for action, name in (("save_study", "x.toml"), ("export_results", "x.csv")):
        choose_file(monkeypatch, "Save", tmp_path / "file" / name)
        desk.window.note.hide()
        desk.do(action)
        assert "cannot be written" in desk.window.note.words.text()
        assert desk.window.note.isVisible()


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_results_are_exported(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    desk.finish()
    file = tmp_path / f"results.{suffix}"
    choose_file(monkeypatch, "Save", file)
    desk.do("export_results")
    content = file.read_bytes()
    assert content.startswith(b"PAR1") if suffix == "parquet" else b"word-completion" in content


def test_export_takes_the_figure_in_view(desk: Desk) -> None:
    desk.finish()
    wanted = {"home": "loss-vs-params", "monitor": "loss-curves", "scale": "loss-vs-params"}
    for page, figure in wanted.items():
        desk.page(page)
        desk.settle()
        desk.do("export_figure")
        dialog = desk.dialog(ExportDialog)
        assert dialog.figure.currentData() == figure
        desk.settle()
        dialog.reject()
    desk.do("export_curves")
    assert desk.dialog(ExportDialog).figure.currentData() == "loss-curves"
    desk.settle()
    desk.dialog(ExportDialog).reject()


def test_settings_change_language_and_scheme_at_once(desk: Desk) -> None:
    def act(dialog: Any) -> None:
        assert isinstance(dialog, SettingsDialog)
        for box, value in ((dialog.language, "zh_CN"), (dialog.theme, "dark")):
            box.setCurrentIndex(box.findData(value))
            box.activated.emit(box.currentIndex())
        dialog.accept()

    in_modal(act)
    desk.do("settings")
    assert (desk.context.language.name, desk.context.theme.mode) == ("zh_CN", "dark")
    assert (desk.settings.text("language"), desk.settings.text("theme")) == ("zh_CN", "dark")
    checked = desk.window.actions_table.by_id
    assert checked["language_zh_CN"].isChecked() and checked["theme_dark"].isChecked()
    assert not checked["theme_light"].isChecked()


def test_rename_undo_and_redo(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    identity = desk.finish()

    def title() -> str:
        study = desk.program.catalog.study(identity)
        return study.title if study else ""

    monkeypatch.setattr(QInputDialog, "getText", lambda *_a, **_k: ("Another title", True))
    desk.do("rename_study")
    desk.until(lambda: title() == "Another title")
    desk.do("undo")
    desk.until(lambda: title() == "A small study")
    desk.do("redo")
    desk.until(lambda: title() == "Another title")
    assert desk.enabled("undo") and not desk.enabled("redo")


def test_notes_and_tags_are_kept_and_can_be_taken_back(desk: Desk) -> None:
    identity = desk.finish()
    desk.do("edit_notes")
    inspector = desk.window.inspector
    assert inspector.tabs.currentIndex() == 1
    inspector.notes.setPlainText("Looks good.")
    inspector._save_notes()
    inspector.tags.setText("first, good，first")
    inspector.tags.editingFinished.emit()

    def stored() -> tuple[str, tuple[str, ...]]:
        row = desk.context.reader().study(identity)
        return row.notes, row.tags

    desk.until(lambda: stored() == ("Looks good.", ("first", "good")))
    desk.until(lambda: desk.program.catalog.study(identity).tags == ("first", "good"))
    desk.do("undo")
    desk.until(lambda: stored() == ("Looks good.", ()))


def test_trash_and_restore(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    identity = desk.finish()
    desk.do("trash_study")
    desk.until(lambda: desk.enabled("open_trash"))
    assert desk.context.selection.study == "" and desk.program.catalog.studies == []
    monkeypatch.setattr(QInputDialog, "getItem", lambda _p, _t, _l, names, *_a: (names[0], True))
    desk.do("open_trash")
    desk.until(lambda: [s.id for s in desk.program.catalog.studies] == [identity])
    assert not desk.enabled("open_trash")


def test_a_study_with_runs_under_way_is_not_put_in_the_trash(desk: Desk, trainer: Trainer) -> None:
    trainer.hold()
    desk.submit()
    desk.do("trash_study")
    assert "Cancel them first" in desk.window.note.words.text()
    assert desk.program.catalog.studies


def test_the_headless_command_repeats_the_very_study(desk: Desk) -> None:
    identity = desk.finish()
    desk.do("copy_command")
    words = QGuiApplication.clipboard().text().split()
    assert words[:3] == ["python3", "main.py", "run"]
    assert study_id(load_study(words[3])) == identity
    assert Path(words[words.index("--home") + 1]) == desk.home
    assert desk.window.status.currentMessage() == "Copied."


def test_search_shows_the_panel_and_takes_the_focus(desk: Desk) -> None:
    desk.window.docks["studies"].hide()
    desk.do("search_runs")
    assert desk.window.docks["studies"].isVisible()
    assert desk.window.focusWidget() is desk.window.studies.filter


def test_full_screen_hides_the_panels_and_brings_them_back(desk: Desk) -> None:
    desk.window.docks["log"].hide()
    desk.do("full_screen")
    assert desk.window.isFullScreen()
    assert not any(dock.isVisible() for dock in desk.window.docks.values())
    desk.do("full_screen")
    assert not desk.window.isFullScreen()
    assert {name for name, dock in desk.window.docks.items() if dock.isHidden()} == {"log"}


def test_closing_from_full_screen_keeps_the_panels(desk: Desk, open_desk: Any) -> None:
    desk.do("full_screen")
    desk.close()
    again = open_desk()
    assert not any(dock.isHidden() for dock in again.window.docks.values())


def test_reset_layout_puts_panels_back(desk: Desk) -> None:
    for dock in desk.window.docks.values():
        dock.hide()
    desk.do("reset_layout")
    assert not any(dock.isHidden() for dock in desk.window.docks.values())
    assert all(desk.window.actions_table.by_id[f"dock_{name}"].isChecked() for name in desk.window.docks)


def test_pages_and_panels_have_their_actions(desk: Desk) -> None:
    for name in ("train", "monitor", "scale", "home"):
        desk.do(f"page_{name}")
        checked = [n for n in ("home", "train", "monitor", "scale") if _checked(desk, f"page_{n}")]
        assert (desk.window.page_name, checked) == (name, [name])
        assert desk.window.nav.buttons[name].isChecked()
    for name, dock in desk.window.docks.items():
        desk.do(f"dock_{name}")
        assert dock.isHidden() and not _checked(desk, f"dock_{name}")
        desk.do(f"dock_{name}")
        assert not dock.isHidden() and _checked(desk, f"dock_{name}")


def _checked(desk: Desk, action: str) -> bool:
    return desk.window.actions_table.by_id[action].isChecked()


def test_analysis_deeds_show_their_figures(desk: Desk) -> None:
    desk.finish()
    desk.do("show_capability")
    desk.settle()
    desk.do("show_capability")
    desk.until(lambda: desk.scale.metric[0] == "word-completion")
    desk.do("show_loss")
    desk.settle()
    assert desk.scale.metric == ("language-modelling", "loss")
    before = desk.scale.convention
    desk.do("switch_convention")
    desk.settle()
    assert desk.scale.convention != before
    assert desk.scale.convention_box.currentData() == desk.scale.convention
    assert desk.settings.text("scale/convention") == desk.scale.convention


def test_capability_is_shown_at_the_first_press(desk: Desk) -> None:
    """The page is made by the action itself: what there is to choose from is not read yet."""
    desk.finish()
    desk.do("show_capability")
    desk.until(lambda: desk.scale.metric[0] == "word-completion")


def test_tools_and_help(desk: Desk, opened: list[str]) -> None:
    desk.do("open_home")
    assert opened == [str(desk.home)]
    desk.do("copy_diagnostics")
    assert f"home {desk.home}" in QGuiApplication.clipboard().text()
    desk.do("help")
    dialog = desk.dialog(HelpDialog)
    titles = [dialog.chapters.item(i).text() for i in range(dialog.chapters.count())]
    for number in range(dialog.chapters.count()):
        dialog.chapters.setCurrentRow(number)
        assert len(dialog.text.toPlainText()) > 100, titles[number]
    dialog.close()
    seen: list[str] = []

    def about(box: Any) -> None:
        seen.append(box.text())
        box.accept()

    in_modal(about)
    desk.do("about")
    assert seen[0].startswith("Emergence Lab")


@pytest.mark.parametrize("language", LANGUAGES)
def test_help_opens_in_every_language(desk: Desk, language: str) -> None:
    desk.window.use_language(language)
    desk.do("help")
    dialog = desk.dialog(HelpDialog)
    assert dialog.chapters.count() > 5
    assert ("一" <= dialog.chapters.item(0).text()[0] <= "鿿") == (language == "zh_CN")
    dialog.close()


def test_pause_resume_and_cancel_the_chosen_runs(desk: Desk, trainer: Trainer) -> None:
    trainer.hold()
    desk.submit()
    desk.until(lambda: sorted(r.state for r in desk.runs()) == ["queued", "queued", "running", "running"])
    desk.do("pause")
    desk.until(lambda: sorted(r.state for r in desk.runs()) == ["paused", "paused", "queued", "queued"])
    assert desk.enabled("start") and not desk.enabled("pause")
    desk.do("start")
    desk.until(lambda: sorted(r.state for r in desk.runs()) == ["queued", "queued", "running", "running"])
    in_modal(press("Keep them"))
    desk.do("cancel")
    desk.settle()
    assert "cancelled" not in desk.states()
    in_modal(press("End them"))
    desk.do("cancel")
    desk.until(lambda: desk.states() == {"cancelled"})
    trainer.release()
    desk.do("start")
    desk.until(lambda: desk.states() == {"finished"})


def test_pause_all_and_resume_all(desk: Desk, trainer: Trainer) -> None:
    trainer.hold()
    desk.submit()
    desk.context.selection.choose_study("")
    desk.until(lambda: desk.enabled("pause_all"))
    desk.do("pause_all")
    desk.until(lambda: desk.enabled("resume_all") and not desk.enabled("pause_all"))
    desk.do("resume_all")
    desk.until(lambda: desk.enabled("pause_all") and not desk.enabled("resume_all"))


def test_an_action_on_a_chosen_run_leaves_the_others(desk: Desk, trainer: Trainer) -> None:
    trainer.hold()
    identity = desk.submit()
    desk.until(lambda: "running" in desk.states())
    last = desk.runs()[-1]
    desk.context.selection.choose_run(identity, last.id)
    in_modal(press("End them"))
    desk.do("cancel")
    desk.until(lambda: [r.id for r in desk.runs() if r.state == "cancelled"] == [last.id])


def test_quit_closes(desk: Desk) -> None:
    said: list[bool] = []
    desk.window.closing.connect(lambda: said.append(True))
    desk.do("quit")
    assert said == [True]


def test_a_saved_study_is_toml(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.finish()
    choose_file(monkeypatch, "Save", tmp_path / "x.toml")
    desk.do("save_study")
    assert tomllib.loads((tmp_path / "x.toml").read_text())["ladder"]["sizes"] == [2000, 5000, 11_000, 24_000]
