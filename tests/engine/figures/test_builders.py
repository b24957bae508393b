"""What the figures show is what is stored, and they say so."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from engine.errors import InputError
from engine.figures.builders import FIGURES, build, options_of
from engine.figures.model import Figure
from engine.figures.palette import ordered
from engine.figures.ticks import format_count, format_number, format_parameter, linear_ticks, log_ticks
from engine.store import Reader, Store, mutations
from engine.study import LadderSpec, StudySpec, study_id
from tests.engine.figures.example import OF_OTHER_STUDIES

Study = tuple[Reader, str]
SIZES = (2_000, 4_600, 11_000, 26_000, 62_000, 150_000)


def by_name(figure: Figure, part: str) -> list[np.ndarray]:
    (found,) = [s for s in figure.series if part in s.name]
    return [found.x, found.y]


def test_every_figure_is_built_and_says_where_it_comes_from(study: Study) -> None:
    reader, key = study
    for name in FIGURES.keys() - OF_OTHER_STUDIES:
        figure = build(reader, name, key)
        assert figure.id == name and figure.series and figure.caption and figure.title
        facts = figure.provenance
        assert facts["study_id"] == key and facts["study_hash"] == reader.study(key).spec_hash
        runs = [run.id for run in reader.runs(key)]
        assert facts["run_ids"] == runs or (name == "learning-curves" and facts["run_ids"][0] in runs)  # of one run
        assert facts["data_fingerprint"] == ["ab" * 32]
        assert facts["program"].startswith("Emergence Lab ")


def test_loss_and_law_against_size(study: Study) -> None:
    reader, key = study
    figure = build(reader, "loss-vs-params", key)
    x, y = by_name(figure, "mean of seeds, held out")
    largest = [r.val_loss for r in reader.runs(key) if r.size == 150_000 and r.val_loss]
    assert x.tolist() == [150_000] and y[0] == pytest.approx(np.mean(largest))
    assert next(s for s in figure.series if "held out" in s.name).hollow
    law = reader.law(key)
    assert law is not None
    line = next(s for s in figure.series if s.name.startswith("L = "))
    p = law["params"]
    np.testing.assert_allclose(line.y, p["E"] + p["A"] / line.x ** p["alpha"], rtol=1e-3)
    assert line.x.max() == pytest.approx(150_000) and line.dash == "solid"
    beyond = next(s for s in figure.series if s.name == "extrapolated")
    assert beyond.dash == "dashed" and beyond.x.min() == pytest.approx(150_000) and beyond.x.max() <= 450_000
    (band,) = figure.bands
    assert np.all(band.lo <= band.hi)
    predicted = next(s for s in figure.series if "predicted" in s.name)
    assert predicted.lo is not None and [predicted.lo[0], predicted.hi[0]] == law["heldout"]["interval"]  # type: ignore[index]
    assert "without embeddings" in figure.x.label and figure.x.scale == "log"
    assert figure.provenance["equation"] == line.name


def test_the_other_convention_moves_the_points_and_fits_again(study: Study) -> None:
    reader, key = study
    figure = build(reader, "loss-vs-params", key, convention="all")
    assert "(all)" in figure.x.label
    x, _ = by_name(figure, "mean of seeds, held out")
    assert x.tolist() == [150_000 + 9_000 + 20]
    stored = build(reader, "loss-vs-params", key)
    assert figure.provenance["equation"] != stored.provenance["equation"]


def test_without_a_law_the_points_stand_alone(no_law: Study) -> None:
    reader, key = no_law
    figure = build(reader, "loss-vs-params", key)
    assert not figure.bands and "equation" not in figure.provenance
    assert not any(s.line or s.hollow for s in figure.series) and figure.bands == ()
    with pytest.raises(InputError, match="no law"):
        build(reader, "residuals", key)


def test_residuals_are_percent_of_the_law(study: Study) -> None:
    reader, key = study
    figure = build(reader, "residuals", key)
    law = reader.law(key)
    assert law is not None
    p = law["params"]
    run = reader.runs(key)[0]
    assert run.val_loss is not None
    expected = 100 * (run.val_loss / (p["E"] + p["A"] / run.size ** p["alpha"]) - 1)
    assert any(np.isclose(s.y, expected).any() for s in figure.series if s.name == "seeds")
    assert figure.lines[0].value == 0


def test_capability_shows_means_errors_and_chance(study: Study) -> None:
    reader, key = study
    figure = build(reader, "capability-vs-params", key, capability="copying")
    scores = [e for e in reader.evaluations(key, final_only=True) if e.capability == "copying"]
    mean = figure.series[-1]
    assert mean.x.tolist() == list(SIZES)
    first = [e.value for e in scores if e.n_params_non_embedding == SIZES[0]]
    assert mean.y[0] == pytest.approx(np.mean(first))
    assert mean.hi is not None and mean.hi[0] - mean.y[0] == pytest.approx(np.std(first, ddof=1) / 2**0.5)
    assert [line.value for line in figure.lines] == [0.04]
    headline = build(reader, "capability-vs-params", key)
    assert headline.provenance["capability"] == "language-modelling" and headline.y.scale == "log"
    bits = build(reader, "capability-vs-params", key, metric="bits_per_byte")
    assert "bits per byte" in bits.y.label
    with pytest.raises(InputError, match="copying/exact_match"):
        build(reader, "capability-vs-params", key, capability="flying")


@pytest.mark.parametrize(("x", "last"), [("step", 800), ("tokens", 400_000), ("seconds", 20), ("flops", 4.8e9)])
def test_loss_curves_over_each_axis(study: Study, x: str, last: float) -> None:
    reader, key = study
    figure = build(reader, "loss-curves", key, x=x)
    assert len(figure.series) == 12 and sum(s.legend for s in figure.series) == 6
    assert figure.series[0].x[-1] == pytest.approx(last)
    shades = [s.shade for s in figure.series]
    assert shades[0] == 0 and shades[-1] == 1 and shades == sorted(shades)  # type: ignore[type-var]
    assert {s.dash for s in figure.series} == {"solid", "dashed"}
    assert all(len(s.x) <= 600 and np.all(np.diff(s.x) > 0) for s in figure.series)
    raw = reader.curve_full(reader.runs(key)[0].id, "train/loss")[1]
    unsmoothed = build(reader, "loss-curves", key, x=x, smooth=0.0).series[0]
    assert unsmoothed.y[[0, -1]] == pytest.approx(raw[[0, -1]])


def test_wrong_names_are_said(study: Study) -> None:
    reader, key = study
    for name, options in (
        ("pie", {}),
        ("loss-curves", {"x": "moons"}),
        ("loss-curves", {"key": "no/such"}),
        ("loss-vs-params", {"color": "red"}),
        ("loss-vs-params", {"convention": "half"}),
        ("loss-vs-params", {"metric": "accuracy"}),
    ):
        with pytest.raises(InputError):
            build(reader, name, key, **options)
    with pytest.raises(InputError):
        build(reader, "loss-vs-params", "no-such-study")
    assert options_of("loss-curves")["x"] == "tokens"


def test_a_study_without_finished_runs_says_so(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        spec = StudySpec(name="empty", title="Empty", model={}, data={}, ladder=LadderSpec(sizes=(1,)))
        store.writer.call(lambda c: mutations.add_study(c, spec, [])).result(10)
        for name in FIGURES:
            with pytest.raises(InputError):
                build(store.reader(), name, study_id(spec))


def test_the_table_has_every_point(study: Study) -> None:
    reader, key = study
    figure = build(reader, "loss-vs-params", key)
    columns, rows = figure.table()
    assert columns == ("series", "x", "y", "lo", "hi")
    points = sum(len(s.x) for s in figure.series) + sum(len(b.x) for b in figure.bands) + len(figure.lines)
    assert len(rows) == points


def test_ticks_read_well() -> None:
    assert [format_count(v) for v in (500, 1500, 10_000, 2e6, 3e9, 1e15, 2.5e18)] == [
        "500",
        "1.5k",
        "10k",
        "2M",
        "3B",
        "10^15",
        "2.5·10^18",
    ]
    assert format_number(-0.5) == "−0.5"
    assert format_parameter(2.091e6) == "2.09·10^6" and format_parameter(1234.5) == "1234"
    assert log_ticks(2_000, 150_000) == [2e3, 5e3, 1e4, 2e4, 5e4, 1e5]
    assert log_ticks(1.9, 3.4) == [2, 2.5, 3] or len(log_ticks(1.9, 3.4)) >= 3
    assert len(log_ticks(1, 1e12)) <= 7
    assert linear_ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    for low, high in ((1e-3, 5e7), (0.99, 1.01), (3, 3)):
        ticks = log_ticks(low, high)
        assert ticks and all(low * 0.999 <= t <= high * 1.001 for t in ticks)


def test_ordered_colours_run_from_dark_to_bright() -> None:
    light = [sum(int(ordered(s / 10)[i : i + 2], 16) for i in (1, 3, 5)) for s in range(11)]
    assert light[0] < light[5] < light[10]
    assert ordered(0, 0, 1) == "#440154" and ordered(1, 0, 1) == "#fde725"


def test_figures_load_no_drawing_library_until_they_are_exported() -> None:
    code = (
        "import sys, engine.figures.builders, engine.figures.export;"
        "print([m for m in ('matplotlib', 'torch', 'PySide6') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
