"""Source ``cldr-pairs``: splits that share nothing, known texts of CLDR, batches, and every pair of languages."""

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from engine.errors import StudyError
from engine.expand import expand
from engine.sources import sources
from engine.sources._cldr import KINDS, Cldr, Language
from engine.sources._pairs import BEGIN, END, PAD, UNKNOWN, PairItems, commonest
from engine.sources._procedural import IGNORED, SPLITS
from engine.study import load_study

SOURCE = sources["cldr-pairs"]


def prepared(**fields: Any) -> PairItems:
    data = SOURCE.prepare(SOURCE.Spec(**({"items": 300} | fields)), Path(), lambda step, fraction: None)
    assert isinstance(data, PairItems)
    return data


def texts(data: PairItems, split: Any) -> list[tuple[str, str]]:
    return data.texts(data.all_items(split))


def test_splits_share_no_item() -> None:
    data = prepared(items=2_000)
    found = {split: {source for source, _ in texts(data, split)} for split in SPLITS}
    assert all(len(found[split]) == data.n_items(split) > 100 for split in SPLITS)
    assert not found["train"] & found["validation"]
    assert not found["ood"] & (found["train"] | found["validation"])
    assert data.report.leaked == 0


def test_a_day_is_on_one_side_in_all_its_styles() -> None:
    only_dates = dict.fromkeys(KINDS[1:], False)
    data = prepared(items=3_000, first_year=2001, last_year=2003, **only_dates)
    targets = {split: {target.partition("日")[0] for _, target in texts(data, split)} for split in SPLITS}
    assert len(targets["train"]) > 700 and len(targets["validation"]) > 50
    assert not targets["train"] & targets["validation"]
    years = {split: {int(day[:4]) for day in days} for split, days in targets.items()}
    assert years["train"] == years["validation"] == {2001, 2002, 2003}
    assert min(years["ood"]) < 2001 and max(years["ood"]) > 2003 and not years["ood"] & years["train"]
    assert all(1951 <= year <= 2053 for year in years["ood"])


def test_a_number_is_on_one_side_in_every_kind() -> None:
    data = prepared(items=1_000, digits=2, dates=False, names=False)

    def value(source: str) -> str:
        return "".join(c for c in source if c.isdigit() or c == ".")

    plain = {split: {value(s) for s, _ in texts(data, split) if s[0].isdigit() and s[-1].isdigit()} for split in SPLITS}
    percents = {split: {s[:-1] for s, _ in texts(data, split) if s[-1] == "%"} for split in SPLITS}
    assert percents["train"] and percents["validation"]
    assert not (plain["train"] | percents["train"]) & (plain["validation"] | percents["validation"])
    longest = max(len(v.partition(".")[0]) for v in plain["train"])
    assert longest == 2 and min(len(v.partition(".")[0]) for v in plain["ood"]) == 3


def test_what_cldr_says_is_what_is_asked() -> None:
    wanted = {
        "Monday, January 3, 2005": "2005年1月3日星期一",
        "Jan 3, 2005": "2005年1月3日",
        "Mon, Jan 3, 2005": "2005年1月3日周一",
    }
    data = prepared(items=3_000, first_year=2005, last_year=2005)
    every = dict(pair for split in SPLITS for pair in texts(data, split))
    assert wanted.items() <= every.items()
    assert every["France"] == "法国" and every["Greek"] == "希腊语" and every["Swiss Franc"] == "瑞士法郎"


def test_currencies_of_amounts_are_never_held_out_as_names() -> None:
    data = prepared(items=100)
    assert ("Swiss Franc", "瑞士法郎") in texts(data, "train")


def test_a_batch_is_a_pure_function_and_shifts_the_target() -> None:
    data = prepared(padding="fixed", source_length=40, target_length=30)
    one, again = data.train_batch(3, 16, 30, 5), data.train_batch(3, 16, 30, 5)
    assert all((one[name] == again[name]).all() for name in one)
    assert (one["inputs"] != data.train_batch(4, 16, 30, 5)["inputs"]).any()
    assert (one["inputs"] != data.train_batch(3, 16, 30, 6)["inputs"]).any()
    assert one["inputs"].shape == (16, 40) and one["targets"].shape == one["decoder_inputs"].shape == (16, 30)
    assert {array.dtype for array in one.values()} == {np.dtype(np.int64)}
    for read, target in zip(one["decoder_inputs"], one["targets"], strict=True):
        n = int((target != IGNORED).sum())
        assert read[0] == BEGIN and (read[1:n] == target[: n - 1]).all() and (read[n:] == PAD).all()
        assert target[n - 1] == END and (target[n:] == IGNORED).all()
    assert ((one["inputs"] == END).sum(axis=1) == 1).all()


