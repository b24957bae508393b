"""The tab Compression of Models: ability against cost, the answer in words, and making smaller models."""

import pytest
from PySide6.QtWidgets import QDialog, QLabel

from engine.study import CompressionMethod
from lab_app.dialogs.compress import METHODS, CompressDialog
from tests.engine.adapting.compression.stored import SEEDS, SIZES, store_results, study
from tests.lab_app.desk import Desk, flush_deletions


def shown(desk: Desk, **over: object) -> str:
    identity = store_results(desk.lab.store, study(**over))
    desk.window.catalog.reload()
    desk.settle()
    desk.context.selection.choose_study(identity)
    return identity


def said(desk: Desk) -> list[str]:
    desk.settle()
    flush_deletions()
    tab = desk.page("models").by_name["compression"]
    return [label.text() for label in tab.split.findChildren(QLabel) if not label.isHidden()]


def test_without_a_study_it_says_what_to_do(desk: Desk) -> None:
    page = desk.page("models").show_tab("compression")
    desk.settle()
    assert "Choose a study" in page.problem.text()
    assert not page.export.isEnabled() and not page.compress.isEnabled()


def test_the_answer_the_figure_and_the_tables(desk: Desk) -> None:
    shown(desk)
    page = desk.page("models").show_tab("compression")
    desk.settle()
    assert any(text.startswith("By bytes: in 2 of 4 comparisons") for text in said(desk))
    assert page.view.figure is not None and page.view.figure.id == "compression"
    assert len(page.models.rows) == 3 * len(SIZES) and {row["seeds"] for row in page.models.rows} == {len(SEEDS)}
    assert [row["verdict"] for row in page.beside.rows].count("better") == 2
    assert page.options == {"against": "bytes", "capability": "image-classification", "metric": "top1"}


def test_price_and_metric_are_chosen(desk: Desk) -> None:
    shown(desk)
    page = desk.page("models").show_tab("compression")
    desk.settle()
    page.price_box.setCurrentIndex(page.price_box.findData("latency"))
    page.price_box.activated.emit(page.price_box.currentIndex())
    assert page.view.figure.x.label == "Time of one sample (ms)" and not page.tabs.isTabVisible(2)
    page.metric_box.setCurrentIndex(page.metric_box.findData("validation/loss"))
    page.metric_box.activated.emit(page.metric_box.currentIndex())
    desk.settle()
    assert page.shown.verdict["metric"] == "loss" and page.options["against"] == "latency"


def test_a_study_without_compressed_models_offers_to_make_them(desk: Desk) -> None:
    shown(desk, compression=None)
    page = desk.page("models").show_tab("compression")
    desk.settle()
    assert "no compressed model" in page.problem.text() and page.compress.isEnabled()


def test_it_speaks_chinese(desk: Desk) -> None:
    shown(desk)
    page = desk.page("models").show_tab("compression")
    desk.window.use_language("zh_CN")
    desk.settle()
    assert page.export.text() != "Export figure…"


def test_compressing_makes_a_study_of_its_own(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    identity = shown(desk, compression=None)
    monkeypatch.setattr(CompressDialog, "exec", lambda self: QDialog.DialogCode.Accepted)
    desk.do("compress")
    desk.until(lambda: desk.context.selection.study not in ("", identity))
    made = desk.context.selection.study
    assert made.startswith("ladder-compressed-") and desk.window.page_name == "models"
    runs = desk.lab.reader().runs(made)
    assert {run.kind for run in runs} == {"compress"} and len(runs) == len(SIZES) * len(SEEDS)


def test_the_dialog_wants_a_method_and_gives_pruning_its_amount(desk: Desk) -> None:
    dialog = CompressDialog("a study", desk.window)
    assert dialog.methods == [CompressionMethod(method="int8-weights")] and not dialog.amount.isEnabled()
    dialog.boxes["int8-weights"].setChecked(False)
    assert not dialog.go.isEnabled()
    dialog.boxes["prune-structured"].setChecked(True)
    dialog.amount.setValue(30)
    assert dialog.methods == [CompressionMethod(method="prune-structured", amount=0.3)] and dialog.go.isEnabled()
    assert set(dialog.boxes) == set(METHODS)
    dialog.deleteLater()
