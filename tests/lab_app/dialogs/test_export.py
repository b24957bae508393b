"""A figure written from the window: every format, from every page, and where it cannot be written."""

import os
from pathlib import Path

from lab_app.dialogs.export import ExportDialog
from tests.lab_app.desk import Desk


def opened(desk: Desk) -> ExportDialog:
    desk.do("export_figure")
    dialog = desk.dialog(ExportDialog)
    desk.settle()
    assert dialog.write.isEnabled() and not dialog.preview.pixmap().isNull()
    return dialog


def test_all_formats_of_all_figures(desk: Desk, tmp_path: Path) -> None:
    study = desk.finish()
    desk.page("scale")
    desk.settle()
    dialog = opened(desk)
    for name in ("loss-vs-params", "capability-vs-params", "loss-curves", "residuals"):
        dialog.figure.setCurrentIndex(dialog.figure.findData(name))
        desk.settle()
        for suffix, box in dialog.formats.items():
            box.setChecked(name == "loss-vs-params" or suffix in ("svg", "csv"))
        dialog.folder.setText(str(tmp_path / "out"))
        assert dialog.file.text() == f"{study}-{name}"
        dialog.write.click()
        desk.until(dialog.write.isEnabled)
        assert dialog.said.text().startswith("Written: "), (name, dialog.said.text())
        _look(tmp_path / "out" / f"{study}-{name}", study)
    dialog.reject()
    assert desk.settings.text("export/folder") == str(tmp_path / "out")
    assert desk.settings.texts("export/formats") == ["svg", "csv"]


def _look(stem: Path, study: str) -> None:
    heads = {"svg": b"<?xml", "pdf": b"%PDF", "png": b"\x89PNG"}
    for suffix in ("svg", "pdf", "png") if stem.name.endswith("loss-vs-params") else ("svg",):
        assert (stem.parent / f"{stem.name}.{suffix}").read_bytes().startswith(heads[suffix])
    for suffix in ("svg", "csv"):
        text = (stem.parent / f"{stem.name}.{suffix}").read_text(encoding="utf-8")
        assert study in text, "the file says inside which study it is of"


def test_what_cannot_be_written_is_a_sentence(desk: Desk, tmp_path: Path) -> None:
    desk.finish()
    dialog = opened(desk)
    (tmp_path / "file").write_text("")
    places = [tmp_path / "file" / "sub"]
    if os.geteuid() != 0:
        (tmp_path / "locked").mkdir(mode=0o500)
        places.append(tmp_path / "locked")
    places.append(Path("/proc/nowhere"))
    for place in places:
        dialog.folder.setText(str(place))
        dialog.write.click()
        desk.until(dialog.write.isEnabled)
        assert "cannot be written" in dialog.said.text(), dialog.said.text()
    for box in dialog.formats.values():
        box.setChecked(False)
    dialog.write.click()
    assert dialog.said.text() == "Choose at least one format."
    dialog.reject()


def test_a_figure_that_does_not_exist_yet_is_a_sentence(desk: Desk) -> None:
    desk.trainer.hold()
    desk.submit()
    desk.do("export_figure")
    dialog = desk.dialog(ExportDialog)
    desk.settle()
    said = "no run of this study has finished yet"
    assert said in dialog.said.text() and dialog.preview.pixmap().isNull()
    dialog.write.click()
    desk.until(dialog.write.isEnabled)
    assert said in dialog.said.text()
    dialog.reject()


def test_a_style_changes_the_preview_and_is_remembered(desk: Desk, tmp_path: Path) -> None:
    desk.finish()
    dialog = opened(desk)
    assert [dialog.style_box.itemData(i) for i in range(3)] == ["paper", "slide", "dark"]
    light = dialog.preview.pixmap().toImage().pixelColor(2, 2).lightness()
    dialog.style_box.setCurrentIndex(2)
    desk.settle()
    assert dialog.preview.pixmap().toImage().pixelColor(2, 2).lightness() < light - 100
    dialog.folder.setText(str(tmp_path))
    dialog.write.click()
    desk.until(dialog.write.isEnabled)
    assert desk.settings.text("export/style") == "dark"
    dialog.reject()