def test_dynamic_padding_only_cuts_padding() -> None:
    fixed, dynamic = prepared(), prepared(padding="dynamic")
    long, short = fixed.train_batch(0, 4, 48, 0), dynamic.train_batch(0, 4, 48, 0)
    for name, filler in (("inputs", PAD), ("targets", IGNORED), ("decoder_inputs", PAD)):
        n = short[name].shape[1]
        assert n < 48 and (long[name][:, :n] == short[name]).all() and (long[name][:, n:] == filler).all()


def test_an_epoch_passes_over_every_pair_once() -> None:
    data = prepared(names=False, units=False)
    n = data.n_items("train")
    seen = [row.tobytes() for step in range(n // 10) for row in data.train_batch(step, 10, 48, 0)["inputs"]]
    assert len(set(seen)) == len(seen) == n // 10 * 10
    assert data.epochs(n, 2, 48) == 2


@pytest.mark.parametrize("language", get_args(Language))
def test_every_character_of_every_language_is_known_before_the_data_are(language: str) -> None:
    other = "fr" if language != "fr" else "zh"
    spec = SOURCE.Spec(source_language=language, target_language=other, items=250, source_length=160, target_length=160)
    data = SOURCE.prepare(spec, Path(), lambda step, fraction: None)
    assert SOURCE.shape(spec).vocab_size == data._texts.size
    for split in SPLITS:
        items = data.all_items(split)
        assert items.max() < data._texts.size and not (items[:, 1:] == UNKNOWN).any()
    kinds = np.bincount(data.all_items("train")[:, 0], minlength=len(KINDS))
    assert (kinds > 50).all() and data.report.n_skipped == 0


def test_bytes_are_the_same_texts() -> None:
    as_bytes = prepared(tokens="bytes", source_length=200, target_length=200)
    characters = prepared(source_length=200, target_length=200)
    assert texts(as_bytes, "train") == texts(characters, "train")
    assert SOURCE.shape(SOURCE.Spec(tokens="bytes")).vocab_size == 260
    assert as_bytes.fingerprint != characters.fingerprint != prepared(draw=1).fingerprint


def test_pairs_that_are_too_long_are_counted() -> None:
    data = prepared(source_length=12)
    assert data.report.n_skipped > 100 and data.report.skipped
    assert max(len(source) for source, _ in texts(data, "train")) == 11


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"target_language": "en"}, r"data\.target_language"),
        ({"last_year": 1900}, r"data\.last_year"),
        (dict.fromkeys(KINDS, False), r"data: choose"),
    ],
)
def test_what_cannot_be_met_names_the_field(fields: dict, field: str) -> None:
    with pytest.raises(StudyError, match=field):
        SOURCE.shape(SOURCE.Spec(**fields))


def test_previews_hold_both_texts() -> None:
    found = SOURCE.preview(SOURCE.Spec(), 3)
    assert len(found) == 9 and all(example["text"] and example["target"] for example in found)


def test_units_have_words_in_both_languages() -> None:
    units = Cldr("en", "zh", 2000, 2001, 3).unit_names()
    assert "mass-kilogram" in units and "length-meter" not in units  # babel resolves no alias of the latter in Chinese
    data = prepared(dates=False, numbers=False, currencies=False, names=False, items=2_000)
    assert not any("-" in target for _, target in texts(data, "train"))


def test_the_study_expands() -> None:
    runs = expand(load_study("translation"))
    assert len(expand(load_study("translation", profile="gpu"))) == 40
    assert len(runs) == 15 and runs[-1].n_params_non_embedding >= 30 * runs[0].n_params_non_embedding


def test_commonest_characters_in_order() -> None:
    assert commonest(["abba", "cab"], 2) == ["a", "b"]
