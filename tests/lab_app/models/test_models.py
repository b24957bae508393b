"""The catalogue with what is live laid over it, and the Qt models on top."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import QAbstractItemModel, QModelIndex, Qt
from PySide6.QtTest import QAbstractItemModelTester
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from engine.events import Evaluation, Phase, PhaseName, Progress, RunState, StateChanged
from engine.expand import expand
from engine.store import Store, mutations
from engine.study import study_id
from lab_app.bridge import Tick
from lab_app.context import Selection
from lab_app.docks.studies import EYE, ID_ROLE, NAME
from lab_app.jobs import Jobs
from lab_app.models.catalog import Catalog, Live
from lab_app.models.studies import STATE, StudiesFilter, StudiesModel
from lab_app.theme import Theme
from lab_app.widgets.table import Column, RowsModel, Table
from tests.lab_app.desk import Desk
from tests.lab_app.fakes import small_study

FATAL = QAbstractItemModelTester.FailureReportingMode.Fatal


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store") as store:
        yield store


@pytest.fixture
def jobs(qapp: QApplication) -> Iterator[Jobs]:
    jobs = Jobs()
    yield jobs
    jobs.close()


def add(store: Store, name: str, title: str) -> str:
    study = small_study(name=name, title=title)
    store.writer.call(lambda conn: mutations.add_study(conn, study, expand(study))).result()
    return study_id(study)


@pytest.fixture
def catalog(store: Store, jobs: Jobs, qtbot: QtBot) -> Iterator[Catalog]:
    add(store, "alpha", "Alpha rises")
    add(store, "beta", "Beta (falls")
    catalog = Catalog(store.reader, jobs)
    catalog.load_now()
    yield catalog
    qtbot.waitUntil(lambda: jobs.pending == 0)
    catalog.stop()


@pytest.fixture
def model(catalog: Catalog, qapp: QApplication) -> StudiesModel:
    model = StudiesModel(catalog, Selection(), Theme(qapp, "light"))
    model.tester = QAbstractItemModelTester(model, FATAL)  # type: ignore[attr-defined]
    return model


def titles(model: QAbstractItemModel) -> list[str]:
    return [model.index(row, NAME).data().split("  ")[0] for row in range(model.rowCount())]


def tick(*events: object) -> Tick:
    made = Tick()
    for event in events:
        made.add(event)  # type: ignore[arg-type]
    return made


def test_the_tree_has_studies_and_their_runs(model: StudiesModel, catalog: Catalog) -> None:
    assert sorted(titles(model)) == ["Alpha rises", "Beta (falls"]
    first = model.index(0, 0)
    assert model.rowCount(first) == 4 and model.columnCount(first) == 3
    leaf = model.index(2, 0, first)
    assert model.parent(leaf) == first and not model.hasChildren(leaf)
    study = catalog.studies[0]
    run = catalog.runs(study.id)[2]
    assert leaf.data(ID_ROLE) == (study.id, run.id)
    assert model.index_of(study.id, run.id) == leaf
    assert not model.index_of("none").isValid()
    assert first.siblingAtColumn(STATE).data() == "0/4"
    assert leaf.siblingAtColumn(STATE).data() == "queued"
    assert leaf.data(Qt.ItemDataRole.AccessibleTextRole).endswith("seed 0")


def test_every_role_of_every_cell_answers(model: StudiesModel) -> None:
    def walk(parent: QModelIndex) -> int:
        cells = 0
        for row in range(model.rowCount(parent)):
            for column in range(3):
                for role in Qt.ItemDataRole:
                    model.index(row, column, parent).data(role)
                cells += 1
            cells += walk(model.index(row, 0, parent))
        return cells

    assert walk(QModelIndex()) == 2 * 3 + 8 * 3
    assert [model.headerData(i, Qt.Orientation.Horizontal) for i in range(3)] == ["Study", "State", ""]


def test_the_tree_follows_new_studies(model: StudiesModel, catalog: Catalog, store: Store) -> None:
    resets: list[bool] = []
    model.modelReset.connect(lambda: resets.append(True))
    catalog.load_now()
    assert resets == []  # nothing new: folds and selection stay
    add(store, "gamma", "Gamma")
    catalog.load_now()
    assert resets == [True] and "Gamma" in titles(model)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("", ["Alpha rises", "Beta (falls"]),
        ("^alpha", ["Alpha rises"]),
        ("RISES|falls", ["Alpha rises", "Beta (falls"]),
        ("beta (", ["Beta (falls"]),
        ("(", ["Beta (falls"]),
        ("*", []),
        ("25.2k", ["Alpha rises", "Beta (falls"]),
        ("nothing", []),
    ],
)
def test_the_filter_takes_regular_expressions_and_broken_ones_literally(
    model: StudiesModel, wanted: str, found: list[str]
) -> None:
    proxy = StudiesFilter(model)
    QAbstractItemModelTester(proxy, FATAL)
    proxy.narrow(wanted)
    assert sorted(titles(proxy)) == found
    if wanted == "^alpha":
        assert proxy.rowCount(proxy.index(0, 0)) == 4  # runs of a study that is found stay
    proxy.narrow("")
    assert proxy.rowCount() == 2


def test_a_state_that_arrives_is_shown_before_it_is_read(model: StudiesModel, catalog: Catalog) -> None:
    study = catalog.studies[0].id
    run = catalog.runs(study)[0]
    catalog.take(tick(StateChanged(run.id, RunState.RUNNING, 0.0)))
    at = model.index_of(study, run.id).siblingAtColumn(STATE)
    assert at.data() == "0%"
    catalog.take(tick(Progress(run.id, 25, 100, 100, 5.0, 20.0)))
    assert at.data() == "25%" and catalog.fraction(catalog.runs(study)[0]) == 0.25
    catalog.load_now()  # the store still says queued
    assert catalog.runs(study)[0].state == "running"
    assert next(r.id for r in catalog.active()) == run.id
    assert catalog.waiting()[0].id == run.id


def test_what_is_live_is_forgotten_when_a_run_ends(catalog: Catalog) -> None:
    run = catalog.runs(catalog.studies[0].id)[0]
    heard: list[set[int]] = []
    catalog.progressed.connect(heard.append)
    catalog.take(tick(Phase(run.id, PhaseName.SAVING), Progress(run.id, 10, 100, 1, 2.0, 1.0)))
    assert heard == [{run.id}]
    assert catalog.live(run.id).phase.phase is PhaseName.SAVING
    catalog.take(tick(StateChanged(run.id, RunState.FAILED, 0.0)))
    assert catalog.live(run.id).phase is None
    assert catalog.run(run.id).state == "failed"


def test_several_changes_are_read_once(catalog: Catalog, qtbot: QtBot) -> None:
    heard: list[bool] = []
    catalog.changed.connect(lambda: heard.append(True))
    for _ in range(20):
        catalog.take(tick(Evaluation(1, "c", "m", 1.0)))
    qtbot.waitUntil(lambda: bool(heard))
    qtbot.wait(300)
    assert heard == [True]


def test_an_event_of_a_run_that_is_not_there_yet_does_no_harm(catalog: Catalog) -> None:
    catalog.take(tick(StateChanged(99, RunState.RUNNING, 0.0), Progress(99, 1, 10, 1, 1.0, 1.0)))
    assert catalog.run(99) is None


def test_the_remaining_time_follows_the_speed() -> None:
    live = Live()
    assert live.seconds_left is None
    live.follow(Progress(1, 10, 110, 1, 1.0, 1.0))
    assert live.seconds_left == pytest.approx(10.0)
    for step in range(20, 60, 10):
        live.follow(Progress(1, step, 110, 1, 1.0 + (step - 10) / 5, 1.0))
    assert 5 < live.steps_per_second < 10
    before = live.steps_per_second
    live.follow(Progress(1, 50, 110, 1, 9.0, 1.0))  # nothing moved
    assert live.steps_per_second == before


def test_the_eye_hides_runs_from_the_plots(desk: Desk) -> None:
    study = desk.finish()
    desk.page("monitor")
    dock = desk.window.studies
    runs = [run.id for run in desk.runs()]
    row = dock.proxy.index(0, EYE)
    leaf = dock.proxy.index(1, EYE, dock.proxy.index(0, 0))
    dock.tree.clicked.emit(leaf)
    assert desk.context.selection.hidden == {runs[1]}
    assert not desk.monitor.loss_lines[runs[1]].mean.isVisible()
    assert desk.monitor.loss_lines[runs[0]].mean.isVisible()
    dock.tree.clicked.emit(row)
    assert desk.context.selection.hidden == set(runs)
    dock.tree.clicked.emit(row)
    assert desk.context.selection.hidden == frozenset()
    assert desk.monitor.loss_lines[runs[1]].mean.isVisible()
    assert desk.context.selection.study == study


def test_choosing_in_the_tree_chooses_for_all(desk: Desk) -> None:
    study = desk.finish()
    dock = desk.window.studies
    dock.tree.setCurrentIndex(dock.proxy.index(2, 0, dock.proxy.index(0, 0)))
    run = desk.runs()[2]
    assert desk.context.selection.run == run.id
    assert desk.window.inspector.heading.text() == run.label
    desk.context.selection.choose_run(study, desk.runs()[0].id)
    assert dock.tree.currentIndex().data(ID_ROLE) == (study, desk.runs()[0].id)
    dock.tree.activated.emit(dock.proxy.index(0, 0))
    assert desk.window.page_name == "scale"


COLUMNS = [
    Column("Name", lambda r: r[0]),
    Column("Size", lambda r: str(r[1]), number=True, color=lambda _: "#ff0000", tip=lambda r: f"tip {r[0]}"),
]


def test_a_table_of_rows_behaves(qapp: QApplication) -> None:
    model = RowsModel(COLUMNS, key=lambda r: r[0])
    QAbstractItemModelTester(model, FATAL)
    resets: list[bool] = []
    model.modelReset.connect(lambda: resets.append(True))
    model.set_rows([("a", 1), ("b", 2)])
    model.set_rows([("a", 5), ("b", 2)])
    assert len(resets) == 1 and model.index(0, 1).data() == "5"
    model.set_rows([("b", 2)])
    assert len(resets) == 2
    model.set_columns(COLUMNS[:1])
    assert model.columnCount() == 1
    model.set_rows([])
    assert model.rowCount() == 0 and not model.index(0, 0).isValid()


def test_a_selection_is_copied_with_its_headings(qtbot: QtBot) -> None:
    model = RowsModel(COLUMNS)
    table = Table(model)
    qtbot.addWidget(table)
    model.set_rows([("a", 1), ("b", 2), ("c", 3)])
    table.selectRow(1)
    qtbot.keyClick(table, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
    assert QApplication.clipboard().text() == "Name\tSize\nb\t2"
    table.clearSelection()
    assert table.as_text(table.chosen()) == "Name\tSize\na\t1\nb\t2\nc\t3"
    assert model.index(0, 1).data(Qt.ItemDataRole.ToolTipRole) == "tip a"
    assert model.index(0, 1).data(Qt.ItemDataRole.ForegroundRole).name() == "#ff0000"
