"""The page Samples: every size beside the others, text, images and sounds, live and from the store."""

import numpy as np
from PIL import Image
from PySide6.QtWidgets import QLabel

from engine.events import Sample
from lab_app.widgets.media import Picture
from tests.lab_app.desk import Desk, flush_deletions
from tests.lab_app.fakes import small_study


def said(desk: Desk) -> list[str]:
    flush_deletions()  # what was shown before may still be a child
    return [label.text() for label in desk.page("samples").area.findChildren(QLabel) if not label.isHidden()]


def test_without_a_study_it_says_what_to_do(desk: Desk) -> None:
    page = desk.page("samples")
    desk.settle()
    assert "Choose a study" in page.empty.text() and page.area.isHidden()
    assert not page.folder.isEnabled()


def test_every_size_has_a_row_and_seeds_are_chosen(desk: Desk) -> None:
    desk.finish(small_study(ladder={"sizes": [2000, 5000], "seeds": [0, 1]}))
    page = desk.page("samples")
    desk.settle()
    runs = {(run.size_index, run.seed): run.id for run in desk.runs()}
    assert [page.which.itemText(i) for i in range(page.which.count())] == ["0", "1"]
    assert {f"sample of run {runs[size, 0]}" for size in (0, 1)} <= set(said(desk))
    page.which.setCurrentText("1")
    desk.settle()
    assert {f"sample of run {runs[size, 1]}" for size in (0, 1)} <= set(said(desk))
    assert f"sample of run {runs[0, 0]}" not in said(desk)


def test_images_are_images_and_only_the_last_is_shown_when_asked(desk: Desk) -> None:
    desk.finish()
    run = desk.runs()[0]
    folder = desk.lab.store.run_folder(run.id) / "samples"
    folder.mkdir(parents=True)
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(folder / "x.png")
    desk.lab.store.writer.emit(Sample(run.id, run.n_steps, "image", "samples/x.png\na black square"))
    desk.lab.store.writer.flush()
    page = desk.page("samples")
    desk.settle()
    assert len(page.area.findChildren(Picture)) == 1
    assert "a black square" in said(desk) and f"sample of run {run.id}" in said(desk)
    page.last.setChecked(True)
    desk.qtbot.wait(1)
    assert f"sample of run {run.id}" not in said(desk) and "a black square" in said(desk)
    assert desk.settings.flag("samples/last", False)


def test_samples_come_in_while_it_trains(desk: Desk) -> None:
    desk.trainer.hold()
    desk.submit()
    page = desk.page("samples")
    desk.until(lambda: any("sample of run" in text for text in said(desk)))
    assert page.empty.isHidden()
    desk.trainer.release()
    desk.until(lambda: desk.states() == {"finished"})
