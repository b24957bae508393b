"""What compression costs and buys, on results whose answer is known."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.analysis.compression import groups, judge, measured, way_words
from engine.analysis.gains import difference, mean_of
from engine.errors import InputError
from engine.figures.builders import available, build
from engine.figures.export import export
from engine.store import Store
from tests.engine.adapting.compression.stored import SEEDS, SIZES, store_results, study

TOP1 = ("image-classification", "top1")
WAYS = ["", "int8-weights", "prune-structured 0.5"]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path) as store:
        yield store


def judged(store: Store, identity: str, metric: tuple[str, str] = TOP1) -> dict[str, Any]:
    return judge(measured(store.reader(), identity, *metric), *metric)


def test_every_model_stands_beside_what_it_was_made_from(store: Store) -> None:
    models = measured(store.reader(), store_results(store, study()), *TOP1)
    assert len(models) == 3 * len(SIZES) * len(SEEDS)
    assert list(dict.fromkeys(model.way for model in models)) == WAYS
    for model in models[len(SIZES) * len(SEEDS) :]:
        assert model.before is not None and model.before.size == model.size and model.before.seed == model.seed
        assert model.price["bytes"] == pytest.approx(model.before.price["bytes"] / 4)
    assert [group.way for group in groups(models)] == [way for way in WAYS for _ in SIZES]


def test_parents_of_another_study_are_found(store: Store) -> None:
    store_results(store, study(compression=None))
    compression = {"methods": [{"method": "int8-weights"}], "of": "ladder"}
    models = measured(store.reader(), store_results(store, study(name="later", compression=compression)), *TOP1)
    assert len(models) == 2 * len(SIZES) * len(SEEDS)


def test_a_quarter_of_the_bytes_at_no_loss_beats_the_next_smaller_and_twice_the_time_does_not(store: Store) -> None:
    verdict = judged(store, store_results(store, study()))
    eight = [row for row in verdict["ways"] if row["way"] == "int8-weights"]
    assert [row["change"] for row in eight] == [0.0] * len(SIZES) and eight[0]["interval"] is None
    halved = [row for row in verdict["ways"] if row["way"] == "prune-structured 0.5"]
    assert halved[0]["change"] == pytest.approx(-0.252) and halved[0]["interval"][1] < 0
    by_bytes = verdict["beside"]["bytes"]
    # Sizes lie 3.9 to 5.4 apart: a quarter of the bytes is no more than the next smaller in two of three cases.
    better = [(row["size"], row["small_size"]) for row in by_bytes if row["verdict"] == "better"]
    assert better == [(7_570, 1_990), (29_530, 7_570)]
    assert {row["way"] for row in by_bytes if row["verdict"] == "worse"} == {"prune-structured 0.5"}
    assert verdict["beside"]["latency"] == []
    said = " ".join(verdict["words"])
    assert "By bytes: in 2 of 4 comparisons a compressed large model beats a whole small one" in said
    assert "By time of one sample: no compressed model is as cheap as a smaller whole one." in said


def test_a_loss_is_better_when_lower(store: Store) -> None:
    verdict = judged(store, store_results(store, study()), ("validation", "loss"))
    assert verdict["higher_is_better"] is False
    assert verdict["ways"][0]["change"] == pytest.approx(0.5)
    assert {row["verdict"] for row in verdict["beside"]["bytes"]} == {"worse"}


def test_one_seed_gives_no_interval_and_no_verdict(store: Store) -> None:
    verdict = judged(store, store_results(store, study(ladder={"sizes": list(SIZES), "seeds": [0]})))
    assert {row["interval"] for row in verdict["ways"]} == {None}
    assert {row["verdict"] for row in verdict["beside"]["bytes"]} == {"open"}


def test_seeds_that_agree_to_the_last_item_give_no_interval_and_no_verdict() -> None:
    alike = [0.98 + 0.002, 0.982, 0.98 + 0.001 * 2]
    assert mean_of(alike).interval is None and mean_of([0.5]).interval is None
    assert difference(alike, [0.9, 0.9, 0.9]) == (pytest.approx(0.082), None)
    assert mean_of([0.982, 0.982, 0.984]).interval is not None


def test_nothing_compressed_is_a_sentence(store: Store) -> None:
    alone = store_results(store, study(compression=None))
    with pytest.raises(InputError, match="no compressed model of this study has been measured yet"):
        build(store.reader(), "compression", alone)
    assert "compression" not in available(store.reader(), alone)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    draws = 2_000
    means = [mean_of(row.tolist()).interval for row in rng.normal(1.0, 0.3, (draws, 3))]
    ours, theirs = rng.normal(0, 0.1, (draws, 4)), rng.normal(0, 0.3, (draws, 4))
    apart = [difference(a.tolist(), b.tolist())[1] for a, b in zip(ours, theirs, strict=True)]
    for found, truth, least in ((means, 1.0, 0.94), (apart, 0.0, 0.94)):
        held = np.mean([ends is not None and ends[0] <= truth <= ends[1] for ends in found])
        assert least < held < 0.97


@pytest.mark.parametrize("against", ["bytes", "memory", "latency", "latency_batch"])
@pytest.mark.parametrize("suffix", ["svg", "pdf", "png", "csv"])
def test_the_figure_goes_to_every_kind_of_file(store: Store, tmp_path: Path, against: str, suffix: str) -> None:
    identity = store_results(store, study())
    figure = build(store.reader(), "compression", identity, against=against)
    assert figure.x.scale == "log"
    names = [series.name for series in figure.series if series.legend]
    assert names == [way_words(way) for way in WAYS]
    threads = [series for series in figure.series if series.dash == "dotted"]
    assert len(threads) == 2 * len(SIZES)
    whole = {tuple(np.round([s.x[0], s.y[0]], 6)) for s in threads}
    assert len(whole) == len(SIZES)
    out = tmp_path / f"f.{suffix}"
    export(figure, out)
    assert out.stat().st_size > 500


def test_an_unknown_price_is_refused(store: Store) -> None:
    with pytest.raises(InputError, match="compression has no price 'weight'"):
        build(store.reader(), "compression", store_results(store, study()), against="weight")
