"""Images through the window with the real engine: a ladder of the home as base, digits and a folder as data."""

from pathlib import Path

import numpy as np
from PIL import Image

from engine.lab import Lab
from lab_app.modelling.draft import BASE
from lab_app.modelling.fine_tune import FineTuneTab
from lab_app.modelling.results import ANSWERS, CONFUSION, EXAMPLES
from lab_app.modelling.steps import DONE, WRONG
from tests.engine.training.test_fine_tuning_images import pretraining
from tests.lab_app.desk import Desk
from tests.lab_app.modelling.acts import choose_task, drop, said, train


def ladder(lab: Lab) -> str:
    identity = lab.runner.submit(pretraining("vit-masked", {"source": "digits"}))
    assert lab.runner.wait(identity, timeout=60)
    lab.store.writer.flush()
    return identity


def test_a_ladder_of_the_home_learns_digits(desk: Desk, tab: FineTuneTab) -> None:
    identity = ladder(desk.lab)
    desk.program.catalog.load_now()
    choose_task(desk, tab, "image-classification")
    tab.base.choose(f"study:{identity}")
    desk.until(lambda: tab.base.ready or tab.base.problem)
    assert tab.base.problem == "" and len(tab.base.cards) == 2
    assert tab.base.cards[0].image == (1, 8, 8)
    tab.data.example.click()
    desk.until(lambda: tab.checked is not None or tab.data.problem)
    assert tab.data.problem == "" and tab.draft.data == {"source": "digits"}
    assert [b.state for b in tab.steps.buttons] == [DONE, DONE, DONE]
    assert tab.data.batch.images.count() == 12 and tab.data.pictures.count() > 20
    assert tab.recipe.longest.isHidden() and not tab.recipe.balanced.isHidden()
    results = train(desk, tab, 0.3, 0.003)
    assert {line.size for line in results.lines} == {run.size for run in desk.runs()}
    assert len(results.lines) == 2 and "reaches an F1" in " ".join(said(results))
    assert results.confusion.matrix.counts.sum() == 359
    results.tabs.setCurrentIndex(EXAMPLES)
    assert results.examples.grid.count() == 50 and "P " in results.examples.grid.item(0).text()
    assert results.tabs.isTabVisible(CONFUSION) and not results.tabs.isTabVisible(ANSWERS)


def test_a_folder_of_images_is_looked_at_and_what_is_wrong_with_it_is_said(
    desk: Desk, tab: FineTuneTab, tmp_path: Path
) -> None:
    from tests.engine.families.test_fine_tuned_images import folder_of

    draw = np.random.default_rng(0)
    for name in ("left", "right"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(12):
            pixels = draw.integers(0, 256, (6, 6, 3), np.uint8)
            Image.fromarray(pixels).resize((24, 24)).save(tmp_path / "images" / name / f"{number}.png")
    choose_task(desk, tab, "image-classification")
    drop(tab, folder_of(tmp_path / "base", "convnext"))
    desk.until(lambda: tab.base.ready or tab.base.problem)
    assert tab.base.problem == ""
    tab.go(BASE)
    drop(tab, tmp_path / "images")  # at the first step too: it is told from a model
    desk.until(lambda: tab.checked is not None or tab.data.problem)
    assert tab.data.problem == "" and tab.data.pictures.count() == 24
    assert tab.checked is not None and {one["label"] for one in tab.checked.seen} == {"left", "right"}
    assert tab.checked.seen[0]["image"].shape == (16, 16, 3)
    assert "2" in tab.data.chosen_words
    (tmp_path / "images" / "left" / "0.png").write_bytes(b"\x89PNG and no more")
    tab.data.take(str(tmp_path / "images"))
    desk.until(lambda: tab.data.problem)
    assert "0.png" in tab.data.problem and tab.steps.buttons[1].state == WRONG
    tab.data.skip_bad.setChecked(True)
    desk.until(lambda: tab.checked is not None)
